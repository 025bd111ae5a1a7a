"""Maps from one box of an image to another, read bilinearly."""

import torch
from torch import Tensor

from harmonia.shapes import Keep, Maps, Size, sides


def resample(maps: Maps, source: Tensor, target: Tensor, size: Size) -> Keep:
    """Maps over their source boxes, read at the pixel centres of the target boxes: (B, H, W) of the size.

    Bilinear where the map is coarser than the pixels (as torch's align_corners=False), triangular
    averaging where it is finer. Outside the source box the result is 0. Boxes are (B, 4) tensors of
    left, top, right, bottom.
    """
    (h, w), (height, width) = maps.shape[-2:], sides(size)
    rows = resampling_matrix(h, source[:, 1], source[:, 3], height, target[:, 1], target[:, 3])
    columns = resampling_matrix(w, source[:, 0], source[:, 2], width, target[:, 0], target[:, 2])
    return rows.to(maps) @ maps @ columns.to(maps).mT


def enlarged(maps: Maps, size: Size) -> Maps:
    """Maps that lie over a whole view, at (B, H, W) of the size."""
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]], device=maps.device).expand(len(maps), 4)
    return resample(maps, whole, whole, size)


def resampling_matrix(cells: int, low: Tensor, high: Tensor, pixels: int, new_low: Tensor, new_high: Tensor) -> Tensor:
    """Weights (B, pixels, cells) that read ``cells`` values over [low, high] at pixels over [new_low, new_high]."""
    low, high, new_low, new_high = (edge.double()[:, None] for edge in (low, high, new_low, new_high))
    steps = torch.arange(pixels, device=low.device, dtype=torch.float64)
    centres = new_low + (steps + 0.5) / pixels * (new_high - new_low)
    # rounded: the rounding of the boxes must not mix a trace of its neighbours into a cell met exactly
    positions = ((centres - low) / (high - low) * cells - 0.5).round(decimals=9)
    cells_per_pixel = cells * (new_high - new_low) / (high - low) / pixels
    reach = cells_per_pixel.clamp(min=1.0)[..., None]
    distance = (positions[..., None] - torch.arange(cells, device=low.device)).abs()
    weights = (1.0 - distance / reach).clamp(min=0.0)
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    inside = (centres >= low) & (centres <= high)
    return weights * inside[..., None]


def upsampling_matrix(cells: int, pixels: int) -> Tensor:
    """Bilinear upsampling of one axis as a matrix (pixels, cells), float64.

    A product with it has a deterministic backward pass; CUDA's bilinear interpolation has not.
    """
    zero, one = torch.zeros(1), torch.ones(1)
    return resampling_matrix(cells, zero, one, pixels, zero, one)[0]
