"""The table that says by which fill a target can be judged."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from harmonia.arms import matched_control
from harmonia.report.tables.columns import StatisticTable, bounded, classes_in_words, intervals_in_words, text
from harmonia.report.tables.typeset import MISSING, table
from harmonia.statistics.comparison import Comparison
from harmonia.statistics.fill_reliability import fill_reliability

FILL_RELIABILITY = "fill_reliability"
_CAPTION = (
    "By which fill can a target be judged? What it says where nothing of the image is kept: its commonest answer, how "
    "often it is given, and the entropy of all. What it keeps of its accuracy there, and where {control} is left. "
    "Kendall's tau: of a source's methods, arm {arm}, under this fill and each other one; {missing}, fewer than "
    "three on the same images. Judges: leaks, with nothing kept it names more images than one answer for all would; "
    "blind, the interval of what {control} tells it above nothing is not above 0; order turns, tau is not above 0; "
    "{missing}, what that asks for has not run, or the images are too few."
)
_READING = "Believe a fill that judges: it tells nothing by itself, and a region can be told from nothing under it."


def fill_reliability_table(comparisons: Sequence[Comparison], arm: str) -> StatisticTable | None:
    """Printed of this arm, numbers of all; None where no target has been asked under two fills."""
    numbers = fill_reliability(comparisons)
    part: Any = numbers[numbers["arm"] == arm].reset_index(drop=True)
    if part.empty:
        return None
    texts = [name for name in ("label_policy", "data") if part[name].nunique() > 1]
    columns = {name.replace("_", " ").capitalize(): text(part, name) for name in [*texts, "target", "fill"]}
    answers = classes_in_words(part["answer"]) if part["answer"].any() else part["answer"]
    columns |= {"Judges": part["verdict"].replace("", MISSING), "Without the image": answers.replace("", MISSING)}
    columns |= {
        "Its share (%)": bounded(part, "top_share"),
        "Entropy (bits)": bounded(part, "entropy", "{:z.2f}", 1),
        "Nothing's retention (%)": bounded(part, "nothing_retention"),
        "Control's retention (%)": bounded(part, "control_retention"),
        "Control above nothing (points)": bounded(part, "control_above_nothing"),
        "Methods": text(part, "methods"),
        "Kendall's tau": bounded(part, "tau", "{:z.2f}", 1),
    }
    caption = _CAPTION.format(arm=arm, control=matched_control(arm), missing=MISSING)
    intervals = " ".join(dict.fromkeys(map(intervals_in_words, comparisons)))
    printed = table(pd.DataFrame(columns, dtype=str), caption, len(texts) + 4, (), intervals)
    return StatisticTable(FILL_RELIABILITY, printed, numbers, reading=_READING)
