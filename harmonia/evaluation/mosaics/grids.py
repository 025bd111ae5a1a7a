"""Mosaics of images that a classifier is sure of: which images, in which cells.

S. Rao, M. Böhle, B. Schiele, CVPR 2022, section 3 and supplement: an image is used once, classes are drawn at random
(here weighted by the images that they have left, for more mosaics of the same images); GridPG has as many classes as
cells, placed at random, DiFull and DiPart the same class in the first and the last cell, which alone are scored. What
is drawn is a hash of (seed, grid, class) and (seed, image): every method sees the same mosaics.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harmonia.data.manifest import ImageRecord
from harmonia.data.view import View
from harmonia.data.views import ViewedImages, batch_loader
from harmonia.draws import Purpose, counter_hash, image_key, uniform
from harmonia.errors import InputError
from harmonia.evaluation.mosaics.presentation import paste


@dataclass(frozen=True)
class Grids:
    """n x n positions of a data set's images per mosaic, row by row, and the cells that are scored."""

    n: int
    images: np.ndarray  # G, n * n
    scored: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.images) * len(self.scored)

    def item(self, index: int) -> tuple[int, int]:
        """Mosaic and cell of a scored cell."""
        grid, which = divmod(index, len(self.scored))
        return grid, self.scored[which]

    def digest(self, records: Sequence[ImageRecord]) -> str:
        """Of what is shown where, bytes and classes too: another folder may hold other images of the same names."""
        facts = [[record.image_id, record.digest, record.class_name] for record in records]
        return hashlib.sha256(json.dumps([self.n, self.scored, self.placed(facts)]).encode()).hexdigest()

    def placed(self, of_images: Sequence[Any]) -> list[list[Any]]:
        """What is known of every image of the data set as it stands in the mosaics, row by row."""
        return [[of_images[image] for image in grid] for grid in self.images.tolist()]


def draw_grids(
    pool: Sequence[int], labels: Sequence[str], image_keys: np.ndarray, n: int, most: int, repeat: bool, seed: int
) -> Grids:
    """At most so many mosaics of the pool's images, each image used once.

    labels and image_keys: of every image of the data set. repeat: the last cell has the first one's class.
    """
    waiting: dict[str, list[int]] = {}
    for image in sorted(pool, key=lambda image: int(counter_hash(seed, int(image_keys[image]), Purpose.MOSAICS))):
        waiting.setdefault(labels[image], []).append(image)
    drawn = []
    while len(drawn) < most:
        # classes with more images left come up more often, so that few are left over; Efraimidis, Spirakis 2006
        order = sorted(
            (name for name, images in waiting.items() if images),
            key=lambda name: (
                float(np.log(uniform(seed, len(drawn), image_key(name), Purpose.MOSAICS))) / len(waiting[name])
            ),
            reverse=True,
        )
        first = next((name for name in order if len(waiting[name]) > 1), None) if repeat else None
        classes = [first, *(name for name in order if name != first)] if first else order
        classes = classes[: n * n - repeat]
        if len(classes) < n * n - repeat or (repeat and first is None):
            break
        if repeat:
            classes.append(classes[0])
        else:  # in the order drawn the commonest class would stand first
            classes.sort(key=lambda name: int(counter_hash(seed, len(drawn), image_key(name), Purpose.MOSAIC_PLACES)))
        drawn.append([waiting[name].pop(0) for name in classes])
    if not drawn:
        needed = f"{n * n - repeat} classes" + (", one of them twice," if repeat else ",")
        raise InputError(
            f"evaluation: a mosaic of {n} x {n} needs {needed} got {len(pool)} sure images of {len(waiting)} classes; "
            "lower evaluation.confidence or give more images"
        )
    return Grids(n, np.array(drawn), (0, n * n - 1) if repeat else tuple(range(n * n)))


@dataclass(frozen=True)
class MosaicBatch:
    """Scored cells with the mosaics that they lie in."""

    indices: Tensor  # B
    pixels: Tensor  # B 3 nH nW, uint8
    readable: Tensor  # B, bool; all, or Mosaics stops


class Mosaics:
    """Scored cells as a loader gives them; a mosaic stands once for each of its scored cells."""

    def __init__(self, grids: Grids, viewed: ViewedImages):
        self.grids, self.viewed = grids, viewed

    def batch(self, indices: Sequence[int], view: View) -> MosaicBatch:
        where = [self.grids.item(index)[0] for index in indices]
        shown = {grid: self.mosaic(grid, view) for grid in dict.fromkeys(where)}
        pixels = torch.stack([shown[grid] for grid in where])
        return MosaicBatch(torch.tensor(indices), pixels, torch.ones(len(indices), dtype=torch.bool))

    def mosaic(self, grid: int, view: View) -> Tensor:
        """uint8 (3, n H, n W); an InputError where an image that its key promises cannot be read any more."""
        shown = self.viewed.batch(self.grids.images[grid].tolist(), view)
        lost = shown.indices[~shown.readable].tolist()
        if lost:  # a black cell would be stored under the digest of the image's bytes
            raise InputError(
                f"image {self.viewed.records[lost[0]].path} must not change during a run, a mosaic shows it and it "
                "cannot be read any more; rerun when it is back"
            )
        return paste(shown.pixels, self.grids.n)[0]

    def loader(self, batches: Iterable[Sequence[int]], count: int, view: View) -> torch.utils.data.DataLoader:
        return batch_loader(partial(self.batch, view=view), batches, count)
