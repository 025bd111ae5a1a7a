"""Columns of the tables of statistics: their headings, how their cells are printed, and the table that they make."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harmonia.report.tables.typeset import MISSING, table
from harmonia.results.gathered import SETTING
from harmonia.statistics.comparison import Comparison
from harmonia.statistics.inference import LEVEL

# headings by the frame's column
TEXTS = {"source": "Source", "method_label": "Method", "target": "Target", "arm": "Arm", "label": "Class"}
TEXTS |= {"first_target": "Target", "first_arm": "Arm", "first_label": "First", "second_label": "Second"}
TEXTS |= {"kind": "Question", "first_cell": "First", "second_cell": "Second", "source_was": "Source was"}
TEXTS |= {"family": "Family", "small": "Small", "large": "Large"}
TEXTS |= {name: name.replace("_", " ").capitalize() for name in SETTING}
COUNTS = {"cells": "Cells", "images": "Images", "within_cells": "Cells within", "between_cells": "Cells between"}
COUNTS |= {"only_first": "Only first", "only_second": "Only second"}
P_VALUES = {"p": "p", "p_holm": "p, Holm"}
PERCENTS = {
    "kept_area": "Kept area (%)",
    "accuracy_image": "Accuracy (I) (%)",
    "accuracy_feature": "Accuracy (F) (%)",
    "retention": "Retention (%)",
    "control_retention": "Control's retention (%)",
    "above_control": "Above control (points)",
    "above_centre": "Above centre box (points)",
    "itself": "Itself (%)",
    "within": "Within (%)",
    "between": "Between (%)",
    "kinship": "Kinship (points)",
    "above_kinship": "Kinship above control",
    "to_larger": "To larger (%)",
    "to_smaller": "To smaller (%)",
    "difference": "Difference (points)",
    "above_difference": "Difference above control",
    "area_to_larger": "Kept area, to larger (%)",
    "area_to_smaller": "to smaller (%)",
    "retention_difference": "In retention (points)",
    "first_kept_area": "First's kept area (%)",
    "second_kept_area": "Second's (%)",
    "on_image": "On the image (%)",
    "kept": "Kept (%)",
    "on_feature": "On the feature (%)",
    "ece_image": "ECE (I) (%)",
    "ece_feature": "ECE (F) (%)",
    "agreement": "Agreement (%)",
}
TWO_DECIMALS = {"cka": "CKA"}


@dataclass(frozen=True, eq=False)
class StatisticTable:
    """A file's stem, the printed table, and the numbers behind it, of which it may show a part."""

    stem: str
    printed: pd.DataFrame
    numbers: pd.DataFrame


def text(frame: pd.DataFrame, column: str) -> list[str]:
    return [str(value) for value in frame[column]]


def p_value(frame: pd.DataFrame, column: str) -> list[str]:
    return [MISSING if pd.isna(p) else "<0.0001" if p < 1e-4 else f"{p:.4f}" for p in frame[column]]


def bounded(frame: pd.DataFrame, column: str, form: str = "{:.1f}", factor: float = 100) -> list[str]:
    """Numbers, percent unless another factor is given, with their interval where the frame has one."""
    numbers = factor * frame.reindex(columns=[column, f"{column}_low", f"{column}_high"]).astype(float)
    return [
        MISSING
        if np.isnan(value)
        else form.format(value) + ("" if np.isnan(low) else f" [{form.format(low)}, {form.format(high)}]")
        for value, low, high in numbers.itertuples(index=False)
    ]


def _printed(frame: pd.DataFrame, column: str) -> tuple[str, list[str]]:
    """A column's heading and cells."""
    if column in TEXTS:
        return TEXTS[column], text(frame, column)
    if column in COUNTS:
        return COUNTS[column], [f"{value:,.0f}" for value in frame[column]]
    if column in P_VALUES:
        return P_VALUES[column], p_value(frame, column)
    if column in TWO_DECIMALS:
        return TWO_DECIMALS[column], bounded(frame, column, "{:.2f}", 1)
    of_control = column.removesuffix("_retention").replace("_", " ").capitalize()
    return PERCENTS.get(column, f"{of_control} (%)"), bounded(frame, column)


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
    texts: Sequence[str],
    numbers: Sequence[str],
    comparisons: Sequence[Comparison],
    frame_of: Callable[[Comparison], pd.DataFrame],
    printed_where: tuple[str, str] | None = None,
    models: Sequence[str] = (),
    intervals: str | None = None,
) -> StatisticTable:
    """What frame_of says of every setting; texts and numbers name its columns, settings that vary have some besides.

    printed_where: a column and the value in it of the lines that are printed. models: columns that bear a model's name,
    of percent. intervals: what they are, where they are not the comparison's.
    """
    frame: Any = settings_together(comparisons, frame_of)
    if frame.empty:
        return StatisticTable(stem, pd.DataFrame(), frame)
    part = _labelled(frame if printed_where is None else frame[frame[printed_where[0]] == printed_where[1]])
    texts = [*(name for name in SETTING if frame[name].nunique() > 1), *texts]
    columns = dict(_printed(part, column) for column in (*texts, *numbers))
    columns |= {name: bounded(part, name) for name in models}
    printed = pd.DataFrame(columns, dtype=str)
    sentences = [intervals] if intervals else dict.fromkeys(map(intervals_in_words, comparisons))
    return StatisticTable(stem, table(printed, " ".join([caption, *sentences]), len(texts)), frame)


def settings_together(
    comparisons: Sequence[Comparison], frame_of: Callable[[Comparison], pd.DataFrame]
) -> pd.DataFrame:
    """What frame_of says of every setting, with the setting in columns."""
    frames = [frame_of(comparison).assign(**comparison.setting) for comparison in comparisons]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _labelled(frame: pd.DataFrame) -> pd.DataFrame:
    """With printed names of methods, and of the two cells of a test."""
    frame = frame.copy()
    for side in ("", "first_", "second_"):
        if f"{side}method" in frame:
            pairs = zip(frame[f"{side}method"], frame[f"{side}variant"], strict=True)
            frame[f"{side}label" if side else "method_label"] = [method_label(*pair) for pair in pairs]
        if side and f"{side}target" in frame:
            frame[f"{side}cell"] = frame[f"{side}target"] + "/" + frame[f"{side}arm"]
    if "source_was" in frame:  # resamples of few images may have no whole image that the target names
        frame["retention"] = frame["retention"].where(frame["retention_low"].notna())
    if "random_weights" in frame:
        frame["source"] = frame["source"].where(~frame["random_weights"], frame["source"] + " (random weights)")
    return frame


def method_label(method: str, variant: str) -> str:
    """A method's printed name."""
    return method.upper() + (f" ({variant})" if variant else "")
