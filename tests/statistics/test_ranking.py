import numpy as np
import pandas as pd
import pytest
from planted_jobs import scored_maps

from harmonia.statistics.inference import resamples, strata
from harmonia.statistics.ranking import (
    agreement_over_images,
    agreement_over_methods,
    comparable,
    rank_spread,
    ranking,
    resampled_means,
)

NAN = np.nan


def constant(*means, images=20):
    """Values (images, cells, metrics) of these means (cells, metrics), the same for every image."""
    return np.tile(np.array(means, float), (images, 1, 1))


def test_rank_one_is_the_best_in_the_metrics_own_sense():
    scores = scored_maps(
        constant((0.1, 0.1, 5), (0.2, 0.2, 6), (0.3, 0.3, 7)), {"up": "higher", "down": "lower", "size": ""}
    )
    lines = ranking(scores).pivot(index="method", columns="metric", values="rank")
    assert lines["up"].tolist() == [3, 2, 1]
    assert lines["down"].tolist() == [1, 2, 3]
    assert lines["size"].isna().all()  # it describes


def test_equal_means_share_a_rank():
    lines = ranking(scored_maps(constant((1,), (1,), (0,)), {"up": "higher"}))
    assert lines["rank"].tolist() == [1.5, 1.5, 3]


@pytest.mark.parametrize("images", [20, 139, 216])
def test_methods_with_the_same_scores_share_a_rank_and_correlate_with_nothing(images):
    """A product of matrices rounds equal columns differently; a rank must not follow."""
    generator = np.random.default_rng(images)
    same = np.repeat(generator.integers(0, 50176, (images, 1)) / 50176, 7, axis=1)
    scores = scored_maps(np.stack([same, generator.random((images, 7))], 2), {"same": "higher", "other": "higher"})
    lines = ranking(scores)
    of_same = lines[lines["metric"] == "same"]
    assert (of_same[["rank", "rank_low", "rank_high"]] == 4).all(axis=None)
    assert agreement_over_methods(scores)["rho"].isna().all()


def test_ranks_are_of_the_images_that_all_methods_have():
    """The second is better on every image; the third has the easy ones alone, on which it is the worst."""
    hard = np.arange(40) < 20
    first = np.where(hard, 0.1, 0.9)
    values = np.stack([first, first + 0.01, np.where(hard, NAN, 0.85)], 1)[:, :, None]
    lines = ranking(scored_maps(values, {"up": "higher"})).set_index("method")
    assert lines["value"].idxmax() == lines.index[2]
    assert lines["rank"].tolist() == [2, 1, 3]
    assert lines["rank_images"].tolist() == [20] * 3
    assert lines["images"].tolist() == [40, 40, 20]


def test_a_method_without_any_score_has_no_say_in_which_images_rank():
    values = np.stack([np.ones(10), np.zeros(10), np.full(10, NAN)], 1)[:, :, None]
    scores = scored_maps(values, {"up": "higher"})
    assert (comparable(scores).values[:, :2] == values[:, :2]).all()
    assert ranking(scores)["rank"].tolist() == [1, 2]


def test_sources_are_ranked_apart():
    cells = [("lite0", "gc"), ("lite0", "ss"), ("lite2", "gc"), ("lite2", "ss")]
    lines = ranking(scored_maps(constant((1,), (2,), (9,), (8,)), {"up": "higher"}, cells))
    assert lines["rank"].tolist() == [2, 1, 1, 2]
    assert lines["methods"].tolist() == [2] * 4


def test_a_method_alone_has_no_rank():
    assert ranking(scored_maps(constant((1,)), {"up": "higher"}))["rank"].isna().all()


def test_a_mean_is_over_the_images_that_have_the_score_and_undefined_is_not_zero():
    values = constant((1.0,), (0.5,))
    values[:15, 0] = NAN
    scores = scored_maps(values, {"up": "higher"})
    scores = type(scores)(
        **{
            **vars(scores),
            "reasons": pd.DataFrame([(0, "up", "zero", 15)], columns=["cell", "metric", "reason", "images"]),
        }
    )
    line = ranking(scores).iloc[0]
    assert (line["value"], line["images"], line["undefined"], line["rank"]) == (1.0, 5, 15, 1.0)


def test_intervals_are_those_of_the_paired_bootstrap_written_out(monkeypatch):
    values = np.random.default_rng(0).normal(size=(12, 2, 1))
    labels = ["dog"] * 6 + ["owl"] * 6
    monkeypatch.setattr("harmonia.statistics.ranking.NUM_RESAMPLES", 200)
    draws = resampled_means(scored_maps(values, {"up": "higher"}, labels=labels))
    counts = np.concatenate(list(resamples(strata(labels), 200)))
    for cell in range(2):
        expected = [np.repeat(values[:, cell, 0], line.astype(int)).mean() for line in counts]
        assert draws[:, cell, 0] == pytest.approx(expected)


def test_ranks_that_no_resample_changes_have_an_interval_without_width_and_close_ones_do_not():
    generator = np.random.default_rng(0)
    values = generator.normal(size=(40, 3, 1)) + np.array([0, 0.02, 9])[None, :, None]
    lines = ranking(scored_maps(values, {"up": "higher"}))
    assert lines[["rank_low", "rank_high"]].to_numpy().tolist() == [[2, 3], [2, 3], [1, 1]]


def test_the_spread_of_ranks_names_the_metrics_that_disagree():
    scores = scored_maps(constant((3, 1, 2), (2, 2, 1), (1, 3, 3)), dict.fromkeys("abc", "higher"))
    spread = rank_spread(ranking(scores)).set_index("method")
    line = spread.loc["m0", ["best", "worst", "spread", "best_by", "worst_by"]]
    assert line.tolist() == [0, 1, 1, "a", "b"]
    assert spread["metrics"].tolist() == [3] * 3


def test_places_are_compared_where_metrics_ranked_different_numbers_of_methods():
    values = constant(*[(n, n) for n in range(7)])
    values[:, 1:6, 1] = NAN  # b ranks the first and the last alone
    spread = rank_spread(ranking(scored_maps(values, {"a": "higher", "b": "higher"}))).set_index("method")
    # last of seven and last of two is no disagreement
    assert spread.loc["m0", ["best", "worst", "spread", "best_by"]].tolist() == [1, 1, 0, "a, b"]
    assert spread.loc["m6", ["best", "worst", "spread"]].tolist() == [0, 0, 0]
    assert spread.loc["m4", "best"] == pytest.approx(2 / 6)
    methods = spread[["fewest_methods", "most_methods"]]
    assert methods.loc[["m0", "m4"]].to_numpy().tolist() == [[2, 7], [7, 7]]


def test_over_methods_metrics_are_turned_so_that_more_is_better():
    up = np.arange(5.0)
    means = np.stack([up, -up, up**3], 1)
    agreements = agreement_over_methods(scored_maps(constant(*means), {"a": "higher", "b": "lower", "c": ""}))
    assert agreements["rho"].tolist() == pytest.approx([1, 1, 1])
    assert agreements[["first", "second"]].to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert agreements["methods"].tolist() == [5] * 3


def test_four_methods_are_too_few_for_a_correlation_over_methods():
    agreements = agreement_over_methods(
        scored_maps(constant(*[(n, n) for n in range(4)]), {"a": "higher", "b": "higher"})
    )
    assert agreements["rho"].isna().all()
    assert agreements["methods"].tolist() == [4]


def test_metrics_that_agree_image_by_image_are_seen_whatever_their_methods_means():
    generator = np.random.default_rng(0)
    one = generator.normal(size=(50, 6))
    values = np.stack([one + np.arange(6), -(one**3) + 100 * np.arange(6)], 2)
    scores = scored_maps(values, {"a": "higher", "b": "lower"})
    within = agreement_over_images(scores).iloc[0]
    assert (within["rho"], within["cells"]) == (pytest.approx(1), 6)
    assert agreement_over_methods(scores)["rho"].iloc[0] == pytest.approx(-1)
