"""How alike two models are on the same images, and how a likeness goes with another number.

S. Kornblith, M. Norouzi, H. Lee, G. Hinton, "Similarity of Neural Network Representations Revisited", 2019,
https://arxiv.org/abs/1905.00414, section 3 (linear CKA); here with the unbiased estimator of HSIC (HSIC_1 of
L. Song, A. Smola, A. Gretton, J. Bedo, K. Borgwardt, "Feature Selection via Dependence Maximization", 2012), since
the biased one calls independent representations alike when they have as many dimensions as there are images.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from scipy.stats import rankdata, t

MIN_PAIRS = 3  # of two, every order is perfect


def agreement(p: Sequence[str], q: Sequence[str]) -> float:
    """Share of the images on which two models predict the same class; NaN without an image."""
    one, other = np.asarray(p, object), np.asarray(q, object)
    if one.shape != other.shape:
        raise ValueError(f"predictions must be about the same images, got {len(one)} and {len(other)}")
    return float((one == other).mean()) if len(one) else math.nan


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Debiased linear CKA of two representations (N, D1) and (N, D2) of the same images.

    1 where one is a rotation and scaling of the other, about 0 (also a little below) where they are independent;
    NaN where one of them does not vary, or where the estimate of how it varies is not positive.
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"representations must be (N, D) of the same N images, got {x.shape} and {y.shape}")
    if len(x) < 4:
        raise ValueError(f"the unbiased estimator needs at least 4 images, got {len(x)}")
    if (x == x[0]).all() or (y == y[0]).all():
        return math.nan
    first, second = _u_centred_gram(x), _u_centred_gram(y)
    within = float((first * first).sum()), float((second * second).sum())
    if min(within) <= 0:
        return math.nan
    return float((first * second).sum()) / math.sqrt(within[0] * within[1])


def _u_centred_gram(x: np.ndarray) -> np.ndarray:
    """The linear kernel without its diagonal, centred so that sums of products of two are unbiased.

    The sum of products of two is n (n - 3) times HSIC_1: U-centring, G. Szekely, M. Rizzo 2014, definition 2.
    """
    centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)  # changes nothing but the rounding
    gram = centred @ centred.T
    np.fill_diagonal(gram, 0)
    n = len(x)
    rows = gram.sum(0) / (n - 2)
    gram += gram.sum() / ((n - 1) * (n - 2)) - rows[:, None] - rows
    np.fill_diagonal(gram, 0)
    return gram


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
