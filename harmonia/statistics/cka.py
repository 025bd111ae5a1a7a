"""How alike two models represent the same images.

S. Kornblith, M. Norouzi, H. Lee, G. Hinton, "Similarity of Neural Network Representations Revisited", 2019,
https://arxiv.org/abs/1905.00414, section 3 (linear CKA); here with the unbiased estimator of HSIC (HSIC_1 of
L. Song, A. Smola, A. Gretton, J. Bedo, K. Borgwardt, "Feature Selection via Dependence Maximization", 2012), since
the biased one calls independent representations alike when they have as many dimensions as there are images.
"""

import math

import numpy as np


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
