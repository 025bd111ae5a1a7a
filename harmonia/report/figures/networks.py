"""The figure of networks as units: transfer by kinship, one dot a pair."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from harmonia.report.figures import style
from harmonia.report.figures.style import CaptionedFigure, grid, legend_above, short, two_lines
from harmonia.report.tables.networks import KIN_WORDS, NETWORKS
from harmonia.statistics.networks import KinPairs, NetworkLines


def networks_figures(pairs: KinPairs, lines: NetworkLines, arm: str) -> Iterator[CaptionedFigure]:
    """Of one setting."""
    means: Any = lines[(lines["arm"] == arm) & (lines["kind"] == "kinship")]
    if len(pairs):
        yield CaptionedFigure(
            NETWORKS,
            "Transfer by kinship.",
            f"One dot a pair of source and target, its colour the source's family: retention of arm {arm} above its "
            "control. Black: the mean of a kinship with its 95 % interval over networks and images.",
            transfer_by_kinship(pairs, means),
        )


def transfer_by_kinship(pairs: KinPairs, means: pd.DataFrame) -> Figure:
    """A panel per method, a column of dots per kinship."""
    methods: Any = list(pairs.groupby(["method", "variant"], sort=False))
    families = sorted(pairs["family"].unique())
    shown = [kinship for kinship in KIN_WORDS if (pairs["kinship"] == kinship).any()]
    figure, axes = grid(len(methods), 2, style.TEXT_WIDTH / min(2, len(methods)), 3.0)
    for panel, (names, part) in zip(axes, methods, strict=True):
        for number, family in enumerate(families):
            of_family = part[part["family"] == family]
            column = of_family["kinship"].map(shown.index).to_numpy(float)
            # families side by side, so that dots hide few others
            x = column + 0.6 * ((number + 0.5) / len(families) - 0.5)
            look: dict[str, Any] = {
                "color": style.PALETTE[number % 6],
                "marker": style.MARKERS[number % len(style.MARKERS)],
            }
            panel.scatter(x, 100 * of_family["above_control"], s=9, alpha=0.7, lw=0, label=short(family or "–"), **look)
        of_method = means[(means["method"] == names[0]) & (means["variant"] == names[1])].set_index("what")
        of_method = of_method.reindex(shown)
        value, low, high = (100 * of_method[f"above_control{end}"].to_numpy(float) for end in ("", "_low", "_high"))
        ends = np.abs([low - value, high - value])
        panel.errorbar(
            range(len(shown)), value, ends, fmt="_", color="black", ms=14, mew=1.6, lw=1.2, capsize=3, zorder=4
        )
        panel.axhline(0, color=style.GREY, lw=0.5)
        panel.set_xticks(range(len(shown)), [KIN_WORDS[kinship].replace(" of ", "\nof ") for kinship in shown])
        panel.set_title(two_lines(*names))
    axes[0].set_ylabel("retention above control (points)")
    legend_above(figure, axes)
    return figure
