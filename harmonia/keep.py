"""From a raw map to keep weights: 1 keeps a pixel, 0 drops it.

A raw map is signed and has the resolution its method really has. Two readings exist: *soft* (the map
itself brought into [0, 1], the paper's Hadamard factor) and *equal area* (the top fraction of the
pixels by rank, all or nothing), which alone compares methods at the same amount of image. Controls
(controls.py) are keep arms that know less than the map.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
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


def descending(maps_BHW: Maps) -> Tensor:
    """The pixels of each map from the highest to the lowest, (B, H * W) indices; ties as top_fractions orders them."""
    values_BP = maps_BHW.flatten(1)
    order = _tie_order(values_BP.shape[1]).to(values_BP.device)
    return order[values_BP[:, order].argsort(dim=1, descending=True, stable=True)]


def in_view(maps: Maps, size: int) -> Maps:
    """Maps that lie over a view, at its resolution: (B, size, size).

    float64 on the way: equal cells stay equal, so that rounding does not rank a constant map by its columns.
    """
    return _enlarged(maps.double(), size).float()


def _enlarged(maps: Maps, size: int) -> Maps:
    whole = torch.tensor([WHOLE_IMAGE], device=maps.device).expand(len(maps), 4)
    return resample(maps, whole, whole, size)


def whole_pixels(cover_BHW: Keep) -> Keep:
    """A region that covers pixels partly (weights in [0, 1]) as that many whole pixels, the most covered first.

    A threshold would not do: of scattered grains no larger pixel is covered to the half.
    """
    if ((cover_BHW == 0) | (cover_BHW == 1)).all():  # the same view: spares the sort
        return cover_BHW
    return _highest(cover_BHW, cover_BHW.sum((1, 2))[:, None].round())[:, 0]


def _highest(maps_BHW: Maps, counts_BA: Tensor) -> Keep:
    """Of each map the so many highest pixels as 0/1 weights (B, A, H, W)."""
    values_BP = maps_BHW.flatten(1)
    order = _tie_order(values_BP.shape[1]).to(values_BP.device)
    keep_BAP = torch.zeros(*counts_BA.shape, len(order), dtype=values_BP.dtype, device=values_BP.device)
    for values, counts, keep in zip(values_BP, counts_BA.long().tolist(), keep_BAP, strict=True):
        # selected and not sorted: on a CPU a sort of all pixels costs a network pass
        candidates = values
        for count, arm in sorted(zip(counts, range(len(counts)), strict=True), reverse=True):
            if count == 0:
                break
            lowest = candidates.kthvalue(len(candidates) - count + 1).values
            candidates = candidates[candidates >= lowest]  # those to keep, and what equals the last of them
            keep[arm] = values >= lowest
            if surplus := len(candidates) - count:
                keep[arm, order[(values == lowest)[order]][-surplus:]] = 0
    return keep_BAP.unflatten(2, maps_BHW.shape[-2:])


@cache
def _tie_order(pixels: int) -> Tensor:
    return torch.randperm(pixels, generator=torch.Generator().manual_seed(0))


def check_areas(key: str, areas: Sequence[float]) -> None:
    """Areas name their arms in whole percents."""
    for area in areas:
        if not 0 < area < 1:
            raise InputError(f"{key} must be fractions between 0 and 1, got {area}; 0.3 keeps 30 %")
        if percent(area) < 1 or abs(100 * area - percent(area)) > 1e-6:
            raise InputError(f"{key} must be whole percents, got {area}; 0.12 keeps 12 %")
    if len({percent(area) for area in areas}) < len(areas):
        raise InputError(f"{key} must differ, got {list(areas)}; leave one out")


def percent(area: float) -> int:
    return round(100 * area)


@dataclass(frozen=True, kw_only=True)
class Explanations:
    """Raw maps of some images, and what a control may draw on besides."""

    maps: Maps
    explained: Sequence[str]  # the class that each map is about
    keys: np.ndarray  # B, uint64: the images' numbers for whatever is drawn for them
    # the map of another image whose explained class is the same, or differs; NaN for an image that has no such other
    another: Callable[[bool], Maps]

    def to(self, device: torch.device) -> "Explanations":
        """The same with maps on another device."""
        return replace(self, maps=self.maps.to(device), another=lambda same: self.another(same).to(device))


class Projection:
    """Maps and regions on their way from the source's view to a target's.

    Ranks are taken in the source's view at its own resolution: an image has one region per arm, and every target
    looks at that same region. Outside the source's box nothing is kept.
    """

    def __init__(
        self, explanations: Explanations, soft: Keep, source: Tensor, target: Tensor, source_size: int, size: int
    ):
        self.explanations = explanations
        self._soft = soft  # at the map's own resolution
        self._source, self._target = source, target
        self.source_size, self._size = source_size, size  # pixels
        self._best: dict[float, Keep] = {}

    @cached_property
    def inside(self) -> Keep:
        """1 where the source looks, (B, H, W)."""
        return resample(torch.ones_like(self._soft[:, :1, :1]), self._source, self._target, self._size)

    @cached_property
    def soft(self) -> Keep:
        """The soft map, (B, H, W)."""
        return resample(self._soft, self._source, self._target, self._size)

    @property
    def soft_mean(self) -> Tensor:
        """Mean weight of each soft map over the source's view, (B,)."""
        return _enlarged(self._soft, self.source_size).mean((1, 2))

    def best(self, areas: Sequence[float]) -> Keep:
        """The top of each image's own map, (B, A, H, W)."""
        if new := [area for area in areas if area not in self._best]:
            self._best.update(zip(new, self.top(self.explanations.maps, new).unbind(1), strict=True))
        return torch.stack([self._best[area] for area in areas], 1)

    def top(self, scores: Maps, areas: Sequence[float]) -> Keep:
        """Regions of exactly the areas of the source's view, the highest scores first: 0/1 weights (B, A, H, W).

        Scores of any resolution lie over the source's view; one map serves all images. An image whose scores are NaN
        has no region, its weights are NaN.
        """
        fine = in_view(scores, self.source_size)
        regions = [
            # still all or nothing after the change of view
            whole_pixels(resample(region, self._source, self._target, self._size))
            for region in top_fractions(fine.nan_to_num(), areas).unbind(1)
        ]
        return torch.where(fine.isnan().any(2).any(1)[:, None, None, None], torch.nan, torch.stack(regions, 1))


@dataclass(frozen=True)
class Control:
    """Keep arms that know less than the map; names and weights (B, len(names), H, W) belong together."""

    names: tuple[str, ...]
    weights: Callable[[Projection], Keep]
    shows_image: bool = True  # False: the kept region is white and the rest black, without any of the image


@dataclass(frozen=True)
class KeepArms:
    """The readings of one map that go to a target: soft, then one per area, then the controls."""

    normalise: Callable[[Maps], Keep]
    areas: tuple[float, ...]
    controls: tuple[Control, ...] = ()

    def __post_init__(self):
        check_areas("evaluation.areas", self.areas)

    @property
    def names(self) -> list[str]:
        own = ["soft", *(f"area{percent(area)}" for area in self.areas)]
        return own + [name for control in self.controls for name in control.names]

    @property
    def show_image(self) -> list[bool]:
        """Of each arm whether it shows anything of the image."""
        own = [True] * (1 + len(self.areas))
        return own + [control.shows_image for control in self.controls for _ in control.names]

    def soft(self, maps: Maps, source: Tensor, target: Tensor, size: int) -> Keep:
        """Keep weights of the soft arm alone, (B, size, size)."""
        return resample(self.normalise(_finite(maps)), source, target, size)

    def weights(self, explanations: Explanations, source: Tensor, target: Tensor, source_size: int, size: int) -> Keep:
        """Keep weights of every arm in the target's view, (B, A, size, size); NaN where an image lacks the arm."""
        maps = _finite(explanations.maps)
        finite = replace(explanations, maps=maps)
        view = Projection(finite, self.normalise(maps), source, target, source_size, size)
        own = [view.soft[:, None], *([view.best(self.areas)] if self.areas else [])]
        return torch.cat([*own, *(control.weights(view) for control in self.controls)], 1)


def _finite(maps: Maps) -> Maps:
    """Non-finite maps are flagged in the store; they rank nothing."""
    return maps.nan_to_num(0.0, 0.0, 0.0)


def kept_area(keep: Keep) -> Tensor:
    """Mean keep weight of each mask over the view: the share of the image's light that is let through."""
    return keep.mean((-2, -1))
