"""Images that Python has in memory, as files of the cache: what is explained has a name, bytes and a digest."""

import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harmonia.data.manifest import UNLABELLED, ImageRecord, ImageSet, image_set, is_image_file
from harmonia.errors import InputError, home
from harmonia.store.files import write_stored


def given_images(
    images: Any, labels: Sequence[str] | None, classes: Sequence[str], cache: Path, limit: int | None, seed: int
) -> tuple[ImageSet, list[str]]:
    """A data set of images of any kind, and their ids in the order given.

    images: paths; PIL images; uint8 arrays or tensors (H, W), (H, W, 3) or (3, H, W), of floats in [0, 1]; one of them;
    a batch (B, 3, H, W); or a torchvision dataset of images with labels. labels: names of classes, or the indices of
    the classes; without any, the images have none.
    """
    listed = list(_records(images, labels, classes, cache, limit))
    if not listed:
        raise InputError("images must be at least one, got none; give paths, PIL images, tensors or a dataset")
    if len({record.image_id for record in listed}) < len(listed):
        raise InputError("images must differ in their paths, got one twice; leave one out")
    ids = [record.image_id for record in listed]
    return image_set("images", listed, listed, None, None, 200, seed, None), ids


def _records(
    images: Any, labels: Sequence[str] | None, classes: Sequence[str], cache: Path, limit: int | None
) -> Iterator[ImageRecord]:
    pairs = list(_pairs(images, limit))
    if labels is not None and len(labels) != len(pairs):
        raise InputError(f"labels must be one an image, got {len(labels)} for {len(pairs)} images; give as many")
    paths = [os.path.abspath(home(image)) for image, _ in pairs if isinstance(image, str | Path)]
    above = os.path.dirname(paths[0]) if len(paths) == 1 else os.path.commonpath(paths) if paths else ""
    names = getattr(images, "classes", classes)
    for number, (image, own_label) in enumerate(pairs):
        label = own_label if labels is None else labels[number]
        name = UNLABELLED if label is None else _class_name(label, names if labels is None else classes)
        if isinstance(image, str | Path):
            path = Path(os.path.abspath(home(image)))
            yield ImageRecord(path.relative_to(above).as_posix(), path, name, digest="")
        else:
            yield ImageRecord(f"{number:06d}.png", _as_file(image, cache, number), name, digest="")


def _pairs(images: Any, limit: int | None) -> Iterable[tuple[Any, Any]]:
    """Images and the labels that a dataset gives with them; None where there are none."""
    if isinstance(images, str | Path) and Path(home(images)).is_dir():
        images = [path for path in sorted(Path(home(images)).iterdir()) if is_image_file(path)]
    if isinstance(images, str | Path | Image.Image) or getattr(images, "ndim", 4) < 4:
        images = [images]
    samples = getattr(images, "samples", None)  # of an ImageFolder: its transform need not run
    source = images if samples is None else samples
    count = len(source) if limit is None else min(limit, len(source))
    for number in range(count):
        item = source[number]
        yield (item[0], item[1]) if isinstance(item, tuple) else (item, None)


def _class_name(label: Any, classes: Sequence[str]) -> str:
    if isinstance(label, str):
        return label
    index = int(label)
    if not 0 <= index < len(classes):
        raise InputError(f"labels must be names or indices of {len(classes)} classes, got {index}; give names")
    return str(classes[index])


def _as_file(image: Any, cache: Path, number: int) -> Path:
    """Its pixels in a lossless file, under their digest."""
    with io.BytesIO() as file:
        picture = image if isinstance(image, Image.Image) else _picture(image, number)
        picture.save(file, "PNG")
        content = file.getvalue()
    path = cache / "given" / f"{hashlib.sha256(content).hexdigest()}.png"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_stored(path, content)
    return path


def _picture(image: Any, number: int) -> Image.Image:
    values = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    values = values.transpose(1, 2, 0) if values.ndim == 3 and values.shape[0] in (1, 3) else values
    values = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != 3) or 0 in values.shape:
        raise InputError(f"images: number {number} must be (H, W), (H, W, 3) or (3, H, W), got {values.shape}; turn it")
    if values.dtype != np.uint8:
        if not np.issubdtype(values.dtype, np.floating) or not (values.min() >= 0 and values.max() <= 1):
            raise InputError(
                f"images: number {number} must be uint8, or floats in 0..1 before normalisation, got {values.dtype} in "
                f"{values.min():g}..{values.max():g}; give the image itself"
            )
        values = np.rint(values * 255).astype(np.uint8)
    return Image.fromarray(values)
