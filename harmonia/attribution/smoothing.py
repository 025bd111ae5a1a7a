"""Gaussian smoothing of any method's maps: S-IntGrad, S-IxG and their like.

S. Rao, M. Böhle, B. Schiele, "Towards Better Understanding Attribution Methods", CVPR 2022, section 5.3,
https://arxiv.org/abs/2205.10435: a kernel of K x K with sigma = K/4 on signed maps. The paper states no padding.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from harmonia.attribution.contract import Attribution, Backgrounds, Explanation, Request
from harmonia.errors import InputError
from harmonia.shapes import Maps


@dataclass(frozen=True, kw_only=True)
class Smoothed:
    """Another method's raw maps behind a Gaussian, at the resolution they have."""

    version: ClassVar[int] = 1

    inner: Attribution
    k: int  # the kernel's side in cells of the map: pixels at the input
    # what lies beyond the border: the map mirrored (torchvision's GaussianBlur), nothing, or its outermost cells
    padding: Literal["reflect", "zero", "replicate"] = "reflect"

    def __post_init__(self):
        if self.k < 1 or self.k % 2 == 0:
            raise InputError(
                f"smooth.k must be a positive odd number of pixels, got {self.k}; 129 is usual at the input"
            )

    def __call__(self, request: Request) -> Explanation:
        explanation = self.inner(request)
        return replace(explanation, maps=smooth(explanation.maps, self.k, self.padding))

    @property
    def normalise(self) -> str:
        return self.inner.normalise

    @property
    def backgrounds(self) -> Backgrounds | None:
        return self.inner.backgrounds


def unsmoothed(method: Attribution) -> Attribution:
    """The wrapped method, where it is one."""
    return method.inner if isinstance(method, Smoothed) else method


def smooth(maps: Maps, k: int, padding: str) -> Maps:
    """Maps (B, h, w) behind a Gaussian of k x k cells, sigma = k/4, that sums to 1."""
    reach = k // 2
    side = min(maps.shape[1:])
    if padding == "reflect" and reach >= side:
        raise InputError(
            f"smooth.k={k} must be less than twice the map's {side} cells to be mirrored; use a smaller k or "
            "smooth.padding=zero"
        )
    rows, columns = (gaussian_matrix(length, k, padding) for length in maps.shape[1:])
    return (rows @ maps.double() @ columns.T).to(maps)


def gaussian_matrix(side: int, k: int, padding: str) -> Tensor:
    """(side, side), float64: what of each cell comes to each smoothed one, along one axis.

    A matrix rather than a convolution, whose unfolded input takes k times a map's memory in float64.
    """
    offsets = torch.arange(k) - k // 2
    kernel = torch.exp(-(offsets.double() ** 2) / (2 * (k / 4) ** 2))
    places = torch.arange(side)[:, None] + offsets
    weights = (kernel / kernel.sum()).repeat(side, 1)
    if padding == "zero":
        weights *= (places >= 0) & (places < side)
    if padding == "reflect":
        places = places.abs()
        places = torch.where(places < side, places, 2 * (side - 1) - places)
    return torch.zeros(side, side, dtype=torch.float64).scatter_add_(1, places.clamp(0, side - 1), weights)
