"""The answer as a picture: what is carried at one area, the maps' regions beside random blobs and a centred box."""

import textwrap
from collections.abc import Iterator

import numpy as np

from harmonia.report.answer import ANSWER, Answer, has_intervals
from harmonia.report.figures import style
from harmonia.report.figures.style import CaptionedFigure, grid, short
from harmonia.report.shares import controls_of

_IN_A_LINE, _LONGEST = 28, 100  # letters of a bar's label


def answer_figures(answer: Answer) -> Iterator[CaptionedFigure]:
    """None where there is nothing to show."""
    if not answer.lines["retention"].notna().any():
        return
    lines = answer.lines.to_dict("records")
    named = "who" if answer.lines["source"].nunique() > 1 else "method_name"
    bars = [(line[named], line, "retention", style.PALETTE[at % 6]) for at, line in enumerate(lines)]
    for column, _, control in [*controls_of(answer.arm), ("guess", "", "a guess")]:
        name = control.removeprefix("a ")
        distinct: dict[tuple, str] = {}  # maps on the same images have the same controls
        for line in lines:
            drawn = tuple(line[column + end] for end in ("", "_low", "_high"))
            if drawn[0] <= (1 if column == "guess" else np.inf) and drawn not in distinct:
                distinct[drawn] = f"{name}, {line[named]}" if distinct else name
                bars.append((distinct[drawn], line, column, style.GREY))
    labels = [textwrap.fill(short(name, _LONGEST), _IN_A_LINE) for name, *_ in bars]
    inches = max(0.3, 0.14 * max(1 + label.count("\n") for label in labels))
    figure, (panel,) = grid(1, 1, style.COLUMN_WIDTH, 0.5 + inches * len(bars))
    for place, (_, line, column, colour) in enumerate(bars):
        value, low, high = (100 * line[column + end] for end in ("", "_low", "_high"))
        panel.barh(place, value, color=colour, height=0.62, alpha=1 if column == "retention" else 0.55)
        if low < high:
            panel.plot([low, high], [place, place], color="black", lw=1.2, solid_capstyle="butt")
        panel.text(np.nanmax([value, high]) + 2, place, f"{value:z.0f} %", va="center", fontsize=8)
    panel.set_yticks(range(len(bars)), labels, fontsize=8)
    panel.set(xlim=(0, 1.12 * max(100, panel.get_xlim()[1])), ylim=(len(bars) - 0.5, -0.5))
    panel.set_xticks(range(0, 101, 25))
    figure.supxlabel("accuracy carried into other networks (%)", fontsize=8)
    lines_are = "; lines are 95 % intervals" if has_intervals(answer.lines) else ""
    caption = f"{answer.table.columns[1]} of the maps beside their controls{lines_are}."
    yield CaptionedFigure(ANSWER, "What is carried.", caption, figure)
