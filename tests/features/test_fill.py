"""Laws of what stands where an image is dropped, of every fill of conf/fill, and of a feature."""

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from paths import CONF

from harmonia.features.fill import AnotherImage, Black, Blur, Mean, NoisyLinear, compose

FILLS = sorted((CONF / "fill").glob("*.yaml"))


def never() -> torch.Tensor:
    raise AssertionError("this fill needs no other image")


def keeping(*dropped: tuple[int, int], height: int, width: int) -> torch.Tensor:
    keep = torch.ones(1, 1, height, width)
    for row, column in dropped:
        keep[..., row, column] = 0
    return keep


def ramp(height: int, width: int) -> torch.Tensor:
    """Intensities linear in both directions, other in each channel."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([0.1 + 0.05 * x + 0.02 * y, 0.9 - 0.06 * y, 0.3 + 0.01 * x]).float()[None]


# --- every fill ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILLS, ids=lambda path: path.stem)
def test_a_batch_is_filled_as_its_images_are_alone(path):
    settings = OmegaConf.merge({"seed": 3, "fill": OmegaConf.load(path)})
    fill = instantiate({key: value for key, value in settings.fill.items() if key != "name"})
    images, others = torch.rand(3, 3, 12, 12), torch.rand(3, 3, 12, 12)
    keep = (torch.rand(3, 1, 12, 12) > 0.4).float()
    keep[1] = 0
    together = fill(images, keep, lambda: others)
    alone = [fill(images[[i]], keep[[i]], lambda i=i: others[[i]])[0] for i in range(3)]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-6, rtol=0)
    assert together.shape == images.shape
    assert together.min() >= 0
    assert together.max() <= 1 + 1e-6


@pytest.mark.parametrize("path", FILLS, ids=lambda path: path.stem)
def test_the_images_themselves_are_left_alone(path):
    settings = OmegaConf.merge({"seed": 3, "fill": OmegaConf.load(path)})
    fill = instantiate({key: value for key, value in settings.fill.items() if key != "name"})
    images = torch.rand(2, 3, 8, 8)
    before = images.clone()
    fill(images, torch.zeros(2, 1, 8, 8), lambda: torch.rand(2, 3, 8, 8))
    assert torch.equal(images, before)


# --- black, mean, another image -----------------------------------------------------------------


def test_black_is_zero_intensity():
    assert not Black()(torch.rand(2, 3, 4, 4), torch.rand(2, 1, 4, 4), never).any()


def test_mean_is_each_images_own_colour_over_all_of_it():
    images = torch.zeros(2, 3, 2, 2)
    images[0, 0, 0, 0], images[0, 1], images[1, 2, :, 0] = 1.0, 0.5, 0.6
    filled = Mean()(images, torch.ones(2, 1, 2, 2), never)
    expected = torch.tensor([[0.25, 0.5, 0], [0, 0, 0.3]])[..., None, None].expand(2, 3, 2, 2)
    torch.testing.assert_close(filled, expected)


def test_another_image_is_the_one_that_is_given():
    images, others = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    assert torch.equal(AnotherImage()(images, torch.zeros(2, 1, 4, 4), lambda: others), others)


# --- blur ---------------------------------------------------------------------------------------


def test_blur_leaves_a_constant_image_as_it_is():
    images = torch.tensor([0.2, 0.7, 1.0]).view(1, 3, 1, 1).expand(1, 3, 20, 20)
    torch.testing.assert_close(Blur()(images, images[:, :1], never), images)


def test_blur_spreads_a_point_as_a_gaussian_of_its_share_of_the_side():
    side, sigma_px = 41, 2.05
    images = torch.zeros(1, 3, side, side)
    images[..., 20, 20] = 1
    blurred = Blur(sigma=0.05)(images, images[:, :1], never)[0, 0]
    offsets = np.arange(-6, 7)
    bell = np.exp(-(offsets**2) / (2 * sigma_px**2))
    expected = np.outer(bell, bell) / bell.sum() ** 2
    np.testing.assert_allclose(blurred[14:27, 14:27].numpy(), expected, atol=1e-6)
    assert blurred.sum().item() == pytest.approx(1, abs=1e-5)
    assert blurred[:14].sum() == 0


def test_blur_keeps_the_brightness_roughly_and_most_of_the_contrast_goes():
    images = torch.rand(2, 3, 64, 64)
    blurred = Blur(sigma=0.1)(images, images[:, :1], never)
    torch.testing.assert_close(blurred.mean((2, 3)), images.mean((2, 3)), atol=0.02, rtol=0)
    assert (blurred.std((2, 3)) < 0.1 * images.std((2, 3))).all()


def test_blur_holds_on_images_smaller_than_its_kernel():
    images = torch.rand(1, 3, 4, 4)
    blurred = Blur(sigma=0.5)(images, images[:, :1], never)
    assert torch.isfinite(blurred).all()
    assert blurred.std() < images.std()


# --- noisy linear imputation --------------------------------------------------------------------


def slow_imputation(image: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """One equation for each dropped pixel, as in section 4 of the paper, solved densely."""
    height, width = dropped.shape
    unknown = [(y, x) for y in range(height) for x in range(width) if dropped[y, x]]
    matrix, right = np.zeros((len(unknown), len(unknown))), np.zeros((len(unknown), len(image)))
    for row, (y, x) in enumerate(unknown):
        neighbours = [
            (v, u) for v in (y - 1, y, y + 1) for u in (x - 1, x, x + 1) if 0 <= v < height and 0 <= u < width
        ]
        neighbours.remove((y, x))
        weights = [1 / 6 if v == y or u == x else 1 / 12 for v, u in neighbours]
        matrix[row, row] = 1
        for (v, u), weight in zip(neighbours, weights, strict=True):
            share = weight / sum(weights)
            if dropped[v, u]:
                matrix[row, unknown.index((v, u))] = -share
            else:
                right[row] += share * image[:, v, u]
    filled = image.copy()
    for (y, x), colour in zip(unknown, np.linalg.solve(matrix, right), strict=True):
        filled[:, y, x] = colour
    return filled


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_imputation_agrees_with_a_dense_re_write(share):
    images = torch.rand(2, 3, 8, 11)
    keep = (torch.rand(2, 1, 8, 11) > share).float()
    filled = NoisyLinear(noise=0)(images, keep, never)
    for image, mask, result in zip(images, keep, filled, strict=True):
        expected = slow_imputation(image.double().numpy(), mask[0].numpy() < 0.5)
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-4)


def test_one_dropped_pixel_is_the_weighted_mean_of_its_eight_neighbours():
    image = torch.zeros(1, 3, 3, 3)
    image[0, 0, 0, 1], image[0, 1, 0, 0], image[0, 2] = 1.0, 1.0, 0.5  # above, above left, all around
    filled = NoisyLinear(noise=0)(image, keeping((1, 1), height=3, width=3), never)
    torch.testing.assert_close(filled[0, :, 1, 1], torch.tensor([1 / 6, 1 / 12, 0.5]))


def test_in_a_corner_the_weights_of_missing_neighbours_go_to_the_others():
    image = torch.zeros(1, 3, 3, 3)
    image[0, 0, 0, 1], image[0, 1, 1, 1] = 1.0, 1.0
    filled = NoisyLinear(noise=0)(image, keeping((0, 0), height=3, width=3), never)
    torch.testing.assert_close(filled[0, :, 0, 0], torch.tensor([0.4, 0.2, 0]))


def test_a_constant_image_is_restored():
    images = torch.tensor([0.2, 0.7, 1.0]).view(1, 3, 1, 1).expand(1, 3, 9, 9)
    keep = (torch.rand(1, 1, 9, 9) > 0.7).float()
    torch.testing.assert_close(NoisyLinear(noise=0)(images, keep, never), images)


def test_a_hole_inside_a_linear_ramp_is_restored():
    images = ramp(9, 10)
    keep = torch.ones(1, 1, 9, 10)
    keep[..., 2:7, 3:9] = 0
    torch.testing.assert_close(NoisyLinear(noise=0)(images, keep, never), images)


def test_a_hole_at_the_border_of_a_linear_ramp_flattens():
    """Known limit: half of the neighbours are missing, so that the ramp's slope is lost towards the border."""
    images = ramp(9, 10)
    keep = torch.ones(1, 1, 9, 10)
    keep[..., 3:6, :4] = 0
    filled = NoisyLinear(noise=0)(images, keep, never)
    assert torch.equal(filled[keep.expand_as(images) == 1], images[keep.expand_as(images) == 1])
    too_bright = (filled - images)[0, 0, 3:6, :4]
    assert (too_bright > 0).all()
    assert 0.03 < too_bright[:, 0].max() < 4 * 0.05  # of the four columns' rise


def test_an_image_dropped_whole_becomes_its_mean_colour():
    images = torch.rand(2, 3, 5, 5)
    filled = NoisyLinear()(images, torch.zeros(2, 1, 5, 5), never)
    torch.testing.assert_close(filled, images.mean((2, 3), keepdim=True).expand_as(images))


def test_where_nothing_is_dropped_nothing_changes():
    images = torch.rand(2, 3, 5, 5)
    assert torch.equal(NoisyLinear()(images, torch.full((2, 1, 5, 5), 0.5), never), images)


def test_noise_has_its_standard_deviation_and_only_touches_what_is_dropped():
    images = torch.full((1, 3, 64, 64), 0.5)
    keep = (torch.rand(1, 1, 64, 64) > 0.7).float()
    filled = NoisyLinear(noise=0.01)(images, keep, never)
    dropped = keep.expand_as(images) == 0
    assert torch.equal(filled[~dropped], images[~dropped])
    noise = filled[dropped] - 0.5
    assert noise.std().item() == pytest.approx(0.01, rel=0.05)
    assert abs(noise.mean().item()) < 1e-3
    assert torch.equal(filled, NoisyLinear(noise=0.01)(images, keep, never))
    assert not torch.equal(filled, NoisyLinear(noise=0.01, seed=1)(images, keep, never))


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
