import math

import pytest
import torch
from metric_batch import batch, classifier, pixels
from torch import nn

from harmonia.evaluation.metrics.complexity import Complexity, Sparseness, gini, map_entropy


def test_a_uniform_map_has_ln_n_one_cell_0_and_half_of_the_cells_ln_of_a_half():
    uniform, one_hot, half = torch.full((4, 6), -2.0), torch.zeros(4, 6), torch.zeros(4, 6)
    one_hot[1, 1], half[:2] = 5.0, -1.0
    expected = [math.log(24), 0.0, math.log(12)]
    assert map_entropy(torch.stack([uniform, one_hot, half])).tolist() == pytest.approx(expected)


def test_complexity_is_minus_sum_p_ln_p_of_the_shares():
    values = [0.5, -1.5, 0.0, 3.0]
    shares = [abs(value) / 5 for value in values if value]
    expected = -sum(share * math.log(share) for share in shares)
    assert map_entropy(torch.tensor(values).view(1, 2, 2)).item() == pytest.approx(expected)
    assert map_entropy(1e-20 * torch.tensor(values).view(1, 2, 2)).item() == pytest.approx(expected)


def test_relative_complexity_does_not_grow_with_the_resolution():
    model = classifier(nn.Identity(), 8)
    for cells in (2, 8):
        maps = torch.zeros(1, cells, cells)
        maps[:, : cells // 2] = 1
        scores = Complexity()(batch(model, lambda model, images, rows, maps=maps: maps, pixels(1, 8))).scores
        assert scores["complexity"].values.item() == pytest.approx(math.log(cells**2 / 2))
        assert scores["complexity_relative"].values.item() == pytest.approx(1 - math.log(2) / math.log(cells**2))


def test_a_map_of_a_single_cell_has_no_relative_complexity():
    model = classifier(nn.Identity(), 8)
    scores = Complexity()(batch(model, lambda model, images, rows: torch.ones(2, 1, 1), pixels(2, 8))).scores
    assert scores["complexity"].values.tolist() == [0, 0]
    assert scores["complexity_relative"].values.isnan().all()
    assert scores["complexity_relative"].reasons == ("a single cell",) * 2


def test_complexity_is_quantus():
    quantus = pytest.importorskip("quantus", reason="Quantus is not installed")
    maps = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    theirs = quantus.Complexity(disable_warnings=True).evaluate_batch(None, maps.abs().numpy())
    assert map_entropy(maps).tolist() == pytest.approx(theirs.tolist(), abs=1e-9)


def literal_gini(values):
    """Mean absolute difference of all pairs over twice the mean: the definition that the sorted sum comes from."""
    count, mean = len(values), sum(values) / len(values)
    return sum(abs(one - other) for one in values for other in values) / (2 * count**2 * mean)


def test_one_cell_of_n_has_sparseness_1_less_1_over_n_and_a_uniform_map_0():
    one_hot = torch.zeros(1, 4, 5)
    one_hot[0, 2, 3] = -7.0
    assert gini(one_hot).item() == pytest.approx(1 - 1 / 20)
    assert gini(torch.full((1, 4, 5), -3.0)).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("count", [2, 3, 16, 31])
def test_sparseness_is_the_mean_difference_of_all_pairs(count):
    values = torch.randn(count, generator=torch.Generator().manual_seed(count)).double().exp()
    values[: count // 3] = values[0]  # some are equal
    assert gini(values[None, None]).item() == pytest.approx(literal_gini(values.tolist()), abs=1e-9)


def test_scale_sign_and_place_change_no_sparseness():
    map_ = torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    scattered = (-1e-9 * map_).flatten()[torch.randperm(36, generator=torch.Generator().manual_seed(1))]
    assert gini(scattered.view(1, 6, 6)).item() == pytest.approx(gini(map_).item())


def test_sparseness_spends_no_pass():
    model = classifier(nn.Identity(), 8)
    scores = Sparseness()(batch(model, lambda model, images, rows: images.mean(1), pixels(3, 8)))
    assert scores.passes == 0
    assert list(scores.scores) == ["sparseness"]


def test_sparseness_is_quantus_but_for_what_is_added_to_every_cell_there():
    """Quantus 0.6.0 adds 1e-7 to every cell, so that its value of a map of small numbers is nearly 0."""
    quantus = pytest.importorskip("quantus", reason="Quantus is not installed")
    maps = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(0)).double().abs()
    theirs = quantus.Sparseness(disable_warnings=True)
    assert gini(maps).tolist() == pytest.approx(theirs.evaluate_batch(None, maps.numpy().copy()).tolist(), abs=1e-6)
    small = 1e-9 * maps
    assert (theirs.evaluate_batch(None, small.numpy().copy()) < 0.02).all()
    torch.testing.assert_close(gini(small), gini(maps))
