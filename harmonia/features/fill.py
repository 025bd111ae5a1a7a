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
from scipy.sparse import csr_array
from scipy.sparse.linalg import spsolve
from torchvision.transforms.functional import gaussian_blur

from harmonia.errors import Seed, Within
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

    sigma: Annotated[float, Within(1e-6, 0.5)] = 0.05

    def __call__(self, images: Images, keep: Keep, another: Callable[[], Images]) -> Images:
        side = min(images.shape[-2:])
        sigma_px = self.sigma * side
        # three sigmas to each side hold 99.7 % of the kernel; reflection needs less than the side
        reach = min(round(3 * sigma_px), side - 1)
        return gaussian_blur(images, [2 * reach + 1] * 2, [sigma_px] * 2)


@dataclass(frozen=True)
class AnotherImage:
    """A real image of another class, fixed for each image and none that a mask was made before."""

    version: ClassVar[int] = 1  # 0 drew from all of the pool

    def __call__(self, images: Images, keep: Keep, another: Callable[[], Images]) -> Images:
        return another()


@dataclass(frozen=True)
class NoisyLinear:
    """Noisy linear imputation (ROAD; Rong, Leemann, Borisov, Kasneci, Kasneci 2022, section 4).

    Each dropped pixel (keep < 0.5) is the weighted mean of its eight neighbours (1/6 along the axes, 1/12
    along the diagonals), solved exactly; Gaussian noise of ``noise`` is added to the solution. Weights of
    neighbours beyond the border are spread over the others.
    """

    noise: Annotated[float, Within(0, 1000)] = 0.01
    seed: Seed = 0

    def __call__(self, images: Images, keep: Keep, another: Callable[[], Images]) -> Images:
        filled = images.clone()
        for index, (image, image_keep) in enumerate(zip(images, keep, strict=True)):
            filled[index] = self._impute(image, image_keep[0] < 0.5)
        return filled

    def _impute(self, image: Images, dropped: Keep) -> Images:
        dropped_HW = dropped.cpu().numpy()
        if not dropped_HW.any():
            return image
        pixels_HWC = image.permute(1, 2, 0).double().cpu().numpy()
        if dropped_HW.all():  # nothing to interpolate from
            return image.mean((1, 2), keepdim=True).expand_as(image)
        system, known_HWC = _neighbour_system(dropped_HW, pixels_HWC)
        solution = np.asarray(spsolve(system, known_HWC)).reshape(-1, pixels_HWC.shape[2])
        # keyed by the image's own pixels: every image its own noise, whatever its place in a batch
        random = np.random.default_rng([self.seed, zlib.crc32(pixels_HWC.tobytes())])
        pixels_HWC[dropped_HW] = solution + random.normal(0, self.noise, solution.shape)
        return torch.from_numpy(pixels_HWC).permute(2, 0, 1).clamp(0, 1).to(image)


_NEIGHBOURS = [(dy, dx, 1 / 12 if dy and dx else 1 / 6) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


def _neighbour_system(dropped_HW: np.ndarray, pixels_HWC: np.ndarray) -> tuple[csr_array, np.ndarray]:
    """The sparse equations, one for each dropped pixel, and their right side, one column for each channel."""
    height, width = dropped_HW.shape
    ys, xs = np.nonzero(dropped_HW)
    unknowns = np.arange(len(ys))
    number_HW = np.full((height, width), -1)
    number_HW[ys, xs] = unknowns
    total, right = np.zeros(len(ys)), np.zeros((len(ys), pixels_HWC.shape[2]))
    rows, columns, couplings = [unknowns], [unknowns], []
    for dy, dx, weight in _NEIGHBOURS:
        y, x = ys + dy, xs + dx
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        total += weight * inside
        equations = np.nonzero(inside)[0]
        y, x = y[inside], x[inside]
        unknown = dropped_HW[y, x]
        rows.append(equations[unknown])
        columns.append(number_HW[y[unknown], x[unknown]])
        couplings.append(np.full(unknown.sum(), -weight))
        np.add.at(right, equations[~unknown], weight * pixels_HWC[y[~unknown], x[~unknown]])
    values = np.concatenate([total, *couplings])
    return csr_array((values, (np.concatenate(rows), np.concatenate(columns))), shape=(len(ys), len(ys))), right


def compose(images: Images, keep: Keep, fill: Images) -> Images:
    """keep * images + (1 - keep) * fill; with a fill of 0 the Hadamard product image ⊙ map.

    Images and fill are intensities in [0, 1], before the target's normalisation: black is black for every model.
    """
    return keep * images + (1 - keep) * fill
