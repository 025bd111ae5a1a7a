"""Figures of the ranking page: ranks, how far metrics agree, and what they say of transfer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harmonia.report.figures.style import CONTROL_COLOUR, MARKERS, PALETTE, TEXT_WIDTH, grid, short, style
from harmonia.statistics.metric_transfer import MetricLinks
from harmonia.statistics.ranking import MetricAgreement

ROW, LABEL = 0.24, 0.075  # inches: a line of a heat map, a letter of its labels


def rank_heat_map(lines: pd.DataFrame) -> Figure | None:
    """Methods by metrics; number and colour are the rank, 1 the best. None where nothing is ranked.

    lines: as ranking.ranking gives them, with ``name`` of the source and method.
    """
    ranked: Any = lines[lines["rank"].notna()]
    if ranked.empty:
        return None
    # not pivot: gc and GC are printed alike
    ranks = ranked.pivot_table(index="name", columns="metric", values="rank", aggfunc="first")
    ranks = ranks.reindex(list(dict.fromkeys(ranked["name"])), columns=list(dict.fromkeys(ranked["metric"])))
    of = ranked.pivot_table(index="name", columns="metric", values="methods", aggfunc="first").reindex_like(ranks)
    place = (ranks.to_numpy(float) - 1) / (of.to_numpy(float) - 1)
    margin = LABEL * max(len(short(name, 36)) for name in ranks.index)
    with style():
        height = 0.5 + ROW * len(ranks) + LABEL * max(len(short(name)) for name in ranks.columns) * 0.8
        width = max(TEXT_WIDTH / 2, min(TEXT_WIDTH, margin + 0.34 * len(ranks.columns) + 0.4))
        figure, (panel,) = grid(1, 1, width, height)
        panel.imshow(1 - place, cmap="viridis", vmin=0, vmax=1, aspect="auto")
        for (row, column), rank in np.ndenumerate(ranks.to_numpy(float)):
            text = "–" if np.isnan(rank) else f"{rank:g}"
            ink = "black" if np.isnan(rank) or place[row, column] < 0.4 else "white"
            panel.text(column, row, text, ha="center", va="center", color=ink, fontsize=7)
        _names(panel, [short(name, 36) for name in ranks.index], list(ranks.columns))
        return figure


def agreement_heat_maps(panels: Sequence[tuple[str, MetricAgreement]]) -> Figure | None:
    """Metrics by metrics, Spearman's rho in each cell; a panel per title and frame (first, second, rho).

    None where no rho is defined.
    """
    shown = [(title, frame) for title, frame in panels if frame["rho"].notna().any()]
    if not shown:
        return None
    names = list(dict.fromkeys(name for _, frame in shown for name in [*frame["first"], *frame["second"]]))
    side = max(2.6, 0.25 * len(names)) + LABEL * max(len(short(name)) for name in names)
    with style():
        figure, axes = grid(len(shown), 2, max(side, TEXT_WIDTH / 2), side, sharex="none", sharey="row")
        drawn = None
        for panel, (title, frame) in zip(axes, shown, strict=True):
            table = np.full((len(names), len(names)), np.nan)
            for first, second, rho in frame[["first", "second", "rho"]].itertuples(index=False):
                at = names.index(first), names.index(second)
                table[at] = table[at[::-1]] = rho
            np.fill_diagonal(table, np.nan)
            drawn = panel.imshow(table, cmap="PuOr", vmin=-1, vmax=1, aspect="equal")
            if len(names) <= 14:
                for (row, column), rho in np.ndenumerate(table):
                    if not np.isnan(rho):
                        ink = "white" if abs(rho) > 0.7 else "black"
                        panel.text(column, row, f"{rho:.1f}", ha="center", va="center", color=ink, fontsize=5.5)
            panel.set_title(title)
            _names(panel, [short(name) for name in names], names)
        if drawn is not None:
            bar = figure.colorbar(drawn, ax=axes, shrink=0.8, aspect=20, pad=0.02)
            bar.set_label("Spearman's ρ")
            bar.outline.set_visible(False)
        return figure


def _names(panel: Axes, rows: list[str], columns: Sequence[str]) -> None:
    panel.set_yticks(range(len(rows)), rows)
    labels = [short(name) for name in columns]
    panel.set_xticks(range(len(labels)), labels, rotation=40, ha="right", rotation_mode="anchor")
    panel.spines[:].set_visible(False)
    panel.tick_params(length=0)


FILLS = ("full", "none")  # of marks, once the palette is through
MOST_METHODS, MOST_SOURCES = len(PALETTE) * len(FILLS), len(MARKERS)  # that marks of the scatter tell apart


def transfer_scatter(points: pd.DataFrame, links: MetricLinks) -> Figure:
    """Transfer above control against a metric's mean, a panel per metric, a mark per source and method.

    Beyond MOST_METHODS and MOST_SOURCES marks repeat.

    points: as metric_transfer.points gives them, with ``method_label``; links: as metric_transfer.link gives them.
    """
    metrics = [name for name in links["metric"] if (points["metric"] == name).any()]
    of_metric = links.set_index("metric")
    sources, methods = (list(dict.fromkeys(points[name])) for name in ("source", "method_label"))
    with style():
        figure, axes = grid(len(metrics), 4, TEXT_WIDTH / 4, 1.75, sharex="none")
        for panel, metric in zip(axes, metrics, strict=True):
            part: Any = points[points["metric"] == metric]
            for line in part.itertuples(index=False):
                mark = _of_source(sources.index(line.source)) | _of_method(methods.index(line.method_label))
                panel.plot(line.value, 100 * line.above, **mark)
            rho = of_metric.loc[metric, "over_cells"]
            arrow = {"higher": " ↑", "lower": " ↓"}.get(str(of_metric.loc[metric, "better"]), "")
            panel.set_title(f"{short(metric)}{arrow}\nρ {'undefined' if np.isnan(rho) else f'{rho:.2f}'}")
            panel.axhline(0, color=CONTROL_COLOUR, linewidth=0.5)
        figure.supxlabel("mean of the metric, as it is", fontsize=8)
        figure.supylabel("retention above control (points)", fontsize=8)
        entries = {
            **{name: _of_source(0) | _of_method(place) for place, name in enumerate(methods)},
            **{name: _of_source(place) | {"color": CONTROL_COLOUR} for place, name in enumerate(sources)},
        }
        handles = [axes[0].plot([], [], label=short(name), **mark)[0] for name, mark in entries.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(6, len(handles)))
        return figure


def _of_source(place: int) -> dict[str, Any]:
    return {"marker": MARKERS[place % len(MARKERS)], "markersize": 4, "linestyle": "none"}


def _of_method(place: int) -> dict[str, Any]:
    fill, colour = divmod(place, len(PALETTE))
    return {"color": PALETTE[colour], "fillstyle": FILLS[fill % len(FILLS)]}


def image_densities(places: Mapping[str, tuple[np.ndarray, np.ndarray]], links: MetricLinks) -> Figure:
    """Where images stand within their cell by transfer against by score, all cells in one panel per metric.

    places: as metric_transfer.image_places gives them. No relation is an even square.
    """
    of_metric = links.set_index("metric")
    with style():
        figure, axes = grid(len(places), 4, TEXT_WIDTH / 4, 1.75)
        for panel, (metric, (score, above)) in zip(axes, places.items(), strict=True):
            panel.hexbin(score, above, gridsize=12, extent=(0, 1, 0, 1), cmap="viridis", mincnt=0, linewidths=0.1)
            panel.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
            rho = of_metric.loc[metric, "over_images"]
            panel.set_title(f"{short(metric)}\nρ {'undefined' if np.isnan(rho) else f'{rho:.2f}'}")
        figure.supxlabel("place of the image by its score (1: best)", fontsize=8)
        figure.supylabel("place by transfer above control", fontsize=8)
        return figure


def link_intervals(links: pd.DataFrame) -> Figure:
    """Each metric's rank correlation with transfer, over cells and over images within cells, with intervals."""
    with style():
        figure, (panel,) = grid(1, 1, TEXT_WIDTH / 2 + 1, 0.9 + 0.3 * len(links))
        kinds = (("over_cells", "over methods", 0), ("over_images", "over images within cells", 1))
        for column, label, place in kinds:
            known: Any = links.reset_index(drop=True)
            known = known[known[column].notna()]
            at = known.index.to_numpy() + 0.16 * (2 * place - 1)
            colour, marker = PALETTE[place], MARKERS[place]
            panel.hlines(at, known[f"{column}_low"], known[f"{column}_high"], color=colour, linewidth=0.9)
            panel.plot(known[column], at, marker, color=colour, label=label)
        panel.axvline(0, color=CONTROL_COLOUR, linewidth=0.6)
        panel.set_yticks(range(len(links)), [short(name) for name in links["metric"]])
        panel.set(xlim=(-1.02, 1.02), xlabel="Spearman's ρ with transfer above control", ylim=(len(links) - 0.5, -0.5))
        if panel.get_legend_handles_labels()[0]:
            figure.legend(loc="outside upper center", ncols=2)
        return figure
