"""Rank correlation, the one place of it: of lines of numbers, of pairs of models, of images; its interval and its p."""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, combinations, permutations, product
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata, t

from harmonia.statistics.inference import LEVEL, Resampled, interval, ratio, resamples, strata

MIN_DEFINED = 3  # of two, every order is perfect
MIN_SIGNIFICANT = 5  # of four, no order is significant at 5 %
MIN_IMAGES = 10
IMAGE_RESAMPLES = 1_000  # of correlations over images, whose ranks are made anew in each
DRAWN_ORDERS = 9_999  # where going through all would take too long
_NUMBERS_AT_ONCE = 250_000  # resamples times images, in memory


def mean_ranks(numbers: np.ndarray) -> np.ndarray:
    """Rank of each number in its line, 1 the smallest, ties by their mean; a line with a NaN has no rank but NaN."""
    return rankdata(numbers, axis=-1, nan_policy="propagate")


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's rho of each line of x with that of y, (lines,); NaN where one does not vary or is undefined.

    x and y (lines, numbers); either may be one line, which then meets every line of the other.
    """
    x_ranks, y_ranks = (ranks - ranks.mean(1, keepdims=True) for ranks in map(mean_ranks, (x, y)))
    return ratio((x_ranks * y_ranks).sum(1), np.sqrt((x_ranks**2).sum(1) * (y_ranks**2).sum(1)))


def jackknife_interval(rho: float, left_out: np.ndarray) -> tuple[float, float]:
    """Bounds of rho from what it is without each of the units (J. Tukey 1958, Student's t), within -1 and 1.

    NaN where rho is undefined without one of them.
    """
    n = len(left_out)
    error = math.sqrt((n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum()))
    half = error * t.ppf((1 + LEVEL) / 2, n - 1)
    # a bound that is undefined stays so: max and min would hide it
    low, high = np.clip([rho - half, rho + half], -1, 1).tolist()
    return low, high


def orders(groups: np.ndarray, most: int) -> np.ndarray:
    """(orders, units), the units' own first: they change places only with those of the same number in groups (units,).

    All orders where there are at most so many, else DRAWN_ORDERS drawn ones behind their own.
    """
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    own = np.arange(len(groups))
    if math.prod(math.factorial(len(places)) for places in members) > most:
        drawn, generator = np.tile(own, (1 + DRAWN_ORDERS, 1)), np.random.default_rng(0)
        for places in members:
            drawn[1:, places] = generator.permuted(drawn[1:, places], axis=1)
        return drawn
    of_members = [list(chain(*of_groups)) for of_groups in product(*map(permutations, members))]
    return np.array(of_members)[:, np.argsort(np.concatenate(members))]


def share_as_far_from_0(rhos: np.ndarray, rho: float) -> float:
    """Two-sided p: of the rhos of all orders, the share that lies as far from 0 as that of the units' own."""
    return float((np.abs(rhos) >= abs(rho) - 1e-9).mean())


def relabelling_p(left: np.ndarray, x: np.ndarray, groups: np.ndarray, columns_alone: bool = False) -> float:
    """Two-sided: how many orders of n units bring the sum of left * x, (n, n), as far from its mean as their own.

    Rows and columns of x change places at once, or its columns alone; units only with those of their group (n,). NaN
    where all orders have one sum.
    """
    moved = orders(groups, math.factorial(8))
    sums = []
    for part in np.array_split(moved, -(-len(moved) // 1_000)):
        rows = np.arange(len(x))[None] if columns_alone else part
        sums.append(np.einsum("oij,ij->o", x[rows[:, :, None], part[:, None, :]], left))
    apart = np.concatenate(sums)
    apart -= apart.mean()
    return share_as_far_from_0(apart, apart[0]) if np.abs(apart).max() > 1e-9 else math.nan


class RankCorrelation(NamedTuple):
    """Spearman's rho over so many pairs of so many models; NaN where a number is undefined."""

    rho: float
    low: float
    high: float
    p: float
    pairs: int
    models: int


def transfer_correlations(
    pairs: Any, ends: tuple[str, str], measures: Iterable[str]
) -> Iterator[tuple[str | float, ...]]:
    """Each measure with MIN_SIGNIFICANT pairs of models or more, and its rank_correlation with transfer above control.

    pairs: a frame with the columns ends, the measures and above_control.
    """
    for measure in measures:
        known = pairs[[*ends, measure, "above_control"]].dropna()
        if len(known) >= MIN_SIGNIFICANT:
            models = list(zip(known[ends[0]], known[ends[1]], strict=True))
            alike, above = (dict(zip(models, known[name], strict=True)) for name in (measure, "above_control"))
            yield measure, *rank_correlation(alike, above)


def rank_correlation(x: Mapping[tuple[str, str], float], y: Mapping[tuple[str, str], float]) -> RankCorrelation:
    """Spearman's rho of two numbers of (source, target) pairs of models; x, a likeness, is the same both ways round.

    Pairs that share a model are not independent: models are the units. The interval is a jackknife's that leaves
    out one model after the other; pairs taken as units would give a far narrower one. p gives the models each other's
    likenesses (N. Mantel 1967): in all orders of up to seven models, else in drawn ones; NaN where the likeness of two
    of the models is not known. Pairs with a NaN are left out.
    """
    alike = {frozenset(pair): value for pair, value in x.items() if math.isfinite(value)}
    pairs = [pair for pair, value in y.items() if math.isfinite(value) and frozenset(pair) in alike]
    models = sorted({name for pair in pairs for name in pair})
    if len(pairs) < MIN_DEFINED:
        return RankCorrelation(math.nan, math.nan, math.nan, math.nan, len(pairs), len(models))
    source, target = np.array([[models.index(name) for name in pair] for pair in pairs]).T
    likeness = np.array([[alike.get(frozenset((a, b)), math.nan) for b in models] for a in models])
    number = np.array([y[pair] for pair in pairs])

    def rho_without(model: int) -> float:
        kept = (source != model) & (target != model)
        if kept.sum() < MIN_DEFINED:
            return math.nan
        return float(spearman(likeness[source, target][None, kept], number[None, kept])[0])

    rho = rho_without(-1)
    low, high = jackknife_interval(rho, np.array([rho_without(model) for model in range(len(models))]))
    p = math.nan
    if math.isfinite(rho) and np.isfinite(likeness[~np.eye(len(models), dtype=bool)]).all():
        order = orders(np.zeros(len(models)), math.factorial(7))
        p = share_as_far_from_0(spearman(likeness[order[:, source], order[:, target]], number[None]), rho)
    return RankCorrelation(rho, low, high, p, len(pairs), len(models))


def permutation_p(metric: np.ndarray, above: np.ndarray) -> float:
    """Two-sided p of Spearman's rho over methods, mean over sources; both (methods, sources), NaN in the same places.

    Methods change places as a whole, on all sources at once, and only with those that ran on the same sources. NaN
    where rho is.
    """
    # [i, j]: what the metric of method i adds to the rho if the transfer is that of method j
    products = _unit_ranks(metric) @ _unit_ranks(above).T / metric.shape[1]
    if not np.isfinite(products).all():
        return np.nan
    same_sources = np.unique(~np.isnan(metric), axis=0, return_inverse=True)[1].reshape(-1)
    rhos = products[orders(same_sources, math.factorial(8)), np.arange(len(metric))].sum(1)
    return share_as_far_from_0(rhos, rhos[0])


def _unit_ranks(numbers: np.ndarray) -> np.ndarray:
    """Ranks within each column, of mean 0 and length 1, so that a sum of products is rho; 0 where there is none."""
    ranks = rankdata(numbers, axis=0, nan_policy="omit")
    ranks -= np.nanmean(ranks, 0)
    return np.where(np.isnan(numbers), 0, ratio(ranks, np.sqrt(np.nansum(ranks**2, 0))))


def mean_over_cells(rhos: Resampled) -> tuple[float, float, float, int]:
    """Mean over the cells (draws, cells) whose correlation is defined, its interval, and how many these are."""
    defined = ~np.isnan(rhos[0])
    if not defined.any():
        return np.nan, np.nan, np.nan, 0
    value, low, high = interval(rhos[:, defined].mean(1)).tolist()
    return value, low, high, int(defined.sum())


def image_correlations(labels: np.ndarray, values: np.ndarray) -> Resampled:
    """Spearman's rho over images of each two columns within each cell, (1 + resamples, cells, m, m).

    values (images, cells, m). A pair takes the images that have both, and is NaN with fewer than MIN_IMAGES of them.
    """
    cells, columns = values.shape[1:]
    blocks = []
    for counts in resamples(strata(labels), IMAGE_RESAMPLES):
        for part in np.array_split(counts, max(1, -(-counts.size // _NUMBERS_AT_ONCE))):
            of_cells = [_cell_correlations(part.astype(float), values[:, cell]) for cell in range(cells)]
            blocks.append(np.stack(of_cells, 1) if cells else np.empty((len(part), 0, columns, columns)))
    return np.concatenate(blocks)


def _cell_correlations(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(lines, m, m), for counts (lines, images) of how often each image occurs and values (images, m)."""
    rhos = np.full((len(counts), values.shape[1], values.shape[1]), np.nan)
    has_value = ~np.isnan(values)
    by_images: dict[bytes, tuple[np.ndarray, list[tuple[int, int]]]] = {}  # pairs of columns by the images of both
    for pair in combinations(range(values.shape[1]), 2):
        images = has_value[:, pair[0]] & has_value[:, pair[1]]
        by_images.setdefault(images.tobytes(), (images, []))[1].append(pair)
    for images, pairs in by_images.values():
        if images.sum() >= MIN_IMAGES:
            columns = sorted({column for pair in pairs for column in pair})
            weights = counts[:, images]
            ranks = np.stack([_ranks_among_drawn(values[images, column], weights) for column in columns], -1)
            total = weights.sum(1)[:, None]
            # each image counts as often as it was drawn; the mean of the ranks of n is (n + 1) / 2
            centred = (ranks - (total[..., None] + 1) / 2) * np.sqrt(weights)[..., None]
            products = centred.transpose(0, 2, 1) @ centred
            spread = np.sqrt(np.einsum("laa->la", products))
            rho = ratio(products, spread[:, :, None] * spread[:, None])
            for first, second in pairs:
                of_pair = rho[:, columns.index(first), columns.index(second)]
                rhos[:, first, second] = rhos[:, second, first] = of_pair
    return rhos


def _ranks_among_drawn(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean ranks (lines, images) of values in a resample that has each of them counts (lines, images) times."""
    distinct, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(distinct)))
    sizes = np.add.reduceat(counts[:, order], starts, axis=1)
    ends = sizes.cumsum(1)
    return (ends - (sizes - 1) / 2)[:, group]
