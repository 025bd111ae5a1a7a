import re
from pathlib import Path

import numpy as np
import torch

import harmonia
from harmonia.evaluation.mosaics.aggatt import bins, mean_maps, medians, order, positive


def test_planted_scores_of_a_hundred_maps_fall_into_bins_of_2_3_45_45_3_2():
    scores = np.random.default_rng(0).permutation(np.arange(100) / 99)
    ranked = order(scores, np.zeros(100))
    assert (np.diff(scores[ranked]) < 0).all()
    assert [len(ranks) for ranks in bins(100)] == [2, 3, 45, 45, 3, 2]
    assert [ranks for ranks in bins(100)[:2]] == [range(2), range(2, 5)]
    maps = torch.from_numpy(scores)[:, None, None].expand(-1, 4, 4)
    means = mean_maps(ranked, lambda items: maps[items], 8)
    expected = [np.sort(scores)[::-1][ranks.start : ranks.stop].mean() for ranks in bins(100)]
    np.testing.assert_allclose(means, np.broadcast_to(np.array(expected)[:, None, None], (6, 8, 8)), rtol=1e-6)


def test_ties_go_by_mass():
    assert order(np.array([0.5, 1, 0.5, 1]), np.array([1.0, 2, 3, 9])).tolist() == [3, 1, 2, 0]


def test_examples_are_the_median_of_their_bin_and_an_empty_bin_has_none():
    assert medians(100) == [0, 3, 27, 72, 96, 98]
    assert [len(ranks) for ranks in bins(10)] == [0, 0, 5, 5, 0, 0]
    assert medians(10)[0] == -1
    means = mean_maps(np.arange(10), lambda items: torch.ones(len(items), 2, 2), 4)
    assert np.isnan(means[0]).all()
    assert (means[2] == 1).all()


def test_maps_are_enlarged_before_they_are_clamped():
    map_ = torch.tensor([[[-1.0, 1.0], [-1.0, 1.0]]])
    found = positive(map_, 4)[0, 0]
    assert found.tolist() == [0, 0, 0.5, 1]  # -1, -0.5, 0.5, 1 clamped
    assert positive(torch.arange(4.0).repeat(1, 4, 1), 2)[0, 0].tolist() == [0.5, 2.5]


def test_maps_finer_than_the_figure_are_clamped_before_they_are_averaged():
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(2, 2)[None]
    assert positive(board, 2).tolist() == [[[0.5, 0.5], [0.5, 0.5]]]


def test_the_bins_are_written_in_one_place():
    root = Path(harmonia.__path__[0])
    texts = {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in root.rglob("*.py")}
    assert [place for place, text in texts.items() if re.search(r"50.{1,12}95.{1,12}98", text)] == [
        "results/localisation.py"
    ]
