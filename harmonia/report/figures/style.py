"""How every figure looks and is written: for print at column width, safe for colour-blind readers."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from harmonia.report.tables.columns import method_label
from harmonia.report.tables.typeset import MISSING
from harmonia.store.files import replacing

PIXELS_PER_INCH = 130
_SHOWN_DPI = 100  # of a notebook, which keeps its pictures


@dataclass(frozen=True)
class CaptionedFigure:
    """A figure whose files are <stem>.png and <stem>.pdf."""

    stem: str
    title: str
    caption: str
    drawn: Figure

    @property
    def width(self) -> int:
        """Of the page's picture, CSS pixels: one size of letters in all of them."""
        return round(PIXELS_PER_INCH * self.drawn.get_figwidth())


def of_setting(figures: Iterable[CaptionedFigure], number: int, where: str) -> Iterator[CaptionedFigure]:
    """Figures of one of several settings: stems from the second setting on end in its number, captions say which."""
    suffix = f"_{number + 1}" if number else ""
    for figure in figures:
        yield replace(figure, stem=figure.stem + suffix, caption=figure.caption + where)


# M. Okabe, K. Ito 2008, https://jfly.uni-koeln.de/color/, without the yellow, too pale for lines on white
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
IMAGE_COLOUR, FEATURE_COLOUR, GREY = PALETTE[0], PALETTE[1], "#767676"
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")

TEXT_WIDTH = 6.9  # inches; two columns of a conference's page
COLUMN_WIDTH = 3.35
LEGEND_ROOM = 0.7  # inches that panels leave for a legend and its distance

_COMPRESSION = 4  # of zlib, whose 6 takes three times as long for 4 % less of photographs
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), 8),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 7),
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.6),
    **dict.fromkeys(("legend.frameon", "axes.spines.top", "axes.spines.right"), False),
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    **dict.fromkeys(("pdf.fonttype", "ps.fonttype"), 42),  # TrueType, embedded: publishers refuse Type 3
    "text.parse_math": False,  # names from data may hold a dollar sign
    "savefig.dpi": 300,
}


def shown(figure: Figure) -> Figure:
    """A figure that a notebook shows, whether or not pyplot has been imported."""

    def png() -> bytes:
        with BytesIO() as file:
            figure.savefig(file, dpi=_SHOWN_DPI)
            return file.getvalue()

    figure._repr_png_ = png  # type: ignore[attr-defined]
    return figure


def short(name: str, most: int = 24) -> str:
    """The name as a label: the middle of a long one left out, for its ends tell it from others."""
    name = "".join(letter if letter.isprintable() else " " for letter in name)
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def two_lines(method: str, variant: str) -> str:
    """A method's printed name, its variant beneath it."""
    return method_label(method) + (f"\n({short(variant)})" if variant else "")


def line_name(key: Sequence[str]) -> str:
    """What a legend calls a source, a method and perhaps a variant."""
    source, method, variant = key
    return f"{short(source)} · {two_lines(method, variant)}"


def style() -> AbstractContextManager[None]:
    """The settings under which figures are drawn and saved; earlier ones are put back."""
    return matplotlib.rc_context(_STYLE)


def grid(
    panels: int,
    columns: int,
    width: float,
    height: float,
    sharex: Literal["all", "none"] = "all",
    sharey: Literal["all", "row"] = "all",
) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels of so many inches, at most ``columns`` in a row; the axes in reading order."""
    columns = min(columns, panels)
    lines = -(-panels // columns)
    figure = Figure(figsize=(width * columns, height * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharex=sharex, sharey=sharey).ravel().tolist()
    for spare in axes[panels:]:
        spare.remove()
    if panels % columns:  # a panel above a removed one is the last of its column
        for lowest in axes[panels - columns : panels]:
            lowest.tick_params(labelbottom=True)
    return figure, axes[:panels]


def legend_above(figure: Figure, axes: Sequence[Axes], room: float = 0) -> None:
    """One legend for all panels, each entry once. The figure grows by what the legend needs beyond the room they leave.

    room: in inches; panels always leave LEGEND_ROOM.
    """
    named = [zip(*panel.get_legend_handles_labels(), strict=True) for panel in axes]
    entries = {label: handle for of_panel in named for handle, label in of_panel}
    if entries:
        longest = max(len(line) for label in entries for line in label.splitlines())
        columns = min(max(1, int(figure.get_figwidth() / (0.55 + 0.068 * longest))), len(entries))
        legend = figure.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=columns)
        height = legend.get_window_extent().height / figure.dpi
        figure.set_figheight(figure.get_figheight() + max(0, height - max(room, LEGEND_ROOM)))


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


def save_figure(figure: Figure, folder: Path, stem: str) -> None:
    """PNG at 300 dpi and PDF with embedded fonts, the same bytes every time."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine("none")  # it would measure everything again for each file
    options: dict[str, dict[str, Any]] = {
        "png": {"pil_kwargs": {"compress_level": _COMPRESSION}},
        "pdf": {"metadata": {"CreationDate": None}},
    }
    for suffix, chosen in options.items():
        with replacing(folder / f"{stem}.{suffix}") as temporary:
            figure.savefig(temporary, format=suffix, **chosen)
