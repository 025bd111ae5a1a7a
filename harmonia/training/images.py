"""The images of a fit: which they are, their classes, and their pixels, decoded once where they fit into memory."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from harmonia.data import manifest
from harmonia.data.choices import Unreadable
from harmonia.data.decode import UnreadableImage, open_channels
from harmonia.data.folder import absolute, find_split, prefix_of, read_class_map, strict_class_names
from harmonia.data.manifest import ImageRecord
from harmonia.data.view import View
from harmonia.draws import Purpose, counter_hash, image_key
from harmonia.errors import InputError
from harmonia.training.settings import TrainingData

log = logging.getLogger(__name__)

_SPARE = 1.25  # of the input's sides: at this size images wait for their crops
Channels = Sequence[Image.Image]


@dataclass(frozen=True)
class Listed:
    """Records to learn from and to judge by, and the classes in their order."""

    learned: tuple[ImageRecord, ...]
    judged: tuple[ImageRecord, ...]
    classes: tuple[str, ...]


class Pixels(Dataset):
    """Images in one size, uint8; an item is a batch: positions (B,) and pixels (B, C, H, W)."""

    def __init__(self, records: Sequence[ImageRecord], ratios: Tensor, look: Callable[..., Any], kept: Tensor | None):
        """ratios: width by height of the files' images. look: from a record. kept: N C H W, None: look again."""
        self.records, self.ratios, self.look, self.kept = records, ratios, look, kept

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        if self.kept is not None:
            return positions, self.kept[positions.to(self.kept.device)]
        return positions, torch.stack([self.look(self.records[position])[0] for position in positions.tolist()])

    def to(self, device: torch.device) -> None:
        """Kept pixels go to a GPU that has room for twice as much."""
        if (
            self.kept is not None
            and device.type == "cuda"
            and 2 * self.kept.nbytes < torch.cuda.mem_get_info(device)[0]
        ):
            self.kept = self.kept.to(device)


def class_of(record: ImageRecord) -> str:
    """What a fitted network calls the class: a folder 0 stays 0, which may be no class of ImageNet's."""
    return record.given if record.given.isdecimal() else record.class_name or ""


@lru_cache(maxsize=1)  # a sweep asks again
def list_images(data: TrainingData) -> Listed:
    """By train and val folders or, without a val folder, with a share of each class held out by a seed."""
    root = absolute(data.root)
    given = (
        None if data.class_map is None else strict_class_names(read_class_map(absolute(data.class_map)), data.class_map)
    )
    train, val = find_split(root, "train"), find_split(root, "val")
    if train is None and val is not None:
        raise InputError(f"data.root: {root} must have a train folder beside {val.name}, got none; name another folder")
    learned = _found(train or root, root, given or str)
    counts = Counter(map(class_of, learned))
    if len(counts) < 2:
        raise InputError(
            f"data.root: {train or root} must hold at least two classes, got {next(iter(counts))!r} alone; name another"
        )
    if val is None:
        learned, judged = _held_out(learned, data)
        log.info("%s: no val folder, %d of %d images are held out", root, len(judged), len(learned) + len(judged))
    else:
        judged = _found(val, root, given or str)
    if unknown := sorted(set(map(class_of, judged)) - counts.keys()):
        raise InputError(f"data.root: {val} must hold classes of {train} alone, got {unknown[0]!r}; move it away")
    if lacking := sorted(counts.keys() - set(map(class_of, judged))):
        log.warning("%s: %d classes have no image that judges, first %r", root, len(lacking), lacking[0])
    return Listed(manifest.select(learned, data.per_class), judged, tuple(sorted(counts)))


def _found(folder: Path, root: Path, class_names: Callable[[str], str]) -> tuple[ImageRecord, ...]:
    records = manifest.find_images(folder, class_names, prefix_of(folder, root))
    with_images = {record.path.relative_to(folder).parts[0] for record in records}
    if empty := [child for child in manifest.subfolders(folder) if child.name not in with_images]:
        raise InputError(f"class folder {empty[0]} must hold images, got none; fill it or remove it")
    return records


def _held_out(
    records: Sequence[ImageRecord], data: TrainingData
) -> tuple[tuple[ImageRecord, ...], tuple[ImageRecord, ...]]:
    """Others to learn from, and of each class the share with the lowest ranks, which hang on seed and id alone."""
    keys = np.array([image_key(record.image_id) for record in records], np.uint64)
    ranked = [
        record
        for _, record in sorted(
            zip(counter_hash(data.seed, keys, Purpose.HELD_OUT_IMAGES).tolist(), records, strict=True),
            key=lambda pair: pair[0],
        )
    ]
    counts, taken = Counter(map(class_of, records)), Counter[str]()
    if few := [name for name, count in counts.items() if count < 2]:
        raise InputError(
            f"class {few[0]!r} must have two images, one of them to judge by, got one; add some, or a val folder"
        )
    judged = set()
    for record in ranked:
        name = class_of(record)
        if taken[name] < max(1, round(data.held_out * counts[name])):
            taken[name] += 1
            judged.add(record.image_id)
    learned = tuple(record for record in records if record.image_id not in judged)
    return learned, tuple(record for record in records if record.image_id in judged)


@lru_cache(maxsize=1)
def read_images(data: TrainingData, view: View, unreadable: Unreadable) -> tuple[Pixels, Pixels]:
    """Images to learn from, squashed into one size from which crops are taken, and as the view shows them to judge.

    All are decoded here once; those that cannot be read are left out.
    """
    listed = list_images(data)
    most = round(_SPARE * view.height), round(_SPARE * view.width)
    size = view.channels * (len(listed.learned) * most[0] * most[1] + len(listed.judged) * view.height * view.width)
    keep = size <= data.memory_gb * 2**30
    if not keep:
        log.info(
            "%.1f GiB of pixels are more than data.memory_gb=%g: decoded anew in every epoch",
            size / 2**30,
            data.memory_gb,
        )
    parts = (
        (listed.learned, partial(_look, show=partial(_squashed, most=most), view=view)),
        (listed.judged, partial(_look, show=view.look_at, view=view)),
    )
    learned, judged = (_read(records, look, keep, unreadable) for records, look in parts)
    if not keep:
        learned.look = partial(_look, show=partial(_squashed, most=most, exact=True), view=view)
    for pixels, names in ((learned, listed.classes), (judged, ())):
        lost = sorted(set(names) - {class_of(record) for record in pixels.records})
        if lost or not pixels.records:
            raise InputError(
                f"data.root: images of {lost[0] if lost else 'the val folder'} must be readable, got none; replace them"
            )
    return learned, judged


def _read(records: Sequence[ImageRecord], look: Callable[..., Any], keep: bool, unreadable: Unreadable) -> Pixels:
    def tried(record: ImageRecord) -> tuple[Tensor | None, float] | None:
        try:
            pixels, ratio = look(record)
            return pixels if keep else None, ratio
        except UnreadableImage as error:
            if unreadable == "fail":
                raise
            log.warning("left out: %s", error)
            return None

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as threads:
        looks = list(threads.map(tried, records))
    pairs = [(record, *one) for record, one in zip(records, looks, strict=True) if one is not None]
    if left := len(records) - len(pairs):
        log.warning("%d of %d images cannot be read and are left out", left, len(records))
    kept = _stacked([pixels for _, pixels, _ in pairs]) if keep and pairs else None
    return Pixels([record for record, *_ in pairs], torch.tensor([ratio for *_, ratio in pairs]), look, kept)


def _stacked(pictures: list[Any]) -> Tensor:
    """In the largest height and width among them."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (1, 2))
    stack = torch.empty(len(pictures), len(pictures[0]), height, width, dtype=torch.uint8)
    for place, picture in zip(stack, pictures, strict=True):
        if picture.shape != place.shape:
            bands = [
                np.asarray(Image.fromarray(band).resize((width, height), Image.Resampling.BILINEAR))
                for band in picture.numpy()
            ]
            picture = torch.from_numpy(np.stack(bands))
        place.copy_(picture)
    return stack


def _look(record: ImageRecord, show: Callable[[Channels], Tensor], view: View) -> tuple[Tensor, float]:
    channels = open_channels(record.path, record.digest, (view,), view.channels)
    return show(channels), channels[0].width / channels[0].height


def _squashed(channels: Channels, most: tuple[int, int], exact: bool = False) -> Tensor:
    """uint8 (C, h, w), of most pixels in each direction; exact: of so many."""
    height, width = most if exact else (min(most[0], channels[0].height), min(most[1], channels[0].width))
    arrays = [np.asarray(each.resize((width, height), Image.Resampling.BILINEAR)) for each in channels]
    return torch.from_numpy(np.stack(arrays) if len(arrays) > 1 else arrays[0].transpose(2, 0, 1).copy())
