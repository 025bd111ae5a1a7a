"""Figures of the ranking page: ranks, how far metrics agree, and what they say of transfer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from harmonia.report.figures import style
from harmonia.report.figures.style import CaptionedFigure, colour_bar, grid, heat_map, short
from harmonia.report.tables.columns import ARROWS, method_labels
from harmonia.report.tables.ranking import LINK, METRIC_AGREEMENT, RANKING
from harmonia.statistics import metric_transfer
from harmonia.statistics.metric_transfer import ARM, CONTROL, MetricLinks, MetricPoints, Transferred
from harmonia.statistics.ranking import AgreementOverImages, AgreementOverMethods, MetricAgreement, RankedMethods

ROW, LABEL = 0.24, 0.075  # inches: a line of a heat map, a letter of its labels
FILLS = ("full", "none")  # of marks, once the palette is through
MOST_METHODS, MOST_SOURCES = len(style.PALETTE) * len(FILLS), len(style.MARKERS)  # that marks of the scatter tell apart


def ranking_figures(
    lines: RankedMethods, over_methods: AgreementOverMethods, over_images: AgreementOverImages
) -> Iterator[CaptionedFigure]:
    """Of one setting, those that show something."""
    if lines["rank"].notna().any():
        caption = "Rank of each method by each metric, 1 is best."
        yield CaptionedFigure(RANKING, "Ranks.", caption, rank_heat_map(lines))
    panels = [(f"over methods, {source}", part) for source, part in over_methods.groupby("source", sort=False)]
    panels = [*panels, ("over images, mean of cells", over_images)]
    if shown := [(title, frame) for title, frame in panels if frame["rho"].notna().any()]:
        caption = "Spearman's rho of each two metrics, turned so that more is better."
        yield CaptionedFigure(METRIC_AGREEMENT, "Do metrics agree?", caption, agreement_heat_maps(shown))


def link_figures(part: Transferred, lines: MetricLinks) -> Iterator[CaptionedFigure]:
    """Of metrics and transfer under one setting and fill, those that show something."""
    shown = metric_transfer.scatter_points(part)
    if len(shown):
        shown = shown.assign(method_label=method_labels(shown))
        caption = (
            f"Retention of {ARM} above {CONTROL}, mean over the other targets, against each metric's mean; shape: "
            "source, colour and filling: method; ρ: with the metric turned so that more is better."
        )
        caption += _repeated_marks(len(shown["source"].unique()), len(shown["method_label"].unique()))
        yield CaptionedFigure(LINK, "Metrics against transfer.", caption, transfer_scatter(shown, lines))
    if places := metric_transfer.image_places(part):
        caption = (
            "Every image of every cell: its place within the cell by the targets' probability of the explained "
            f"class on {ARM} less that on {CONTROL}, against its place by score (1: best); bright: many."
        )
        figure = image_densities(places, lines)
        yield CaptionedFigure(f"{LINK}_images", "The same over images.", caption, figure)
    if lines[["over_cells", "over_images"]].notna().to_numpy().any():
        caption = (
            "Rank correlation of each metric, turned so that more is better, with transfer. Intervals over "
            "methods are too narrow for few methods, or missing: the table's p decides."
        )
        yield CaptionedFigure(f"{LINK}_rho", "Does a metric foretell transfer?", caption, link_intervals(lines))


def _repeated_marks(sources: int, methods: int) -> str:
    """What the scatter's marks do not tell apart, as a sentence for its caption."""
    marks = ((sources, "sources", MOST_SOURCES, "shapes"), (methods, "methods", MOST_METHODS, "colours and fillings"))
    repeated = [f"{count} {noun} share {most} {shared}" for count, noun, most, shared in marks if count > most]
    return f" Marks repeat: {' and '.join(repeated)}." if repeated else ""


def rank_heat_map(lines: RankedMethods) -> Figure:
    """Methods by metrics; number and colour are the rank, 1 the best."""
    ranked = lines[lines["rank"].notna()]
    ranked = ranked.assign(name=ranked["source"] + " " + method_labels(ranked))
    names, metrics = (list(dict.fromkeys(ranked[column])) for column in ("name", "metric"))
    ranks, methods = (  # not pivot: gc and GC are printed alike
        ranked.pivot_table(index="name", columns="metric", values=number, aggfunc="first")
        .reindex(names, columns=metrics)
        .to_numpy(float)
        for number in ("rank", "methods")
    )
    labels = [short(name, 36) for name in names]
    height = 0.5 + ROW * len(names) + LABEL * max(len(short(name)) for name in metrics) * 0.8
    width = max(style.TEXT_WIDTH / 2, min(style.TEXT_WIDTH, LABEL * max(map(len, labels)) + 0.34 * len(metrics) + 0.4))
    figure, (panel,) = grid(1, 1, width, height)
    places = (ranks - 1) / (methods - 1)
    scale: dict[str, Any] = {"cmap": "viridis", "vmin": 0, "vmax": 1, "aspect": "auto"}
    heat_map(panel, ranks, "{:g}", labels, metrics, 7, 1 - places, **scale)
    panel.tick_params(length=0)
    return figure


def agreement_heat_maps(panels: Sequence[tuple[str, MetricAgreement]]) -> Figure:
    """Metrics by metrics, Spearman's rho in each cell; a panel per title and frame (first, second, rho)."""
    names = list(dict.fromkeys(name for _, frame in panels for name in [*frame["first"], *frame["second"]]))
    labels = [short(name) for name in names]
    side = max(2.6, 0.25 * len(names)) + LABEL * max(map(len, labels))
    figure, axes = grid(len(panels), 2, max(side, style.TEXT_WIDTH / 2), side, sharex="none", sharey="row")
    form = "{:z.1f}" if len(names) <= 14 else None  # in more cells there is no room
    for panel, (title, frame) in zip(axes, panels, strict=True):
        table = np.full((len(names), len(names)), np.nan)
        for first, second, rho in frame[["first", "second", "rho"]].itertuples(index=False):
            at = names.index(first), names.index(second)
            table[at] = table[at[::-1]] = rho
        np.fill_diagonal(table, np.nan)
        drawn = heat_map(panel, table, form, labels, names, 5.5, undefined="", cmap="PuOr", vmin=-1, vmax=1)
        panel.set_title(title)
        panel.tick_params(length=0)
    colour_bar(figure, axes, drawn, "Spearman's ρ", shrink=0.8, aspect=20)
    return figure


def transfer_scatter(points: MetricPoints, links: MetricLinks) -> Figure:
    """Transfer above control against a metric's mean, a panel per metric, a mark per source and method.

    Beyond MOST_METHODS and MOST_SOURCES marks repeat. points: with ``method_label``.
    """
    metrics = [name for name in links["metric"] if (points["metric"] == name).any()]
    of_metric = links.set_index("metric")
    sources, methods = (list(dict.fromkeys(points[name])) for name in ("source", "method_label"))
    figure, axes = grid(len(metrics), 4, style.TEXT_WIDTH / 4, 1.75, sharex="none")
    for panel, metric in zip(axes, metrics, strict=True):
        part = points[points["metric"] == metric]
        for line in part.itertuples(index=False):
            mark = _of_source(sources.index(line.source)) | _of_method(methods.index(line.method_label))
            panel.plot(line.value, 100 * line.above, **mark)
        rho = of_metric.loc[metric, "over_cells"]
        arrow = ARROWS[str(of_metric.loc[metric, "better"])]
        panel.set_title(f"{short(metric)}{arrow}\nρ {'undefined' if np.isnan(rho) else f'{rho:z.2f}'}")
        panel.axhline(0, color=style.GREY, linewidth=0.5)
    figure.supxlabel("mean of the metric, as it is", fontsize=8)
    figure.supylabel("retention above control (points)", fontsize=8)
    entries = {
        **{name: _of_source(0) | _of_method(place) for place, name in enumerate(methods)},
        **{name: _of_source(place) | {"color": style.GREY} for place, name in enumerate(sources)},
    }
    handles = [axes[0].plot([], [], label=short(name), **mark)[0] for name, mark in entries.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(6, len(handles)))
    return figure


def _of_source(place: int) -> dict[str, Any]:
    return {"marker": style.MARKERS[place % len(style.MARKERS)], "markersize": 4, "linestyle": "none"}


def _of_method(place: int) -> dict[str, Any]:
    fill, colour = divmod(place, len(style.PALETTE))
    return {"color": style.PALETTE[colour], "fillstyle": FILLS[fill % len(FILLS)]}


def image_densities(places: Mapping[str, tuple[np.ndarray, np.ndarray]], links: MetricLinks) -> Figure:
    """Where images stand within their cell by transfer against by score, all cells in one panel per metric.

    places: as metric_transfer.image_places gives them. No relation is an even square.
    """
    of_metric = links.set_index("metric")
    figure, axes = grid(len(places), 4, style.TEXT_WIDTH / 4, 1.75)
    for panel, (metric, (score, above)) in zip(axes, places.items(), strict=True):
        panel.hexbin(score, above, gridsize=12, extent=(0, 1, 0, 1), cmap="viridis", mincnt=0, linewidths=0.1)
        panel.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        rho = of_metric.loc[metric, "over_images"]
        panel.set_title(f"{short(metric)}\nρ {'undefined' if np.isnan(rho) else f'{rho:z.2f}'}")
    figure.supxlabel("place of the image by its score (1: best)", fontsize=8)
    figure.supylabel("place by transfer above control", fontsize=8)
    return figure


def link_intervals(links: MetricLinks) -> Figure:
    """Each metric's rank correlation with transfer, over cells and over images within cells, with intervals."""
    figure, (panel,) = grid(1, 1, style.TEXT_WIDTH / 2 + 1, 0.9 + 0.3 * len(links))
    kinds = (("over_cells", "over methods", 0), ("over_images", "over images within cells", 1))
    for column, label, place in kinds:
        known = links.reset_index(drop=True)
        known = known[known[column].notna()]
        at = known.index.to_numpy() + 0.16 * (2 * place - 1)
        colour, marker = style.PALETTE[place], style.MARKERS[place]
        panel.hlines(at, known[f"{column}_low"], known[f"{column}_high"], color=colour, linewidth=0.9)
        panel.plot(known[column], at, marker, color=colour, label=label)
    panel.axvline(0, color=style.GREY, linewidth=0.6)
    panel.set_yticks(range(len(links)), [short(name) for name in links["metric"]])
    panel.set(xlim=(-1.02, 1.02), xlabel="Spearman's ρ with transfer above control", ylim=(len(links) - 0.5, -0.5))
    if panel.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper center", ncols=2)
    return figure
