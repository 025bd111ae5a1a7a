"""One job: maps of a source by a method, then an evaluation of them, then its files and its log.

images, models  ->  maps (store)  ->  evaluation (rows.parquet)  ->  summary.json, W&B
"""

import logging
import time
import warnings
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer

from harmonia import job_folder, models, results, tracking
from harmonia.attribution.contract import Attribution
from harmonia.completion import complete
from harmonia.data.manifest import ImageSet
from harmonia.data.replacements import Replacements
from harmonia.data.views import ViewedImages
from harmonia.errors import InputError
from harmonia.evaluation.contract import Job
from harmonia.identity import fingerprint
from harmonia.keep import KeepArms, normalisation
from harmonia.models import Classifier
from harmonia.panel import sample_panel
from harmonia.source import Source
from harmonia.store.sets import ShardSet

log = logging.getLogger(__name__)


def run(config: DictConfig) -> dict[str, float | int | None]:
    """The whole job of one configuration; returns its summary, which is also on disk."""
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    folder = Path(settings["paths"]["job"])
    job_folder.begin(folder, settings)
    try:
        job, summary = _compute(settings, folder)
        rows = results.read_rows(folder)
        summary |= results.summarise(rows)
        results.write_summary(folder, summary)
    except Exception as error:
        job_folder.record_failure(folder, error)
        raise
    _track(settings, job, rows, summary)
    return summary


def _compute(settings: dict, folder: Path) -> tuple[Job, dict[str, Any]]:
    """Maps, then rows; gives the job and its counts."""
    started = time.monotonic()
    _quiet_lightning()
    if settings["num_threads"]:
        torch.set_num_threads(settings["num_threads"])
    make_trainer = partial(instantiate, settings["trainer"], _convert_="all")
    trainer: Trainer = make_trainer()
    if trainer.world_size > 1:
        raise InputError(
            f"trainer: a job uses one device, got {trainer.world_size}; start the same sweep once for each device, "
            "the jobs divide the maps among them"
        )
    device = trainer.strategy.root_device
    job_folder.write_environment(folder, device)
    job = _prepare(settings, folder, make_trainer, _batch_size(settings["batch_size"], device))
    computed = _make_maps(settings, job)
    counts = instantiate(_without_name(settings["evaluation"]), _convert_="all")(job)
    return job, {
        **counts,
        **_map_counts(job.maps, computed),
        "images": len(job.images.records) - len(job.viewed.unreadable),
        "images_unreadable": len(job.viewed.unreadable),
        "images_decoded": job.viewed.decoded,
        "seconds": round(time.monotonic() - started, 3),
    }


def _batch_size(asked: int | str, device: torch.device) -> int:
    if asked == "auto":
        # beyond 8, a CPU's activations leave the cache and every pass pays for fresh memory
        return 8 if device.type == "cpu" else 64
    if not isinstance(asked, int) or asked < 1:
        raise InputError(f"batch_size must be auto or a positive whole number, got {asked!r}")
    return asked


def _prepare(settings: dict, folder: Path, make_trainer: Callable[..., Trainer], batch_size: int) -> Job:
    """Images, models and settings; the maps are still to be made."""
    images: ImageSet = instantiate(_without_name(settings["data"]), _convert_="all")
    source, targets = models.load_job(settings["source"], settings["target"], settings["seed"])
    method: Attribution = instantiate(_without_name(settings["method"]), _convert_="all")
    cache_root = Path(settings["paths"]["cache"]).expanduser()
    return Job(
        folder=folder,
        images=images,
        viewed=ViewedImages(
            images.records,
            [model.view for model in (source, *targets.values())],
            unreadable=settings["unreadable"],
            spool_folder=cache_root / "spool",
            spool_limit_bytes=int(settings["store"]["spool_gb"] * 2**30),
        ),
        source=source,
        targets=targets,
        method=method,
        method_name=settings["method"]["name"],
        maps=_open_maps(cache_root, settings, images, source, method),
        label_policy=settings["label"]["name"],
        fill=instantiate(_without_name(settings["fill"]), _convert_="all"),
        fill_name=settings["fill"]["name"],
        replacements=cache(lambda view: Replacements(images.pool, view, settings["seed"])),
        open_predictions=lambda target: _open_predictions(cache_root, settings, images, target),
        make_trainer=make_trainer,
        batch_size=batch_size,
    )


def _make_maps(settings: dict, job: Job) -> int:
    """The maps that the store lacks; gives the number computed here."""
    label_policy = instantiate(_without_name(settings["label"]), _partial_=True)
    if describe := getattr(job.method, "layer_of", None):
        log.info("%s on %s looks at layer %s", job.method_name, job.source.name, describe(job.source))
    return complete(
        job.maps,
        job.viewed,
        job.source.view,
        lambda progress: Source(
            job.source,
            job.method,
            job.images,
            label_policy,
            lambda: job.replacements(job.source.view),
            job.batch_size,
            progress,
        ),
        job.make_trainer,
        f"{job.method_name} maps of {job.source.name}",
    )


def _map_counts(maps: ShardSet, computed: int) -> dict[str, int]:
    facts = [fact for fact in maps.facts() if fact["flag"] != "unreadable"]
    return {
        "maps_computed": computed,
        "maps_cached": maps.count - computed,
        "maps_flagged": sum(fact["flag"] != "" for fact in facts),
        "maps_not_converged": sum(not fact["converged"] for fact in facts),
        "network_passes/maps": sum(fact["passes"] for fact in facts),
    }


def _open_maps(root: Path, settings: Mapping, images: ImageSet, source: Classifier, method: Attribution) -> ShardSet:
    """The set of maps that exactly this source, method, label policy and data have; never the targets."""
    identity = {
        "source": source.identity(),
        "method": fingerprint(method),
        "label": settings["label"],
        "data": images.digest,
        "precision": str(settings["trainer"]["precision"]),
    }
    if method.uses_replacements:
        identity |= {"pool": images.pool_digest, "seed": settings["seed"]}
    name = f"{source.name}-{settings['method']['name']}"
    shard_size = settings["store"]["shard_size"]
    return ShardSet.open(root, "maps", name, identity, len(images.records), shard_size)


def _open_predictions(root: Path, settings: Mapping, images: ImageSet, target: Classifier) -> ShardSet:
    identity = {"model": target.identity(), "data": images.digest, "precision": str(settings["trainer"]["precision"])}
    shard_size = settings["store"]["shard_size"]
    return ShardSet.open(root, "predictions", target.name, identity, len(images.records), shard_size)


def _track(settings: dict, job: Job, rows: pd.DataFrame, summary: dict) -> None:
    """The job's numbers and pictures in the configured logger; a logger's failure is a warning."""
    logger = None
    try:
        logger = tracking.make_logger(settings["logger"])
        if logger is not None:
            histograms = {
                "/".join([*cast(tuple[str, str], group), "p_label"]): of_group["p_label"].to_numpy()
                for group, of_group in rows.groupby(["target", "arm"])
            }
            soft = KeepArms(normalisation(job.method.normalise), ())
            panel = sample_panel(job.maps, job.viewed, job.source.view, soft, settings["tracking"]["panel_images"])
            tracking.publish(logger, summary, settings, panel, histograms)
    finally:
        tracking.finish(logger)


def _without_name(group: Mapping) -> dict:
    """A config group's options without the name that tables show."""
    return {key: value for key, value in group.items() if key != "name"}


def _quiet_lightning() -> None:
    """Lightning's hints are about training; harmonia's own lines say what its user needs."""
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators"):
        logging.getLogger(name).setLevel(logging.WARNING)
    hints = (
        "does not have many workers",
        "IterableDataset",
        "infer the batch indices",
        "LeafSpec",
        "GPU available but",
    )
    for hint in hints:
        warnings.filterwarnings("ignore", f".*{hint}")
