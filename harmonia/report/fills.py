"""No claim hangs on one fill: a table of every cell under all fills that ran, and what the answer has to say of it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from harmonia.report.answer import Answer
from harmonia.report.shares import controls_of, relation
from harmonia.report.tables.columns import StatisticTable, bounded, browse_view, intervals_in_words, labelled, text
from harmonia.report.tables.typeset import table
from harmonia.statistics.comparison import Comparison
from harmonia.statistics.fills import SAME, fill_effects

TURNS = " ±"  # behind a difference whose sign hangs on the fill
_CAPTION = (
    "What a feature of arm {arm} is above its controls, by what stands where the image is dropped; lines of one cell "
    "stand together. ±: its interval leaves out 0 under one fill, and another's value has the other sign."
)
_READING = "Believe a difference that is above 0 under every fill. A fill under which controls keep much tells little."
_ONE_FILL = "No other fill ran on the same networks: under another the answer may differ."
_DIFFERENCES = {"above_control": "Above control (points)", "above_centre": "Above centre box (points)"}


def fills_table(comparisons: Sequence[Comparison], arm: str) -> StatisticTable | None:
    """Printed of this arm, numbers of all; None where no cell has run under two fills."""
    numbers = fill_effects(comparisons)
    shown: Any = numbers[numbers["arm"] == arm].reset_index(drop=True)
    if shown.empty:
        return None
    part = labelled(shown)
    texts = [name for name in ("label_policy", "data") if shown[name].nunique() > 1]
    texts += ["source", "method_label", "target", "fill"]
    headings = {"label_policy": "Label policy", "method_label": "Method"}
    columns = {headings.get(name, name.capitalize()): text(part, name) for name in texts}
    columns |= {"Retention (%)": bounded(part, "retention"), "Control's (%)": bounded(part, "control_retention")}
    for name, heading in _DIFFERENCES.items():
        turns = pd.Series(False, index=part.index)
        for _, lines in part.groupby(SAME, sort=False):
            turns[lines.index] = changes_sign(lines, name)
        columns[heading] = [cell + TURNS * turn for cell, turn in zip(bounded(part, name), turns, strict=True)]
    views = {(at, len(texts) - 1): browse_view(line) for at, line in enumerate(shown.to_dict("records"))}
    intervals = " ".join(dict.fromkeys(map(intervals_in_words, comparisons)))
    printed = table(pd.DataFrame(columns, dtype=str), _CAPTION.format(arm=arm), len(texts), (), intervals, views)
    return StatisticTable("fills", printed, numbers, reading=_READING)


def changes_sign(lines: Any, difference: str) -> bool:
    """Whether the claim of some lines turns round: one's interval leaves out zero, and another's value opposes."""
    values = lines[difference].tolist()
    claims = [relation(line, difference) for line in lines.to_dict("records")]
    return any(claim and claim * value < 0 for claim in claims for value in values)


def with_ranges(answers: Sequence[Answer]) -> list[Answer]:
    """The answers, each with the range over all fills of its cells, labels and images, or a caution: there is one."""
    ranged = []
    for answer in answers:
        same = (answer.beside, answer.arm, answer.cells)
        alike = [other for other in answers if (other.beside, other.arm, other.cells) == same]
        ranges = [line for who in answer.lines["who"] for line in _ranges(who, alike)]
        fills = ranges if len(alike) > 1 else [_ONE_FILL]
        ranged.append(replace(answer, cautions=[*answer.cautions, *fills]))
    return ranged


def _ranges(who: str, answers: Sequence[Answer]) -> list[str]:
    lines: Any = pd.concat([each.lines[each.lines["who"] == who] for each in answers])
    ranges = []
    for _, column, name in controls_of(answers[0].arm):
        points = 100 * lines[column].dropna()
        if len(points) > 1:
            turns = ", and its sign hangs on the fill" if changes_sign(lines, column) else ""
            ranges.append(f"{points.min():+z.0f} to {points.max():+z.0f} points to {name}{turns}")
    fills = ", ".join(each.fill for each in answers)
    return [f"Over the fills {fills} the difference of {who} is {'; '.join(ranges)}."] if ranges else []
