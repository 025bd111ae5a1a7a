import numpy as np
import torch

from harmonia.attribution.nulls import Centre, Edges, Random


def test_random_maps_are_uniform_and_each_images_own(toy, noise, explain):
    model, pixels = toy("linear"), noise(20, 8)
    maps = explain(Random(cells=14), model, pixels, keys=np.arange(20)).maps
    assert maps.shape == (20, 14, 14)
    values = maps.flatten().sort().values
    assert (values - torch.linspace(0, 1, len(values))).abs().max() < 0.03  # Kolmogorov-Smirnov, p > 0.05 at 0.022
    assert maps.unique(dim=0).shape == maps.shape
    again = explain(Random(cells=14), model, pixels[5:7], keys=[5, 6], batch_size=1).maps
    assert torch.equal(again, maps[5:7])
    assert not torch.equal(explain(Random(cells=14, seed=1), model, pixels).maps, maps)


def test_the_centre_is_highest_and_corners_are_zero(toy, noise, explain):
    map_ = explain(Centre(cells=9), toy("linear"), noise(1, 8)).maps[0]
    assert map_[4, 4] == map_.max() == 1
    torch.testing.assert_close(map_[[0, 0, 8, 8], [0, 8, 0, 8]], torch.zeros(4))
    torch.testing.assert_close(map_, map_.flip(0))
    torch.testing.assert_close(map_, map_.T)


def test_edges_of_a_ramp_are_its_slope_and_of_a_plain_image_nothing(toy, explain):
    ramp = (torch.arange(8) * 20).view(1, 1, 8, 1).expand(2, 3, 8, 8).to(torch.uint8).clone()
    ramp[1] = 77
    maps = explain(Edges(), toy("linear"), ramp).maps
    torch.testing.assert_close(maps[0], torch.full((8, 8), 20 / 255))
    assert maps[1].eq(0).all()


def test_nulls_explain_the_class_that_is_asked_for_in_one_pass(toy, noise, explain):
    labels = torch.tensor([3, 1])
    explanation = explain(Centre(), toy("linear"), noise(2, 8), labels)
    assert torch.equal(explanation.explained, labels)
    assert explanation.passes.tolist() == [1, 1]
