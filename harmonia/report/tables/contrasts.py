"""The tables that say how far Tables 1 and 2 can be trusted: controls, tests, methods, families, sizes, classes.

Printed in percent with intervals for people; their CSV holds fractions in full precision, of every arm.
"""

from collections.abc import Sequence
from functools import partial

from harmonia.arms import SOFT_ARM
from harmonia.report.tables.columns import (
    ABOVE,
    ARM,
    CENTRE,
    CONTROL,
    FEATURE,
    IMAGE,
    IMAGES,
    KEPT,
    METHOD,
    RETENTION,
    SOURCE,
    TARGET,
    Column,
    StatisticTable,
    count,
    p_value,
    percent,
    percent_if_bounded,
    settings_together,
    statistic_table,
    text,
)
from harmonia.statistics import contrasts, splits
from harmonia.statistics.comparison import Comparison

HEADLINE = "transfer_above_control"
STEMS = (
    HEADLINE,
    "controls",
    "matrix",
    "matrix_above_control",
    "families",
    "capacity",
    "methods",
    "tests",
    "source_right",
    "agreement",
    "classes",
)


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
        [SOURCE, METHOD, ARM],
        [("Cells", "cells", count), IMAGES, RETENTION, CONTROL, ABOVE, CENTRE, KEPT],
        comparisons,
        contrasts.mean_transfer,
    )
    others: list[Column] = [
        (f"{name.removesuffix('_retention').replace('_', ' ').capitalize()} (%)", name, percent)
        for name in settings_together(comparisons, contrasts.controls)
        if name.endswith("_retention") and name != "control_retention"
    ]
    controls = statistic_table(
        "controls",
        "Every feature beside its controls of the same area: retention, and what is left above the matched one.",
        [SOURCE, METHOD, TARGET, ARM],
        [FEATURE, RETENTION, CONTROL, ABOVE, *others, KEPT],
        comparisons,
        contrasts.controls,
    )
    matrices = [
        statistic_table(
            stem,
            caption,
            [METHOD, SOURCE],
            [(name, name, percent) for name in _targets(comparisons)],
            comparisons,
            partial(contrasts.matrix, arm=arm, above_control=above),
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
        [METHOD, ARM],
        [
            ("Itself (%)", "itself", percent),
            ("Cells within", "within_cells", count),
            ("Within (%)", "within", percent),
            ("Cells between", "between_cells", count),
            ("Between (%)", "between", percent),
            ("Kinship (points)", "kinship", percent),
            ("Kinship above control", "above_kinship", percent),
        ],
        comparisons,
        contrasts.families,
    )
    capacity = statistic_table(
        "capacity",
        "Retention from the smaller to the larger network of a family and back, the first less the second (points), "
        "the same difference above control, and what each way keeps; size by number of parameters.",
        [("Family", "family", text), ("Small", "small", text), ("Large", "large", text), METHOD, ARM],
        [
            ("To larger (%)", "to_larger", percent),
            ("To smaller (%)", "to_smaller", percent),
            ("Difference (points)", "difference", percent),
            ("Difference above control", "above_difference", percent),
            ("Kept area, to larger (%)", "area_to_larger", percent),
            ("to smaller (%)", "area_to_smaller", percent),
        ],
        comparisons,
        contrasts.capacity,
    )
    return [families, capacity]


def _paired_tables(comparisons: Sequence[Comparison], arm: str) -> list[StatisticTable]:
    difference: Column = ("Difference (points)", "difference", percent)
    holm: Column = ("p, Holm", "p_holm", p_value)
    methods = statistic_table(
        "methods",
        "Method against method on the same cells and images, first less second; target others: the mean over all but "
        "the source. McNemar's exact test of accuracy, Holm over a setting's lines.",
        [
            SOURCE,
            ("Target", "first_target", text),
            ("Arm", "first_arm", text),
            ("First", "first_label", text),
            ("Second", "second_label", text),
        ],
        [
            difference,
            ("In retention (points)", "retention_difference", percent),
            ("First's kept area (%)", "first_kept_area", percent),
            ("Second's (%)", "second_kept_area", percent),
            holm,
        ],
        comparisons,
        contrasts.methods,
    )
    tests = statistic_table(
        "tests",
        f"McNemar's exact tests of accuracy, arm {arm}: first less second; Holm over a setting's lines of one "
        "question, all arms. Two targets differ also in how many whole images they name.",
        [SOURCE, METHOD, ("Question", "kind", text), ("First", "first_cell", text), ("Second", "second_cell", text)],
        [
            difference,
            ("Only first", "only_first", count),
            ("Only second", "only_second", count),
            ("p", "p", p_value),
            holm,
        ],
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
        [SOURCE, METHOD, TARGET, ("Source was", "source_was", text)],
        [IMAGES, IMAGE, FEATURE, ("Retention (%)", "retention", percent_if_bounded)],
        comparisons,
        splits.source_right,
        printed_where=("arm", arm),
    )
    agreement = statistic_table(
        "agreement",
        f"How often source and target name the same class, arm {arm}: both on the image; the target on the feature and "
        "the source on the image; both on the feature. ECE: expected calibration error of the target, 15 bins.",
        [SOURCE, METHOD, TARGET],
        [
            ("On the image (%)", "on_image", percent),
            ("Kept (%)", "kept", percent),
            ("On the feature (%)", "on_feature", percent),
            ("ECE (I) (%)", "ece_image", percent),
            ("ECE (F) (%)", "ece_feature", percent),
        ],
        comparisons,
        splits.agreement,
        printed_where=("arm", arm),
    )
    classes = statistic_table(
        "classes",
        f"Class by class, arm {arm}.",
        [SOURCE, METHOD, TARGET, ("Class", "label", text)],
        [IMAGES, IMAGE, FEATURE, RETENTION],
        comparisons,
        partial(splits.classes, arm=arm),
        intervals="95 % intervals: Wilson's, of this number of images.",
    )
    return [source_right, agreement, classes]


def _targets(comparisons: Sequence[Comparison]) -> list[str]:
    """In the order of the first comparison that has them."""
    known = [set(comparison.cells["target"]) for comparison in comparisons]
    orders = zip(map(contrasts.model_order, comparisons), known, strict=True)
    return list(dict.fromkeys(name for order, targets in orders for name in order if name in targets))
