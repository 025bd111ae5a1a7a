"""A stage that completes a set in the store, sharing the work with whoever else needs the same set."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text
from torch.utils.data import DataLoader

from harmonia.data.view import View
from harmonia.data.views import ViewBatch
from harmonia.features.maps import UNREADABLE
from harmonia.media import visible
from harmonia.progress import progress_of
from harmonia.store.sets import ShardSet

log = logging.getLogger(__name__)

_SAID_EVERY_S = 30  # where a log file shows no bar
Advance = Callable[[float], None]  # a stage's progress, by so many images; fractions are fine


class Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} images/s" if speed else "– images/s")


@contextmanager
def progress_bar(title: str, images: int) -> Iterator[Advance]:
    """A progress bar over so many images, by what advances it; where none is shown, a line now and then in the log."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        Rate(),
        TimeRemainingColumn(),
    )
    started = said = time.monotonic()
    done = 0.0

    def advance(more: float) -> None:
        nonlocal done, said
        done += more
        progress.advance(bar, more)
        if progress.disable and time.monotonic() - said > _SAID_EVERY_S:
            said = time.monotonic()
            log.info("%s: %g of %d images after %.0f s", title, round(done, 1), images, said - started)

    with progress_of(*columns) as progress:
        bar = progress.add_task(visible(title), total=images)
        yield advance


class Items(Protocol):
    """What a stage reads: images of a data set, or mosaics of them. Batches have indices and readable."""

    def batch(self, indices: Sequence[int], view: View) -> Any: ...
    def loader(self, batches: Iterable[Sequence[int]], count: int, view: View) -> DataLoader: ...


class CountingModule(LightningModule):
    """Predicts a shard's arrays and facts, and counts its network's inputs, without what fills up a pass."""

    def __init__(self):
        super().__init__()
        self.passes = 0

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """A batch stays on the CPU as uint8; its micro-batches move."""
        return batch


@dataclass(frozen=True)
class Completed:
    """What this process computed of a set."""

    items: int
    passes: int  # network passes
    counts: Mapping[str, int] = field(default_factory=dict)  # for summary.json, added up over the job's stages


class ShardWriter(BasePredictionWriter):
    """Puts every finished batch into the store under the shard that it was claimed as."""

    def __init__(self, shards: ShardSet):
        super().__init__(write_interval="batch")
        self._shards = shards

    def write_on_batch_end(
        self, trainer, pl_module, prediction, batch_indices, batch: ViewBatch, batch_idx, dataloader_idx
    ) -> None:
        self._shards.write(self._shards.shard_of(int(batch.indices[0])), *prediction)


def _forget_recovered(shards: ShardSet, viewed: Items, view: View) -> None:
    """A shard with an image that could not be read then and can be now is computed again."""
    for shard in range(shards.num_shards):
        first = shards.shard_items(shard).start
        lost = [first + row for row in _unreadable(shards.shard_facts(shard) or [])]
        # another process may have computed it anew since
        if lost and viewed.batch(lost, view).readable.any() and shards.discard_if(shard, _unreadable):
            log.info("%s: an image of shard %d can be read again; it is computed anew", shards.folder, shard)


def _unreadable(facts: Sequence[Mapping]) -> list[int]:
    return [row for row, fact in enumerate(facts) if fact["flag"] == UNREADABLE]


def complete(
    shards: ShardSet,
    viewed: Items,
    view: View,
    make_module: Callable[[Advance], CountingModule],
    make_trainer: Callable[..., Trainer],
    title: str,
) -> Completed:
    """Computes what the set lacks, sharing the work with whoever else does; the module predicts what a shard holds."""
    _forget_recovered(shards, viewed, view)
    missing = shards.missing()
    if not missing:
        log.info("%s: all %d images are in the store (%s); nothing computed", title, shards.count, shards.folder)
        shards.finish()
        return Completed(0, 0)
    own: list[int] = []

    def claimed() -> Iterator[Sequence[int]]:
        for shard in claims:
            own.append(shard)
            yield shards.shard_items(shard)

    # closing: an exception must not keep a claim alive for as long as somebody holds its traceback
    images = sum(len(shards.shard_items(shard)) for shard in missing)
    with closing(shards.claims()) as claims, progress_bar(title, images) as advance:
        module = make_module(advance)
        trainer = make_trainer(callbacks=[ShardWriter(shards)])
        loader = viewed.loader(claimed(), len(missing), view)
        started = time.monotonic()
        trainer.predict(module, loader, return_predictions=False)
    seconds = time.monotonic() - started
    shards.finish()
    computed = sum(len(shards.shard_items(shard)) for shard in own)
    lost = sum(len(_unreadable(shards.shard_facts(shard) or [])) for shard in own)
    line = "%s: %d of %d images computed here in %.1f s (%.1f images/s)"
    line += f", {shards.count - images} were in the store" * (images < shards.count)
    line += f", {lost} could not be read" * (lost > 0)
    done = computed - lost
    log.info(f"{line}, kept in %s", title, done, shards.count, seconds, done / max(seconds, 1e-9), shards.folder)
    return Completed(computed, module.passes)
