"""Controls: keep arms that know less than the map, and so say what any mask of that kind would carry.

A control is a function of a Projection and of areas that gives keep weights in the target's view, (B, A, H, W),
NaN for an image that has no such arm. Whatever is drawn is a hash of (seed, image, purpose): batch size, order,
neighbours and restarts have no say.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from harmonia.arms import (
    BLOBS,
    CENTRE,
    COMPLEMENT,
    DIM_ARM,
    NOTHING_ARM,
    OTHER_CLASS,
    SAME_CLASS,
    SILHOUETTE,
    arm_of,
)
from harmonia.draws import Purpose, counter_hash, smooth_noise
from harmonia.errors import Seed
from harmonia.features.arms import Control, Projection
from harmonia.features.choices import check_areas
from harmonia.shapes import Keep, sides


def dim(view: Projection, areas: Sequence[float]) -> Keep:
    """The whole of the source's view, dimmed to the soft map's own mean; has no area."""
    return (view.inside * view.soft_mean[:, None, None])[:, None]


def blobs(view: Projection, areas: Sequence[float], *, seed: int) -> Keep:
    """Random smooth blobs, each image its own; the smaller areas lie in the larger, as those of a map do."""
    fields = np.stack([smooth_noise(seed, key, Purpose.BLOBS) for key in view.explanations.image_keys.tolist()])
    return view.top(torch.from_numpy(fields).to(view.inside.device), areas)


def centre(view: Projection, areas: Sequence[float]) -> Keep:
    """A box of the view's own aspect in its middle; where its side is no whole number, its last ring is scattered."""
    height, width = sides(view.source_size)
    down, across = ((torch.arange(side, device=view.inside.device) - (side - 1) / 2).abs() for side in (height, width))
    offsets_HW = torch.maximum(down[:, None] * (width / height), across)
    return view.top(-offsets_HW[None], areas).expand(len(view.inside), -1, -1, -1)


@dataclass(frozen=True, kw_only=True)
class Controls:
    """Which controls run, and at which areas of the source's view; an empty list switches one off."""

    dim: bool = False
    blobs: tuple[float, ...] = ()
    centre: tuple[float, ...] = ()
    same_class: tuple[float, ...] = ()
    other_class: tuple[float, ...] = ()
    complement: tuple[float, ...] = ()
    silhouette: tuple[float, ...] = ()
    nothing: bool = False
    seed: Seed = 0  # of the blobs and of the choice of other images

    def arms(self) -> tuple[Control, ...]:
        """The controls that are on; InputError where their options cannot be.

        Checked here and not when they are made: where they follow evaluation.areas, that is what is to be mended.
        """
        of_areas = [
            _at(BLOBS, self.blobs, partial(blobs, seed=self.seed), of_map=False),
            _at(CENTRE, self.centre, centre, of_map=False),
            # the top of the map of another image whose explained class is the same, or another
            _at(SAME_CLASS, self.same_class, lambda view, areas: view.top(view.explanations.another(True), areas)),
            _at(OTHER_CLASS, self.other_class, lambda view, areas: view.top(view.explanations.another(False), areas)),
            # everything that the source sees but the top of the map
            _at(COMPLEMENT, self.complement, lambda view, areas: view.inside[:, None] - view.best(areas)),
            # the top of the map, as a white shape on black
            _at(SILHOUETTE, self.silhouette, Projection.best, shows_image=False),
        ]
        dimmed = [Control((DIM_ARM,), partial(dim, areas=()))] if self.dim else []
        nothing = Control((NOTHING_ARM,), lambda view: torch.zeros_like(view.inside)[:, None], of_map=False)
        return (*dimmed, *(control for control in of_areas if control.names), *([nothing] if self.nothing else []))


def _at(kind: str, areas: Sequence[float], weights: Callable[..., Keep], **what: bool) -> Control:
    check_areas(f"evaluation.controls.{kind}", areas)
    names = tuple(arm_of(kind, area) for area in areas)
    return Control(names, partial(weights, areas=tuple(areas)), **what)


@dataclass(frozen=True)
class Partners:
    """For each image another one whose map stands in for its own.

    Each pair of images has a number of its own and the usable partner with the lowest is taken: it changes
    with the images there are, but not with their order.
    """

    image_keys: np.ndarray  # N, uint64
    explained: np.ndarray  # N, the class that each map is about
    usable: np.ndarray  # N, bool: the image could be read, and its map ranks something
    contents: np.ndarray  # N, digests of the files: a copy is no other image
    seed: int

    def of(self, index: int, same_class: bool) -> int | None:
        """The partner of an image, its explained class the same or another; None where there is none."""
        same = self.explained == self.explained[index]
        allowed = self.usable & (same == same_class) & (self.contents != self.contents[index])
        allowed[index] = False
        candidates = np.flatnonzero(allowed)
        if not len(candidates):
            return None
        numbers = counter_hash(self.seed, int(self.image_keys[index]), Purpose.PARTNERS, self.image_keys[candidates])
        return int(candidates[numbers.argmin()])
