"""The tables that say how far Tables 1 and 2 can be trusted: controls, tests, methods, families, sizes, classes.

Printed in percent with intervals for people; their CSV holds fractions in full precision, of every arm.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from harmonia.report.tables.columns import Statistic, StatisticTable, correlation_in_words, statistic_table
from harmonia.results.jobs import JobFolder
from harmonia.statistics import contrasts, harmonised, splits
from harmonia.statistics.comparison import Comparison
from harmonia.statistics.cross_curves import cross_curves
from harmonia.statistics.likeness import MEASURES, ModelPairs, correlations, model_pairs

HEADLINE, LIKENESS, CROSS_CURVES = "transfer_above_control", "likeness", "cross_curves"

STATISTICS = (
    Statistic(
        HEADLINE,
        "Transfer above control: retention of the feature less that of the matched control (dim for soft, blobs for "
        "area arms) and, where that has run, of the centre box of the same area; mean over the targets that are not "
        "the source. Methods that ran on other images meet in the table of methods, on those that both have.",
        contrasts.mean_transfer,
        "source method_label arm",
        "cells images retention control_retention above_control above_centre kept_area",
        reading="Above control: points beyond a mask that knows nothing, blobs or dimming. Above centre box: beyond "
        "the middle. An interval that holds 0 shows no difference.",
    ),
    Statistic(
        "controls",
        "Every feature beside its controls of the same area: retention, and what is left above the matched one.",
        contrasts.controls,
        "source method_label target arm",
        "accuracy_feature retention control_retention above_control *_retention kept_area",
        reading="Compare Retention with the controls on its right: one as high explains it as well.",
    ),
    Statistic(
        CROSS_CURVES,
        "Insertion and deletion in the target, in the order of the source's map: the mean of retention over the areas "
        "shown, and over those removed. Blobs: random regions as large as what is shown, or as what deletion leaves.",
        cross_curves,
        "source method_label target",
        "areas_inserted areas_deleted insertion insertion_above_blobs insertion_above_centre deletion "
        "deletion_beyond_blobs",
        reading="The order matters where insertion is above blobs and deletion goes beyond them, intervals too.",
    ),
    Statistic(
        "matrix",
        "Retention of arm {arm}, sources by targets (%).",
        contrasts.matrix,
        "method_label source",
        "*",
        reading="A line is where one source's features go, a column what one target takes from each source.",
        of_arm=True,
    ),
    Statistic(
        "matrix_above_control",
        "The same of what is left of arm {arm} above its control (points).",
        partial(contrasts.matrix, above_control=True),
        "method_label source",
        "*",
        reading="0 or less: no more than any mask of that area carries into that target.",
        of_arm=True,
    ),
    Statistic(
        "harmonised",
        "Does the map of several networks together carry more? Arm area NN, retention in networks that had no vote, "
        "beside each of its networks alone, their mean, the best of them, at equal passes too, and their vote, where "
        "these ran; then the mean over all sources of as many networks.",
        harmonised.harmonised,
        "source method_label arm beside",
        "voters targets images passes beside_passes retention beside_retention difference above_control",
        reading="Difference above 0, interval too: together they carry more than what stands beside.",
    ),
    Statistic(
        "families",
        "Retention by family: to the source itself, to others of its family, to other families; other networks stand "
        "behind each mean. Kinship: what a common family adds between networks of equal strength, by least squares "
        "of source + target + kinship (points), to retention and to what is left above control.",
        contrasts.families,
        "method_label arm",
        "itself within_cells within between_cells between kinship above_kinship",
        reading="Kinship above 0, interval too: features carry better within a family.",
    ),
    Statistic(
        "capacity",
        "Retention from the smaller to the larger network of a family and back, the first less the second (points), "
        "the same difference above control, and what each way keeps; size by number of parameters.",
        contrasts.capacity,
        "family small large method_label arm",
        "to_larger to_smaller difference above_difference area_to_larger area_to_smaller",
        reading="Difference above 0: features carry better from the smaller network to the larger.",
    ),
    Statistic(
        "methods",
        "Method against method on the same cells and images, first less second; target others: the mean over all but "
        "the source. McNemar's exact test of accuracy, Holm over a setting's lines.",
        contrasts.methods,
        "source first_target first_arm first_label second_label",
        "difference retention_difference first_kept_area second_kept_area p_holm",
        reading="Above 0: the first method carries more; believe it where p, Holm is below 0.05.",
    ),
    Statistic(
        "tests",
        "McNemar's exact tests of accuracy, arm {arm}: first less second; Holm over a setting's lines of one "
        "question, all arms. Two targets differ also in how many whole images they name.",
        contrasts.paired_tests,
        "source method_label kind first_cell second_cell",
        "difference only_first only_second p p_holm",
        reading="p, Holm below 0.05: the two differ by more than chance on these images.",
        printed_of_arm="first_arm",
    ),
    Statistic(
        "source_right",
        "Where the source was right on the whole image and where it was wrong, arm {arm}. No retention where "
        "resamples have no whole image that the target names.",
        splits.source_right,
        "source method_label target source_was",
        "images accuracy_image accuracy_feature retention",
        reading="Features of images that the source got wrong show what it mistook.",
        printed_of_arm="arm",
    ),
    Statistic(
        "agreement",
        "How often source and target name the same class, arm {arm}: both on the image; the target on the feature and "
        "the source on the image; both on the feature. ECE: expected calibration error of the target, 15 bins.",
        splits.agreement,
        "source method_label target",
        "on_image kept on_feature ece_image ece_feature",
        reading="Kept near On the image: the feature leads the target to what the source saw.",
        printed_of_arm="arm",
    ),
    Statistic(
        "classes",
        "Class by class, arm {arm}.",
        splits.classes,
        "source method_label target label",
        "images accuracy_image accuracy_feature retention",
        reading="A class has few images: look at the interval before the number.",
        of_arm=True,
        intervals="95 % intervals: Wilson's, of this number of images.",
    ),
)


def statistic_tables(comparisons: Sequence[Comparison], arm: str) -> list[StatisticTable]:
    """Every table for which there are cells; where a table would be long, its printed form shows this arm alone."""
    tables = [statistic_table(statistic, comparisons, arm) for statistic in STATISTICS]
    return [table for table in tables if len(table.printed)]


def likeness_table(comparisons: Sequence[Comparison], jobs: Sequence[JobFolder], arm: str) -> StatisticTable | None:
    """Pairs of models, printed of this arm, with rank correlations beneath; None where there are too few for any."""
    likeness = Statistic(
        LIKENESS,
        "How alike source and target are on the whole images, and what is left of arm {arm} above its control: share "
        "of images with the same prediction, debiased linear CKA of penultimate features.",
        partial(model_pairs, jobs=jobs),
        "source method_label target",
        "agreement cka retention above_control",
        reading="The notes say whether what is left above control rises with likeness, and how surely.",
        printed_of_arm="arm",
    )
    pairs = statistic_table(likeness, comparisons, arm)
    lines: Any = correlations(ModelPairs.checked(pairs.numbers), arm) if len(pairs.printed) else ()
    if not len(lines):
        return None
    pairs.printed.attrs["footnotes"] = [_in_words(line) for line in lines.to_dict("records")]
    return pairs


def _in_words(line: dict[str, Any]) -> str:
    return (
        f"{correlation_in_words(line, MEASURES[line['measure']])} models ({line['label_policy']}, {line['fill']}, "
        f"{line['data']}). Models are the units: a jackknife over them, and p by giving them each other's likenesses."
    )
