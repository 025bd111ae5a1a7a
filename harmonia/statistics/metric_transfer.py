"""Does a metric of maps predict how well features transfer above control?

Over cells (a source with a method): the mean of the metric against the retention of the equal-area arm less that of
random blobs of the same area, mean over the targets that are not the source. Over images within a cell: the image's
score against the targets' probability of the explained class on the feature less that on the blobs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata, t

from harmonia.arms import AREA, arm_of, matched_control
from harmonia.results.gathered import Frame, Rows
from harmonia.results.gathered_scores import ScoredMaps, maps_key
from harmonia.results.jobs import JobFolder, options_of
from harmonia.statistics.comparison import Comparison
from harmonia.statistics.contrasts import mean_transfer
from harmonia.statistics.inference import LEVEL
from harmonia.statistics.ranking import MIN_METHODS, comparable, oriented
from harmonia.statistics.ranks import MIN_IMAGES, image_correlations, mean_over_cells, permutation_p, spearman

ARM = arm_of(AREA, 0.3)
CONTROL = str(matched_control(ARM))


@dataclass(frozen=True, eq=False)
class Transferred:
    """How the cells of scored maps transfer under one fill; cells without rows of transfer are NaN."""

    scores: ScoredMaps
    fill: str
    of_cells: np.ndarray  # (cells,) retention above control
    of_images: np.ndarray  # (images, cells) p_explained on the feature less that on the control, mean over targets


def transferred(
    found: Sequence[ScoredMaps], comparisons: Sequence[Comparison], rows: Rows, jobs: Sequence[JobFolder]
) -> list[Transferred]:
    """For each setting and fill in which there are both scores and rows of transfer of the same maps.

    Sources with random weights are left out: they transfer nothing, and would decide a correlation alone.
    """
    maps = {str(job.folder): maps_key(options_of(job.config)[0]) for job in jobs}
    made = []
    for scores in found:
        for fill in dict.fromkeys(comparison.setting["fill"] for comparison in comparisons):
            same = [one for one in comparisons if one.setting["fill"] == fill]
            of_cells = pd.concat([_above_control(one, maps) for one in same], ignore_index=True)
            known = dict(zip(of_cells["maps"], of_cells["above_control"], strict=True))
            trained = ~scores.cells["random_weights"].to_numpy(bool)
            values = np.where(trained, [known.get(key, np.nan) for key in scores.cells["maps"]], np.nan)
            if not np.isnan(values).all():
                made.append(Transferred(scores, fill, values, _of_images(scores, fill, rows, maps, ~np.isnan(values))))
    return made


def _above_control(comparison: Comparison, maps: Mapping[str, str]) -> Frame:
    """By what made the maps, transfer of the arm above control."""
    means: Frame = mean_transfer(comparison)
    means = means[(means["arm"] == ARM) & means["above_control"].notna()]
    line = ["source", "method", "variant"]
    of_line = {tuple(cell[line]): maps[cell["job"]] for _, cell in comparison.cells.iterrows()}
    keys = [of_line.get(names) for names in means[line].itertuples(index=False, name=None)]
    return means.assign(maps=keys)[["maps", "above_control"]].dropna()


def _of_images(scores: ScoredMaps, fill: str, rows: Rows, maps: Mapping[str, str], chosen: np.ndarray) -> np.ndarray:
    cells = rows.cells.assign(maps=rows.cells["job"].map(maps))
    column = {key: place for place, key in enumerate(scores.cells["maps"]) if chosen[place]}
    wanted = (
        cells["maps"].isin(column)
        & cells["arm"].isin([ARM, CONTROL])
        & (cells["fill"] == fill)
        & (cells["source"] != cells["target"])
    )
    found = np.full((len(scores.image_ids), len(scores.cells)), np.nan)
    if not wanted.any():
        return found
    shown = replace(rows, cells=cells).frame(["image_id", "p_explained"], wanted.to_numpy(), ["maps", "target", "arm"])
    shown = shown.assign(image_id=shown["image_id"].astype(str), p_explained=shown["p_explained"].astype(float))
    wide: Any = shown.pivot_table(
        index=["maps", "image_id", "target"], columns="arm", values="p_explained", observed=True
    ).reindex(columns=[ARM, CONTROL])
    above = (wide[ARM] - wide[CONTROL]).dropna().groupby(["maps", "image_id"], observed=True).mean()
    row_of = {name: place for place, name in enumerate(scores.image_ids)}
    for (key, image_id), value in above.items():
        if image_id in row_of:
            found[row_of[image_id], column[key]] = value
    return found


def link(part: Transferred) -> pd.DataFrame:
    """A line per metric: rho over cells and over images within cells, with their 95 % intervals and numbers of units.

    over_cells: Spearman's rho over the methods of a source, mean over sources; NaN where no source has MIN_METHODS of
    them; over_cells_p as permutation_p has it. Its interval leaves out one method after the other, of all sources
    (jackknife, J. Tukey 1958, Student's t), since cells of one method are not independent; it is too narrow for few
    methods (of five independent ones it leaves 0 out in 13 % of draws), and NaN where no method changes rho.
    over_images: within a cell, mean over cells; images are drawn again, the
    same for all cells. Metrics are turned so that more is better; their means are over comparable images.
    """
    scores = part.scores
    values = oriented(scores, scores.values)
    means = oriented(scores, _means(comparable(scores).values))
    both = np.concatenate([values, part.of_images[..., None]], 2)
    rhos = image_correlations(scores.labels, both)[:, :, :-1, -1]
    lines = []
    for column, metric in enumerate(scores.metrics.itertuples(index=False)):
        over_cells = _over_cells(scores.cells, means[:, column], part.of_cells)
        value, low, high, cells = mean_over_cells(rhos[:, :, column])
        over_images = {"over_images": value, "over_images_low": low, "over_images_high": high, "image_cells": cells}
        lines.append({"metric": metric.metric, "better": metric.better, **over_cells, **over_images})
    return pd.DataFrame(lines)


def points(part: Transferred) -> pd.DataFrame:
    """A line per cell and metric with both numbers: the metric's mean as it is, and transfer above control.

    The mean is over comparable images, as that of rho.
    """
    means, cells = _means(comparable(part.scores).values), part.scores.cells
    lines = [
        (*cells.iloc[cell][["source", "method", "variant"]], name, means[cell, column], above)
        for column, name in enumerate(part.scores.metrics["metric"])
        for cell, above in enumerate(part.of_cells)
        if not np.isnan([means[cell, column], above]).any()
    ]
    return pd.DataFrame(lines, columns=["source", "method", "variant", "metric", "value", "above"])


def image_places(part: Transferred) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By metric, of every image and cell with both numbers its place within its cell, 0 lowest to 1 highest.

    Of the score, turned so that more is better, and of transfer; ties share their mean place.
    """
    values = oriented(part.scores, part.scores.values)
    found = {}
    for column, name in enumerate(part.scores.metrics["metric"]):
        pairs = [
            np.stack([rankdata(both[:, 0]), rankdata(both[:, 1])]) / len(both)
            for cell in range(len(part.of_cells))
            if len(both := _both(values[:, cell, column], part.of_images[:, cell])) >= MIN_IMAGES
        ]
        if pairs:
            found[name] = tuple(np.concatenate(pairs, axis=1))
    return found


def _both(score: np.ndarray, above: np.ndarray) -> np.ndarray:
    """(images, 2): those that have both."""
    both = np.stack([score, above], 1)
    return both[~np.isnan(both).any(1)]


def _means(values: np.ndarray) -> np.ndarray:
    """Over the images that have the score, (cells, metrics)."""
    there = ~np.isnan(values)
    count = there.sum(0)
    return np.divide(np.where(there, values, 0).sum(0), count, out=np.full(count.shape, np.nan), where=count > 0)


def _over_cells(cells: Frame, means: np.ndarray, above: np.ndarray) -> dict[str, float]:
    known = ~np.isnan(means) & ~np.isnan(above)
    names = [json.dumps(line) for line in cells[["method", "variant"]].to_numpy().tolist()]
    method = np.unique(names, return_inverse=True)[1]
    sources = cells["source"].to_numpy()

    def rho(used: np.ndarray, least: int) -> float:
        of_sources = [
            spearman(means[None, at], above[None, at])[0]
            for source in dict.fromkeys(sources)
            if (at := used & (sources == source)).sum() >= least
        ]
        return float(np.mean(of_sources)) if of_sources else np.nan

    enough = [source for source in dict.fromkeys(sources) if (known & (sources == source)).sum() >= MIN_METHODS]
    used = known & np.isin(sources, enough)
    value = rho(used, MIN_METHODS)
    in_use = np.unique(method[used])
    # one method less: its source may then have one less than MIN_METHODS
    left_out = np.array([rho(used & (method != number), MIN_METHODS - 1) for number in in_use])
    half = np.nan
    if len(left_out) and np.ptp(left_out) > 1e-9:  # all the same: rho = 1 of five methods is not known for certain
        n = len(left_out)
        half = np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()) * t.ppf((1 + LEVEL) / 2, n - 1)
    low, high = np.clip([value - half, value + half], -1, 1).tolist()
    p = np.nan
    if enough:
        tables = np.full((2, len(in_use), len(enough)), np.nan)
        at = np.searchsorted(in_use, method[used]), [enough.index(source) for source in sources[used]]
        tables[:, *at] = means[used], above[used]
        p = permutation_p(*tables)
    return {
        "over_cells": value,
        "over_cells_p": p,
        "over_cells_low": low,
        "over_cells_high": high,
        "cells": int(used.sum()),
        "methods": len(in_use),
        "sources": len(enough),
        "most_methods": max(((known & (sources == source)).sum() for source in sources), default=0),
    }
