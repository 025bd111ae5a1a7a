"""Images as the models of a job see them, each decoded once."""

import errno
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from harmonia.data.choices import Unreadable
from harmonia.data.decode import AS_IT_LIES, UnreadableImage, open_channels
from harmonia.data.manifest import ImageRecord
from harmonia.data.view import WHOLE_IMAGE, View
from harmonia.errors import InputError
from harmonia.shapes import sides

log = logging.getLogger(__name__)

_NO_SPOOL = "no spool for decoded images (%s); they are decoded again where needed"

_DIM = 16  # of 255: what 12 bits are in 16


@dataclass(frozen=True)
class ViewBatch:
    """Some images of a data set through one view. An unreadable image is black and marked; it shifts no other."""

    indices: Tensor  # B, positions in the data set
    pixels: Tensor  # B C H W, uint8: RGB, unless the networks read other channels
    boxes: Tensor  # B 4, the view's left, top, right, bottom in each image
    sizes: Tensor  # B 2, width and height of the decoded image, pixels
    readable: Tensor  # B, bool


class ViewedImages:
    """The images of a data set through every view that a job needs.

    An image is decoded when first asked for; all views are made then and spooled to an unnamed temporary file.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        views: Iterable[View],
        *,
        unreadable: Unreadable = "skip",
        spool_folder: Path | None = None,
        spool_limit_bytes: int = 0,
    ):
        self.records = records
        self.views = tuple(dict.fromkeys(views))
        counts = {view.channels for view in self.views}
        if len(counts) > 1:
            got = " and ".join(map(str, sorted(counts)))
            raise InputError(f"networks of a job must read images of the same channels, got {got}; take others")
        self._channels = counts.pop() if counts else 3
        self._fatal = unreadable == "fail"
        self._offsets = np.cumsum([0, *(self._channels * view.height * view.width for view in self.views)]).tolist()
        self._sizes = torch.zeros(len(records), 2, dtype=torch.long)
        self._seen = np.zeros(len(records), bool)
        self._readable = np.ones(len(records), bool)
        self._as_it_lies = np.zeros(len(records), bool)
        self._threads = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
        self._spool: IO[bytes] | None = None
        if spool_folder is not None and self._offsets[-1] * len(records) <= spool_limit_bytes:
            self._spool = _temporary_file(spool_folder)
        self.dim = False  # whether all images read from their files so far use a sixteenth of their range at most
        self._bright = False
        self.decoded = 0  # images read from their files; equals the number of images where the spool holds them

    def __len__(self) -> int:
        return len(self.records)

    @property
    def unreadable(self) -> list[ImageRecord]:
        """The images that could not be read so far."""
        return [self.records[index] for index in np.flatnonzero(~self._readable).tolist()]

    def say_what_was_not_turned(self) -> None:
        """In one line; nothing where every image's orientation could be read so far."""
        if len(broken := np.flatnonzero(self._as_it_lies)):
            first = self.records[broken[0]].path
            log.warning(
                "%d images have EXIF that cannot be read and are taken as they lie, first %s", len(broken), first
            )

    @property
    def readable(self) -> list[int]:
        """Positions of the images that could be read so far."""
        return np.flatnonzero(self._readable).tolist()

    def boxes(self, indices: Sequence[int], view: View) -> Tensor:
        """What the view shows of images that were decoded, (B, 4): left, top, right, bottom; else the whole image."""
        sizes = self._sizes[torch.tensor(indices, dtype=torch.long)]
        boxes = [view.box(*size) if min(size) else WHOLE_IMAGE for size in sizes.tolist()]
        return torch.tensor(boxes).reshape(-1, 4)

    def batch(self, indices: Sequence[int], view: View) -> ViewBatch:
        which = self.views.index(view)
        pixels = list(self._threads.map(lambda index: self._pixels(index, which), indices))
        self.decoded += sum(fresh for _, fresh in pixels)
        positions = torch.tensor(indices)
        readable = torch.from_numpy(self._readable[np.asarray(indices)].copy())
        stack = torch.stack([pixel for pixel, _ in pixels])
        return ViewBatch(positions, stack, self.boxes(indices, view), self._sizes[positions], readable)

    def loader(self, batches: Iterable[Sequence[int]], count: int, view: View) -> DataLoader:
        """A loader of ViewBatches over lists of positions; ``count`` is the most there can be."""
        return batch_loader(partial(self.batch, view=view), batches, count)

    def _pixels(self, index: int, which: int) -> tuple[Tensor, bool]:
        if not self._readable[index]:
            return self._black(which), False
        spool = self._spool
        if spool is not None and self._seen[index]:
            start, end = self._offsets[which], self._offsets[which + 1]
            data = os.pread(spool.fileno(), end - start, index * self._offsets[-1] + start)
            return torch.frombuffer(bytearray(data), dtype=torch.uint8).view(self._shape(which)), False
        try:
            channels = open_channels(self.records[index].path, self.records[index].digest, self.views, self._channels)
        except UnreadableImage as error:
            if self._fatal:
                raise
            log.warning("left out: %s", error)
            self._readable[index] = False
            return self._black(which), False
        self._sizes[index] = torch.tensor(channels[0].size)
        if not self._bright:
            self._bright = max(int(np.asarray(each).max()) for each in channels) > _DIM
            self.dim = not self._bright
        self._as_it_lies[index] = channels[0].info[AS_IT_LIES]
        if spool is None:
            return self.views[which].look_at(channels), True
        looks = [view.look_at(channels) for view in self.views]
        self._keep(spool, index, looks)
        return looks[which], True

    def _keep(self, spool: IO[bytes], index: int, looks: list[Tensor]) -> None:
        data = b"".join(look.numpy().tobytes() for look in looks)
        try:
            written = os.pwrite(spool.fileno(), data, index * self._offsets[-1])
            if written < len(data):  # the disk took a part and fails at the next call
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._seen[index] = True
        except OSError as error:
            # a full disk costs time, not the run: images are decoded again
            log.warning(_NO_SPOOL, error.strerror)
            self._spool = None

    def _black(self, which: int) -> Tensor:
        return torch.zeros(self._shape(which), dtype=torch.uint8)

    def _shape(self, which: int) -> tuple[int, int, int]:
        return self._channels, *sides(self.views[which].size)


def _temporary_file(folder: Path) -> IO[bytes] | None:
    """None where the folder cannot be written: a complete cache on a read-only disk still serves its maps."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        log.warning(_NO_SPOOL, error.strerror)
        return None


def batch_loader(batch: Callable, batches: Iterable[Sequence[int]], count: int) -> DataLoader:
    """What batch makes of each list of positions, in their order and only when asked for: it may be claiming work."""
    return DataLoader(_Batches(batch, batches, count), batch_size=None)


class _Batches(IterableDataset):
    def __init__(self, batch: Callable, batches: Iterable[Sequence[int]], count: int):
        self.batch, self.batches, self.count = batch, batches, count

    def __iter__(self) -> Iterator:
        return map(self.batch, self.batches)

    def __len__(self) -> int:
        # Lightning fetches one batch ahead unless it knows the length: that would hold a second claim
        return self.count
