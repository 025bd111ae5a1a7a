"""The tables that say how far Tables 1 and 2 can be trusted: controls, tests, methods, families, sizes, classes.

Printed in percent with intervals for people; their CSV holds fractions in full precision, of every arm.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from harmonia import contrasts, splits
from harmonia.comparison import SETTING, Comparison, Frame
from harmonia.tables import intervals_in_words, method_label
from harmonia.typeset import MISSING, table

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

Column = tuple[str, str, Callable[[Frame, str], list[str]]]  # heading, column of the frame, how it is printed


@dataclass(frozen=True, eq=False)
class StatisticTable:
    """A file's stem, the printed table, and the numbers behind it, of which it may show a part."""

    stem: str
    printed: pd.DataFrame
    numbers: pd.DataFrame


def text(frame: Frame, column: str) -> list[str]:
    return [str(value) for value in frame[column]]


def count(frame: Frame, column: str) -> list[str]:
    return [f"{value:,.0f}" for value in frame[column]]


def percent(frame: Frame, column: str) -> list[str]:
    """Percent, or percentage points of a difference, with the interval where the frame has one."""
    bounds = [f"{column}_low", f"{column}_high"]
    if bounds[0] not in frame:
        return [MISSING if pd.isna(value) else f"{100 * value:.1f}" for value in frame[column]]
    printed = []
    for value, low, high in frame[[column, *bounds]].itertuples(index=False):
        interval = "" if pd.isna(low) else f" [{100 * low:.1f}, {100 * high:.1f}]"
        printed.append(MISSING if pd.isna(value) else f"{100 * value:.1f}{interval}")
    return printed


def percent_if_bounded(frame: Frame, column: str) -> list[str]:
    """percent, but for numbers of which too few images are left for an interval."""
    bounded = frame[f"{column}_low"].notna()
    return percent(frame.assign(**{column: frame[column].where(bounded)}), column)


def p_value(frame: Frame, column: str) -> list[str]:
    return [MISSING if pd.isna(p) else "<0.0001" if p < 1e-4 else f"{p:.4f}" for p in frame[column]]


SOURCE: Column = ("Source", "source", text)
METHOD: Column = ("Method", "method_label", text)
TARGET: Column = ("Target", "target", text)
ARM: Column = ("Arm", "arm", text)
KEPT: Column = ("Kept area (%)", "kept_area", percent)
IMAGE: Column = ("Accuracy (I) (%)", "accuracy_image", percent)
FEATURE: Column = ("Accuracy (F) (%)", "accuracy_feature", percent)
RETENTION: Column = ("Retention (%)", "retention", percent)
CONTROL: Column = ("Control's retention (%)", "control_retention", percent)
ABOVE: Column = ("Above control (points)", "above_control", percent)
CENTRE: Column = ("Above centre box (points)", "above_centre", percent)


def statistic_tables(comparisons: Sequence[Comparison], arm: str = "soft") -> list[StatisticTable]:
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


def statistic_table(
    stem: str,
    caption: str,
    texts: list[Column],
    numbers: list[Column],
    comparisons: Sequence[Comparison],
    frame_of: Callable[[Comparison], pd.DataFrame],
    shown: Callable[[Frame], Any] | None = None,
    intervals: Callable[[Comparison], str] = intervals_in_words,
) -> StatisticTable:
    """The table of one kind of contrast over all settings; settings that vary have columns of their own."""
    frame = _frame(comparisons, frame_of)
    if frame.empty:
        return StatisticTable(stem, pd.DataFrame(), frame)
    part: Frame = _labelled(frame if shown is None else frame[shown(frame)])
    varying: list[Column] = [
        (name.replace("_", " ").capitalize(), name, text) for name in SETTING if frame[name].nunique() > 1
    ]
    columns = [*varying, *texts, *numbers]
    printed = pd.DataFrame({heading: form(part, column) for heading, column, form in columns}, dtype=str)
    said = " ".join(dict.fromkeys(intervals(comparison) for comparison in comparisons))
    return StatisticTable(stem, table(printed, f"{caption} {said}", len(varying) + len(texts)), frame)


def _frame(comparisons: Sequence[Comparison], frame_of: Callable[[Comparison], pd.DataFrame]) -> Frame:
    frames = [frame_of(comparison).assign(**comparison.setting) for comparison in comparisons]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _labelled(frame: Frame) -> Frame:
    """With printed names of methods, and of the two cells of a test."""
    frame = frame.copy()
    for label, prefix in (("method_label", ""), ("first_label", "first_"), ("second_label", "second_")):
        if f"{prefix}method" in frame:
            pairs = zip(frame[f"{prefix}method"], frame[f"{prefix}variant"], strict=True)
            frame[label] = [method_label(method, variant) for method, variant in pairs]
    for side in ("first", "second"):
        if f"{side}_target" in frame:
            frame[f"{side}_cell"] = frame[f"{side}_target"] + "/" + frame[f"{side}_arm"]
    if "random_weights" in frame:
        frame["source"] = frame["source"].where(~frame["random_weights"], frame["source"] + " (random weights)")
    return frame


def _targets(comparisons: Sequence[Comparison]) -> list[str]:
    names = [name for one in comparisons for name in contrasts.model_order(one) if name in set(one.cells["target"])]
    return list(dict.fromkeys(names))
