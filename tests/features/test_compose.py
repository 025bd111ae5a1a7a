"""Laws of a feature: keep weighs the image against the fill."""

import torch

from harmonia.features.fill import compose

IMAGES, FILL = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)


def keep_of(value: float) -> torch.Tensor:
    return torch.full((2, 1, 4, 5), value)


def test_what_is_kept_whole_is_the_image_and_what_is_dropped_is_the_fill():
    assert torch.equal(compose(IMAGES, keep_of(1), FILL), IMAGES)
    assert torch.equal(compose(IMAGES, keep_of(0), FILL), FILL)


def test_half_a_weight_is_the_mean_of_image_and_fill():
    torch.testing.assert_close(compose(IMAGES, keep_of(0.5), FILL), (IMAGES + FILL) / 2)


def test_over_black_the_feature_is_the_hadamard_product():
    keep = torch.rand(2, 1, 4, 5)
    feature = compose(IMAGES, keep, torch.zeros_like(IMAGES))
    assert torch.equal(feature, IMAGES * keep)


def test_each_pixel_has_the_weight_of_its_place_in_every_channel():
    images, fill = torch.tensor([0.8, 0.4, 0.2]).view(1, 3, 1, 1).expand(1, 3, 1, 2), torch.zeros(1, 3, 1, 2) + 0.4
    feature = compose(images, torch.tensor([[[[1.0, 0.25]]]]), fill)
    torch.testing.assert_close(feature[0, :, 0], torch.tensor([[0.8, 0.5], [0.4, 0.4], [0.2, 0.35]]))
