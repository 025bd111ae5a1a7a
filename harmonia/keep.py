"""From a raw map to keep weights: 1 keeps a pixel, 0 drops it.

A raw map is signed and has the resolution its method really has. Two readings exist: *soft* (the map
itself brought into [0, 1], the paper's Hadamard factor) and *equal area* (the top fraction of the
pixels by rank, all or nothing), which alone compares methods at the same amount of image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from harmonia.errors import InputError
from harmonia.geometry import WHOLE_IMAGE, resample
from harmonia.shapes import Keep, Maps


def positive_minmax(maps: Maps) -> Keep:
    """Negative evidence dropped, the rest scaled to [0, 1] per image; a map without any stays 0."""
    return minmax(maps.clamp(min=0))


def minmax(maps: Maps) -> Keep:
    """Scaled to [0, 1] per image; a constant map, which ranks nothing, becomes 0."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low), 0.0)


def percentile(maps: Maps, top: float = 0.99) -> Keep:
    """Negative evidence dropped, scaled by its 99th percentile, clipped at 1: outliers do not dim the rest."""
    positive = maps.clamp(min=0)
    scale = positive.flatten(1).quantile(top, dim=1)[:, None, None]
    return torch.where(scale > 0, (positive / scale).clamp(max=1), (positive > 0).to(positive))


def sigmoid(maps: Maps) -> Keep:
    """For methods whose raw map is the logit of a mask."""
    return maps.sigmoid()


def clamp(maps: Maps) -> Keep:
    """For maps that are keep weights already."""
    return maps.clamp(0, 1)


NORMALISATIONS: dict[str, Callable[[Maps], Keep]] = {
    function.__name__: function for function in (positive_minmax, minmax, percentile, sigmoid, clamp)
}


def normalisation(name: str) -> Callable[[Maps], Keep]:
    if name not in NORMALISATIONS:
        raise InputError(f"evaluation.normalise must be auto or one of {', '.join(NORMALISATIONS)}, got {name!r}")
    return NORMALISATIONS[name]


def top_fractions(maps_BHW: Maps, fractions: Sequence[float]) -> Keep:
    """For each fraction the round(fraction * H * W) highest pixels of each map, as 0/1 weights (B, A, H, W).

    Equal values are ordered by one fixed random permutation of the pixels, so that a constant map keeps
    scattered pixels and not the top rows.
    """
    pixels = maps_BHW.shape[-2] * maps_BHW.shape[-1]
    counts = torch.tensor([[round(fraction * pixels) for fraction in fractions]], device=maps_BHW.device)
    return _highest(maps_BHW, counts.expand(len(maps_BHW), -1))


def whole_pixels(cover_BHW: Keep) -> Keep:
    """A region that covers pixels partly (weights in [0, 1]) as that many whole pixels, the most covered first.

    A threshold would not do: of scattered grains no larger pixel is covered to the half.
    """
    if ((cover_BHW == 0) | (cover_BHW == 1)).all():  # the same view: spares the sort
        return cover_BHW
    return _highest(cover_BHW, cover_BHW.sum((1, 2))[:, None].round())[:, 0]


def _highest(maps_BHW: Maps, counts_BA: Tensor) -> Keep:
    """Of each map the so many highest pixels as 0/1 weights (B, A, H, W)."""
    order = _tie_order(maps_BHW.shape[-2] * maps_BHW.shape[-1]).to(maps_BHW.device)
    ranking = order[maps_BHW.flatten(1)[:, order].argsort(dim=1, descending=True, stable=True)]
    chosen = torch.arange(len(order), device=order.device) < counts_BA[..., None]
    keep = torch.zeros_like(chosen, dtype=maps_BHW.dtype)
    keep.scatter_(2, ranking[:, None].expand_as(chosen), chosen.to(keep))
    return keep.unflatten(2, maps_BHW.shape[-2:])


@cache
def _tie_order(pixels: int) -> Tensor:
    return torch.randperm(pixels, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class KeepArms:
    """The readings of one map that go through a target together: soft, then one per area."""

    normalise: Callable[[Maps], Keep]
    areas: tuple[float, ...]

    def __post_init__(self):
        for area in self.areas:
            if not 0 < area < 1:
                raise InputError(f"evaluation.areas must be fractions between 0 and 1, got {area}; 0.3 keeps 30 %")
            percent = round(100 * area)  # names the arm
            if percent < 1 or abs(100 * area - percent) > 1e-6:
                raise InputError(f"evaluation.areas must be whole percents, got {area}; 0.12 keeps 12 %")
        if len(set(self.names)) < len(self.names):
            raise InputError(f"evaluation.areas must differ, got {list(self.areas)}")

    @property
    def names(self) -> list[str]:
        return ["soft", *(f"area{round(100 * area)}" for area in self.areas)]

    def weights(self, maps: Maps, source: Tensor, target: Tensor, source_size: int, size: int) -> Keep:
        """Keep weights of every arm in the target's view, (B, A, size, size).

        Ranks are taken in the source's view at its own resolution: an image has one region per arm,
        and every target looks at that same region.
        """
        maps = maps.nan_to_num(0.0, 0.0, 0.0)  # non-finite maps are flagged in the store; they rank nothing
        arms = [resample(self.normalise(maps), source, target, size)]
        # float64 and back: equal cells stay equal, so that rounding does not rank a constant map by its columns
        fine = resample(maps.double(), *_whole(source), source_size).float()
        for regions in top_fractions(fine, self.areas).unbind(1):
            # still all or nothing after the change of view
            arms.append(whole_pixels(resample(regions, source, target, size)))
        return torch.stack(arms, 1)


def _whole(boxes: Tensor) -> tuple[Tensor, Tensor]:
    whole = torch.tensor([WHOLE_IMAGE], device=boxes.device).expand(len(boxes), 4)
    return whole, whole


def kept_area(keep: Keep) -> Tensor:
    """Mean keep weight of each mask over the view: the share of the image's light that is let through."""
    return keep.mean((-2, -1))
