import math

import pytest
import torch
from metric_batch import batch, classifier, pixels
from torch import nn

from harmonia.evaluation.metrics.complexity import Complexity, map_entropy


def test_a_uniform_map_has_ln_n_one_cell_0_and_half_of_the_cells_ln_of_a_half():
    uniform, one_hot, half = torch.full((4, 6), -2.0), torch.zeros(4, 6), torch.zeros(4, 6)
    one_hot[1, 1], half[:2] = 5.0, -1.0
    expected = [math.log(24), 0.0, math.log(12)]
    assert map_entropy(torch.stack([uniform, one_hot, half])).tolist() == pytest.approx(expected)


def test_it_is_minus_sum_p_ln_p_of_the_shares():
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


def test_it_is_quantus():
    quantus = pytest.importorskip("quantus", reason="Quantus is not installed")
    maps = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    theirs = quantus.Complexity(disable_warnings=True).evaluate_batch(None, maps.abs().numpy())
    assert map_entropy(maps).tolist() == pytest.approx(theirs.tolist(), abs=1e-9)
