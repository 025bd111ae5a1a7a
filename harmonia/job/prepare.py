"""From settings to a job: everything is checked that can be before time is spent, then images and models are loaded."""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning import Trainer

from harmonia.attribution.contract import Attribution
from harmonia.attribution.smoothing import Smoothed, unsmoothed
from harmonia.attribution.stored import Stored
from harmonia.attribution.vote import Vote
from harmonia.data.given_maps import given_maps
from harmonia.data.manifest import ImageSet
from harmonia.data.replacements import Replacements
from harmonia.data.view import View
from harmonia.data.views import ViewedImages
from harmonia.errors import InputError, home, refused
from harmonia.job.classes import settle_classes, warn_of_nameless
from harmonia.job.contract import Evaluation, Job
from harmonia.job.settings import Settings
from harmonia.models import load
from harmonia.models.classifier import Classifier
from harmonia.store.sets import ShardSet

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class InMemory:
    """What is in memory already; the settings only name it."""

    images: ImageSet | None = None
    classifiers: Mapping[str, Classifier] = field(default_factory=dict)  # by name


def prepare(
    settings: Settings,
    folder: Path,
    open_set: Callable[..., ShardSet] = ShardSet.open,
    in_memory: InMemory | None = None,
    maps_alone: bool = False,
) -> Job:
    """Images, models and what is done with them; every stage is still to come.

    open_set: ShardSet.peek where nothing may be written. maps_alone: no target will be asked, so that none need know a
    class of the images.
    """
    in_memory = in_memory or InMemory()
    quiet_lightning()
    # classifiers take their precision from the settings: Lightning's would reach the masks and keep weights too
    trainer = settings.trainer.with_options(precision="32-true")
    # Lightning would take the tasks of `srun` for ranks of one job
    make_trainer = partial(trainer.build, plugins=[LightningEnvironment()])
    device = device_of(make_trainer, trainer.options.get("devices", "auto"))
    method = _method(settings)
    evaluation = _evaluation(settings)
    stored = _stored(method, evaluation)
    fill = settings.fill.build()
    label_policy = settings.label.function()
    # from here on it takes time
    images: ImageSet = in_memory.images or settings.data.build()
    evaluation.check(images)
    ids = [record.image_id for record in images.records]
    asked = settings.target if evaluation.uses_targets else {"self": settings.source}
    source, targets = load.load_job(
        settings.source, asked.values(), settings.seed, settings.precision, in_memory.classifiers
    )
    given = given_maps(stored.maps, stored.over, ids, source.view.size) if stored else None
    answering = () if maps_alone else targets.values()
    images = settle_classes(images, source, answering)

    @cache
    def pool(view: View, random_crops: bool) -> Replacements:
        warn_of_nameless(images.pool, source)
        return Replacements(images.pool, view, settings.seed, random_crops)

    return Job(
        settings=settings,
        folder=folder,
        images=images,
        viewed=_viewed(settings, images, [model.view for model in (source, *targets.values())]),
        source=source,
        targets=targets,
        method=method,
        label_policy=label_policy,
        fill=fill,
        evaluation=evaluation,
        open_set=partial(open_set, home(settings.paths.cache)),
        pool=pool,
        given=given,
        make_trainer=make_trainer,
        device=device,
    )


def _viewed(settings: Settings, images: ImageSet, views: Sequence[View]) -> ViewedImages:
    return ViewedImages(
        images.records,
        views,
        unreadable=settings.unreadable,
        spool_folder=home(settings.paths.cache) / "spool",
        spool_limit_bytes=int(settings.store.spool_gb * 2**30),
    )


def device_of(make_trainer: Callable[..., Trainer], devices: Any) -> torch.device:
    """Where the job computes; one device, a CPU or a CUDA GPU."""
    few = min(int(devices), 2) if str(devices).isdecimal() else devices  # Lightning makes a list of them
    rule, wrong = "trainer: Lightning takes no such options", (MisconfigurationException, ValueError, TypeError)
    with refused(rule, "trainer=cpu runs everywhere", *wrong):
        trainer = make_trainer(devices=few)
    if trainer.world_size > 1:
        raise InputError(
            f"trainer: a job uses one device, got {devices}; let -m hydra/launcher=ray or slurm place it, or start the "
            "same command once for each device: the processes divide the work among them"
        )
    device = trainer.strategy.root_device
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"trainer: a device must be a CPU or a CUDA GPU, got {device}; use trainer=cpu")
    return device


def _evaluation(settings: Settings) -> Evaluation:
    evaluation = settings.evaluation.build()
    if not isinstance(evaluation, Evaluation):
        got = settings.evaluation.options["_target_"]
        raise InputError(f"evaluation._target_ must name an Evaluation, got {got!r}; see docs/adding-an-evaluation.md")
    return evaluation


def _method(settings: Settings) -> Attribution:
    method: Attribution = settings.method.build()
    if settings.layer != "auto" and not hasattr(method, "layer_of"):
        raise InputError(f"layer: {settings.method.name} explains at no chosen layer, got {settings.layer!r}; use auto")
    method = Vote(of=method) if settings.source.kind == "vote" else method
    smooth = settings.smooth
    return method if smooth.k is None else Smoothed(inner=method, k=smooth.k, padding=smooth.padding)


def _stored(method: Attribution, evaluation: Evaluation) -> Stored | None:
    """The method whose maps come from elsewhere, if it is one."""
    method = unsmoothed(method)
    if not isinstance(method, Stored):
        return None
    if evaluation.explains_anew:
        raise InputError(
            "evaluation must be one of the maps there are: method=stored explains no other image or network; choose "
            "evaluation=transfer or another that explains nothing anew"
        )
    return method


def quiet_lightning() -> None:
    """Lightning's hints are about training; harmonia's own lines say what its user needs."""
    rank_zero_only.rank = 0  # every process is a job of its own: `srun` numbers its tasks, and only the first would log
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators"):
        logging.getLogger(name).setLevel(logging.WARNING)
    hints = "does not have many workers|IterableDataset|infer the batch indices|LeafSpec|GPU available but"
    hints += "|in eval mode at the start of training|exists and is not empty"
    warnings.filterwarnings("ignore", f".*({hints}|The `srun` command is available)")
