"""The figure of the agreement of maps: against what transfers, pair by pair."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from harmonia.report.figures import style
from harmonia.report.figures.style import CaptionedFigure, grid, legend_above, short, two_lines
from harmonia.report.tables.map_agreement import MAP_AGREEMENT
from harmonia.statistics.map_agreement import MapAgreement


def map_agreement_figures(lines: MapAgreement) -> Iterator[CaptionedFigure]:
    """Of one setting."""
    pairs: Any = lines[(lines["kind"] == "networks") & lines["rho"].notna()]
    if len(pairs):
        arm = pairs["arm"].iloc[0]
        yield CaptionedFigure(
            MAP_AGREEMENT,
            "Transfer against agreement of maps.",
            f"Every two sources: retention of arm {arm} above its control, both ways in the mean, against the rank "
            "correlation of their maps of the same image and class; 95 % intervals over images. Ticks below: grey, of "
            "the same maps with maps of other images; black, with the centre.",
            transfer_against_agreement(pairs),
        )


def transfer_against_agreement(pairs: pd.DataFrame) -> Figure:
    """A panel per method, a mark per pair of sources, named."""
    methods: Any = list(pairs.groupby(["method", "variant"], sort=False))
    figure, axes = grid(len(methods), 2, style.TEXT_WIDTH / min(2, len(methods)), 3.0)
    for panel, (names, part) in zip(axes, methods, strict=True):
        within = part["within_family"].astype(bool)
        for label, of_kind, marker, fill, edge in (
            ("within families", part[within], "o", style.FEATURE_COLOUR, style.FEATURE_COLOUR),
            ("between families", part[~within], "s", "white", style.IMAGE_COLOUR),
        ):
            x, y = of_kind["rho"].to_numpy(float), 100 * of_kind["above_control"].to_numpy(float)
            ends = [
                np.abs(of_kind[[f"{name}_low", f"{name}_high"]].to_numpy(float) - of_kind[[name]].to_numpy(float)).T
                for name in ("rho", "above_control")
            ]
            panel.errorbar(x, y, 100 * ends[1], ends[0], "none", ecolor=edge, elinewidth=0.5, alpha=0.6)
            panel.scatter(x, y, marker=marker, c=fill, ec=edge, s=22, label=label, zorder=3)
        for line in part.itertuples(index=False):
            at = (line.rho, 100 * line.above_control)
            name = f"{short(line.first, 14)}, {short(line.second, 14)}"
            panel.annotate(name, at, (3, 3), textcoords="offset points", fontsize=5.5)
        for floor, colour in (("rho_another", style.GREY), ("rho_centre", style.PALETTE[-1])):
            at_bottom = {"transform": panel.get_xaxis_transform(), "linestyle": "none", "marker": "|", "markersize": 9}
            panel.plot(part[floor].to_numpy(float), np.zeros(len(part)), color=colour, **at_bottom)
        panel.axvline(0, color=style.GREY, linewidth=0.5)
        panel.set_title(two_lines(*names))
        panel.set(xlabel="Spearman's ρ of the two networks' maps", ylabel="retention above control (points)")
    legend_above(figure, axes)
    return figure
