import pytest
import torch
from explained_batch import batch, classifier, pixels
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from harmonia.evaluation.metrics.sparseness import Sparseness, gini

WEIGHTS = st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=2, max_size=30).filter(any)


def literal(values):
    """Mean absolute difference of all pairs over twice the mean: the definition that the sorted sum comes from."""
    count, mean = len(values), sum(values) / len(values)
    return sum(abs(one - other) for one in values for other in values) / (2 * count**2 * mean)


def test_one_cell_of_n_has_1_less_1_over_n_and_a_uniform_map_0():
    one_hot = torch.zeros(1, 4, 5)
    one_hot[0, 2, 3] = -7.0
    assert gini(one_hot).item() == pytest.approx(1 - 1 / 20)
    assert gini(torch.full((1, 4, 5), -3.0)).item() == pytest.approx(0, abs=1e-12)


@given(WEIGHTS)
def test_it_is_the_mean_difference_of_all_pairs(values):
    found = gini(torch.tensor(values, dtype=torch.float64)[None, None]).item()
    assert found == pytest.approx(literal(values), abs=1e-9)


def test_scale_sign_and_place_change_nothing():
    map_ = torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    scattered = (-1e-9 * map_).flatten()[torch.randperm(36, generator=torch.Generator().manual_seed(1))]
    assert gini(scattered.view(1, 6, 6)).item() == pytest.approx(gini(map_).item())


def test_the_metric_spends_no_pass():
    model = classifier(nn.Identity(), 8)
    found = Sparseness()(batch(model, lambda model, images, rows: images.mean(1), pixels(3, 8)))
    assert found.passes.tolist() == [0, 0, 0]
    assert list(found.scores) == ["sparseness"]
