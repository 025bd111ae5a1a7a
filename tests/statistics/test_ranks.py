"""Laws of rank correlation against scipy's, and that no other module has one of its own."""

import ast
import math
import re
from itertools import combinations, permutations, product
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr, t

from harmonia.statistics import ranks
from harmonia.statistics.inference import interval, resamples, strata
from harmonia.statistics.ranks import (
    image_correlations,
    mean_over_cells,
    orders,
    permutation_p,
    rank_correlation,
    spearman,
)

NAN = np.nan


def test_rho_is_scipys_of_each_line_with_ties_and_undefined_where_a_line_does_not_vary():
    x, y = np.random.default_rng(0).integers(0, 5, (2, 6, 40)).astype(float)
    expected = [spearmanr(*pair).statistic for pair in zip(x, y, strict=True)]
    assert spearman(x, y) == pytest.approx(expected)
    assert spearman(x, y[:1]) == pytest.approx([spearmanr(line, y[0]).statistic for line in x])
    assert spearman(x, x).tolist() == [1] * 6
    x[1], y[2, 3] = 7, np.nan
    assert np.isnan(spearman(x, y)).tolist() == [False, True, True, False, False, False]


def test_equal_images_have_the_same_rho_bit_for_bit_however_large():
    """224 x 224 ranks and their sums are exact in float64, so that no order of summing changes a bit."""
    x, y = np.random.default_rng(0).integers(0, 50, (2, 1, 224 * 224)).astype(float)
    order = np.random.default_rng(1).permutation(x.shape[1])
    assert spearman(x, y)[0] == spearman(x[:, order], y[:, order])[0]


def test_no_other_module_ranks_or_correlates_by_itself():
    room = Path(ranks.__file__).parents[1]
    names = {"rankdata", "spearmanr", "kendalltau", "permutation_test"}
    second = []
    for path in room.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path == Path(ranks.__file__) or not re.search(r"rank|corr|spearman|kendall|permutation|jackknife", text):
            continue
        for node in ast.walk(ast.parse(text)):
            imported = {alias.name for alias in node.names} if isinstance(node, ast.Import | ast.ImportFrom) else set()
            called = {node.attr} if isinstance(node, ast.Attribute) else set()
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in {"rank", "corr", "corrwith"}:
                called = {"spearmanr"}  # pandas' own
            defined = node.name if isinstance(node, ast.FunctionDef) else ""
            if (imported | called) & names or any(word in defined for word in ("spearman", "midrank", "jackknife")):
                second.append((path.relative_to(room).as_posix(), node.lineno))
    assert second == [], "use harmonia.statistics.ranks"


def test_units_change_places_within_their_group_in_all_orders_or_in_drawn_ones(monkeypatch):
    monkeypatch.setattr(ranks, "DRAWN_ORDERS", 500)
    groups = np.array([0, 1, 0, 1, 1])
    every = orders(groups, most=12)
    assert every[0].tolist() == [0, 1, 2, 3, 4]
    assert len(np.unique(every, axis=0)) == len(every) == 12
    drawn = orders(groups, most=11)
    assert (len(drawn), drawn[0].tolist()) == (501, [0, 1, 2, 3, 4])
    assert (np.unique(drawn, axis=0) == np.unique(every, axis=0)).all()
    assert (groups[drawn] == groups).all()


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


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
    correlation = rank_correlation(x, y)
    assert correlation.rho == pytest.approx(spearmanr([x[pair] for pair in y], list(y.values())).statistic)
    assert (correlation.pairs, correlation.models) == (30, 6)
    assert rank_correlation(x, {pair: -(value**3) for pair, value in x.items()}).rho == pytest.approx(-1)


def test_the_interval_is_a_jackknife_over_models():
    models = "abcde"
    x, y = noisy(models)
    left_out = []
    for name in models:
        kept = [pair for pair in y if name not in pair]
        left_out.append(spearmanr([x[pair] for pair in kept], [y[pair] for pair in kept]).statistic)
    half = math.sqrt(4 / 5 * 5 * np.var(left_out)) * t.ppf(0.975, 4)
    correlation = rank_correlation(x, y)
    assert correlation.low == pytest.approx(max(-1, correlation.rho - half))
    assert correlation.high == pytest.approx(min(1, correlation.rho + half))


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
    correlation = rank_correlation(x, y)
    assert correlation.rho > 0.5
    assert correlation.low < 0
    assert correlation.p >= 0.25  # six of the 24 orders leave the odd one where it is


@pytest.mark.parametrize("models", ["abcde", "abcdefghi"])
@pytest.mark.slow
def test_p_of_models_that_have_nothing_to_do_with_it_is_spread_evenly(models, monkeypatch):
    monkeypatch.setattr(ranks, "DRAWN_ORDERS", 99)
    ps = []
    for k in range(100):
        x, _ = noisy(models, seed=2 * k)
        _, y = noisy(models, seed=2 * k + 1)
        ps.append(rank_correlation(x, y).p)
    assert np.mean(np.array(ps) < 0.1) < 0.2
    assert 0.4 < np.mean(ps) < 0.6


def test_pairs_without_a_number_are_left_out_and_too_few_have_no_correlation():
    x, y = noisy("abcd")
    correlation = rank_correlation(x, y | {("a", "b"): math.nan})
    assert correlation.pairs == 11
    assert math.isfinite(correlation.p)
    unknown = rank_correlation(x | {("a", "b"): math.nan, ("b", "a"): math.nan}, y)
    assert unknown.pairs == 10
    assert math.isnan(unknown.p)  # who is given that likeness?
    nothing = rank_correlation({("a", "b"): 1, ("a", "c"): 2}, {("a", "b"): 1, ("a", "c"): 2})
    assert nothing.pairs == 2
    assert all(math.isnan(number) for number in (nothing.rho, nothing.low, nothing.high, nothing.p))
    assert math.isnan(rank_correlation(dict.fromkeys(x, 1.0), y).rho)


@pytest.mark.parametrize(("methods", "draws"), [(5, 1000), (7, 400), (9, 400)])
@pytest.mark.slow
def test_of_independent_methods_p_is_below_a_twentieth_at_most_once_in_twenty(methods, draws):
    generator = np.random.default_rng(methods)

    def drawn():
        """Of two sources, on which one method is nearly the same."""
        return generator.normal(size=(methods, 1)) + 0.2 * generator.normal(size=(methods, 2))

    chances = np.array([permutation_p(drawn(), drawn()) for _ in range(draws)])
    assert (chances <= 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)
    assert (chances <= 0.05).mean() > 0.02  # it does reject


def test_p_is_that_of_whole_methods_in_every_order_written_out():
    metric, above = np.random.default_rng(3).normal(size=(2, 5, 2))
    rhos = [
        np.mean([spearmanr(metric[list(order), source], above[:, source])[0] for source in range(2)])
        for order in permutations(range(5))
    ]
    assert permutation_p(metric, above) == pytest.approx(np.mean(np.abs(rhos) >= abs(rhos[0]) - 1e-9))


@pytest.mark.slow
def test_a_method_changes_places_only_with_those_that_ran_on_the_same_sources():
    numbers = np.stack([np.arange(10.0)] * 2, 1)
    numbers[5:, 1] = np.nan
    rhos = []
    for first in permutations(range(5)):
        for second in permutations(range(5, 10)):
            both = numbers[[*first, *second]]
            rhos.append(np.corrcoef(both[:, 0], numbers[:, 0])[0, 1] + np.corrcoef(both[:5, 1], numbers[:5, 1])[0, 1])
    assert permutation_p(numbers, numbers) == np.mean(np.abs(rhos) >= abs(rhos[0]) - 1e-9) == 1 / 14400


def test_a_metric_that_is_the_same_of_every_method_has_no_p():
    above = np.arange(5.0)[:, None]
    assert np.isnan(permutation_p(np.ones((5, 1)), above))


def planted(images=60, cells=2, metrics=4, seed=0):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(images, cells, metrics)) + generator.normal(size=(images, 1, 1))
    values[:, :, 3] = values[:, :, 3].round()  # ties
    values[generator.random((images, cells)) < 0.1] = NAN  # flagged maps
    values[: images // 3, 0, 1] = NAN  # a metric that some images lack
    return values


def test_over_images_rho_is_spearmans_of_the_images_that_have_both():
    values = planted()
    correlations = image_correlations(np.array(["dog"] * 60), values)
    for cell in range(2):
        for first, second in combinations(range(4), 2):
            expected = spearmanr(values[:, cell, first], values[:, cell, second], nan_policy="omit")[0]
            assert correlations[0, cell, first, second] == pytest.approx(expected)
            assert correlations[0, cell, second, first] == pytest.approx(expected)


def test_a_resample_of_images_is_ranked_anew(monkeypatch):
    values, labels = planted(), np.array(["dog"] * 30 + ["owl"] * 30)
    monkeypatch.setattr("harmonia.statistics.ranks.IMAGE_RESAMPLES", 30)
    correlations = image_correlations(labels, values)
    counts = np.concatenate(list(resamples(strata(labels), 30)))
    for line in (1, 17, 30):
        again = np.repeat(values, counts[line].astype(int), axis=0)
        for cell, (first, second) in [(0, (0, 1)), (0, (1, 3)), (1, (2, 3))]:
            expected = spearmanr(again[:, cell, first], again[:, cell, second], nan_policy="omit")[0]
            assert correlations[line, cell, first, second] == pytest.approx(expected)


def test_nine_images_are_too_few_and_a_constant_score_ranks_nothing():
    values = planted(9, 1, 4)
    values[:] = np.random.default_rng(0).normal(size=values.shape)
    assert np.isnan(image_correlations(np.array(["dog"] * 9), values)).all()
    values = np.random.default_rng(0).normal(size=(20, 1, 2))
    values[:, :, 1] = 7
    assert np.isnan(image_correlations(np.array(["dog"] * 20), values)).all()


def test_the_mean_over_cells_leaves_out_undefined_ones_and_resamples_images_for_all_cells_at_once():
    rhos = np.array([[0.2, NAN, 0.4], [0.1, NAN, 0.1], [0.5, NAN, 0.3]])
    value, low, high, cells = mean_over_cells(rhos)
    assert (value, cells) == (pytest.approx(0.3), 2)
    assert [value, low, high] == pytest.approx(interval(np.array([0.3, 0.1, 0.4])).tolist())
    assert mean_over_cells(rhos[:, 1:2])[3] == 0
