"""Boxes of objects in the images of a data set, from a CSV file, and where they lie in a model's view."""

import hashlib
import json
import logging
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from harmonia.data import imagenet
from harmonia.data.text import composed, read_rows
from harmonia.data.view import View
from harmonia.errors import InputError, home

COLUMNS = ("path", "class_index", "x0", "y0", "x1", "y1")
BEYOND_PX = 1.0  # annotations that count pixels from 1, both ends included, leave the image by so much

logger = logging.getLogger(__name__)


class LabelledBox(NamedTuple):
    """An object: its class, and edges in pixels of the upright image; the top left corner is (0, 0)."""

    class_name: str
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Boxes:
    """What is known of the objects in a data set's images; an image may have several, of one class or of more."""

    path: Path
    of_images: Mapping[str, tuple[LabelledBox, ...]]  # by image_id; an image without boxes is absent

    @property
    def digest(self) -> str:
        """Changes with any box of the data set's images, not with the file's place, order or other rows."""
        known = [[image_id, *sorted(boxes)] for image_id, boxes in sorted(self.of_images.items())]
        return hashlib.sha256(json.dumps(known).encode("ascii")).hexdigest()

    def of(self, image_ids: Iterable[str]) -> "Boxes":
        return replace(self, of_images={name: self.of_images[name] for name in image_ids if name in self.of_images})

    def renamed(self, names: Mapping[str, str]) -> "Boxes":
        """With other names for some classes."""
        of_images = {
            image_id: tuple(box._replace(class_name=names.get(box.class_name, box.class_name)) for box in boxes)
            for image_id, boxes in self.of_images.items()
        }
        return replace(self, of_images=of_images)

    def in_view(self, image_id: str, class_name: str, size: tuple[int, int], view: View) -> Tensor:
        """What the view shows of the class's boxes in an image of (width, height): float64 (n, 4), its pixels."""
        width, height = size
        shown = view.box(width, height)
        inside = []
        for box in self.of_images.get(image_id, ()):
            beyond = max(-box.left, -box.top, box.right - width, box.bottom - height)
            if beyond > BEYOND_PX:
                raise InputError(
                    f"data.boxes: a box must lie in its image, {self.path} has {tuple(box[1:])} for {image_id} of "
                    f"{width} x {height}; give boxes in pixels of the stored file"
                )
            if box.class_name == class_name:
                across, down = shown.right - shown.left, shown.bottom - shown.top
                x = [(edge / width - shown.left) / across for edge in (box.left, box.right)]
                y = [(edge / height - shown.top) / down for edge in (box.top, box.bottom)]
                shares = [min(max(corner, 0.0), 1.0) for corner in (x[0], y[0], x[1], y[1])]
                inside.append([share * side for share, side in zip(shares, (view.width, view.height) * 2, strict=True)])
        boxes = torch.tensor(inside, dtype=torch.float64).reshape(-1, 4)
        return boxes[(boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])]


def read_boxes(path: str | Path, images: Mapping[str, Path]) -> Boxes:
    """The boxes of the images (their files by image_id) in a CSV file with the columns COLUMNS; others are ignored.

    path names an image by its image_id or by its place as seen from the CSV file's folder; class_index is an ImageNet
    index, a WordNet id or a class name of the user's own; x0 < x1 and y0 < y1 are pixels. Other images' are counted.
    """
    path = Path(os.path.abspath(home(path)))
    exact = {os.path.abspath(place): image_id for image_id, place in images.items()} | {name: name for name in images}
    known = {composed(name): image_id for name, image_id in exact.items()} | exact
    by_image: dict[str, list[LabelledBox]] = {}
    unlisted: dict[str, None] = {}
    for line, row in read_rows(path, COLUMNS, "data.boxes"):
        named = row["path"], os.path.abspath(path.parent / row["path"])
        image_id = next((known[name] for name in (*named, *map(composed, named)) if name in known), None)
        box = _box(path, line, row)
        if image_id is None:
            unlisted[row["path"]] = None
        else:
            by_image.setdefault(image_id, []).append(box)
    if not by_image:
        raise InputError(
            f"data.boxes must name images of the data set, {path} names none of them (first: "
            f"{next(iter(unlisted), 'no row')!r}, an image: {next(iter(images), 'none')!r}); give paths relative to "
            "data.root or to the file"
        )
    if unlisted:
        logger.info("%s: %d images are not in the data set, first %r", path, len(unlisted), next(iter(unlisted)))
    logger.info("%s: %d of %d images have boxes", path, len(by_image), len(images))
    return Boxes(path, {image_id: tuple(boxes) for image_id, boxes in by_image.items()})


def _box(path: Path, line: int, row: Mapping[str, str]) -> LabelledBox:
    texts = [row[name] for name in COLUMNS[2:]]
    left = top = right = bottom = math.nan
    with suppress(ValueError):
        if all(text.isascii() and "_" not in text for text in texts):  # Python would take 1_0 for 10
            left, top, right, bottom = map(float, texts)
    if not (math.isfinite(left + top + right + bottom) and left < right and top < bottom):
        raise InputError(
            f"data.boxes: {path} line {line} must have numbers with x0 < x1 and y0 < y1, got {','.join(texts)}; "
            "give corners in pixels, left, top, right, bottom"
        )
    return LabelledBox(imagenet.own_class_name(row["class_index"]), left, top, right, bottom)
