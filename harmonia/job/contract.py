"""What a job is, and what an evaluation says of itself: its stages, the files it leaves, its part of the report."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pytorch_lightning import Trainer

from harmonia.attribution.contract import Attribution
from harmonia.data.manifest import ImageSet
from harmonia.data.replacements import Replacements
from harmonia.data.view import View
from harmonia.data.views import ViewedImages
from harmonia.features.fill import Fill
from harmonia.job.completion import Completed
from harmonia.job.keys import Keys
from harmonia.job.settings import Settings
from harmonia.models.classifier import Classifier
from harmonia.models.labels import LabelPolicy
from harmonia.results import tracking
from harmonia.store.sets import ShardSet


@dataclass(frozen=True, kw_only=True)
class Job:
    """A source, a method, the targets, the images and what else their maps depend on."""

    settings: Settings
    folder: Path  # where its files go
    images: ImageSet
    viewed: ViewedImages
    source: Classifier
    targets: dict[str, Classifier]  # by model name, in the order asked for; the source alone where none are
    method: Attribution
    label_policy: LabelPolicy
    fill: Fill
    evaluation: "Evaluation"
    keys: Keys
    pool: Callable[[View, bool], Replacements]  # replacement images in a view, randomly cropped or not
    make_trainer: Callable[..., Trainer]
    device: torch.device
    batch_size: int

    @property
    def maps(self) -> ShardSet:
        """The source's maps of whole images."""
        return self.keys.maps

    @property
    def method_name(self) -> str:
        return self.settings.method.name

    @property
    def layer(self) -> str:
        """Where in the source the method looks; "" of one that looks at no layer."""
        describe = getattr(self.method, "layer_of", None)
        return (describe(self.source) if describe else None) or ""


def _too_early() -> Completed:
    raise AssertionError("a stage before it must be complete first")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One set of the store that a job completes: maps, answers on images, answers on features, scores."""

    kind: str  # a plain noun, for the plan's table
    title: str
    key: tuple  # what makes it the same set for any jobs
    priced_by: tuple  # what the cost of an item goes by
    count: int  # items
    missing: tuple[int, ...]  # items of each shard that is not there
    shards: ShardSet | None = None  # None while an earlier stage decides which set it will be
    complete: Callable[[], Completed] = _too_early  # computes what is missing


class Evaluation:
    """What a job is for: a frozen dataclass of its settings in one module, named by one yaml of conf/evaluation."""

    section: ClassVar[str]  # the module that shows it in a report
    files: ClassVar[tuple[str, ...]]  # what it leaves in the job's folder, its rows first
    uses_targets: ClassVar[bool] = False  # else the targets are not even loaded

    def check(self, images: ImageSet) -> None:
        """Refuses images that it cannot be done on, before any model is loaded."""

    def stages(self, job: Job) -> Iterator[Stage]:
        """The sets that it needs, in order. A job completes each before it asks for the next; a plan completes none."""
        raise NotImplementedError

    def write(self, job: Job) -> dict[str, Any]:
        """Writes its files, all stages being complete; returns metrics for summary.json."""
        raise NotImplementedError

    def logged(self, summary: dict[str, Any]) -> dict[str, Any]:
        """What of a finished job's summary goes to its logger."""
        return summary

    def media(self, job: Job, summary: dict[str, Any]) -> tracking.Media:
        """What W&B shows beside the numbers."""
        return tracking.Media()

    def on_any_images(self) -> "Evaluation":
        """The same on images that it would pass over, for a plan that tries it on a few."""
        return self
