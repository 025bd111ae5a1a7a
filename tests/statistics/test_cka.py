"""Laws of likeness: what CKA is blind to, what it is on average by chance, and that it is the slow sum."""

import math
from itertools import permutations, product

import numpy as np
import pytest
from scipy.stats import ortho_group, spearmanr, t

from harmonia.statistics.cka import agreement, linear_cka
from harmonia.statistics.ranks import rank_correlation


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
    found = [linear_cka(gaussian(30, 300, seed=2 * k), gaussian(30, 300, seed=2 * k + 1)) for k in range(100)]
    spread = np.std(found) / math.sqrt(len(found))
    assert abs(np.mean(found)) < 3 * spread
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


def test_cka_refuses_other_images_and_too_few():
    with pytest.raises(ValueError, match="same N images"):
        linear_cka(gaussian(5, 2), gaussian(6, 2))
    with pytest.raises(ValueError, match="at least 4 images, got 3"):
        linear_cka(gaussian(3, 2), gaussian(3, 2))


def test_agreement_is_the_share_of_equal_predictions():
    assert agreement(["cat", "dog", "cat", "fox"], ["cat", "cat", "cat", "dog"]) == 0.5
    assert agreement(["cat"], ["cat"]) == 1
    assert math.isnan(agreement([], []))
    with pytest.raises(ValueError, match="same images, got 1 and 2"):
        agreement(["cat"], ["cat", "cat"])


def pairs_of(models, number):
    """Both ways round, number(i, j) of models' positions."""
    return {(one, other): number(i, j) for (i, one), (j, other) in product(enumerate(models), repeat=2) if one != other}


def noisy(models, seed=0):
    """A likeness, the same both ways round, and a number of directed pairs that goes with it."""
    drawn = gaussian(len(models) ** 2, seed=seed).reshape(len(models), -1)
    likeness = pairs_of(models, lambda i, j: round(drawn[min(i, j), max(i, j)], 1))
    return likeness, pairs_of(models, lambda i, j: drawn[min(i, j), max(i, j)] + drawn[j, i])


def test_rho_is_scipys_also_with_ties():
    x, y = noisy("abcdef")
    found = rank_correlation(x, y)
    assert found.rho == pytest.approx(spearmanr([x[pair] for pair in y], list(y.values())).statistic)
    assert (found.pairs, found.models) == (30, 6)
    assert rank_correlation(x, {pair: -(value**3) for pair, value in x.items()}).rho == pytest.approx(-1)


def test_the_interval_is_a_jackknife_over_models():
    models = "abcde"
    x, y = noisy(models)
    left_out = []
    for name in models:
        kept = [pair for pair in y if name not in pair]
        left_out.append(spearmanr([x[pair] for pair in kept], [y[pair] for pair in kept]).statistic)
    half = math.sqrt(4 / 5 * 5 * np.var(left_out)) * t.ppf(0.975, 4)
    found = rank_correlation(x, y)
    assert found.low == pytest.approx(max(-1, found.rho - half))
    assert found.high == pytest.approx(min(1, found.rho + half))


def test_p_counts_the_orders_of_the_models_that_do_as_well():
    x, y = noisy("abcd")
    as_well = []
    for order in permutations("abcd"):
        called = dict(zip("abcd", order, strict=True))
        likeness = [x[called[one], called[other]] for one, other in y]
        as_well.append(abs(spearmanr(likeness, list(y.values())).statistic) >= abs(rank_correlation(x, y).rho) - 1e-9)
    assert rank_correlation(x, y).p == pytest.approx(np.mean(as_well))
    assert rank_correlation(x, x).p == pytest.approx(1 / 24)  # only the models' own order is perfect


def test_one_model_that_is_unlike_and_transfers_little_is_no_evidence():
    """Pairs of one odd model decide rho; pairs taken as units would call that sure."""
    x = pairs_of("abcd", lambda i, j: (0.1 if 3 in (i, j) else 0.9) + 0.01 * ((i + j) % 3))
    y = pairs_of("abcd", lambda i, j: (0.0 if 3 in (i, j) else 1.0) - 0.01 * ((i + j) % 3))
    found = rank_correlation(x, y)
    assert found.rho > 0.5
    assert found.low < 0
    assert found.p >= 0.25  # six of the 24 orders leave the odd one where it is


@pytest.mark.parametrize("models", ["abcde", "abcdefghi"])
def test_p_of_models_that_have_nothing_to_do_with_it_is_spread_evenly(models):
    ps = []
    for k in range(100):
        x, _ = noisy(models, seed=2 * k)
        _, y = noisy(models, seed=2 * k + 1)
        ps.append(rank_correlation(x, y, orders=99).p)
    assert np.mean(np.array(ps) < 0.1) < 0.2
    assert 0.4 < np.mean(ps) < 0.6


def test_pairs_without_a_number_are_left_out_and_too_few_have_no_correlation():
    x, y = noisy("abcd")
    found = rank_correlation(x, y | {("a", "b"): math.nan})
    assert found.pairs == 11
    assert math.isfinite(found.p)
    unknown = rank_correlation(x | {("a", "b"): math.nan, ("b", "a"): math.nan}, y)
    assert unknown.pairs == 10
    assert math.isnan(unknown.p)  # who is given that likeness?
    nothing = rank_correlation({("a", "b"): 1, ("a", "c"): 2}, {("a", "b"): 1, ("a", "c"): 2})
    assert nothing.pairs == 2
    assert all(math.isnan(number) for number in (nothing.rho, nothing.low, nothing.high, nothing.p))
    assert math.isnan(rank_correlation(dict.fromkeys(x, 1.0), y).rho)
