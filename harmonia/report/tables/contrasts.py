"""The tables that say how far Tables 1 and 2 can be trusted: controls, tests, methods, families, sizes, classes.

Printed in percent with intervals for people; their CSV holds fractions in full precision, of every arm.
"""

from collections.abc import Sequence
from functools import partial

from harmonia.arms import SOFT_ARM
from harmonia.report.tables.columns import StatisticTable, settings_together, statistic_table
from harmonia.statistics import contrasts, splits
from harmonia.statistics.comparison import Comparison

HEADLINE = "transfer_above_control"
METHOD = ("source", "method_label")  # columns of text
CELL = (*METHOD, "target")


def statistic_tables(comparisons: Sequence[Comparison], arm: str = SOFT_ARM) -> list[StatisticTable]:
    """Every table for which there are cells; where a table would be long, its printed form shows this arm alone."""
    tables = [
        *_transfer_tables(comparisons, arm),
        *_model_tables(comparisons),
        *_paired_tables(comparisons, arm),
        *_split_tables(comparisons, arm),
    ]
    return [table for table in tables if len(table.printed)]


def _transfer_tables(comparisons: Sequence[Comparison], arm: str) -> list[StatisticTable]:
    headline = statistic_table(
        HEADLINE,
        "Transfer above control: retention of the feature less that of the matched control (dim for soft, blobs for "
        "area arms) and, where that has run, of the centre box of the same area; mean over the targets that are not "
        "the source. Methods that ran on other images meet in the table of methods, on those that both have.",
        [*METHOD, "arm"],
        ["cells", "images", "retention", "control_retention", "above_control", "above_centre", "kept_area"],
        comparisons,
        contrasts.mean_transfer,
    )
    retentions = [name for name in settings_together(comparisons, contrasts.controls) if name.endswith("_retention")]
    others = [name for name in retentions if name != "control_retention"]
    controls = statistic_table(
        "controls",
        "Every feature beside its controls of the same area: retention, and what is left above the matched one.",
        [*CELL, "arm"],
        ["accuracy_feature", "retention", "control_retention", "above_control", *others, "kept_area"],
        comparisons,
        contrasts.controls,
    )
    known = [[name for name in contrasts.model_order(c) if name in set(c.cells["target"])] for c in comparisons]
    targets = list(dict.fromkeys(name for names in known for name in names))
    matrices = [
        statistic_table(
            stem,
            caption,
            ["method_label", "source"],
            [],
            comparisons,
            partial(contrasts.matrix, arm=arm, above_control=above),
            models=targets,
        )
        for stem, caption, above in (
            ("matrix", f"Retention of arm {arm}, sources by targets (%).", False),
            ("matrix_above_control", f"The same of what is left of arm {arm} above its control (points).", True),
        )
    ]
    return [headline, controls, *matrices]


def _model_tables(comparisons: Sequence[Comparison]) -> list[StatisticTable]:
    families = statistic_table(
        "families",
        "Retention by family: to the source itself, to others of its family, to other families; other networks stand "
        "behind each mean. Kinship: what a common family adds between networks of equal strength, by least squares "
        "of source + target + kinship (points), to retention and to what is left above control.",
        ["method_label", "arm"],
        ["itself", "within_cells", "within", "between_cells", "between", "kinship", "above_kinship"],
        comparisons,
        contrasts.families,
    )
    capacity = statistic_table(
        "capacity",
        "Retention from the smaller to the larger network of a family and back, the first less the second (points), "
        "the same difference above control, and what each way keeps; size by number of parameters.",
        ["family", "small", "large", "method_label", "arm"],
        ["to_larger", "to_smaller", "difference", "above_difference", "area_to_larger", "area_to_smaller"],
        comparisons,
        contrasts.capacity,
    )
    return [families, capacity]


def _paired_tables(comparisons: Sequence[Comparison], arm: str) -> list[StatisticTable]:
    methods = statistic_table(
        "methods",
        "Method against method on the same cells and images, first less second; target others: the mean over all but "
        "the source. McNemar's exact test of accuracy, Holm over a setting's lines.",
        ["source", "first_target", "first_arm", "first_label", "second_label"],
        ["difference", "retention_difference", "first_kept_area", "second_kept_area", "p_holm"],
        comparisons,
        contrasts.methods,
    )
    tests = statistic_table(
        "tests",
        f"McNemar's exact tests of accuracy, arm {arm}: first less second; Holm over a setting's lines of one "
        "question, all arms. Two targets differ also in how many whole images they name.",
        [*METHOD, "kind", "first_cell", "second_cell"],
        ["difference", "only_first", "only_second", "p", "p_holm"],
        comparisons,
        contrasts.paired_tests,
        printed_where=("first_arm", arm),
    )
    return [methods, tests]


def _split_tables(comparisons: Sequence[Comparison], arm: str) -> list[StatisticTable]:
    source_right = statistic_table(
        "source_right",
        f"Where the source was right on the whole image and where it was wrong, arm {arm}. No retention where "
        "resamples have no whole image that the target names.",
        [*CELL, "source_was"],
        ["images", "accuracy_image", "accuracy_feature", "retention"],
        comparisons,
        splits.source_right,
        printed_where=("arm", arm),
    )
    agreement = statistic_table(
        "agreement",
        f"How often source and target name the same class, arm {arm}: both on the image; the target on the feature and "
        "the source on the image; both on the feature. ECE: expected calibration error of the target, 15 bins.",
        CELL,
        ["on_image", "kept", "on_feature", "ece_image", "ece_feature"],
        comparisons,
        splits.agreement,
        printed_where=("arm", arm),
    )
    classes = statistic_table(
        "classes",
        f"Class by class, arm {arm}.",
        [*CELL, "label"],
        ["images", "accuracy_image", "accuracy_feature", "retention"],
        comparisons,
        partial(splits.classes, arm=arm),
        intervals="95 % intervals: Wilson's, of this number of images.",
    )
    return [source_right, agreement, classes]
