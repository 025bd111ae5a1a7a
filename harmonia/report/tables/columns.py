"""Columns of the tables of statistics, and the table that they make."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harmonia.report.tables.typeset import MISSING, table
from harmonia.results.gathered import SETTING
from harmonia.statistics.comparison import Comparison, Frame
from harmonia.statistics.inference import LEVEL

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


def intervals_in_words(comparison: Comparison) -> str:
    """What an interval of this comparison is, in one sentence."""
    alone = (np.unique(comparison.labels, return_counts=True)[1] == 1).any()
    together = ", classes of one image together (which leaves none of F1, macro)" if alone else ""
    return (
        f"{100 * LEVEL:.0f} % intervals: percentile bootstrap, {comparison.num_resamples:,} resamples of the images "
        f"within their class{together}; networks and maps are held fixed. One without width says "
        "that within every class all images are alike."
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
    frame = labelled_frame(comparisons, frame_of)
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


def labelled_frame(comparisons: Sequence[Comparison], frame_of: Callable[[Comparison], pd.DataFrame]) -> Frame:
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


def method_label(method: str, variant: str) -> str:
    """A method's printed name."""
    return method.upper() + (f" ({variant})" if variant else "")
