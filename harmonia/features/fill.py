"""What the dropped part of an image becomes. All work on intensities in [0, 1].

A fill is called with images (B, 3, H, W), keep weights (B, 1, H, W) and ``another``, a function that
gives one replacement image per image; it returns what shows through where keep is 0.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

import numpy as np
import torch
from torchvision.transforms.functional import gaussian_blur

from harmonia.errors import Seed, Within
from harmonia.features.imputation import impute
from harmonia.shapes import Images, Keep


class Fill(Protocol):
    def __call__(self, images: Images, keep: Keep, another: Callable[[], Images]) -> Images: ...


@dataclass(frozen=True)
class Black:
    """Zero intensity: with it, the feature is the paper's Hadamard product."""

    def __call__(self, images: Images, keep: Keep, another: Callable[[], Images]) -> Images:
        return torch.zeros_like(images)


@dataclass(frozen=True)
class Mean:
    """Each image's own mean colour."""

    def __call__(self, images: Images, keep: Keep, another: Callable[[], Images]) -> Images:
        return images.mean((2, 3), keepdim=True).expand_as(images)


@dataclass(frozen=True)
class Blur:
    """The image itself behind a Gaussian of ``sigma`` times its shorter side."""

    version: ClassVar[int] = 1  # 0 went over the square of the kernel's side
    sigma: Annotated[float, Within(1e-6, 0.5)] = 0.05

    def __call__(self, images: Images, keep: Keep, another: Callable[[], Images]) -> Images:
        side = min(images.shape[-2:])
        sigma_px = self.sigma * side
        # three sigmas to each side hold 99.7 % of the kernel; reflection needs less than the side
        reach = min(round(3 * sigma_px), side - 1)
        for kernel in ([2 * reach + 1, 1], [1, 2 * reach + 1]):  # columns, then rows: each cell costs two sides
            images = gaussian_blur(images, kernel, [sigma_px] * 2)
        return images


@dataclass(frozen=True)
class AnotherImage:
    """A real image of another class, fixed for each image and none that a mask was made before."""

    version: ClassVar[int] = 1  # 0 drew from all of the pool

    def __call__(self, images: Images, keep: Keep, another: Callable[[], Images]) -> Images:
        return another()


@dataclass(frozen=True)
class DropTokens:
    """Nothing: patches of which less than half is kept never enter a token network (harmonia.models.tokens).

    A network that needs all of its patches is shown black instead, and so are pictures.
    """

    def __call__(self, images: Images, keep: Keep, another: Callable[[], Images]) -> Images:
        return torch.zeros_like(images)


@dataclass(frozen=True)
class LayerMasking:
    """Nothing: no layer of a convolutional network sees a place of which less than half is kept
    (harmonia.models.layer_mask). A network that cannot be masked so is shown black instead, and so are pictures.
    """

    version: ClassVar[int] = 1  # 0 let convolutions of one pixel that skip every other read 0 at dropped places

    def __call__(self, images: Images, keep: Keep, another: Callable[[], Images]) -> Images:
        return torch.zeros_like(images)


@dataclass(frozen=True)
class NoisyLinear:
    """Noisy linear imputation (ROAD; Rong, Leemann, Borisov, Kasneci, Kasneci 2022, section 4).

    Each dropped pixel (keep < 0.5) is the weighted mean of its eight neighbours (1/6 along the axes, 1/12
    along the diagonals), solved to 1e-4; Gaussian noise of ``noise`` is added to the solution. Weights of
    neighbours beyond the border are spread over the others.
    """

    version: ClassVar[int] = 2  # 0 solved by elimination, 1 by other steps
    noise: Annotated[float, Within(0, 1000)] = 0.01
    seed: Seed = 0

    def __call__(self, images: Images, keep: Keep, another: Callable[[], Images]) -> Images:
        filled = images.clone()
        for index, (image, image_keep) in enumerate(zip(images, keep, strict=True)):
            filled[index] = self._impute(image, image_keep[0] < 0.5)
        return filled

    def _impute(self, image: Images, dropped: Keep) -> Images:
        if not dropped.any():
            return image
        pixels_CHW, dropped_HW = image.double().cpu().numpy(), dropped.cpu().numpy()
        if dropped_HW.all():  # nothing to interpolate from
            return image.mean((1, 2), keepdim=True).expand_as(image)
        filled_CHW = impute(pixels_CHW, dropped_HW)
        # keyed by the image's own pixels: every image its own noise, whatever its place in a batch
        random = np.random.default_rng([self.seed, zlib.crc32(pixels_CHW.transpose(1, 2, 0).tobytes())])
        filled_CHW[:, dropped_HW] += random.normal(0, self.noise, (dropped_HW.sum(), len(pixels_CHW))).T
        return torch.from_numpy(filled_CHW).clamp(0, 1).to(image)


def compose(images: Images, keep: Keep, fill: Images) -> Images:
    """keep * images + (1 - keep) * fill; with a fill of 0 the Hadamard product image ⊙ map.

    Images and fill are intensities in [0, 1], before the target's normalisation: black is black for every model.
    """
    return keep * images + (1 - keep) * fill
