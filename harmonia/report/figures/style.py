"""How every figure looks and is written: for print at column width, safe for colour-blind readers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harmonia.store.files import replacing

PIXELS_PER_INCH = 130


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


# M. Okabe, K. Ito 2008, https://jfly.uni-koeln.de/color/, without the yellow, too pale for lines on white
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
IMAGE_COLOUR, FEATURE_COLOUR, CONTROL_COLOUR = PALETTE[0], PALETTE[1], "#767676"
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")

TEXT_WIDTH = 6.9  # inches; two columns of a conference's page
COLUMN_WIDTH = 3.35

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,  # TrueType, embedded: publishers refuse Type 3
    "ps.fonttype": 42,
    "text.parse_math": False,  # names from data may hold a dollar sign
    "savefig.dpi": 300,
}


def short(name: str, most: int = 24) -> str:
    """The name as a label: the middle of a long one left out, for its ends tell it from others."""
    name = "".join(letter if letter.isprintable() else " " for letter in name)
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


@contextmanager
def style() -> Iterator[None]:
    """The figures' settings; those found are put back."""
    with matplotlib.rc_context(_STYLE):
        yield


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


def save(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """PNG at 300 dpi and PDF with embedded fonts, the same bytes every time."""
    paths = [folder / f"{stem}.png", folder / f"{stem}.pdf"]
    with style():
        if engine := figure.get_layout_engine():
            engine.execute(figure)
            figure.set_layout_engine("none")  # it would measure everything again for each file
        for path in paths:
            metadata: dict = {"CreationDate": None} if path.suffix == ".pdf" else {}
            with replacing(path) as temporary:
                figure.savefig(temporary, format=path.suffix[1:], metadata=metadata)
    return paths
