import metric_batch
import pytest
import torch
from metric_batch import small
from scipy.ndimage import gaussian_filter
from torch import nn

from harmonia.evaluation.metrics.perturbation import baseline_of, rise_kernel


@pytest.fixture
def image():
    return metric_batch.pixels(1, 224)[0].float() / 255


def of(name, image):
    size = image.shape[-1]
    model = small(size)
    model.mean.copy_(torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
    model.std.copy_(torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
    given = metric_batch.batch(model, lambda *args: torch.rand(1, 2, 2), metric_batch.pixels(1, size))
    return model, baseline_of(name, given)(image)


def test_blur_is_rises_own_in_the_normalised_image(image):
    """RISE's evaluation.py: gkern(11, 5) convolved with the normalised image, padded by zeros."""
    model, blurred = of("blur", image)
    point = torch.zeros(11, 11)
    point[5, 5] = 1
    kernel = torch.zeros(3, 3, 11, 11)
    for channel in range(3):
        kernel[channel, channel] = torch.from_numpy(gaussian_filter(point.numpy(), 5))
    theirs = nn.functional.conv2d((image[None] - model.mean) / model.std, kernel, padding=5)
    torch.testing.assert_close((blurred[None] - model.mean) / model.std, theirs, rtol=1e-4, atol=1e-4)


def test_the_kernel_sums_to_one_and_grows_with_the_view():
    assert rise_kernel(224).shape == (11, 11)
    assert rise_kernel(600).shape == (27, 27)
    for size in (224, 380, 600):
        assert rise_kernel(size).sum().item() == pytest.approx(1)


def test_zero_is_what_the_network_sees_as_zero(image):
    model, zero = of("zero", image)
    torch.testing.assert_close((zero[None] - model.mean) / model.std, torch.zeros(1, 3, 224, 224), rtol=0, atol=1e-6)


def test_black_and_mean_are_colours_of_the_image(image):
    assert of("black", image)[1].abs().max() == 0
    torch.testing.assert_close(of("mean", image)[1][:, 7, 9], image.mean((1, 2)))
    assert of("mean", image)[1].shape == image.shape
