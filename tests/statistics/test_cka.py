"""Laws of likeness: what CKA is blind to, what it is on average by chance, and that it is the slow sum."""

import math
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import ortho_group

from harmonia.statistics.likeness import linear_cka


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_a_rotation_a_scaling_and_a_shift_are_the_same_representation():
    x = gaussian(40, 6)
    rotation = ortho_group.rvs(6, random_state=1)
    assert linear_cka(x, x) == pytest.approx(1)
    assert linear_cka(x, -3e-4 * x @ rotation + 100) == pytest.approx(1)
    assert linear_cka(x, np.hstack([x, np.zeros((40, 5))])) == pytest.approx(1)


def test_a_map_that_is_no_rotation_is_not_the_same_representation():
    x = gaussian(400, 6)
    assert linear_cka(x, x * [1, 1, 1, 1, 1, 10]) < 0.7


def test_independent_representations_have_nothing_in_common_however_wide_they_are():
    """Wider than images are many: the biased estimator gives 0.9 here."""
    numbers = [linear_cka(gaussian(30, 300, seed=2 * k), gaussian(30, 300, seed=2 * k + 1)) for k in range(100)]
    spread = np.std(numbers) / math.sqrt(len(numbers))
    assert abs(np.mean(numbers)) < 3 * spread
    assert spread < 0.01
    x, y = gaussian(30, 300, seed=0), gaussian(30, 300, seed=1)
    x, y = x - x.mean(0), y - y.mean(0)
    biased = np.linalg.norm(y.T @ x) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)
    assert biased > 0.85


def slow_hsic(k, m):
    """The three expectations of HSIC (Gretton et al. 2005, lemma 1) over all ordered quadruples of different images."""
    total, count = 0.0, 0
    for i, j, q, r in permutations(range(len(k)), 4):
        total += k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
        count += 1
    return total / count


@pytest.mark.parametrize("images", [4, 5, 7])
def test_cka_is_the_slow_rewrite(images):
    x, y = gaussian(images, 3) + 5, gaussian(images, 2, seed=9) - 2
    k, m = x @ x.T, y @ y.T
    if slow_hsic(k, k) <= 0 or slow_hsic(m, m) <= 0:
        assert math.isnan(linear_cka(x, y))
    else:
        expected = slow_hsic(k, m) / math.sqrt(slow_hsic(k, k) * slow_hsic(m, m))
        assert linear_cka(x, y) == pytest.approx(expected, rel=1e-9)


def test_cka_is_symmetric_and_does_not_depend_on_the_order_of_the_images():
    x, y = gaussian(50, 8), gaussian(50, 5, seed=1) + gaussian(50, 8)[:, :5]
    order = np.random.default_rng(3).permutation(50)
    assert linear_cka(y, x) == pytest.approx(linear_cka(x, y))
    assert linear_cka(x[order], y[order]) == pytest.approx(linear_cka(x, y))
    assert abs(linear_cka(x[order], y)) < 0.5 * linear_cka(x, y)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e30])
def test_a_representation_that_does_not_vary_is_like_nothing(constant):
    assert math.isnan(linear_cka(np.full((9, 3), constant), gaussian(9, 3)))


def test_cka_refuses_other_images_and_is_undefined_of_too_few():
    with pytest.raises(ValueError, match="same N images"):
        linear_cka(gaussian(5, 2), gaussian(6, 2))
    assert math.isnan(linear_cka(gaussian(3, 2), gaussian(3, 2)))
