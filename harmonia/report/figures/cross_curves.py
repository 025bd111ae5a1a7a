"""The figure of cross_curves: insertion and deletion in the targets, beside blobs and the centred box."""

from collections.abc import Iterator
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harmonia.arms import AREA, BLOBS, CENTRE, COMPLEMENT
from harmonia.report.figures import style
from harmonia.report.figures.style import CaptionedFigure, grid, legend_above, line_name, short
from harmonia.report.tables.contrasts import CROSS_CURVES
from harmonia.results.gathered import EXPLAINER
from harmonia.statistics.cross_curves import DELETION, INSERTION, CurvePoints

_CONTROLS = {BLOBS: ("random blobs", ":"), CENTRE: ("centred box", "--")}


def cross_curves_figures(points: CurvePoints) -> Iterator[CaptionedFigure]:
    """Of one setting."""
    if len(points):
        yield CaptionedFigure(
            CROSS_CURVES,
            "Insertion and deletion in the targets.",
            "Above, retention where so much of the map's top is shown; below, where so much of it is removed. Bands: "
            "95 % intervals over images. Grey: random blobs as large as what is shown, or as what is left, and the "
            "centred box as large as what is shown; means over sources and methods.",
            insertion_and_deletion(points),
        )


def insertion_and_deletion(points: CurvePoints) -> Figure:
    """A column per target, a line per source and method."""
    targets = list(dict.fromkeys(points["target"]))
    width = max(1.25, min(style.COLUMN_WIDTH, style.TEXT_WIDTH / len(targets)))
    figure, axes = grid(2 * len(targets), len(targets), width, 1.9)
    # one look in all panels: a target may lack some of the sources
    looks = {names: number for number, (names, _) in enumerate(points.groupby(EXPLAINER, sort=False))}
    for place, panel in enumerate(axes):
        curve, target = (INSERTION, DELETION)[place // len(targets)], targets[place % len(targets)]
        _draw(panel, points[(points["curve"] == curve) & (points["target"] == target)], looks)
        panel.set(xlim=(0, 100), ylim=(0, None))
        if curve == INSERTION:
            panel.set_title(short(target))
        panel.set_xlabel("area shown (%)" if curve == INSERTION else "area removed (%)")
    figure.supylabel("retention (%)", fontsize=8)
    legend_above(figure, axes)
    return figure


def _draw(panel: Axes, points: Any, looks: dict[Any, int]) -> None:
    of_maps = points[points["shown"].isin([AREA, COMPLEMENT])]
    for names, part in of_maps.groupby(EXPLAINER, sort=False):
        x, retention, low, high = (
            100 * part[name] for name in ("share", "retention", "retention_low", "retention_high")
        )
        colour = style.PALETTE[looks[names] % len(style.PALETTE)]
        marker = style.MARKERS[looks[names] % len(style.MARKERS)]
        panel.plot(x, retention, color=colour, marker=marker, label=line_name(names))
        panel.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
    for kind, (label, dashes) in _CONTROLS.items():
        means = points[points["shown"] == kind].groupby("share")["retention"].mean()
        if len(means):
            panel.plot(100 * means.index, 100 * means, dashes, color=style.GREY, label=label)
