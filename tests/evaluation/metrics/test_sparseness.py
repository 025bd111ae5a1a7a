import pytest
import torch
from metric_batch import batch, classifier, pixels
from torch import nn

from harmonia.evaluation.metrics.complexity import Sparseness, gini


def literal(values):
    """Mean absolute difference of all pairs over twice the mean: the definition that the sorted sum comes from."""
    count, mean = len(values), sum(values) / len(values)
    return sum(abs(one - other) for one in values for other in values) / (2 * count**2 * mean)


def test_one_cell_of_n_has_1_less_1_over_n_and_a_uniform_map_0():
    one_hot = torch.zeros(1, 4, 5)
    one_hot[0, 2, 3] = -7.0
    assert gini(one_hot).item() == pytest.approx(1 - 1 / 20)
    assert gini(torch.full((1, 4, 5), -3.0)).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("count", [2, 3, 16, 31])
def test_it_is_the_mean_difference_of_all_pairs(count):
    values = torch.randn(count, generator=torch.Generator().manual_seed(count)).double().exp()
    values[: count // 3] = values[0]  # some are equal
    assert gini(values[None, None]).item() == pytest.approx(literal(values.tolist()), abs=1e-9)


def test_scale_sign_and_place_change_nothing():
    map_ = torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    scattered = (-1e-9 * map_).flatten()[torch.randperm(36, generator=torch.Generator().manual_seed(1))]
    assert gini(scattered.view(1, 6, 6)).item() == pytest.approx(gini(map_).item())


def test_the_metric_spends_no_pass():
    model = classifier(nn.Identity(), 8)
    scores = Sparseness()(batch(model, lambda model, images, rows: images.mean(1), pixels(3, 8)))
    assert scores.passes == 0
    assert list(scores.scores) == ["sparseness"]


def test_it_is_quantus_but_for_what_is_added_to_every_cell_there():
    """Quantus 0.6.0 adds 1e-7 to every cell, so that its value of a map of small numbers is nearly 0."""
    quantus = pytest.importorskip("quantus", reason="Quantus is not installed")
    maps = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(0)).double().abs()
    theirs = quantus.Sparseness(disable_warnings=True)
    assert gini(maps).tolist() == pytest.approx(theirs.evaluate_batch(None, maps.numpy().copy()).tolist(), abs=1e-6)
    small = 1e-9 * maps
    assert (theirs.evaluate_batch(None, small.numpy().copy()) < 0.02).all()
    torch.testing.assert_close(gini(small), gini(maps))
