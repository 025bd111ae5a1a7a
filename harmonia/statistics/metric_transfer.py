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

from harmonia.arms import AREA, arm_of, matched_control
from harmonia.results.frames import Frame
from harmonia.results.gathered import EXPLAINER, Explainers, Rows
from harmonia.results.gathered_scores import Metrics, ScoredCells, ScoredMaps, maps_key
from harmonia.results.jobs import JobFolder
from harmonia.statistics import ranks
from harmonia.statistics.comparison import Comparison
from harmonia.statistics.contrasts import mean_transfer
from harmonia.statistics.inference import ratio
from harmonia.statistics.ranking import comparable, oriented

ARM = arm_of(AREA, 0.3)
CONTROL = str(matched_control(ARM))


class MetricLinks(
    Frame,
    text="metric better",
    numbers="over_cells over_cells_p over_cells_low over_cells_high",
    counts="cells methods sources most_methods",
    estimates="over_images",
):
    """A line per metric: rho with transfer, mean of sources over their methods and of cells over their images."""

    image_cells: int


@dataclass(frozen=True, eq=False)
class Transferred:
    """How the cells of scored maps transfer under one fill; cells without rows of transfer are NaN."""

    scores: ScoredMaps
    fill: str
    of_cells: np.ndarray  # (cells,) retention above control
    of_images: np.ndarray  # (images, cells) p_explained on the feature less that on the control, mean over targets


def transferred(
    settings: Sequence[ScoredMaps], comparisons: Sequence[Comparison], rows: Rows, jobs: Sequence[JobFolder]
) -> list[Transferred]:
    """For each setting and fill in which there are both scores and rows of transfer of the same maps.

    Sources with random weights are left out: they transfer nothing, and would decide a correlation alone.
    """
    maps = {str(job.folder): maps_key(job.options) for job in jobs}
    by_fill: dict[str, dict[str, float]] = {}
    for comparison in comparisons:
        by_fill.setdefault(comparison.setting["fill"], {}).update(_above_control(comparison, maps))
    linked = []
    for scores in settings:
        for fill, above in by_fill.items():
            trained = ~scores.cells["random_weights"].to_numpy(bool)
            values = np.where(trained, [above.get(key, np.nan) for key in scores.cells["maps"]], np.nan)
            if not np.isnan(values).all():
                of_images = _of_images(scores, fill, rows, maps, ~np.isnan(values))
                linked.append(Transferred(scores, fill, values, of_images))
    return linked


def _above_control(comparison: Comparison, maps: Mapping[str, str]) -> dict[str, float]:
    """By what made the maps, transfer of the arm above control."""
    means = mean_transfer(comparison)
    of_arm: Any = means.loc[(means["arm"] == ARM) & means["above_control"].notna(), [*EXPLAINER, "above_control"]]
    jobs = {tuple(cell[EXPLAINER]): cell["job"] for _, cell in comparison.cells.iterrows()}
    lines = ((jobs.get(tuple(names), ""), above) for *names, above in of_arm.itertuples(index=False))
    return {maps[job]: above for job, above in lines if job in maps}


def _of_images(scores: ScoredMaps, fill: str, rows: Rows, maps: Mapping[str, str], chosen: np.ndarray) -> np.ndarray:
    """What Transferred says of images; chosen: of which cells."""
    cells = rows.cells.assign(maps=rows.cells["job"].map(maps))
    maps_of_cells = scores.cells["maps"].where(chosen, "")
    compared = (
        cells["maps"].isin(maps_of_cells)
        & cells["arm"].isin([ARM, CONTROL])
        & (cells["fill"] == fill)
        & (cells["source"] != cells["target"])
    )
    if not compared.any():
        return np.full((len(scores.image_ids), len(scores.cells)), np.nan)
    shown = replace(rows, cells=cells).frame(
        ["image_id", "p_explained"], compared.to_numpy(), ["maps", "target", "arm"]
    )
    shown = shown.assign(image_id=shown["image_id"].astype(str), p_explained=shown["p_explained"].astype(float))
    wide: Any = shown.pivot_table(
        index=["maps", "image_id", "target"], columns="arm", values="p_explained", observed=True
    ).reindex(columns=[ARM, CONTROL])
    above = (wide[ARM] - wide[CONTROL]).dropna().groupby(["maps", "image_id"], observed=True).mean().unstack("maps")
    return above.reindex(index=scores.image_ids, columns=maps_of_cells).to_numpy(float)


def metric_links(part: Transferred) -> MetricLinks:
    """Spearman's rho of each metric with transfer; metrics turned so that more is better, means over comparable images.

    over_cells is NaN where no source has MIN_SIGNIFICANT methods; its p is permutation_p's. Its interval leaves out one
    method after the other, of all sources, since cells of one method are not independent; what that is worth, the
    caption of the table says (report.tables.ranking). over_images: images are drawn again, the same for all cells.
    """
    scores = part.scores
    means = oriented(scores, _means(comparable(scores).values))
    scores_and_transfer = np.concatenate([oriented(scores, scores.values), part.of_images[..., None]], 2)
    rhos = ranks.image_correlations(scores.labels, scores_and_transfer)[:, :, :-1, -1]
    lines = []
    for column, metric in enumerate(scores.metrics[Metrics.columns_of()].to_numpy()):
        over_cells = _over_cells(scores.cells, means[:, column], part.of_cells)
        lines.append((*metric, *over_cells, *ranks.mean_over_cells(rhos[:, :, column])))
    return MetricLinks.of_lines(lines)


class MetricPoints(Explainers, text="metric", numbers="value above"): ...


def scatter_points(part: Transferred) -> MetricPoints:
    """A line per cell and metric with both numbers: the metric's mean as it is, and transfer above control.

    The mean is over comparable images, as that of rho.
    """
    means, cells = _means(comparable(part.scores).values), part.scores.cells
    lines = [
        (*cells.iloc[cell][EXPLAINER], name, means[cell, column], above)
        for column, name in enumerate(part.scores.metrics["metric"])
        for cell, above in enumerate(part.of_cells)
        if not np.isnan([means[cell, column], above]).any()
    ]
    return MetricPoints.of_lines(lines)


def image_places(part: Transferred) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By metric, of every image and cell with both numbers its place within its cell, 0 lowest to 1 highest.

    Of the score, turned so that more is better, and of transfer; ties share their mean place.
    """
    values = oriented(part.scores, part.scores.values)
    places = {}
    for column, name in enumerate(part.scores.metrics["metric"]):
        of_cells = []
        for score, above in zip(values[:, :, column].T, part.of_images.T, strict=True):
            pairs = np.stack([score, above])
            pairs = pairs[:, ~np.isnan(pairs).any(0)]
            if pairs.shape[1] >= ranks.MIN_IMAGES:
                of_cells.append(ranks.mean_ranks(pairs) / pairs.shape[1])
        if of_cells:
            places[name] = tuple(np.concatenate(of_cells, axis=1))
    return places


def _means(values: np.ndarray) -> np.ndarray:
    """Over the images that have the score, (cells, metrics)."""
    has_value = ~np.isnan(values)
    return ratio(np.where(has_value, values, 0).sum(0), has_value.sum(0))


def _over_cells(cells: ScoredCells, means: np.ndarray, above: np.ndarray) -> tuple[float, ...]:
    """over_cells to most_methods of MetricLinks, for means of a metric and above, both (cells,)."""
    names = [json.dumps(line) for line in cells[["method", "variant"]].to_numpy().tolist()]
    method = np.unique(names, return_inverse=True)[1]
    source, source_names = pd.factorize(cells["source"])
    known = ~np.isnan(means) & ~np.isnan(above)
    counts = np.bincount(source[known], minlength=len(source_names))
    enough = np.flatnonzero(counts >= ranks.MIN_SIGNIFICANT)
    used = known & np.isin(source, enough)
    in_use = np.unique(method[used])

    def rho_without(left_out: int) -> float:
        kept = used & (method != left_out)
        of_sources = [np.flatnonzero(kept & (source == number)) for number in enough]
        return float(np.mean([ranks.spearman(means[None, at], above[None, at])[0] for at in of_sources]))

    value = low = high = p = np.nan
    if len(enough):
        value = rho_without(-1)
        rhos = np.array([rho_without(number) for number in in_use])
        if np.ptp(rhos) > 1e-9:  # all the same: rho = 1 of five methods is not known for certain
            low, high = ranks.jackknife_interval(value, rhos)
        tables = np.full((2, len(in_use), len(enough)), np.nan)
        at = np.searchsorted(in_use, method[used]), np.searchsorted(enough, source[used])
        tables[:, *at] = means[used], above[used]
        p = ranks.permutation_p(*tables)
    return value, p, low, high, used.sum(), len(in_use), len(enough), counts.max(initial=0)
