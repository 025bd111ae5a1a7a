"""Figures of localisation in mosaics: box plots of the scores, and AggAtt."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harmonia.report.figures.style import GREY, PALETTE, TEXT_WIDTH, CaptionedFigure, short
from harmonia.results.localisation import AGGATT_BINS, PROTOCOLS, read_aggatt
from harmonia.statistics.localisation import MosaicScores

CLIPPED = 99.5  # percent of a method's values below the end of its colour scale


def box_plots(jobs: Sequence[MosaicScores]) -> CaptionedFigure:
    """A column per protocol, a box per source and method."""
    protocols = [name for name in PROTOCOLS if any(cells.setting[0] == name for cells in jobs)]
    names = list(dict.fromkeys((cells.setting[1], cells.name) for cells in jobs))
    figure = Figure(figsize=(TEXT_WIDTH, 0.6 + 0.22 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(protocols), squeeze=False, sharey=True)[0]
    for panel, protocol in zip(axes, protocols, strict=True):
        for cells in [cells for cells in jobs if cells.setting[0] == protocol]:
            _box(panel, cells.rows["localisation"].to_numpy(), names.index((cells.setting[1], cells.name)))
            panel.axvline(1 / cells.rows["cells"].iloc[0], color=GREY, linestyle=":", linewidth=0.8)
        panel.set(title=protocol, xlabel="Localisation", xlim=(-0.02, 1.02))
    axes[0].set_yticks(range(len(names)), [short(f"{source} {name}", 36) for source, name in names])
    axes[0].invert_yaxis()
    return CaptionedFigure(
        "localisation_boxes",
        "Localisation.",
        "Positive attribution inside the cell over all of it; box: middle half, line: median, whiskers: to 1.5 "
        "box lengths, dotted: a uniform map.",
        figure,
    )


def _box(panel: Axes, scores: np.ndarray, at: int) -> None:
    """A horizontal box plot; matplotlib's own changed the name of the option for it between the versions we take."""
    low, median, high = np.quantile(scores, [0.25, 0.5, 0.75])
    inside = scores[(scores >= low - 1.5 * (high - low)) & (scores <= high + 1.5 * (high - low))]
    panel.hlines(at, inside.min(), inside.max(), color=PALETTE[0], linewidth=0.8)
    panel.barh(at, high - low, left=low, height=0.6, facecolor="white", edgecolor=PALETTE[0], linewidth=0.8)
    panel.vlines(median, at - 0.3, at + 0.3, color=PALETTE[1], linewidth=1.5)
    outside = scores[(scores < inside.min()) | (scores > inside.max())]
    panel.plot(outside, np.full(len(outside), at), ".", color=PALETTE[0], markersize=1.5)


def aggatt(number: int, cells: MosaicScores) -> CaptionedFigure:
    """Of the number-th job. Rows: mean map, example, its map; columns: bins of ranks. Lines part the cells."""
    arrays = read_aggatt(cells.job.folder)
    protocol, source, n = cells.setting
    means, places = arrays["means"], arrays["bins"].tolist()
    shown = means[~np.isnan(means).any((1, 2))]
    high = float(np.percentile(shown, CLIPPED)) if shown.size else 0.0
    figure = Figure(figsize=(TEXT_WIDTH, TEXT_WIDTH / 2 + 0.3), layout="constrained")
    axes = figure.subplots(3, len(AGGATT_BINS), squeeze=False)
    for panel in axes.ravel():
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    for place, (first, last) in enumerate(AGGATT_BINS):
        axes[0, place].set_title(f"{first}–{last} %")
        if place not in places:
            continue
        example = places.index(place)
        pictures = arrays["pictures"][example].transpose(1, 2, 0)
        # an example has its own scale: a mean of many maps is flatter than any of them
        own = float(np.percentile(arrays["examples"][example], CLIPPED))
        axes[0, place].imshow(means[place], cmap="viridis", vmin=0, vmax=high or 1)
        axes[1, place].imshow(pictures)
        axes[2, place].imshow(arrays["examples"][example], cmap="viridis", vmin=0, vmax=own or 1)
        axes[2, place].set_xlabel(f"L = {arrays['scores'][example]:.2f}")
        for panel in axes[:, place]:
            for border in np.arange(1, n) * means.shape[1] / n - 0.5:
                panel.axhline(border, color="white", linewidth=0.6)
                panel.axvline(border, color="white", linewidth=0.6)
    for line, name in enumerate(("Mean map", "Example", "Its map")):
        axes[line, 0].set_ylabel(name)
    return CaptionedFigure(
        f"aggatt_{number}",
        f"AggAtt, {protocol}, {source}, {cells.name}.",
        "Cells at the top left, from the best localised to the worst (percent of the ranks): mean positive "
        "attribution; mosaic and map of each bin's median. One colour scale of means, top 0.5 % clipped, "
        "another of each example." + (" Few cells: some bins have none." if len(places) < len(AGGATT_BINS) else ""),
        figure,
    )
