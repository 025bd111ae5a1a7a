"""What is left of transfer above control against how alike two models are."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from harmonia.report.figures.style import (
    FEATURE_COLOUR,
    IMAGE_COLOUR,
    TEXT_WIDTH,
    CaptionedFigure,
    grid,
    legend_above,
    two_lines,
)
from harmonia.report.tables.contrasts import LIKENESS
from harmonia.statistics.likeness import correlations

AXES = {"agreement": "agreement of predictions (%)", "cka": "linear CKA of penultimate features"}


def likeness_figures(pairs: Any, arm: str) -> Iterator[CaptionedFigure]:
    """pairs: the numbers of the table of likeness, of one setting."""
    shown = pairs[(pairs["arm"] == arm) & ~pairs["random_weights"].astype(bool)]
    lines = correlations(shown, arm)
    if len(lines):
        yield CaptionedFigure(
            LIKENESS,
            "Transfer against likeness of models.",
            f"Every source and other target: retention of arm {arm} above its control against how alike the "
            "two are; Spearman's rank correlation with its 95 % interval and p; models, not pairs, are the units.",
            transfer_against_likeness(shown, lines),
        )


def transfer_against_likeness(pairs: pd.DataFrame, correlations: pd.DataFrame) -> Figure:
    """A panel per line of correlations, as statistics.likeness gives them of these pairs, a mark per pair."""
    lines: Any = list(correlations.itertuples(index=False))
    measures = len(set(correlations["measure"]))
    figure, axes = grid(len(lines), measures, TEXT_WIDTH / 2, 2.6, sharex="none")  # percent and a share
    for panel, line in zip(axes, lines, strict=True):
        chosen = pairs[(pairs["method"] == line.method) & (pairs["variant"] == line.variant)]
        factor = 100 if line.measure == "agreement" else 1
        for within, marker, fill in ((True, "o", FEATURE_COLOUR), (False, "s", "white")):
            part = chosen[chosen["within_family"].astype(bool) == within]
            edge = FEATURE_COLOUR if within else IMAGE_COLOUR
            name = "within families" if within else "between families"
            x, y = factor * part[line.measure], 100 * part["above_control"]
            panel.scatter(x, y, marker=marker, c=fill, ec=edge, s=22, label=name)
        panel.set_title(two_lines(line.method, line.variant))
        panel.set_xlabel(AXES[line.measure])
        panel.set_ylabel("retention above control (points)")
        bounds = f" [{line.low:.2f}, {line.high:.2f}]" if not np.isnan(line.low) else ""
        rho = "undefined" if np.isnan(line.rho) else f"{line.rho:.2f}{bounds}"
        p = "" if np.isnan(line.p) else f"p {line.p:.2f}, "
        note = f"Spearman's ρ {rho}\n{p}{line.pairs} pairs of {line.models} models"
        panel.margins(y=0.28)  # room for the note
        panel.text(0.02, 0.98, note, transform=panel.transAxes, va="top", fontsize=7)
    legend_above(figure, axes)
    return figure
