import itertools
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap, norm
from sklearn.metrics import f1_score
from statsmodels.stats.contingency_tables import mcnemar as oracle_mcnemar
from statsmodels.stats.multitest import multipletests

from harmonia.statistics import inference
from harmonia.statistics.inference import (
    exact_mcnemar,
    holm,
    interval,
    ratio,
    resampled_f1,
    resampled_sums,
    resamples,
    strata,
)

CLASSES = np.repeat([0, 1, 2], [30, 50, 20])


def drawn(number, of=CLASSES):
    return np.concatenate(list(resamples(of, number)))


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(inference, "NUM_RESAMPLES", 30)


def test_the_first_line_is_the_images_themselves():
    assert (drawn(3)[0] == 1).all()


def test_every_resample_draws_each_class_at_its_own_size():
    counts = drawn(200)
    for code in range(3):
        assert (counts[:, code == CLASSES].sum(1) == (code == CLASSES).sum()).all()


def test_classes_need_not_stand_in_order():
    mixed = np.random.default_rng(0).permutation(CLASSES)
    counts = drawn(200, mixed)
    assert (counts[:, mixed == 1].sum(1) == 50).all()
    assert len(np.unique(counts[1:], axis=0)) == 200


def test_an_image_is_drawn_as_a_multinomial_has_it():
    counts = drawn(20_000)[1:]
    assert counts.mean(0) == pytest.approx(1, abs=0.05)
    variance = np.select([code == CLASSES for code in range(3)], [1 - 1 / 30, 1 - 1 / 50, 1 - 1 / 20])
    assert counts.var(0) == pytest.approx(variance, rel=0.1)
    first, second = counts[:, 0], counts[:, 1]
    assert np.cov(first, second)[0, 1] == pytest.approx(-1 / 30, abs=0.03)


def test_every_pass_has_the_same_resamples_and_blocks_do_not_matter(monkeypatch):
    whole = drawn(50)
    monkeypatch.setattr("harmonia.statistics.inference._COUNTS_AT_ONCE", 700)
    assert (drawn(50) == whole).all()


def test_sums_are_those_of_a_slow_literal_resampling():
    columns = np.random.default_rng(0).random((100, 5)) < 0.4
    sums = resampled_sums(columns, CLASSES)
    for line, counts in zip(sums, drawn(30), strict=True):
        images = [image for image, count in enumerate(counts) for _ in range(int(count))]
        assert line.tolist() == [sum(columns[image, column] for image in images) for column in range(5)]


def test_equal_columns_have_equal_draws_so_that_their_difference_is_certain():
    column = np.random.default_rng(0).random((100, 1)) < 0.4
    sums = resampled_sums(np.hstack([column, ~column, column]), CLASSES)
    assert (sums[:, 0] == sums[:, 2]).all()
    assert (sums[:, 0] + sums[:, 1] == 100).all()


def test_columns_must_be_boolean():
    with pytest.raises(ValueError, match="must be boolean"):
        resampled_sums(np.ones((4, 1)), np.zeros(4, int))


@pytest.mark.slow
def test_the_interval_of_an_accuracy_is_the_stratified_binomials(monkeypatch):
    monkeypatch.setattr(inference, "NUM_RESAMPLES", 10_000)
    # closed form: variance of a stratified mean, sum of n_h p_h (1 - p_h) over N squared
    right = np.zeros((4000, 1), bool)
    right[np.arange(4000) % 400 < np.repeat(np.arange(10) * 40, 400)] = True
    classes = np.repeat(np.arange(10), 400)
    p = np.arange(10) / 10
    deviation = np.sqrt((400 * p * (1 - p)).sum()) / 4000
    value, low, high = interval(resampled_sums(right, classes) / 4000)[0]
    assert value == pytest.approx(p.mean())
    assert (low, high) == pytest.approx(
        (value - norm.ppf(0.975) * deviation, value + norm.ppf(0.975) * deviation), abs=6e-4
    )


def test_a_paired_ratio_has_the_interval_that_scipy_gives_it(monkeypatch):
    monkeypatch.setattr(inference, "NUM_RESAMPLES", 10_000)
    generator = np.random.default_rng(1)
    image = generator.random(300) < 0.8
    feature = image & (generator.random(300) < 0.6)
    sums = resampled_sums(np.stack([feature, image], 1), np.zeros(300, int))
    value, low, high = interval(ratio(sums[:, :1], sums[:, 1:]))[0]
    ours = value, low, high
    theirs = bootstrap(
        (feature, image),
        lambda part, whole, axis: part.mean(axis) / whole.mean(axis),
        paired=True, vectorized=True, method="percentile", n_resamples=10_000, rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    assert ours == pytest.approx((feature.sum() / image.sum(), theirs.low, theirs.high), abs=0.004)


def test_an_undefined_resample_leaves_no_interval_and_an_undefined_value_nothing():
    draws = np.array([[0.5, np.nan, 0.5], [0.4, 0.1, np.nan], [0.6, 0.2, 0.5]])
    intervals = interval(draws)
    assert intervals[0] == pytest.approx([0.5, 0.405, 0.595])
    assert np.isnan(intervals[1]).all()
    assert intervals[2, 0] == 0.5
    assert np.isnan(intervals[2, 1:]).all()
    assert np.isnan(interval(draws[:1])[0, 1:]).all()


def test_zero_over_zero_is_nan():
    assert np.isnan(ratio(np.array([0.0, 1.0]), np.array([0.0, 0.0]))).all()
    assert ratio(np.array([0.0]), np.array([2.0])) == 0


@pytest.mark.parametrize(
    ("labels", "sizes"),
    [
        ("aabbb", [2, 3]),
        ("aabcd", [2, 3]),  # b, c, d never vary alone
        ("aabbbc", [3, 3]),  # c joins a, the smallest other class
        ("abc", [3]),
        ("a", [1]),
    ],
)
def test_a_class_of_one_image_is_no_stratum_of_its_own(labels, sizes):
    codes = strata(list(labels))
    assert sorted(np.bincount(codes)) == sizes
    assert codes.min() == 0
    assert len(codes) == len(labels)


def test_f1_is_sklearns_on_every_resample():
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 4, 80)
    predicted = np.where(generator.random((80, 2)) < 0.6, labels[:, None], generator.integers(0, 9, (80, 2)))
    draws = resampled_f1(labels, predicted, labels)
    for line, counts in zip(draws, drawn(30, labels), strict=True):
        images = np.repeat(np.arange(80), counts.astype(int))
        for cell, average in itertools.product(range(2), ("weighted", "macro")):
            expected = f1_score(
                labels[images], predicted[images, cell], labels=np.unique(labels[images]), average=average
            )
            assert line[cell, int(average == "macro")] == pytest.approx(expected)


def test_equally_averaged_f1_has_no_interval_where_classes_of_one_image_come_and_go():
    labels = np.array([0, 1, 2, 3, 3])  # four classes, three of them in one stratum
    predicted = np.array([[0, 1, 1, 3, 3]]).T
    draws = resampled_f1(labels, predicted, strata(labels))
    assert draws[0, 0, 1] == pytest.approx((1 + 2 / 3 + 0 + 1) / 4)
    complete = [len(np.unique(labels[counts > 0])) == 4 for counts in drawn(30, strata(labels))]
    assert np.isnan(draws[:, 0, 1]).tolist() == [not every for every in complete]
    assert not np.isnan(draws[:, 0, 0]).any()
    assert np.isnan(interval(draws)[0, 1, 1:]).all()


def test_f1_leaves_out_what_a_cell_lacks_and_is_undefined_without_anything():
    labels = np.array([0, 0, 1, 1, -1])
    predicted = np.array([[0, 0, 1, -1, 0], [-1] * 5]).T
    draws = resampled_f1(labels, predicted, np.zeros(5, int))
    assert draws[0, 0].tolist() == [1, 1]
    assert np.isnan(draws[:, 1]).all()


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_statsmodels(pairs):
    first, second = np.array(pairs, dtype=float).T
    table = [[((first == a) & (second == b)).sum() for b in (1, 0)] for a in (1, 0)]
    only_first, only_second, p = exact_mcnemar(first, second)
    assert (only_first, only_second) == (table[0][1], table[1][0])
    assert p == pytest.approx(oracle_mcnemar(table, exact=True).pvalue)


def test_mcnemar_in_closed_form():
    # 5 discordant, all one way: 2 / 2^5
    first, second = np.array([1.0] * 5 + [1, 0]), np.array([0.0] * 5 + [1, 0])
    assert exact_mcnemar(first, second) == (5, 0, pytest.approx(1 / 16))
    assert exact_mcnemar(first, first) == (0, 0, 1)


def test_mcnemar_needs_images_that_both_have():
    first, second = np.array([1.0, 1, np.nan]), np.array([0.0, np.nan, 0])
    assert exact_mcnemar(first, second) == (1, 0, 1)
    assert np.isnan(exact_mcnemar(first[1:], second[1:])[2])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_statsmodels(p_values):
    with patch("gc.collect"):  # statsmodels asks for it each time, and it looks at what all tests have left
        assert np.array_equal(holm(p_values), multipletests(p_values, method="holm")[1])


def test_an_undefined_p_is_no_member_of_the_family():
    assert holm([0.01, np.nan, 0.04]) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)
    assert np.isnan(holm([np.nan])).all()
    assert len(holm([])) == 0
