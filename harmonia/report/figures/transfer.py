"""Figures of transfer, drawn from rows or from the transfer matrix; percent here.

Fig. 2 follows M. A. Kadir, G. Addluri, D. Sonntag 2023 (arXiv 2307.02150), the others go beyond it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from harmonia.arms import AREA, BLOBS, DIM_ARM, IMAGE_ARM, SOFT_ARM, kind_of
from harmonia.report.figures import style
from harmonia.report.figures.style import (
    CaptionedFigure,
    colour_bar,
    grid,
    heat_map,
    legend_above,
    line_name,
    short,
    two_lines,
)
from harmonia.report.tables.contrasts import LIKENESS
from harmonia.report.tables.transfer import MATRIX, TransferMatrix
from harmonia.results.gathered import EXPLAINER, CellNames, Setting
from harmonia.statistics.likeness import Correlations, ModelPairs, correlations

OF_ROWS = ["image_id", "p_label", "p_explained", "kept_area"]
LINES_A_FIGURE = 6
LIKENESS_AXES = {"agreement": "agreement of predictions (%)", "cka": "linear CKA of penultimate features"}


class DrawnRows(CellNames, Setting, text="image_id", numbers="p_label p_explained kept_area"):
    """A line per image and cell: OF_ROWS beside what names the cell."""


def transfer_figures(rows: DrawnRows, matrix: TransferMatrix, arm: str) -> Iterator[CaptionedFigure]:
    """Of one setting: its rows, and its lines of the matrix."""
    histograms = class_probabilities(rows, arm)
    for number, figure in enumerate(histograms, start=1):
        part = f", part {number} of {len(histograms)}" if len(histograms) > 1 else ""
        yield CaptionedFigure(
            "fig2" if number == 1 else f"fig2_part{number}",
            f"Figure 2{part}.",
            f"Class probability on the image (I) and on the feature (F, arm {arm}), the same images; a row per source "
            "and method, a column per target.",
            figure,
        )
    of_arm = matrix[matrix["arm"] == arm]
    if len(of_arm):
        caption = f"Retention, accuracy on the feature (arm {arm}) over accuracy on the image; the source's own cell "
        figure = transfer_heat_maps(of_arm, "retention")
        yield CaptionedFigure(MATRIX, "Transfer matrix.", caption + "is framed.", figure)
    if of_arm["above_control"].notna().any():
        title, caption = "Transfer matrix, above control.", f"Retention of arm {arm} less that of its matched control"
        figure = transfer_heat_maps(of_arm, "above_control")
        yield CaptionedFigure(f"{MATRIX}_above_control", title, f"{caption} (points).", figure)
    if matrix["accuracy_feature"].notna().any():
        yield CaptionedFigure(
            "accuracy_by_area",
            "Accuracy against kept area.",
            "Equal-area arms with 95 % bootstrap bands (images drawn again within classes); hollow: the soft map at "
            "its mean area, and, tied to it, the image dimmed by as much.",
            accuracy_by_area(matrix),
        )
    if (rows["arm"] == SOFT_ARM).any():
        yield CaptionedFigure(
            "area_distributions",
            "Kept area of the soft maps.",
            "Mean keep weight of each image, in its source's view or, where that is no target, the first target's; "
            "line: middle half, circle: median.",
            area_distributions(rows),
        )


def _models_of(rows: DrawnRows | TransferMatrix) -> tuple[list[str], list[str]]:
    """Sources in their order of appearance, and targets: the sources among them first, in the same order."""
    sources, targets = (list(dict.fromkeys(rows[end])) for end in ("source", "target"))
    return sources, sorted(targets, key=lambda name: sources.index(name) if name in sources else len(sources))


def class_probabilities(rows: DrawnRows, arm: str) -> list[Figure]:
    """Fig. 2: histograms of the class probability on the image (I) and on the feature (F), a panel per target.

    The class is the label or, where no image has one, the explained class. Only images with both are counted.
    """
    column = "p_label" if rows["p_label"].notna().to_numpy().any() else "p_explained"
    shown: Any = rows[rows["arm"].isin([IMAGE_ARM, arm])]
    lines = [(line_name(key), part) for key, part in shown.groupby(EXPLAINER, sort=False, observed=True)]
    targets = _models_of(rows)[1]
    starts = range(0, len(lines), LINES_A_FIGURE)
    return [_histograms(lines[start : start + LINES_A_FIGURE], targets, column, arm) for start in starts]


def _histograms(lines: list[tuple[str, Any]], targets: list[str], column: str, arm: str) -> Figure:
    width = max(1.25, min(2.3, style.TEXT_WIDTH / len(targets)))
    height = 1.1 + 0.7 / len(lines)  # inches; legend and labels take .7 whatever the number of lines
    figure, axes = grid(len(lines) * len(targets), len(targets), width, height, sharey="row")
    edges = np.linspace(0, 1, 21)
    for place, panel in enumerate(axes):
        (name, part), target = lines[place // len(targets)], targets[place % len(targets)]
        pairs: Any = part[part["target"] == target].pivot(index="image_id", columns="arm", values=column)
        pairs = pairs.reindex(columns=[IMAGE_ARM, arm]).dropna()
        if place < len(targets):
            panel.set_title(short(target))
        if place % len(targets) == 0:
            panel.set_ylabel(name)
        panel.set_xlim(0, 1)
        panel.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        if pairs.empty:
            panel.text(0.5, 0.5, "not run", ha="center", va="center", transform=panel.transAxes, color=style.GREY)
            continue
        whole, feature = (100 * np.histogram(pairs[name], edges)[0] / len(pairs) for name in (IMAGE_ARM, arm))
        panel.stairs(whole, edges, fill=True, color=style.IMAGE_COLOUR, alpha=0.35, lw=0, label="image (I)")
        panel.stairs(feature, edges, color=style.FEATURE_COLOUR, lw=1.3, label="feature (F)")
        before, after = pairs[IMAGE_ARM].mean(), pairs[arm].mean()
        text = f"mean I {before:.2f}, F {after:.2f}\nn = {len(pairs):,}"
        panel.text(0.5, 0.97, text, ha="center", va="top", fontsize=6.5, transform=panel.transAxes)
    for first in axes[:: len(targets)]:
        first.set_ylim(0, 1.35 * first.get_ylim()[1])  # room for the text
    figure.supxlabel(f"probability of the {'label' if column == 'p_label' else 'explained class'}", fontsize=8)
    figure.supylabel("images (%)", fontsize=8)
    legend_above(figure, axes)
    return figure


def accuracy_by_area(cells: TransferMatrix) -> Figure:
    """Accuracy against kept area at equal area, a panel per target, a line per source and method.

    cells: of one setting. Grey are the image and, where they were run, random blobs of the same area, averaged over
    sources; the caption in transfer_figures says the rest.
    """
    sources, targets = _models_of(cells)
    methods = list(dict.fromkeys(zip(cells["method"], cells["variant"], strict=True)))
    points: Any = cells.assign(kind=cells["arm"].map(kind_of))
    points = points[points["kind"].isin([SOFT_ARM, DIM_ARM, AREA, BLOBS])].copy()
    columns = {"accuracy_feature": "accuracy", "accuracy_feature_low": "low", "accuracy_feature_high": "high"}
    for column, name in {"kept_area": "kept", **columns}.items():
        points[name] = 100 * points[column]
    lines = len(points.groupby(EXPLAINER))
    alpha = 0.15 if lines <= 4 else 0.08  # of bands that lie over one another
    num_rows = -(-len(targets) // 3)
    num_columns = -(-len(targets) // num_rows)  # at most three, and no row nearly empty
    room = 0.1 * lines  # inches, for the legend
    height = 1.9 + room / num_rows
    figure, axes = grid(len(targets), num_columns, style.TEXT_WIDTH / max(num_columns, 2), height)
    for panel, target in zip(axes, targets, strict=True):
        of_panel = points[points["target"] == target]
        for key, part in of_panel.groupby(EXPLAINER, sort=False):
            colour = style.PALETTE[sources.index(key[0]) % len(style.PALETTE)]
            method = methods.index(key[1:])
            look: dict[str, Any] = {"color": colour, "marker": style.MARKERS[method % len(style.MARKERS)]}
            line = part[part["kind"] == AREA].sort_values("kept")
            dashes = style.DASHES[method % len(style.DASHES)]
            panel.plot(line["kept"], line["accuracy"], ls=dashes, label=line_name(key), **look)
            panel.fill_between(line["kept"], line["low"], line["high"], color=colour, alpha=alpha, lw=0)
            soft, dim = (part.loc[part["arm"] == arm, ["kept", "accuracy"]] for arm in (SOFT_ARM, DIM_ARM))
            if len(soft) and len(dim):
                panel.plot(*np.vstack([soft, dim]).T, color=colour, lw=0.6)
            panel.plot(*dim.to_numpy().T, "_", color=colour, ms=6, mew=1.2)
            panel.plot(*soft.to_numpy().T, ls="none", mfc="white", ms=5, **look)
        blobs = of_panel[of_panel["kind"] == BLOBS].groupby("arm")[["kept", "accuracy"]].mean()
        if len(blobs):
            blobs = blobs.sort_values("kept")
            panel.plot(blobs["kept"], blobs["accuracy"], ":", color=style.GREY, label="random blobs")
        of_target: Any = cells[cells["target"] == target]
        level = 100 * of_target["accuracy_image"].mean()  # the same images: lines differ where one lacks some
        if not np.isnan(level):
            panel.axhline(level, color=style.GREY, lw=0.8, label="whole image")
        panel.plot([], [], "o", mfc="white", mec=style.GREY, ms=5, label="soft map")
        if (of_panel["arm"] == DIM_ARM).any():
            panel.plot([], [], "_", color=style.GREY, ms=6, mew=1.2, label="image dimmed as much")
        fewest, most = of_panel["images"].min(), of_panel["images"].max()
        panel.set_title(f"{short(target)} (n = {fewest:,}" + (f" to {most:,})" if most > fewest else ")"))
        panel.set(xlim=(0, None), ylim=(0, 100))
    figure.supxlabel("kept area (%)", fontsize=8)
    figure.supylabel("accuracy of the target (%)", fontsize=8)
    legend_above(figure, axes, room)
    return figure


def area_distributions(rows: DrawnRows) -> Figure:
    """How much of the image's light each soft map lets through, image by image, as the caption says."""
    soft: Any = rows[rows["arm"] == SOFT_ARM]
    lines = []
    for key, part in soft.groupby(EXPLAINER, sort=False, observed=True):
        target = key[0] if (part["target"] == key[0]).any() else part["target"].iloc[0]
        lines.append((line_name(key), 100 * part.loc[part["target"] == target, "kept_area"].dropna().to_numpy()))
    figure, (panel,) = grid(1, 1, style.COLUMN_WIDTH, 0.75 + 0.33 * max(1, len(lines)))
    for height, (_, areas) in enumerate(lines):
        if len(areas) > 1 and np.ptp(areas) > 0:
            parts = panel.violinplot(areas, [height], orientation="horizontal", widths=0.85, showextrema=False)
            bodies: Any = parts["bodies"]
            for body in bodies:
                body.set(facecolor=style.IMAGE_COLOUR, alpha=0.35, lw=0)
        low, middle, high = np.quantile(areas, [0.25, 0.5, 0.75]) if len(areas) else [np.nan] * 3
        panel.plot([low, high], [height, height], color=style.IMAGE_COLOUR, lw=2.2, solid_capstyle="butt")
        panel.plot(middle, height, "o", color="white", mec=style.IMAGE_COLOUR, ms=4)
    panel.set_yticks(range(len(lines)), [f"{name}\n(n = {len(areas):,})" for name, areas in lines])
    panel.set(xlim=(0, 100), ylim=(len(lines) - 0.4, -0.6), xlabel="kept area of the soft map (%)")
    return figure


def transfer_heat_maps(cells: TransferMatrix, value: str) -> Figure:
    """Sources by targets with numbers in percent, a panel per method; the source's own cell is framed.

    cells: of one setting and arm; value: a column of fractions. Where some are negative, colours diverge from 0.
    """
    sources, targets = _models_of(cells)
    panels: Any = list(cells.groupby(["method", "variant"], sort=False))
    side = 0.42  # inches, of a cell
    margin = 0.07 * max(len(short(name)) for name in sources) + 1.1  # names of sources, colour bar; once a row
    columns = max(1, min(len(panels), int((style.TEXT_WIDTH - margin) / (side * len(targets) + 0.15))))
    rows = -(-len(panels) // columns)
    width = max(side * len(targets) + 0.15 + margin / columns, 2.4 / columns)
    height = side * len(sources) + 0.35 + (0.05 * max(len(short(name)) for name in targets) + 0.4) / rows
    scale: dict[str, Any] = {"cmap": "viridis", "vmin": 0, "vmax": 100}
    if (cells[value] < 0).to_numpy().any():
        high = 10 * np.ceil(10 * cells[value].abs().max())
        scale = {"cmap": "PuOr", "vmin": -high, "vmax": high}
    figure, axes = grid(len(panels), columns, width, height)
    for panel, (names, part) in zip(axes, panels, strict=True):
        table = part.pivot_table(index="source", columns="target", values=value).reindex(sources, columns=targets)
        percent, labels = 100 * table.to_numpy(float), [short(name) for name in sources]
        drawn = heat_map(panel, percent, "{:z.0f}", labels, targets, 7.5, **scale)  # z: no -0
        for text in panel.texts:
            column, row = map(int, text.get_position())
            if sources[row] == targets[column]:
                frame = Rectangle((column - 0.44, row - 0.44), 0.88, 0.88, fill=False, ec=text.get_color(), lw=1)
                panel.add_patch(frame)
        panel.set_title(two_lines(*names))
    figure.supylabel("source", fontsize=8)
    figure.supxlabel("target", fontsize=8)
    label = f"{value.replace('_', ' ')} ({'%' if value == 'retention' else 'points'})"
    colour_bar(figure, axes, drawn, label, shrink=0.9, aspect=18)
    if engine := figure.get_layout_engine():
        engine.execute(figure)  # squares need a pass more than the one of save, or their titles are cut
    return figure


def likeness_figures(pairs: ModelPairs, arm: str) -> Iterator[CaptionedFigure]:
    """pairs: of one setting."""
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


def transfer_against_likeness(pairs: ModelPairs, measured: Correlations) -> Figure:
    """A panel per line of the correlations of these pairs, a mark per pair."""
    lines: Any = list(measured.itertuples(index=False))
    measures = len(set(measured["measure"]))
    figure, axes = grid(len(lines), measures, style.TEXT_WIDTH / 2, 2.6, sharex="none")  # percent and a share
    for panel, line in zip(axes, lines, strict=True):
        chosen = pairs[(pairs["method"] == line.method) & (pairs["variant"] == line.variant)]
        within = chosen["within_family"].astype(bool)
        for name, part, marker, fill, edge in (
            ("within families", chosen[within], "o", style.FEATURE_COLOUR, style.FEATURE_COLOUR),
            ("between families", chosen[~within], "s", "white", style.IMAGE_COLOUR),
        ):
            x = part[line.measure] * (100 if line.measure == "agreement" else 1)
            panel.scatter(x, 100 * part["above_control"], marker=marker, c=fill, ec=edge, s=22, label=name)
        panel.set_title(two_lines(line.method, line.variant))
        panel.set_xlabel(LIKENESS_AXES[line.measure])
        panel.set_ylabel("retention above control (points)")
        bounds = f" [{line.low:z.2f}, {line.high:z.2f}]" if not np.isnan(line.low) else ""
        rho = "undefined" if np.isnan(line.rho) else f"{line.rho:z.2f}{bounds}"
        p = "" if np.isnan(line.p) else f"p {line.p:.2f}, "
        note = f"Spearman's ρ {rho}\n{p}{line.pairs} pairs of {line.models} models"
        panel.margins(y=0.28)  # room for the note
        panel.text(0.02, 0.98, note, transform=panel.transAxes, va="top", fontsize=7)
    legend_above(figure, axes)
    return figure
