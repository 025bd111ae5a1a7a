"""Columns of the tables of statistics, how their cells are printed, and the table that they make."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    names = [column, f"{column}_low", f"{column}_high"]
    numbers = 100 * frame.reindex(columns=names).astype(float)
    return [bounded("{:.1f}", *line) for line in numbers.itertuples(index=False)]


def bounded(form: str, value: float, low: float, high: float) -> str:
    """A number with its interval, where that is defined."""
    interval = "" if np.isnan(low) else f" [{form.format(low)}, {form.format(high)}]"
    return MISSING if np.isnan(value) else form.format(value) + interval


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
IMAGES: Column = ("Images", "images", count)


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
    printed_where: tuple[str, str] | None = None,
    intervals: str | None = None,
) -> StatisticTable:
    """What frame_of says of every setting; settings that vary have columns of their own.

    printed_where: a column and the value in it of the lines that are printed. intervals: what they are, where they
    are not the comparison's.
    """
    frame = settings_together(comparisons, frame_of)
    if frame.empty:
        return StatisticTable(stem, pd.DataFrame(), frame)
    part = _labelled(frame if printed_where is None else frame[frame[printed_where[0]] == printed_where[1]])
    varying: list[Column] = [
        (name.replace("_", " ").capitalize(), name, text) for name in SETTING if frame[name].nunique() > 1
    ]
    columns = [*varying, *texts, *numbers]
    printed = pd.DataFrame({heading: form(part, column) for heading, column, form in columns}, dtype=str)
    sentences = [intervals] if intervals else dict.fromkeys(map(intervals_in_words, comparisons))
    return StatisticTable(stem, table(printed, " ".join([caption, *sentences]), len(varying) + len(texts)), frame)


def settings_together(comparisons: Sequence[Comparison], frame_of: Callable[[Comparison], pd.DataFrame]) -> Frame:
    """What frame_of says of every setting, with the setting in columns."""
    frames = [frame_of(comparison).assign(**comparison.setting) for comparison in comparisons]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _labelled(frame: Frame) -> Frame:
    """With printed names of methods, and of the two cells of a test."""
    frame = frame.copy()
    for side in ("", "first_", "second_"):
        if f"{side}method" in frame:
            pairs = zip(frame[f"{side}method"], frame[f"{side}variant"], strict=True)
            frame[f"{side}label" if side else "method_label"] = [method_label(*pair) for pair in pairs]
        if side and f"{side}target" in frame:
            frame[f"{side}cell"] = frame[f"{side}target"] + "/" + frame[f"{side}arm"]
    if "random_weights" in frame:
        frame["source"] = frame["source"].where(~frame["random_weights"], frame["source"] + " (random weights)")
    return frame


def method_label(method: str, variant: str) -> str:
    """A method's printed name."""
    return method.upper() + (f" ({variant})" if variant else "")
