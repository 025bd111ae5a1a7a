"""The tables that say how far Tables 1 and 2 can be trusted: controls, tests, methods, families, sizes, classes.

Printed in percent with intervals for people; their CSV holds fractions in full precision, of every arm.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from harmonia.arms import SOFT_ARM
from harmonia.report.tables.columns import (
    ABOVE,
    ARM,
    CENTRE,
    CONTROL,
    FEATURE,
    IMAGE,
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
    statistic_table,
    text,
)
from harmonia.report.tables.columns import labelled_frame as _frame
from harmonia.statistics import contrasts, splits
from harmonia.statistics.comparison import Comparison, Frame

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
    return [made for made in _tables(comparisons, arm) if len(made.printed)]


def _tables(comparisons: Sequence[Comparison], arm: str) -> Iterator[StatisticTable]:
    yield statistic_table(
        HEADLINE,
        "Transfer above control: retention of the feature less that of the matched control (dim for soft, blobs for "
        "area arms) and, where that has run, of the centre box of the same area; mean over the targets that are not "
        "the source. Methods that ran on other images meet in the table of methods, on those that both have.",
        [SOURCE, METHOD, ARM],
        [("Cells", "cells", count), ("Images", "images", count), RETENTION, CONTROL, ABOVE, CENTRE, KEPT],
        comparisons,
        contrasts.mean_transfer,
    )
    frame = _frame(comparisons, contrasts.controls)
    others: list[Column] = [
        (f"{name.removesuffix('_retention').replace('_', ' ').capitalize()} (%)", name, percent)
        for name in frame.columns
        if name.endswith("_retention") and name != "control_retention"
    ]
    yield statistic_table(
        "controls",
        "Every feature beside its controls of the same area: retention, and what is left above the matched one.",
        [SOURCE, METHOD, TARGET, ARM],
        [FEATURE, RETENTION, CONTROL, ABOVE, *others, KEPT],
        comparisons,
        contrasts.controls,
    )
    for stem, what, above in (
        ("matrix", f"Retention of arm {arm}, sources by targets (%).", False),
        ("matrix_above_control", f"The same of what is left of arm {arm} above its control (points).", True),
    ):
        yield statistic_table(
            stem,
            what,
            [METHOD, SOURCE],
            [(name, name, percent) for name in _targets(comparisons)],
            comparisons,
            partial(contrasts.matrix, arm=arm, above_control=above),
        )
    yield statistic_table(
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
    yield statistic_table(
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
    yield from _paired_tables(comparisons, arm)
    yield from _split_tables(comparisons, arm)


def _paired_tables(comparisons: Sequence[Comparison], arm: str) -> Iterator[StatisticTable]:
    difference: Column = ("Difference (points)", "difference", percent)
    p: list[Column] = [("p", "p", p_value), ("p, Holm", "p_holm", p_value)]
    yield statistic_table(
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
            p[1],
        ],
        comparisons,
        contrasts.methods,
    )
    yield statistic_table(
        "tests",
        f"McNemar's exact tests of accuracy, arm {arm}: first less second; Holm over a setting's lines of one "
        "question, all arms. Two targets differ also in how many whole images they name.",
        [SOURCE, METHOD, ("Question", "kind", text), ("First", "first_cell", text), ("Second", "second_cell", text)],
        [difference, ("Only first", "only_first", count), ("Only second", "only_second", count), *p],
        comparisons,
        contrasts.paired_tests,
        lambda frame: frame["first_arm"] == arm,
    )


def _split_tables(comparisons: Sequence[Comparison], arm: str) -> Iterator[StatisticTable]:
    images: Column = ("Images", "images", count)

    def of_arm(frame: Frame) -> Any:
        return frame["arm"] == arm

    yield statistic_table(
        "source_right",
        f"Where the source was right on the whole image and where it was wrong, arm {arm}. No retention where "
        "resamples have no whole image that the target names.",
        [SOURCE, METHOD, TARGET, ("Source was", "source_was", text)],
        [images, IMAGE, FEATURE, ("Retention (%)", "retention", percent_if_bounded)],
        comparisons,
        splits.source_right,
        of_arm,
    )
    yield statistic_table(
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
        of_arm,
    )
    yield statistic_table(
        "classes",
        f"Class by class, arm {arm}.",
        [SOURCE, METHOD, TARGET, ("Class", "label", text)],
        [images, IMAGE, FEATURE, RETENTION],
        comparisons,
        lambda comparison: splits.classes(comparison, arm),
        intervals=lambda comparison: "95 % intervals: Wilson's, of this number of images.",
    )


def _targets(comparisons: Sequence[Comparison]) -> list[str]:
    names = [name for one in comparisons for name in contrasts.model_order(one) if name in set(one.cells["target"])]
    return list(dict.fromkeys(names))
