"""Regions of exactly a given share of the pixels, the highest of a map first; the only place that defines them."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from harmonia.arms import percent
from harmonia.features.resample import enlarged
from harmonia.shapes import Keep, Maps, Size, sides

IN_NONE = 255  # of smallest_areas


def top_fractions(maps_BHW: Maps, fractions: Sequence[float]) -> Keep:
    """For each fraction the round(fraction * H * W) highest pixels of each map, as 0/1 weights (B, A, H, W).

    Equal values are ordered by one fixed random permutation of the pixels, so that a constant map keeps
    scattered pixels and not the top rows.
    """
    pixels = maps_BHW.shape[-2] * maps_BHW.shape[-1]
    counts = torch.tensor([[round(fraction * pixels) for fraction in fractions]], device=maps_BHW.device)
    return _highest(maps_BHW, counts.expand(len(maps_BHW), -1))


def smallest_areas(maps: Maps, areas: Sequence[float], size: Size, side: int) -> Tensor:
    """Of each place of a view the smallest area, in percent, whose region holds it; IN_NONE where no region does.

    uint8 (B, side, side), read off the regions of the view's size at the centres of side x side places: a threshold of
    it is the region that was evaluated, as a picture of that side shows it.
    """
    rows_of, columns_of = (((torch.arange(side) + 0.5) * (pixels / side)).long() for pixels in sides(size))
    smallest = torch.full((len(maps), side, side), IN_NONE, dtype=torch.uint8)
    descending_areas = sorted(areas, reverse=True)
    for rows in torch.arange(len(maps)).split(4):  # bounds the memory
        regions = (
            top_fractions(in_view(maps[rows], size), descending_areas)[:, :, rows_of][..., columns_of].cpu().bool()
        )
        for area, region in zip(descending_areas, regions.unbind(1), strict=True):
            smallest[rows] = smallest[rows].masked_fill(region, percent(area))
    return smallest


def descending(maps_BHW: Maps) -> Tensor:
    """The pixels of each map from the highest to the lowest, (B, H * W) indices; ties as top_fractions orders them."""
    values_BP = maps_BHW.flatten(1).to(torch.promote_types(maps_BHW.dtype, torch.float32)) + 0  # -0 is 0
    values_BP = values_BP.where(~values_BP.isnan(), torch.nan)  # of either sign; first
    order = _tie_order(values_BP.shape[1], values_BP.device)
    # whole numbers that ascend where values descend: of those a CPU sorts a row alone ten times as fast
    whole = torch.int64 if values_BP.dtype == torch.float64 else torch.int32
    bits_BP = values_BP[:, order].view(whole)
    keys_BP = torch.where(bits_BP < 0, bits_BP & torch.iinfo(whole).max, ~bits_BP)
    if keys_BP.is_cuda or len(keys_BP) == 0:
        return order[keys_BP.argsort(stable=True)]
    return torch.stack([order[keys.argsort(stable=True)] for keys in keys_BP])


def in_view(maps: Maps, size: Size) -> Maps:
    """Maps that lie over a view, at its resolution: (B, H, W) of the size.

    float64 on the way: equal cells stay equal, so that rounding does not rank a constant map by its columns.
    """
    return enlarged(maps.double(), size).float()


def whole_pixels(cover_BHW: Keep) -> Keep:
    """A region that covers pixels partly (weights in [0, 1]) as that many whole pixels, the most covered first.

    A threshold would not do: of scattered grains no larger pixel is covered to the half.
    """
    return _highest(cover_BHW, cover_BHW.sum((1, 2))[:, None].round())[:, 0]


def whole_patches(regions_BAHW: Keep, grid: tuple[int, int]) -> Keep:
    """Regions (0/1 weights) as that many whole patches, the most covered first; NaN stays.

    grid: rows and columns of patches, which divide the pixels. A region of whole patches stays as it is, another's area
    changes by half a patch at most.
    """
    height, width = (pixels // cells for pixels, cells in zip(regions_BAHW.shape[-2:], grid, strict=True))
    # in pixels, whose sums are exact: half a patch too much is rounded alike for all regions of an area
    cover = regions_BAHW.unflatten(-1, (grid[1], width)).unflatten(-3, (grid[0], height)).sum((-3, -1))
    cover_NHW = cover.nan_to_num().flatten(0, 1)
    counts_N1 = (cover_NHW.sum((1, 2)) / (height * width)).round()[:, None]
    patches = _highest(cover_NHW, counts_N1).reshape(cover.shape).where(~cover.isnan(), torch.nan)
    return patches.repeat_interleave(height, -2).repeat_interleave(width, -1)


def _highest(maps_BHW: Maps, counts_BA: Tensor) -> Keep:
    """Of each map the so many highest pixels as 0/1 weights (B, A, H, W)."""
    best_first_BP = descending(maps_BHW)
    places = torch.arange(best_first_BP.shape[1], device=best_first_BP.device).expand_as(best_first_BP)
    ranks_BP = torch.empty_like(best_first_BP).scatter_(1, best_first_BP, places)
    keep_BAP = ranks_BP[:, None] < counts_BA.long()[..., None]
    return keep_BAP.to(maps_BHW.dtype).unflatten(2, maps_BHW.shape[-2:])


@cache
def _tie_order(pixels: int, device: torch.device) -> Tensor:
    return torch.randperm(pixels, generator=torch.Generator().manual_seed(0)).to(device)
