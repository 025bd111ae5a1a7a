"""From a raw map to keep weights: 1 keeps a pixel, 0 drops it.

A raw map is signed and has the resolution its method really has. Two readings exist: *soft* (the map
itself brought into [0, 1], the paper's Hadamard factor) and *equal area* (the top fraction of the
pixels by rank, all or nothing), which alone compares methods at the same amount of image. Controls
(controls.py) are keep arms that know less than the map.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from harmonia.arms import AREA, SOFT_ARM, arm_of, in_patches
from harmonia.features.areas import in_view, top_fractions, whole_patches, whole_pixels
from harmonia.features.choices import check_areas
from harmonia.features.resample import enlarged, resample
from harmonia.shapes import Keep, Maps, Size, sides


@dataclass(frozen=True, kw_only=True)
class Explanations:
    """Raw maps of some images, and what a control may draw on besides."""

    maps: Maps
    image_keys: np.ndarray  # B, uint64: the images' numbers for whatever is drawn for them
    # the map of another image whose explained class is the same, or differs; NaN for an image that has no such other
    another: Callable[[bool], Maps]

    def to(self, device: torch.device) -> "Explanations":
        """The same with maps on another device."""
        return replace(self, maps=self.maps.to(device), another=lambda same: self.another(same).to(device))


@dataclass
class Projection:
    """Maps and regions on their way from the source's view to a target's.

    Ranks are taken in the source's view at its own resolution: an image has one region per arm, and every target
    looks at that same region. Outside the source's box nothing is kept.
    """

    explanations: Explanations
    soft_maps: Keep  # at the map's own resolution
    source: Tensor
    target: Tensor
    source_size: Size  # pixels, as size
    size: Size
    _best: dict[float, Keep] = field(default_factory=dict)

    @cached_property
    def inside(self) -> Keep:
        """1 where the source looks, (B, H, W)."""
        return resample(torch.ones_like(self.soft_maps[:, :1, :1]), self.source, self.target, self.size)

    @cached_property
    def soft(self) -> Keep:
        """The soft map, (B, H, W)."""
        return resample(self.soft_maps, self.source, self.target, self.size)

    @property
    def soft_mean(self) -> Tensor:
        """Mean weight of each soft map over the source's view, (B,)."""
        return enlarged(self.soft_maps, self.source_size).mean((1, 2))

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
        regions = top_fractions(fine.nan_to_num(), areas)
        if sides(self.source_size) != sides(self.size) or not torch.equal(self.source, self.target):
            # still all or nothing after the change of view
            moved = [resample(region, self.source, self.target, self.size) for region in regions.unbind(1)]
            regions = torch.stack([whole_pixels(cover) for cover in moved], 1)
        return torch.where(fine.isnan().any(2).any(1)[:, None, None, None], torch.nan, regions)


@dataclass(frozen=True)
class Control:
    """Keep arms that know less than the map; names and weights (B, len(names), H, W) belong together."""

    names: tuple[str, ...]
    weights: Callable[[Projection], Keep]
    shows_image: bool = True  # False: the kept region is white and the rest black, without any of the image
    of_map: bool = True  # False: it knows no map and no class, so that it is the same whatever explains


@dataclass(frozen=True)
class KeepArms:
    """The readings of one map that go to a target: soft, then one per area, then the controls."""

    normalise: Callable[[Maps], Keep]
    areas: tuple[float, ...]
    controls: tuple[Control, ...] = ()
    patch_borders: bool = False  # whether arms of a given area are shown in whole patches of the target, too
    soft_arm: bool = True

    def __post_init__(self):
        check_areas("evaluation.areas", self.areas)

    def of_map(self) -> "KeepArms":
        """Those that the map, or the class that it explains, has a say in."""
        return replace(self, controls=tuple(control for control in self.controls if control.of_map))

    def of_no_map(self) -> "KeepArms":
        """The others: for one view of the source they are the same whatever explains."""
        controls = tuple(control for control in self.controls if not control.of_map)
        return replace(self, areas=(), controls=controls, soft_arm=False)

    @property
    def names(self) -> list[str]:
        cut = [in_patches(name) for name in self._by_pixel] if self.patch_borders else []
        return self._by_pixel + [name for name in cut if name]

    @property
    def _by_pixel(self) -> list[str]:
        own = [*([SOFT_ARM] if self.soft_arm else []), *(arm_of(AREA, area) for area in self.areas)]
        return own + [name for control in self.controls for name in control.names]

    @property
    def show_image(self) -> list[bool]:
        """Of each arm whether it shows anything of the image."""
        own = [True] * (self.soft_arm + len(self.areas))
        by_pixel = own + [control.shows_image for control in self.controls for _ in control.names]
        return by_pixel + [True] * (len(self.names) - len(by_pixel))

    def soft(self, maps: Maps, source: Tensor, target: Tensor, size: Size) -> Keep:
        """Keep weights of the soft arm alone, (B, H, W) of the size."""
        return resample(self.normalise(finite(maps)), source, target, size)

    def weights(
        self,
        explanations: Explanations,
        source: Tensor,
        target: Tensor,
        source_size: Size,
        size: Size,
        patches: tuple[int, int] | None = None,
    ) -> Keep:
        """Keep weights of every arm in the target's view, (B, A, H, W); NaN where an image lacks the arm.

        patches: the target's, rows and columns; None of one that has none, and no arm in whole patches.
        """
        maps = finite(explanations.maps)
        view = Projection(replace(explanations, maps=maps), self.normalise(maps), source, target, source_size, size)
        own = [*([view.soft[:, None]] if self.soft_arm else []), *([view.best(self.areas)] if self.areas else [])]
        by_pixel = torch.cat([*own, *(control.weights(view) for control in self.controls)], 1)
        if not self.patch_borders:
            return by_pixel
        regions = by_pixel[:, [in_patches(name) is not None for name in self._by_pixel]]
        return torch.cat([by_pixel, whole_patches(regions, patches) if patches else regions * torch.nan], 1)


def finite(maps: Maps) -> Maps:
    """Non-finite maps are flagged in the store; they rank nothing."""
    return maps.nan_to_num(0.0, 0.0, 0.0)
