"""How alike two models are on the same images, and how a likeness goes with another number.

S. Kornblith, M. Norouzi, H. Lee, G. Hinton, "Similarity of Neural Network Representations Revisited", 2019,
https://arxiv.org/abs/1905.00414, section 3 (linear CKA); here with the unbiased estimator of HSIC (HSIC_1 of
L. Song, A. Smola, A. Gretton, J. Bedo, K. Borgwardt, "Feature Selection via Dependence Maximization", 2012), since
the biased one calls independent representations alike when they have as many dimensions as there are images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata


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
    """Spearman's rho over so many pairs; NaN where it is undefined."""

    rho: float
    low: float
    high: float
    pairs: int


def rank_correlation(
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> RankCorrelation:
    """Spearman's rho with a percentile bootstrap interval over pairs (Efron 1979); pairs with a NaN are left out.

    Pairs of models that share a model are not independent, so that the interval is too narrow rather than too wide.
    Resamples in which one variable does not vary have no rho and are left out.
    """
    first, second = np.asarray(x, float), np.asarray(y, float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"x and y must be equally long lists, got shapes {first.shape} and {second.shape}")
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    if len(first) < 3:
        return RankCorrelation(math.nan, math.nan, math.nan, len(first))
    rho = float(_spearman(first[None], second[None])[0])
    drawn = np.random.default_rng(seed).integers(len(first), size=(resamples, len(first)))
    of_resamples = _spearman(first[drawn], second[drawn])
    of_resamples = of_resamples[np.isfinite(of_resamples)]
    tail = (1 - level) / 2
    low, high = np.quantile(of_resamples, [tail, 1 - tail]) if len(of_resamples) else (math.nan, math.nan)
    return RankCorrelation(rho, float(low), float(high), len(first))


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of each row; NaN where one variable does not vary."""
    ranks = [rankdata(values, axis=1) for values in (x, y)]
    one, other = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    scale = np.sqrt((one**2).sum(1) * (other**2).sum(1))
    return np.divide((one * other).sum(1), scale, out=np.full(len(x), math.nan), where=scale > 0)
