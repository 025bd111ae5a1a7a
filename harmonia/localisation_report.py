"""What a report says of GridPG, DiFull and DiPart: a table, box plots and AggAtt, from the rows that jobs left.

S. Rao, M. Böhle, B. Schiele, CVPR 2022, Figs. 5 to 8.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harmonia.errors import InputError
from harmonia.figure_style import PALETTE, TEXT_WIDTH, save, short, style
from harmonia.finished_jobs import Job, options_of, section
from harmonia.illustrations import PIXELS_PER_INCH, Illustration
from harmonia.localisation_rows import AGGATT, QUARTILES, read_aggatt, read_localisation
from harmonia.statistic_tables import StatisticTable
from harmonia.typeset import table

BINS = ("0–2", "2–5", "5–50", "50–95", "95–98", "98–100")  # percent of the ranks
CLIPPED = 99.5  # percent of a method's values below the end of its colour scale
STEM = "localisation"
PROTOCOLS = ("gridpg", "difull", "dipart")


@dataclass(frozen=True, eq=False)
class Cells:
    """One job's scored cells."""

    name: str  # method, layer, smoothing and what else tells it from the report's others
    rows: Any
    job: Job


def scored_cells(job: Job) -> Cells:
    """What a finished job left of the cells that it scored."""
    rows = read_localisation(job.folder)
    k = section(job.config, "smooth").get("k")
    n = round(rows["cells"].iloc[0] ** 0.5)
    positions = section(job.config, "evaluation").get("positions")
    rows = rows.assign(
        grid_side=n,
        smooth_k=np.nan if k is None else k,
        positions="" if positions in (None, "interpolated") else positions,
    )
    layer = rows["layer"].iloc[0]
    parts = [
        f"{rows['method'].iloc[0]} at {layer}" if layer else rows["method"].iloc[0],
        "" if k is None else f"K = {k}",
        rows["positions"].iloc[0],
        "" if n == 2 else f"{n} x {n}",
    ]
    return Cells(", ".join(filter(None, parts)), rows, job)


def told_apart(found: Sequence[Cells]) -> list[Cells]:
    """By protocol. Jobs of one name with the same options count once, the last; others are named by what differs."""
    alike: dict[tuple, dict[str, Cells]] = {}
    for cells in sorted(found, key=lambda cells: PROTOCOLS.index(cells.rows["protocol"].iloc[0])):
        line = (cells.rows["protocol"].iloc[0], cells.rows["source"].iloc[0], cells.name)
        options, _ = options_of(cells.job.config)
        alike.setdefault(line, {})[json.dumps(options, sort_keys=True)] = cells
    told = []
    for same in alike.values():
        known = {text: json.loads(text).items() for text in same}
        shared = set.intersection(*(set(options) for options in known.values()))
        for text, cells in same.items():
            differing = [f"{key}={value}" for key, value in known[text] if (key, value) not in shared]
            told.append(replace(cells, name=", ".join([cells.name, *differing])))
    return told


def localisation_table(found: Sequence[Cells]) -> StatisticTable:
    """A line a job: mean, median and quartiles of localisation, and what could not be scored."""
    numbers = pd.DataFrame([_line(cells) for cells in found])
    chance = ", ".join(f"{100 / side**2:.0f} % for {side} x {side}" for side in sorted(numbers["n"].unique()))
    printed = pd.DataFrame(
        {
            "Protocol": [f"{name} {n} x {n}" for name, n in zip(numbers["protocol"], numbers["n"], strict=True)],
            "Source": numbers["source"],
            "Method": [cells.name for cells in found],
            "Mean (%)": [f"{100 * value:.1f}" for value in numbers["localisation"]],
            "Median (%)": [f"{100 * value:.1f}" for value in numbers["median"]],
            "Quartiles (%)": [
                f"{100 * low:.1f} – {100 * high:.1f}" for low, high in zip(numbers["q25"], numbers["q75"], strict=True)
            ],
            "Undefined": [str(value) for value in numbers["undefined"]],
            "Label in top n² (%)": [f"{100 * value:.0f}" for value in numbers["in_top"]],
            "Cells": [str(value) for value in numbers["cells"]],
        }
    )
    notes = ["Undefined: no positive attribution, or none that is finite; scored 0, as in the paper."]
    caption = f"Localisation on mosaics (Rao et al. 2022); a uniform map has {chance}."
    return StatisticTable(STEM, table(printed, caption, 3, notes), numbers)


def _line(cells: Cells) -> dict[str, Any]:
    rows, scores = cells.rows, cells.rows["localisation"]
    same = ("protocol", "grid_side", "source", "method", "layer", "smooth_k", "positions")
    return {
        **{name if name != "grid_side" else "n": rows[name].iloc[0] for name in same},
        "localisation": scores.mean(),
        **{name: scores.quantile(at) for name, at in QUARTILES.items()},
        "undefined": int(rows["undefined"].sum()),
        "in_top": rows["in_top"].mean(),
        "cells": len(rows),
        "shown_as": cells.name,
    }


def illustrate_localisation(found: Sequence[Cells], folder: Path) -> tuple[list[Illustration], dict[Path, str]]:
    """Box plots of every job and AggAtt of each, drawn and written; and why AggAtt of a job's folder is left out."""
    with style():
        pictures, lost = _pictures(found)
    made = []
    for stem, title, caption, figure in pictures:
        save(figure, folder, stem)
        made.append(Illustration(stem, title, caption, round(PIXELS_PER_INCH * figure.get_figwidth())))
    return made, lost


def _pictures(found: Sequence[Cells]) -> tuple[list[tuple[str, str, str, Figure]], dict[Path, str]]:
    """Stem, title, caption and figure of each; folders whose mean maps are damaged, with the reason."""
    lost = {}
    pictures = [
        (
            "localisation_boxes",
            "Localisation.",
            "Positive attribution inside the cell over all of it; box: middle half, line: median, whiskers: to 1.5 "
            "box lengths, dotted: a uniform map.",
            box_plots(found),
        )
    ]
    for number, cells in enumerate(found, start=1):
        if (cells.job.folder / AGGATT).is_file():
            try:
                arrays = read_aggatt(cells.job.folder)
            except InputError as error:
                lost[cells.job.folder] = str(error)
                continue
            protocol, source = cells.rows["protocol"].iloc[0], cells.rows["source"].iloc[0]
            pictures.append(
                (
                    f"aggatt_{number}",
                    f"AggAtt, {protocol}, {source}, {cells.name}.",
                    "Cells at the top left, from the best localised to the worst (percent of the ranks): mean positive "
                    "attribution; mosaic and map of each bin's median. One colour scale of means, top 0.5 % clipped, "
                    "another of each example."
                    + (" Few cells: some bins have none." if len(arrays["bins"]) < len(BINS) else ""),
                    aggatt_figure(arrays, round(cells.rows["cells"].iloc[0] ** 0.5)),
                )
            )
    return pictures, lost


def box_plots(found: Sequence[Cells]) -> Figure:
    """A column per protocol, a box per source and method."""
    protocols = [name for name in PROTOCOLS if any(cells.rows["protocol"].iloc[0] == name for cells in found)]
    names = list(dict.fromkeys((cells.rows["source"].iloc[0], cells.name) for cells in found))
    figure = Figure(figsize=(TEXT_WIDTH, 0.6 + 0.22 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(protocols), squeeze=False, sharey=True)[0]
    for panel, protocol in zip(axes, protocols, strict=True):
        for cells in found:
            rows = cells.rows
            if rows["protocol"].iloc[0] == protocol:
                at = names.index((rows["source"].iloc[0], cells.name))
                _box(panel, rows["localisation"].to_numpy(), at)
                panel.axvline(1 / rows["cells"].iloc[0], color="#767676", linestyle=":", linewidth=0.8)
        panel.set(title=protocol, xlabel="Localisation", xlim=(-0.02, 1.02))
    axes[0].set_yticks(range(len(names)), [short(f"{source} {name}", 36) for source, name in names])
    axes[0].invert_yaxis()
    return figure


def _box(panel: Axes, scores: np.ndarray, at: int) -> None:
    """A horizontal box plot; matplotlib's own changed the name of the option for it between the versions we take."""
    low, median, high = np.quantile(scores, [0.25, 0.5, 0.75])
    inside = scores[(scores >= low - 1.5 * (high - low)) & (scores <= high + 1.5 * (high - low))]
    panel.hlines(at, inside.min(), inside.max(), color=PALETTE[0], linewidth=0.8)
    panel.barh(at, high - low, left=low, height=0.6, facecolor="white", edgecolor=PALETTE[0], linewidth=0.8)
    panel.vlines(median, at - 0.3, at + 0.3, color=PALETTE[1], linewidth=1.5)
    outside = scores[(scores < inside.min()) | (scores > inside.max())]
    panel.plot(outside, np.full(len(outside), at), ".", color=PALETTE[0], markersize=1.5)


def aggatt_figure(arrays: dict[str, np.ndarray], n: int) -> Figure:
    """Rows: mean map, example, its map; columns: bins of ranks. Lines part the n x n cells."""
    means, places = arrays["means"], arrays["bins"].tolist()
    shown = means[~np.isnan(means).any((1, 2))]
    high = float(np.percentile(shown, CLIPPED)) if shown.size else 0.0
    figure = Figure(figsize=(TEXT_WIDTH, TEXT_WIDTH / 2 + 0.3), layout="constrained")
    axes = figure.subplots(3, len(BINS), squeeze=False)
    for panel in axes.ravel():
        panel.set(xticks=[], yticks=[])
        for spine in panel.spines.values():
            spine.set_visible(False)
    for place, name in enumerate(BINS):
        axes[0, place].set_title(f"{name} %")
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
    return figure
