"""Matrices of numbers as colours, the numbers printed in them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from harmonia.report.figures.style import short
from harmonia.report.tables.typeset import MISSING


def heat_map(
    panel: Axes,
    numbers: np.ndarray,
    form: str | None,
    rows: Sequence[str],
    columns: Sequence[str],
    fontsize: float,
    colours: np.ndarray | None = None,
    undefined: str = MISSING,
    **scale: Any,
) -> ScalarMappable:
    """A cell per row and column with a number in this form, or the text of undefined ones, in black or white.

    colours: by which cells are coloured, the numbers without; NaN has none. scale: imshow's.
    """
    colours = numbers if colours is None else colours
    drawn = panel.imshow(colours, **scale)
    if form is not None:
        for (row, column), number in np.ndenumerate(numbers):
            ink = "black" if np.isnan(number) else _ink_on(drawn.to_rgba(colours[row, column]))
            text = undefined if np.isnan(number) else form.format(number)
            panel.text(column, row, text, ha="center", va="center", color=ink, fontsize=fontsize)
    labels = [short(name) for name in columns]
    panel.set_xticks(range(len(labels)), labels, rotation=40, ha="right", rotation_mode="anchor")
    panel.set_yticks(range(len(rows)), rows)
    panel.spines[:].set_visible(False)
    return drawn


def _ink_on(colour: Any) -> str:
    """Black or white, whichever stands out more on a colour (WCAG 2, relative luminance)."""
    channels = np.asarray(colour)[:3]
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ [0.2126, 0.7152, 0.0722] > 0.179 else "white"


def colour_bar(figure: Figure, axes: Sequence[Axes], drawn: ScalarMappable, label: str, **look: Any) -> None:
    bar = figure.colorbar(drawn, ax=axes, pad=0.02, **look)
    bar.set_label(label)
    bar.outline.set_visible(False)
