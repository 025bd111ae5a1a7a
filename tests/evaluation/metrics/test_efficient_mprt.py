import math

import numpy as np
import pytest
import torch
from metric_batch import batch, by, classifier, pixels
from torch import nn

from harmonia.attribution.gradient import Gradient
from harmonia.attribution.nulls import Edges
from harmonia.errors import InputError
from harmonia.evaluation.metrics.mprt import EfficientMprt, histogram_entropy

SIZE = 20


@pytest.fixture
def model():
    torch.manual_seed(0)
    return classifier(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 18 * 18, 4)), SIZE)


def when(model, trained, random):
    """A method whose map is one picture on the trained network and another on the random one."""
    weight = model.network[0].weight.clone()

    def explain(model, images, rows):
        picture = trained if torch.equal(model.network[0].weight, weight) else random
        return picture.expand(len(rows), *picture.shape)

    return explain


def test_the_rise_from_two_levels_to_a_hundred_has_a_closed_form(model):
    two = torch.zeros(SIZE, SIZE)
    two[: SIZE // 2] = 1
    ramp = torch.arange(SIZE**2).float().view(SIZE, SIZE)  # four pixels in each of 100 bins
    found = EfficientMprt()(batch(model, when(model, two, ramp), pixels(3, SIZE))).scores
    assert found["efficient_mprt"].values.tolist() == pytest.approx([math.log(100) / math.log(2) - 1] * 3)
    fallen = EfficientMprt()(batch(model, when(model, ramp, two), pixels(1, SIZE))).scores
    assert fallen["efficient_mprt"].values.item() == pytest.approx(math.log(2) / math.log(100) - 1)


def test_a_map_that_does_not_change_does_not_rise_and_is_flagged(model):
    scores = EfficientMprt()(batch(model, by(Edges()), pixels(3, SIZE))).scores
    assert scores["efficient_mprt"].values.tolist() == [0.0] * 3
    assert scores["efficient_mprt_looks_at_model"].values.tolist() == [0.0] * 3
    scores = EfficientMprt()(batch(model, by(Gradient()), pixels(3, SIZE))).scores
    assert scores["efficient_mprt_looks_at_model"].values.tolist() == [1.0] * 3


def test_a_constant_map_of_the_random_network_is_undefined(model):
    ramp = torch.arange(SIZE**2).float().view(SIZE, SIZE)
    score = EfficientMprt()(batch(model, when(model, ramp, torch.ones(SIZE, SIZE)), pixels(2, SIZE))).scores[
        "efficient_mprt"
    ]
    assert score.values.isnan().all()
    assert score.reasons == ("constant map of the random network",) * 2


def test_every_image_is_explained_twice_and_the_model_is_what_it_was(model):
    rows, explain = [], by(Gradient())

    def counting(model, images, chosen):
        rows.extend(chosen.tolist())
        return explain(model, images, chosen)

    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    explained = batch(model, counting, pixels(8, SIZE))
    rows.clear()
    EfficientMprt()(explained)
    assert sorted(rows) == sorted(2 * list(range(8)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_entropy_is_that_of_the_histogram_written_out():
    maps = torch.randn(2, 30, 30, generator=torch.Generator().manual_seed(0))
    for map_, entropy in zip(maps.numpy(), histogram_entropy(maps, 100).tolist(), strict=True):
        place = np.minimum((100 * (map_ - map_.min()) / (map_.max() - map_.min())).astype(int), 99)
        shares = np.bincount(place.ravel()) / map_.size
        expected = -sum(share * math.log(share) for share in shares if share)
        assert entropy == pytest.approx(expected, abs=1e-3)


def test_entropy_equals_quantus():
    complexity = pytest.importorskip("quantus.functions.complexity_func", reason="quantus is not installed")
    maps = torch.randn(3, 30, 30, generator=torch.Generator().manual_seed(0))
    expected = [complexity.discrete_entropy(map_.numpy(), map_.numpy()) for map_ in maps]
    assert histogram_entropy(maps, 100).numpy() == pytest.approx(expected)


def test_a_histogram_of_one_bin_is_refused():
    with pytest.raises(InputError, match="bins must be at least 2, got 1"):
        EfficientMprt(bins=1)
