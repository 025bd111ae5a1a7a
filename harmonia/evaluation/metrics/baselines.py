"""What removed pixels become, before a class is to be found in what is left."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import conv2d

from harmonia.evaluation.metrics.contract import ExplainedImages
from harmonia.evaluation.metrics.perturbation import Normalisation

# zero: the colour that the model's normalisation turns into 0, RISE's and Gupta's; mean: the image's own mean colour
Baseline = Literal["zero", "black", "mean", "blur"]


def baseline_of(name: Baseline, explained: ExplainedImages) -> Callable[[Tensor], Tensor]:
    """From an image (3, H, W) in [0, 1] to its baseline of the same shape."""
    neutral = Normalisation.of(explained.model, explained.device).mean
    make = {"zero": _zero, "black": _black, "mean": _mean, "blur": _blur}[name]
    return lambda image: make(image, neutral)


def _zero(image: Tensor, neutral: Tensor) -> Tensor:
    return neutral.expand_as(image)


def _black(image: Tensor, neutral: Tensor) -> Tensor:
    return torch.zeros_like(image)


def _mean(image: Tensor, neutral: Tensor) -> Tensor:
    return image.mean((1, 2), keepdim=True).expand_as(image)


def _blur(image: Tensor, neutral: Tensor) -> Tensor:
    """RISE's: 11 x 11 pixels of 224, sigma 5, beyond the border the neutral colour."""
    kernel = rise_kernel(image.shape[-1]).to(image).expand(3, 1, -1, -1)
    return conv2d((image - neutral)[None], kernel, padding=kernel.shape[-1] // 2, groups=3)[0] + neutral


def rise_kernel(size: int) -> Tensor:
    """A point behind scipy's Gaussian, which mirrors at the border of the kernel: that of RISE's code, to scale.

    So it is flatter than a Gaussian cut off there.
    """
    scale = size / 224
    reach = round(5 * scale)
    point = np.zeros((2 * reach + 1,) * 2)
    point[reach, reach] = 1
    return torch.from_numpy(gaussian_filter(point, 5 * scale))
