"""Images that Python has in memory, as files of the cache: what is explained has a name, bytes and a digest."""

import hashlib
import io
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset, Subset
from torchvision.datasets import DatasetFolder

from harmonia.data.decode import eight_bit
from harmonia.data.folder import absolute, find_pool
from harmonia.data.manifest import UNLABELLED, ImageRecord, ImageSet, entries, image_set, is_image_file
from harmonia.errors import InputError, home, one_line, refused
from harmonia.media import visible
from harmonia.store.files import write_stored

MOST_UNCOUNTED = 10_000  # images of an iterator, which may be without end
_IMAGES, _LABELS = ("image", "img"), ("label", "labels")  # columns of datasets
_OF_PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def given_images(
    images: Any,
    labels: Sequence[Any] | None,
    classes: Sequence[str],
    cache: Path,
    limit: int | None,
    seed: int,
    pool: str | Path | None = None,
    pool_size: int = 200,
    channels: int = 3,
) -> tuple[ImageSet, list[str]]:
    """A data set of images of any kind, and their ids in the order given.

    images: paths; PIL images; uint8 arrays or tensors (H, W), (H, W, 3) or (3, H, W), of floats in [0, 1]; one of them;
    a batch (B, 3, H, W); or a dataset of images with labels, torchvision's or Hugging Face's. labels: names of classes,
    or indices of the network's classes; without any, the images have none. pool: a folder of replacement images, else
    the images are it. channels: of arrays for a network that reads others than RGB.
    """
    listed = list(_records(images, labels, classes, cache, limit, channels))
    if not listed:
        raise InputError("images must be at least one, got none; give paths, PIL images, tensors or a dataset")
    if len({record.image_id for record in listed}) < len(listed):
        raise InputError("images must differ in their paths, got one twice; leave one out")
    ids = [record.image_id for record in listed]
    candidates = listed if pool is None else find_pool(absolute(pool), cache / "given")
    return image_set("images", listed, candidates, None, None, pool_size, seed, None), ids


def _records(
    images: Any, labels: Sequence[Any] | None, classes: Sequence[str], cache: Path, limit: int | None, channels: int
) -> Iterator[ImageRecord]:
    items, of_dataset = _items(images, limit)
    count = len(items) if limit is None else min(limit, len(items))
    if labels is not None:
        many = hasattr(labels, "__iter__") and not isinstance(labels, str | Mapping)
        labels = list(islice(labels, count + 1)) if many else []
        if len(labels) != count:
            got = "more" if len(labels) > count else len(labels)
            raise InputError(f"labels must be one an image, got {got} for {count} images; give a list")
    pairs: Any = (_pair(items[number], number) for number in range(count))  # a dataset's images are made one by one
    first = list(islice(pairs, 1))
    pairs = chain(first, pairs)
    above = os.sep
    if isinstance(items, list | tuple) or any(_path(image) for image, _ in first):
        pairs = list(pairs)
        paths = [path for image, _ in pairs if (path := _path(image))]
        above = os.path.dirname(paths[0]) if len(paths) == 1 else os.path.commonpath(paths or [os.sep])
    for number, (image, label) in enumerate(pairs):
        if labels is not None:
            name = _class_name(labels[number], classes, number)
        else:
            name = UNLABELLED if label is None else _class_name(label, of_dataset, number)
        if (path := _path(image)) is not None:
            yield ImageRecord(path.relative_to(above).as_posix(), path, name, digest="")
        else:
            file = _as_file(image, cache, number, channels)
            yield ImageRecord(f"{number:06d}{file.suffix}", file, name, digest="")


def _items(images: Any, limit: int | None) -> tuple[Any, Sequence[str]]:
    """What has a length and images, or pairs of an image and its label; names of the labels that are indices."""
    if isinstance(images, str | Path) and home(images).is_dir():
        return [path for path in entries(home(images)) if is_image_file(path)], ()
    if isinstance(images, str | Path | Image.Image) or getattr(images, "ndim", 4) < 4:
        return [images], ()
    if not hasattr(images, "__getitem__") or not hasattr(images, "__len__") or isinstance(images, Mapping):
        if not hasattr(images, "__next__") and not isinstance(images, IterableDataset):
            kinds = "paths, PIL images, arrays, tensors, a folder or a dataset"
            raise InputError(f"images must be {kinds}, got a {type(images).__name__}; give a list")
        listed = list(islice(images, MOST_UNCOUNTED + 1 if limit is None else limit))
        if limit is None and len(listed) > MOST_UNCOUNTED:
            raise InputError(f"images without a length must be at most {MOST_UNCOUNTED}, got more; give limit=NUMBER")
        return listed, _classes(images)
    dataset, places = images, range(len(images))
    while isinstance(dataset, Subset):
        dataset, places = dataset.dataset, [dataset.indices[place] for place in places]
    if isinstance(dataset, DatasetFolder):  # its files: its transform need not run
        return [dataset.samples[place] for place in places], dataset.classes
    return images, _classes(dataset)


def _classes(dataset: Any) -> Sequence[str]:
    names = getattr(dataset, "classes", ())
    columns = getattr(dataset, "features", None)  # of Hugging Face
    if isinstance(columns, Mapping):
        names = getattr(_column(columns, _LABELS), "names", ())
    return names if isinstance(names, list | tuple) else ()


def _column(row: Mapping, names: Sequence[str]) -> Any:
    return next((row[name] for name in names if name in row), None)


def _pair(item: Any, number: int) -> tuple[Any, Any]:
    """An image and its label, None without one."""
    if isinstance(item, Mapping):
        image, label = _column(item, _IMAGES), _column(item, _LABELS)
        if image is None:
            got = visible(", ".join(map(str, item))[:100])
            raise InputError(f"images: number {number} must have the column image, got {got}; rename its column")
        return image, label
    if not isinstance(item, tuple | list):
        return item, None
    if len(item) != 2:
        got = f"a {type(item).__name__} of {len(item)}"
        raise InputError(f"images: number {number} must be an image, or an image and its label, got {got}; give these")
    return item[0], item[1]


def _path(image: Any) -> Path | None:
    return Path(os.path.abspath(home(image))) if isinstance(image, str | Path) else None


def _class_name(label: Any, names: Sequence[str], number: int) -> str:
    """names: of the labels that are indices."""
    if isinstance(label, str):
        return label
    if not names:
        raise InputError(
            f"images: the label of number {number} must be a name, or the dataset must have `classes`, got {label!r}; "
            "give labels=, where numbers are indices of the network's classes"
        )
    try:
        index = operator.index(label.item() if hasattr(label, "item") else label)
    except (TypeError, ValueError, RuntimeError):
        index = -1
    if not 0 <= index < len(names):
        raise InputError(
            f"images: the label of number {number} must be a name or an index of {len(names)} classes, got "
            f"{one_line(ValueError(label))[:100]}; give names"
        )
    return str(names[index])


def _as_file(image: Any, cache: Path, number: int, channels: int) -> Path:
    """Its pixels in a lossless file, under their digest."""
    with io.BytesIO() as file, refused(f"images: number {number} must be a picture that can be kept", "give others"):
        picture, *others = [image] if isinstance(image, Image.Image) else _pictures(image, number, channels)
        if picture.mode not in _OF_PNG:
            picture = eight_bit(picture) if picture.mode[0] in "IF" else picture.convert("RGB")
        if others:  # a page a channel
            picture.save(file, "TIFF", save_all=True, append_images=others)
        else:
            picture.save(file, "PNG")
        content = file.getvalue()
    path = cache / "given" / f"{hashlib.sha256(content).hexdigest()}.{'tif' if others else 'png'}"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_stored(path, content)
    return path


def _pictures(image: Any, number: int, channels: int) -> list[Image.Image]:
    """One in RGB or grey, or of another number of channels a grey one for each."""
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = image.float() if image.dtype == torch.bfloat16 else image  # which numpy does not know
    values = np.asarray(image)
    values = values.transpose(1, 2, 0) if values.ndim == 3 and values.shape[0] in (1, channels) else values
    values = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != channels) or 0 in values.shape:
        got = values.shape or f"a {type(image).__name__}"
        raise InputError(
            f"images: number {number} must be (H, W), (H, W, {channels}) or ({channels}, H, W), got {got}; turn it"
        )
    if values.dtype != np.uint8:
        if not np.issubdtype(values.dtype, np.floating) or not (values.min() >= 0 and values.max() <= 1):
            raise InputError(
                f"images: number {number} must be uint8, or floats in 0..1 before normalisation, got {values.dtype} in "
                f"{values.min():g}..{values.max():g}; give the image itself"
            )
        values = np.rint(values * 255).astype(np.uint8)
    if values.ndim == 3 and channels != 3:
        return [Image.fromarray(np.ascontiguousarray(values[..., channel])) for channel in range(channels)]
    return [Image.fromarray(values)]
