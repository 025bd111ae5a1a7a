"""Rank correlation with intervals and permutation tests whose units are models, images or methods."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
from scipy.stats import rankdata, t

from harmonia.statistics.inference import Draws, interval, resamples, strata

MIN_PAIRS = 3  # of two, every order is perfect


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rho over so many pairs of so many models; NaN where a number is undefined."""

    rho: float
    low: float
    high: float
    p: float
    pairs: int
    models: int


def rank_correlation(
    x: Mapping[tuple[str, str], float],
    y: Mapping[tuple[str, str], float],
    level: float = 0.95,
    orders: int = 9_999,
    seed: int = 0,
) -> RankCorrelation:
    """Spearman's rho of two numbers of (source, target) pairs of models; x, a likeness, is the same both ways round.

    Pairs that share a model are not independent: models are the units. The interval is a jackknife's that leaves
    out one model after the other (J. Tukey 1958), with Student's t; pairs taken as units would give a far narrower one.
    p, two-sided, gives the models each other's likenesses (N. Mantel 1967): in all orders of up to seven models, else
    in so many drawn ones; NaN where the likeness of two of the models is not known. Pairs with a NaN are left out.
    """
    alike = {frozenset(pair): value for pair, value in x.items() if math.isfinite(value)}
    pairs = [pair for pair, value in y.items() if math.isfinite(value) and frozenset(pair) in alike]
    models = sorted({name for pair in pairs for name in pair})
    source, target = np.array([[models.index(name) for name in pair] for pair in pairs], int).reshape(-1, 2).T
    likeness = np.array([[alike.get(frozenset((one, other)), math.nan) for other in models] for one in models])
    number = np.array([y[pair] for pair in pairs])

    def rho(orders: np.ndarray, kept: np.ndarray | slice = slice(None)) -> np.ndarray:
        return _spearman(likeness[orders[:, source[kept]], orders[:, target[kept]]], number[kept])

    own = np.arange(len(models))[None]
    if len(pairs) < MIN_PAIRS:
        return RankCorrelation(math.nan, math.nan, math.nan, math.nan, len(pairs), len(models))
    found = float(rho(own)[0])
    left_out = np.array([float(rho(own, (source != model) & (target != model))[0]) for model in own[0]])
    half = _jackknife_error(left_out) * t.ppf((1 + level) / 2, len(models) - 1)
    # a bound that is undefined stays so: max and min would hide it
    low, high = np.clip([found - half, found + half], -1, 1).tolist()
    p = math.nan
    if math.isfinite(found) and np.isfinite(likeness[~np.eye(len(models), dtype=bool)]).all():
        p = float((np.abs(rho(_orders(len(models), orders, seed))) >= abs(found) - 1e-9).mean())
    return RankCorrelation(found, low, high, p, len(pairs), len(models))


def _jackknife_error(left_out: np.ndarray) -> float:
    """Standard error from what is found without each unit; NaN where one of these is undefined."""
    n = len(left_out)
    return math.sqrt((n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum()))


def _orders(models: int, drawn: int, seed: int) -> np.ndarray:
    """(orders, models): all of a few models; of many so many random ones behind their own."""
    if models <= 7:
        return np.array(list(permutations(range(models))))
    own = np.arange(models)
    return np.vstack([own, np.random.default_rng(seed).permuted(np.tile(own, (drawn, 1)), axis=1)])


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of each row of x with y; NaN where one of them does not vary or has fewer than MIN_PAIRS numbers."""
    if len(y) < MIN_PAIRS:
        return np.full(len(x), math.nan)
    ranks = rankdata(x, axis=1), rankdata(y)[None]
    one, other = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    scale = np.sqrt((one**2).sum(1) * (other**2).sum(1))
    return np.divide((one * other).sum(1), scale, out=np.full(len(x), math.nan), where=scale > 0)


MIN_IMAGES = 10
IMAGE_RESAMPLES = 1_000  # of correlations over images, whose ranks are made anew in each
_NUMBERS_AT_ONCE = 250_000  # resamples times images, in memory


def mean_over_cells(rhos: Draws) -> tuple[float, float, float, int]:
    """Mean over the cells (draws, cells) whose correlation is defined, its interval, and how many these are."""
    defined = ~np.isnan(rhos[0])
    if not defined.any():
        return np.nan, np.nan, np.nan, 0
    value, low, high = interval(rhos[:, defined].mean(1)).tolist()
    return value, low, high, int(defined.sum())


def image_correlations(labels: np.ndarray, values: np.ndarray, num_resamples: int = IMAGE_RESAMPLES) -> Draws:
    """Draws of Spearman's rho over images of each two columns within each cell, (1 + resamples, cells, m, m).

    values (images, cells, m). A pair takes the images that have both, and is NaN with fewer than MIN_IMAGES of them.
    """
    cells, columns = values.shape[1:]
    blocks = []
    for counts in resamples(strata(labels), num_resamples):
        for part in np.array_split(counts, max(1, -(-counts.size // _NUMBERS_AT_ONCE))):
            of_cells = [_cell_correlations(part.astype(float), values[:, cell]) for cell in range(cells)]
            blocks.append(np.stack(of_cells, 1) if cells else np.empty((len(part), 0, columns, columns)))
    return np.concatenate(blocks)


def _cell_correlations(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(lines, m, m), for counts (lines, images) of how often each image occurs and values (images, m)."""
    there = ~np.isnan(values)
    found = np.full((len(counts), values.shape[1], values.shape[1]), np.nan)
    for both, pairs in _by_images(there):
        if both.sum() >= MIN_IMAGES:
            columns = sorted({column for pair in pairs for column in pair})
            weights = counts[:, both]
            ranks = np.stack([_midranks(values[both, column], weights) for column in columns], -1)
            total = weights.sum(1)[:, None]
            # each image counts as often as it was drawn; the mean midrank of n is (n + 1) / 2
            centred = (ranks - (total[..., None] + 1) / 2) * np.sqrt(weights)[..., None]
            products = centred.transpose(0, 2, 1) @ centred
            spread = np.sqrt(np.einsum("laa->la", products))
            scale = spread[:, :, None] * spread[:, None]
            rho = np.divide(products, scale, out=np.full(products.shape, np.nan), where=scale > 0)
            for one, other in pairs:
                at = columns.index(one), columns.index(other)
                found[:, one, other] = found[:, other, one] = rho[:, at[0], at[1]]
    return found


def _by_images(there: np.ndarray) -> Iterator[tuple[np.ndarray, list[tuple[int, int]]]]:
    """Pairs of columns by the images that have both: mostly the same for all."""
    groups: dict[bytes, tuple[np.ndarray, list[tuple[int, int]]]] = {}
    for pair in combinations(range(there.shape[1]), 2):
        both = there[:, pair[0]] & there[:, pair[1]]
        groups.setdefault(both.tobytes(), (both, []))[1].append(pair)
    yield from groups.values()


def _midranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Ranks (lines, images) of values among those of a resample in which each occurs weights (lines, images) times."""
    distinct, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(distinct)))
    sizes = np.add.reduceat(weights[:, order], starts, axis=1)
    ends = sizes.cumsum(1)
    return (ends - (sizes - 1) / 2)[:, group]


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's rho of each line of x with that of y, (lines,); NaN where one does not vary or is undefined."""
    one, other = (rankdata(part, axis=1, nan_policy="propagate") for part in (x, y))
    one, other = (ranks - ranks.mean(1, keepdims=True) for ranks in (one, other))
    scale = np.sqrt((one**2).sum(1) * (other**2).sum(1))
    return np.divide((one * other).sum(1), scale, out=np.full(len(x), np.nan), where=scale > 0)


MOST_ORDERS = math.factorial(8)  # of methods, gone through one by one; of more methods
DRAWN_ORDERS = 9_999  # are drawn


def permutation_p(metric: np.ndarray, above: np.ndarray) -> float:
    """Two-sided p of Spearman's rho over methods, mean over sources; both (methods, sources), NaN in the same places.

    Methods change places as a whole, on all sources at once, and only with those that ran on the same sources: in all
    orders where there are at most MOST_ORDERS, else in DRAWN_ORDERS drawn ones and their own. NaN where rho is.
    """
    # [i, j]: what the metric of method i adds to the rho if the transfer is that of method j
    products = _unit_ranks(metric) @ _unit_ranks(above).T / metric.shape[1]
    if not np.isfinite(products).all():
        return np.nan
    rhos = np.abs(products[_drawn_orders(~np.isnan(metric)), np.arange(len(metric))].sum(1))
    return float((rhos >= rhos[0] - 1e-9).mean())


def _unit_ranks(numbers: np.ndarray) -> np.ndarray:
    """Ranks within each column, of mean 0 and length 1, so that a sum of products is rho; 0 where there is none."""
    ranks = rankdata(numbers, axis=0, nan_policy="omit")
    ranks -= np.nanmean(ranks, 0)
    length = np.sqrt(np.nansum(ranks**2, 0))
    scaled = np.divide(ranks, length, out=np.full(ranks.shape, np.nan), where=length > 0)
    return np.where(np.isnan(numbers), 0, scaled)


def _drawn_orders(there: np.ndarray) -> np.ndarray:
    """(orders, methods), their own first: of methods among those with the same line of ``there`` (methods, sources)."""
    group = np.unique(there, axis=0, return_inverse=True)[1].reshape(-1)
    members = [np.flatnonzero(group == number) for number in np.unique(group)]
    own = np.arange(len(there))
    if math.prod(math.factorial(len(places)) for places in members) > MOST_ORDERS:
        orders, generator = np.tile(own, (1 + DRAWN_ORDERS, 1)), np.random.default_rng(0)
        for places in members:
            orders[1:, places] = generator.permuted(orders[1:, places], axis=1)
        return orders
    of_groups = [np.array(list(permutations(places))) for places in members]
    picks = np.indices([len(found) for found in of_groups]).reshape(len(of_groups), -1)
    orders = np.tile(own, (picks.shape[1], 1))
    for places, found, pick in zip(members, of_groups, picks, strict=True):
        orders[:, places] = found[pick]
    return orders
