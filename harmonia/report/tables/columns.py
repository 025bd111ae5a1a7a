"""Columns of the tables: their headings, names of methods, how cells are printed, and the table that they make."""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from harmonia.media import visible
from harmonia.report.tables.typeset import MISSING, NO_INTERVAL, table
from harmonia.results.frames import Frame
from harmonia.results.gathered import SETTING
from harmonia.statistics.comparison import Comparison
from harmonia.statistics.contrasts import ALL_SOURCES
from harmonia.statistics.inference import LEVEL, NUM_RESAMPLES

ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}
ABOVE_100 = "Above 100: more images are named rightly by what is kept than as a whole."
RANDOM_WEIGHTS, RANDOM = " (random weights)", " (random)"  # of a source; the short one in figures
VOTER = " (voter)"  # of a target that is one of the source's networks
# by the frame's column, where its name, with (%) behind what is neither text nor a count, is not enough
HEADINGS = {"method_label": "Method", "label": "Class", "kind": "Question", "p_holm": "p, Holm", "cka": "CKA"}
HEADINGS |= {"first_target": "Target", "first_arm": "Arm", "first_cell": "First", "second_cell": "Second"}
HEADINGS |= {"first_label": "First", "second_label": "Second", "second_kept_area": "Second's (%)"}
HEADINGS |= {"first_kept_area": "First's kept area (%)", "retention_difference": "In retention (points)"}
HEADINGS |= {"within_cells": "Cells within", "between_cells": "Cells between"}
HEADINGS |= {"kinship": "Kinship (points)", "above_kinship": "Kinship above control"}
HEADINGS |= {"accuracy_image": "Accuracy (I) (%)", "accuracy_feature": "Accuracy (F) (%)"}
HEADINGS |= {"control_retention": "Control's retention (%)", "above_control": "Above control (points)"}
HEADINGS |= {"above_centre": "Above centre box (points)"}
HEADINGS |= {"difference": "Difference (points)", "above_difference": "Difference above control"}
HEADINGS |= {"area_to_larger": "Kept area, to larger (%)", "area_to_smaller": "to smaller (%)"}
HEADINGS |= {"on_image": "On the image (%)", "on_feature": "On the feature (%)"}
HEADINGS |= {"rho": "Rank correlation", "rho_another": "of another image", "rho_centre": "with the centre"}
HEADINGS |= {"rho_above_another": "Above another image's", "rho_above_centre": "Above the centre's"}
HEADINGS |= {"rho_named": "Naming"}
HEADINGS |= {"iou": "IoU (%)", "iou_another": "IoU of another image (%)", "iou_centre": "IoU with the centre (%)"}
HEADINGS |= {"iou_blobs": "IoU with blobs (%)"}
HEADINGS |= {"to": "From a network to", "p_orders": "p, orders", "p_within": "p, orders within"}
HEADINGS |= {"insertion_above_blobs": "Above blobs (points)", "insertion_above_centre": "Above centre (points)"}
HEADINGS |= {"deletion_beyond_blobs": "Beyond blobs (points)"}
HEADINGS |= {"ece_image": "ECE (I) (%)", "ece_feature": "ECE (F) (%)"}
HEADINGS |= {"beside": "Held against", "beside_retention": "Its retention (%)", "beside_passes": "Its passes"}
_COUNTS = ("cells", "images", "within_cells", "between_cells", "only_first", "only_second", "pairs", "networks")
_COUNTS += ("areas_inserted", "areas_deleted", "voters", "targets", "passes", "beside_passes")


@dataclass(frozen=True, eq=False)
class StatisticTable:
    """A file's stem, the printed table, and the numbers behind it, of which it may show a part."""

    stem: str
    printed: pd.DataFrame
    numbers: pd.DataFrame
    name: str = ""  # where the stem is none
    reading: str = ""  # how to read it, in a line

    @property
    def title(self) -> str:
        return self.name or self.stem.replace("_", " ").capitalize()


@dataclass(frozen=True)
class Statistic:
    """A table of what one function says of every comparison."""

    stem: str
    caption: str  # {arm} is the report's
    frame_of: Callable[..., Frame]  # of a comparison
    texts: str  # columns of the frame, in words
    numbers: str  # the same; *_NAME all that end so, * all with an interval
    reading: str  # how to read it, in a line
    of_arm: bool = False  # frame_of takes the report's arm, too
    printed_of_arm: str = ""  # the column that holds the arm, where lines of the report's alone are printed
    intervals: str = ""  # what they are, where they are not the comparison's


def method_label(method: str, variant: str = "") -> str:
    return method.upper() + (f" ({variant})" if variant else "")


def method_labels(frame: pd.DataFrame, which: str = "") -> pd.Series:
    """Printed names of a frame's methods; which: what the names of their columns begin with."""
    pairs = frame[[f"{which}method", f"{which}variant"]].to_numpy()
    return pd.Series([method_label(*pair) for pair in pairs], index=frame.index, dtype=object)


def text(frame: pd.DataFrame, column: str) -> list[str]:
    return [str(value) for value in frame[column]]


def p_value(frame: pd.DataFrame, column: str) -> list[str]:
    return [MISSING if pd.isna(p) else "<0.0001" if p < 1e-4 else f"{p:.4f}" for p in frame[column]]


def bounded(frame: pd.DataFrame, column: str, form: str = "{:z.1f}", factor: float = 100) -> list[str]:
    """Numbers, percent unless another factor is given, with their interval where the frame has one."""
    numbers = factor * frame.reindex(columns=[column, f"{column}_low", f"{column}_high"]).astype(float)
    return [
        MISSING if np.isnan(value) else form.format(value) + ("" if np.isnan(low) else f" {bounds(low, high, form)}")
        for value, low, high in numbers.itertuples(index=False)
    ]


def bounds(low: float, high: float, form: str) -> str:
    """An interval; one without width is none, for the bootstrap saw no image that could differ."""
    return f"[{form.format(low)}, {form.format(high)}]" if low < high else NO_INTERVAL


def correlation_in_words(line: Mapping[str, Any], measure: str) -> str:
    """A method's rank correlation of a measure with transfer above control: rho, its interval, p, and of how many."""
    rho, low, high = (MISSING if pd.isna(line[name]) else f"{line[name]:z.2f}" for name in ("rho", "low", "high"))
    p = "undefined" if pd.isna(line["p"]) else f"{line['p']:.3f}"
    what = f"{method_label(line['method'], line['variant'])}, {measure} and what is left above control"
    return f"{what}: Spearman's rho {rho} [{low}, {high}], p {p}, over {line['pairs']} pairs of {line['models']}"


def _heading(column: str) -> str:
    return HEADINGS.get(column, column.replace("_", " ").capitalize())


def _number(frame: pd.DataFrame, column: str) -> tuple[str, list[str]]:
    if column in _COUNTS:
        return _heading(column), [MISSING if pd.isna(value) else f"{value:,.0f}" for value in frame[column]]
    if column.split("_")[0] == "p":
        return HEADINGS.get(column, column), p_value(frame, column)
    if column == "cka" or column.startswith("rho"):
        return _heading(column), bounded(frame, column, "{:z.2f}", 1)
    return HEADINGS.get(column, f"{_heading(column.removesuffix('_retention'))} (%)"), bounded(frame, column)


def intervals_in_words(comparison: Comparison) -> str:
    """What an interval of this comparison is, in one sentence."""
    alone = (np.unique(comparison.labels, return_counts=True)[1] == 1).any()
    together = ", classes of one image together (which leaves none of F1, macro)" if alone else ""
    return (
        f"{100 * LEVEL:.0f} % intervals: percentile bootstrap, {NUM_RESAMPLES:,} resamples of the images "
        f"within their class{together}; networks and maps are held fixed. {NO_INTERVAL}: no "
        "interval, for every resample of the images gives the same."
    )


def classes_in_words(names: pd.Series) -> pd.Series:
    """Classes as people call them; two that are called alike keep their WordNet ids."""
    from harmonia.data.imagenet import readable

    called = names.map({name: readable(name) for name in names.unique()})
    alike: Any = names.groupby(called).transform("nunique").gt(1)
    return called.where(~alike, called + " (" + names + ")")


def statistic_table(statistic: Statistic, comparisons: Sequence[Comparison], arm: str) -> StatisticTable:
    """What is said of every setting; settings that vary have columns besides."""
    frame_of = partial(statistic.frame_of, arm=arm) if statistic.of_arm else statistic.frame_of
    frames = [frame_of(comparison).assign(**comparison.setting) for comparison in comparisons]
    frame: Any = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    if frame.empty:
        return StatisticTable(statistic.stem, pd.DataFrame(), frame)
    shown = frame[frame[statistic.printed_of_arm] == arm] if statistic.printed_of_arm else frame
    part = labelled(shown)
    texts = [*(name for name in SETTING if frame[name].nunique() > 1), *statistic.texts.split()]
    columns = {_heading(name): text(part, name) for name in texts}
    for name in statistic.numbers.split():
        if name == "*":  # of models, whose names may be anything
            columns |= {model: bounded(part, model) for model in frame if f"{model}_low" in frame}
        else:
            columns |= dict(_number(part, column) for column in fnmatch.filter(frame, name))
    printed = pd.DataFrame(columns, dtype=str)
    intervals = [statistic.intervals] if statistic.intervals else dict.fromkeys(map(intervals_in_words, comparisons))
    views = _views(shown.assign(arm=arm) if statistic.of_arm else shown, list(columns), len(texts))
    notes = [ABOVE_100] * bool((shown.filter(regex="^(control_)?retention$") > 1.0005).any(axis=None))  # as 100.1
    printed = table(printed, statistic.caption.format(arm=arm), len(texts), notes, " ".join(intervals), views)
    return StatisticTable(statistic.stem, printed, frame, reading=statistic.reading)


def _views(frame: Any, columns: Sequence[str], text_columns: int) -> dict[tuple[int, int], dict[str, str]]:
    """Of a line the last text is a link to its images, of a matrix each number of a model; a mean has none."""
    views = {}
    for at, line in enumerate(frame.to_dict("records")):
        models = [column for column in columns[text_columns:] if f"{column}_low" in frame]
        if "source" not in line or line["source"] == ALL_SOURCES:
            continue
        views |= {(at, columns.index(model)): browse_view(line | {"target": model}) for model in models}
        if not models:
            views[at, text_columns - 1] = browse_view(line)
    return views


def browse_view(line: Mapping[str, Any]) -> dict[str, str]:
    """What the address of the browse page says of a cell; line: by columns of a frame of statistics."""
    facts = {
        name: line.get(name, line.get(f"first_{name}")) for name in ("source", "method", "target", "arm", "variant")
    }
    parts = [line["data"], f"fill {line['fill']}", f"label {line['label_policy']}", facts.pop("variant")]
    facts["setting"] = ", ".join(filter(None, map(visible, map(str, filter(None, parts)))))
    facts |= {"class": line.get("label"), "source_right": {"right": "1", "wrong": "0"}.get(line.get("source_was", ""))}
    return {name: visible(str(value)) for name, value in facts.items() if value and value != "others"}


def labelled(frame: Any) -> pd.DataFrame:
    """With printed names of methods, and of the two cells of a test."""
    frame = frame.copy()
    for side in ("", "first_", "second_"):
        if f"{side}method" in frame:
            frame[f"{side}label" if side else "method_label"] = method_labels(frame, side)
        if side and f"{side}target" in frame:
            frame[f"{side}cell"] = frame[f"{side}target"] + "/" + frame[f"{side}arm"]
    if "label" in frame:
        frame["label"] = classes_in_words(frame["label"])
    if "source_was" in frame:  # resamples of few images may have no whole image that the target names
        frame["retention"] = frame["retention"].where(frame["retention_low"].notna())
    if {"voted", "target"} <= set(frame):
        frame["target"] = frame["target"].where(~frame["voted"], frame["target"] + VOTER)
    if {"random_weights", "source"} <= set(frame):
        frame["source"] = frame["source"].where(~frame["random_weights"], frame["source"] + RANDOM_WEIGHTS)
    return frame
