"""What a job is and which sets it has; what an evaluation says of itself: stages, files, its part of the report."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from pytorch_lightning import Trainer

from harmonia.attribution.contract import Attribution
from harmonia.attribution.passes import BatchSize
from harmonia.attribution.smoothing import unsmoothed
from harmonia.data.given_maps import GivenMaps
from harmonia.data.manifest import ImageSet
from harmonia.data.replacements import Replacements
from harmonia.data.view import View
from harmonia.data.views import ViewedImages
from harmonia.errors import InputError
from harmonia.features.fill import AnotherImage, Black, DropTokens, Fill, LayerMasking
from harmonia.features.maps import UNREADABLE
from harmonia.job.completion import Completed
from harmonia.job.device import fastest_of
from harmonia.job.settings import Settings
from harmonia.models.classifier import Classifier
from harmonia.models.joint import Joint
from harmonia.models.labels import LabelPolicy
from harmonia.models.layer_mask import LayerMask, layer_mask_of
from harmonia.models.tokens import Tokens, tokens_of
from harmonia.results import tracking
from harmonia.store.identity import fingerprint
from harmonia.store.sets import ShardSet

log = logging.getLogger(__name__)

Removal = Tokens | LayerMask
REMOVALS = {DropTokens: tokens_of, LayerMasking: layer_mask_of}  # by fill, what looks at a network

# Raised whenever views, labels, replacement draws or the reading of images change stored numbers: part of every key.
ARITHMETIC = 2


@dataclass(frozen=True)
class Keys:
    """Which set in the store each stage of a job has: what changes a number stands in its key (ADR 3).

    A method a kind of set; asking for a set opens it.
    """

    job: "Job"

    def maps(self) -> ShardSet:
        """The maps that exactly this source, method, label policy and data have; never the targets."""
        label = fingerprint(self.job.label_policy)
        identity = {"label": label, "data": self.job.images.digest, **self._explained_by(self.job.method)}
        return self.open("maps", f"{self.job.source.name}-{self.job.settings.method.name}", identity)

    def mosaics(self, method: Attribution, protocol: str, shown: Mapping[str, Any], count: int) -> ShardSet:
        """Maps by this source and method of cells of mosaics. shown: how the network sees them; count: of cells."""
        name = f"{self.job.source.name}-{self.job.settings.method.name}-{protocol}"
        return self.open("maps", name, {**self._explained_by(method), **shown}, count)

    def predictions(self, model: Classifier) -> ShardSet:
        """What exactly this model answers on exactly these whole images."""
        identity = {
            "model": model.identity(),
            "arrays": ["logits", "representation"],  # a set of before there were representations is no such set
            "data": self.job.images.digest,
        }
        return self.open("predictions", model.name, identity)

    def features(self, target: Classifier, reading: Mapping[str, Any]) -> ShardSet:
        """What a target answers on features of the maps, read so and filled so; the maps must be complete."""
        identity = {
            "maps": self.job.maps.key,
            "model": target.identity(),
            "reading": dict(reading),
            "fill": fingerprint(self.job.fill_of(target)[1]),
            **({"compiled": True} if self.job.settings.compile else {}),
            "pool": self.job.images.pool_digest,
            "seed": self.job.settings.seed,
            # maps of other images are controls: what stands in for which depends on the images that could be read
            "unreadable": [index for index, fact in enumerate(self.job.maps.facts()) if fact["flag"] == UNREADABLE],
        }
        return self.open("features", f"{self.job.maps.manifest.name}-on-{target.name}", identity)

    def controls(self, target: Classifier, reading: Mapping[str, Any]) -> ShardSet:
        """What a target answers on controls that know no map: one set for all that explain in one view."""
        view, fill = self.job.source.view, self.job.fill_of(target)[1]
        identity = {
            "view": {name: getattr(view, name) for name in ("size", "crop_pct", "crop_mode")},
            "model": target.identity(),
            "reading": dict(reading),
            "fill": fingerprint(fill),
            **({"compiled": True} if self.job.settings.compile else {}),
            "data": self.job.images.digest,
        }
        if isinstance(fill, AnotherImage):  # of another class than the one explained
            explained = {"source": self.job.source.identity(), "label": fingerprint(self.job.label_policy)}
            identity |= {**explained, "pool": self.job.images.pool_digest, "seed": self.job.settings.seed}
        return self.open("controls", target.name, identity)

    def scores(self, scoring: Mapping[str, Any]) -> ShardSet:
        """Scores of the maps; the maps' key holds the source, the method, the labels and the images."""
        name = f"{self.job.maps.manifest.name}-{self.job.settings.evaluation.name}"
        return self.open("scores", name, {"maps": self.job.maps.key, **scoring})

    def _explained_by(self, method: Attribution) -> dict[str, Any]:
        identity = {"source": self.job.source.identity(), "method": fingerprint(method)}
        if method.backgrounds is not None:
            identity |= {"pool": self.job.images.pool_digest, "seed": self.job.settings.seed}
        if self.job.given is not None:
            identity["given"] = self.job.given.digest
        return identity

    def open(self, kind: str, name: str, identity: dict[str, Any], count: int | None = None) -> ShardSet:
        """The set of a kind with this identity: one array and one fact an image, or an item of count."""
        images = len(self.job.images.records) if count is None else count
        key = identity | {"arithmetic": ARITHMETIC}
        shards = self.job.open_set(kind, name, key, images, self.job.shard_size)
        asked = self.job.settings.store.shard_size
        if asked and asked != shards.shard_size:
            log.info(
                "%s keeps its shards of %d; store.shard_size=%d is ignored", shards.folder, shards.shard_size, asked
            )
        return shards


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
    # of a kind, a name, an identity, a count of items and of those a shard: ShardSet.open of the cache's folder, or
    # ShardSet.peek where nothing may be written
    open_set: Callable[[str, str, Mapping[str, Any], int, int], ShardSet]
    pool: Callable[[View, bool], Replacements]  # replacement images in a view, randomly cropped or not
    given: GivenMaps | None  # maps from elsewhere, where the method has such
    make_trainer: Callable[..., Trainer]
    device: torch.device

    @property
    def keys(self) -> Keys:
        return Keys(self)

    @cached_property
    def maps(self) -> ShardSet:
        return self.keys.maps()

    def fill_of(self, target: Classifier) -> tuple[str, Fill]:
        """What a target is shown where an image is dropped, with its name: black where it needs what is to go."""
        if type(self.fill) in REMOVALS and self.removals[target.name] is None:
            return "black", Black()
        return self.settings.fill.name, self.fill

    @cached_property
    def removals(self) -> dict[str, Removal | None]:
        """By target's name how it does without what is dropped, of a fill that puts nothing there; else None."""
        return {name: _removal_of(target, self.fill) for name, target in self.targets.items()}

    @property
    def shard_size(self) -> int:
        """Images that are written together: an interruption costs a slow device no more than a fast one."""
        return self.settings.store.shard_size or (8 if self.device.type == "cpu" else 64)

    def batch_size(self, model: Classifier, gradients: bool, images_per_input: int = 1) -> BatchSize:
        """How many inputs go through the model at once, forward or with gradients of the inputs."""
        asked = self.settings.batch_size
        if asked == "auto" and self.device.type != "cpu":
            return BatchSize(lambda: max(1, fastest_of(model, gradients) // images_per_input))
        # beyond 8, a CPU's activations leave the cache and every pass pays for fresh memory
        return BatchSize(max(1, (8 if asked == "auto" else asked) // images_per_input))

    @property
    def method_name(self) -> str:
        return self.settings.method.name

    @property
    def layer(self) -> str:
        """Where in the source the method looks; "" of one that looks at no layer."""
        describe = getattr(unsmoothed(self.method), "layer_of", None)
        try:
            return describe(self.source) if describe else ""
        except InputError as error:
            if not isinstance(self.source, Joint):
                raise
            raise InputError(f"method={self.method_name}: {error}") from error


def _removal_of(target: Classifier, fill: Fill) -> Removal | None:
    if type(fill) not in REMOVALS:
        return None
    try:
        return REMOVALS[type(fill)](target)
    except InputError as error:
        log.info("%s is shown black where an image is dropped: %s", target.name, error)
        return None


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

    @property
    def explains_anew(self) -> bool:
        """Whether it asks the method for maps of other images or networks than the job's."""
        return False

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
