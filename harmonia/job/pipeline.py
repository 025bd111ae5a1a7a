"""One job: maps of a source by a method, then an evaluation of them, then its files and its log.

images, models  ->  maps (store)  ->  evaluation (rows.parquet)  ->  summary.json, W&B
"""

import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer

from harmonia.attribution.contract import Attribution
from harmonia.attribution.smoothing import Smoothed
from harmonia.cli.options import build, build_function, check, check_root
from harmonia.data.manifest import ImageSet
from harmonia.data.replacements import Replacements
from harmonia.data.view import View
from harmonia.data.views import ViewedImages
from harmonia.errors import InputError
from harmonia.features.fill import Fill
from harmonia.features.maps import UNREADABLE
from harmonia.job import folder as job_folder
from harmonia.job.completion import complete
from harmonia.job.contract import Evaluation, Job
from harmonia.job.keys import OpenSet, open_features, open_grid_maps, open_maps, open_predictions, open_scores
from harmonia.job.pictures import sample_panel, small_maps
from harmonia.job.source import Source
from harmonia.models import classifier, load
from harmonia.models.classifier import Classifier
from harmonia.results import rows as results
from harmonia.results import tracked_rows, tracking
from harmonia.results.localisation import read_localisation
from harmonia.results.maps import write_small_maps
from harmonia.results.scores import read_scores
from harmonia.results.summary import summarise_job
from harmonia.store.sets import ShardSet

log = logging.getLogger(__name__)


def run(config: DictConfig) -> dict[str, float | int | None]:
    """The whole job of one configuration; returns its summary, which is also on disk."""
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    check_root(settings)
    folder = Path(settings["paths"]["job"])
    folder.mkdir(parents=True, exist_ok=True)
    with job_folder.ours(folder) as alone:
        if alone:
            return _run(settings, folder)
    log.info("another process runs this job in %s: helping it", folder)
    with job_folder.beside(folder) as own, _threads(settings["num_threads"]):
        _compute(settings, own)  # for the store: the rows are the other's to write
    with job_folder.ours(folder, wait=True):
        if job_folder.holds(folder, settings):
            return results.read_summary(folder)
        if (folder / results.SUMMARY).exists():
            raise InputError(
                f"{folder} must be one job's, and another with other settings has just ended in it; what this one "
                "computed is in the store: start it again with hydra.run.dir= or hydra.sweep.dir= of its own"
            )
        return _run(settings, folder)  # the other one has died


def _run(settings: dict[str, Any], folder: Path) -> dict[str, float | int | None]:
    """The job in a folder that no other process writes."""
    try:
        with _threads(settings["num_threads"]):
            job, summary = _compute(settings, folder)
        if job.evaluation.on_targets:
            summary |= summarise_job(folder)
        results.write_summary(folder, summary)
    except Exception as error:
        job_folder.record_failure(folder, error)
        raise
    _track(settings, job, summary)
    return summary


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """So many CPU threads of torch for this job; the next one of a sweep finds what this one found."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _compute(settings: dict, folder: Path) -> tuple[Job, dict[str, Any]]:
    """Maps, then rows; gives the job and its counts."""
    started = time.monotonic()
    job, device = prepare(settings, folder)
    # only now: a configuration that is refused leaves an earlier result in the folder alone
    job_folder.begin(folder, settings)
    networks = {model.name: model.size_facts() for model in (job.source, *job.targets.values())}
    job_folder.write_environment(folder, device, networks)
    counts = _evaluate_images(job) if job.evaluation.of_images else job.evaluation(job)
    if counts["maps_not_converged"]:
        maps = counts["maps_computed"] + counts["maps_cached"]
        log.warning("%d of %d maps have not converged", counts["maps_not_converged"], maps)
    return job, {
        **counts,
        "images": len(job.images.records) - len(job.viewed.unreadable),
        "images_unreadable": len(job.viewed.unreadable),
        "images_decoded": job.viewed.decoded,
        "seconds": round(time.monotonic() - started, 3),
    }


def _evaluate_images(job: Job) -> dict[str, int]:
    """Maps of whole images, then their evaluation."""
    computed = make_maps(job)
    if len(job.viewed.unreadable) == job.maps.count:
        raise InputError(
            f"data: of {job.images.name} no image can be read, all {job.maps.count} are left out; the log names each"
        )
    counts = job.evaluation(job)
    if job.evaluation.on_targets:
        write_small_maps(job.folder, small_maps(job))
    return {**counts, **_map_counts(job.maps, computed)}


def _device(make_trainer: Callable[..., Trainer]) -> torch.device:
    """Where the job computes; one device, a CPU or a CUDA GPU."""
    try:
        trainer = make_trainer()
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise InputError(f"trainer: Lightning takes no such options: {error}; see conf/trainer") from error
    if trainer.world_size > 1:
        raise InputError(
            f"trainer: a job uses one device, got {trainer.world_size}; let -m hydra/launcher=ray or slurm place it, "
            "or start the same command once for each device: the processes divide the work among them"
        )
    device = trainer.strategy.root_device
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"trainer: a device must be a CPU or a CUDA GPU, got {device}; use trainer=cpu")
    return device


def _batch_size(asked: int | str, device: torch.device) -> int:
    if asked == "auto":
        # beyond 8, a CPU's activations leave the cache and every pass pays for fresh memory; 16 fits B7 on a large GPU
        return 8 if device.type == "cpu" else 16
    if not isinstance(asked, int) or asked < 1:
        raise InputError(f"batch_size must be auto or a positive whole number, got {asked!r}")
    return asked


def prepare(settings: dict, folder: Path, open_set: OpenSet = ShardSet.open) -> tuple[Job, torch.device]:
    """Images, models and settings, and the device; the maps are still to be made.

    open_set: ShardSet.peek where nothing may be written.
    """
    _quiet_lightning()
    # classifiers take their precision from here: Lightning's would reach the masks and keep weights too
    options = {**settings["trainer"], "precision": "32-true"}
    # Lightning would take the tasks of `srun` for ranks of one job
    make_trainer = partial(build, "trainer", options, plugins=[LightningEnvironment()])
    device = _device(make_trainer)
    batch_size = _batch_size(settings["batch_size"], device)
    method = _method(settings)
    evaluation: Evaluation = build("evaluation", settings["evaluation"])
    fill: Fill = build("fill", settings["fill"])
    label_policy = build_function("label", settings["label"])
    precision = settings["trainer"]["precision"]
    asked = settings["target"] if evaluation.on_targets else {"self": settings["source"]}
    for name, model in (
        ("source", settings["source"]),
        *((f"target.{key}", one) for key, one in asked.items()),
    ):
        check(name, classifier.ModelSpec, model)
    # from here on it takes time
    images: ImageSet = build("data", settings["data"])
    if getattr(evaluation, "needs_boxes", False) and images.boxes is None:
        raise InputError(
            f"evaluation={settings['evaluation']['name']} needs boxes of the images, got none; give data.boxes=FILE, a "
            "CSV file with the columns path,class_index,x0,y0,x1,y1"
        )
    source, targets = load.load_job(settings["source"], asked, settings["seed"], precision)
    _check_classes(images, source, targets.values())
    cache_root = Path(settings["paths"]["cache"]).expanduser()
    opened = partial(open_set, cache_root)
    # maps of whole images that nobody asks for leave no empty set in the store
    open_own = opened if evaluation.of_images else partial(ShardSet.peek, cache_root)
    maps = open_maps(open_own, settings, images, source, method)

    @cache
    def pool(view: View, random_crops: bool) -> Replacements:
        return Replacements(images.pool, view, settings["seed"], random_crops)

    job = Job(
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
        maps=maps,
        label_policy=label_policy,
        label_name=settings["label"]["name"],
        fill=fill,
        fill_name=settings["fill"]["name"],
        replacements=lambda view, random_crops=False: pool(view, random_crops),
        open_predictions=lambda target: open_predictions(opened, settings, images, target),
        open_features=partial(open_features, opened, settings, images, maps, fill),
        open_grid_maps=partial(open_grid_maps, opened, settings, images, source),
        open_scores=partial(open_scores, opened, settings, maps),
        evaluation=evaluation,
        evaluation_name=settings["evaluation"]["name"],
        make_trainer=make_trainer,
        batch_size=batch_size,
    )
    return job, device


def _method(settings: dict) -> Attribution:
    """The method, behind a Gaussian where one is asked for."""
    method: Attribution = build("method", settings["method"])
    if settings["layer"] != "auto" and not hasattr(method, "layer_of"):
        raise InputError(f"layer: {settings['method']['name']} explains at no chosen layer, got {settings['layer']!r}")
    smooth = settings["smooth"]
    return method if smooth["k"] is None else Smoothed(inner=method, k=smooth["k"], padding=smooth["padding"])


def _check_classes(images: ImageSet, source: Classifier, targets: Iterable[Classifier]) -> None:
    """A data set whose classes a target does not know would score 0 without a word."""
    asked = list(targets)
    for model in dict.fromkeys((*asked, source)):
        unknown = [name for name in images.class_names if model.class_index(name) is None]
        if len(unknown) == len(images.class_names) and model in asked:
            raise InputError(
                f"data: {model.name} knows no class of {images.name} (first: {unknown[0]!r}); name the folders by "
                f"WordNet id or ImageNet index, give data.class_map=FILE, or name {model.name}'s classes=FILE"
            )
        if unknown:
            log.warning("%s lacks %d classes of %s, first %r", model.name, len(unknown), images.name, unknown[0])
    nameless = sum(source.class_index(record.class_name or "") is None for record in images.pool)
    if nameless:
        log.warning(
            "%d of %d replacement images have none of the source's classes: they may show the explained one",
            nameless,
            len(images.pool),
        )


def make_maps(job: Job) -> int:
    """The maps that the store lacks; gives the number computed here."""
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
            job.label_policy,
            partial(job.replacements, job.source.view),
            job.batch_size,
            progress,
        ),
        job.make_trainer,
        f"{job.method_name} maps of {job.source.name}",
    )


def _map_counts(maps: ShardSet, computed: int) -> dict[str, int]:
    facts = [fact for fact in maps.facts() if fact["flag"] != UNREADABLE]
    return {
        "maps_computed": computed,
        "maps_cached": maps.count - computed,
        "maps_flagged": sum(fact["flag"] != "" for fact in facts),
        "maps_not_converged": sum(not fact["converged"] for fact in facts),
        "network_passes/maps": sum(fact["passes"] for fact in facts),
    }


def _track(settings: dict, job: Job, summary: dict) -> None:
    """The job's numbers and pictures in the configured logger; a logger's failure is a warning."""
    logger = None
    try:
        logger = tracking.make_logger(settings["logger"])
        if logger is not None and not job.evaluation.of_images:
            tracking.publish_cells(logger, summary, settings, read_localisation(job.folder))
        elif logger is not None and not job.evaluation.on_targets:
            tracking.publish_scores(logger, summary, settings, read_scores(job.folder))
        elif logger is not None:
            panel: list = []
            rows = tracked_rows.tracked_rows(job.folder)
            with tracking.only_warns("no sample panel"):
                panel = sample_panel(job, job.evaluation.arms(job), settings["tracking"]["panel_images"])
            tracking.publish(logger, summary, settings, rows, panel)
    finally:
        tracking.finish(logger)


def _quiet_lightning() -> None:
    """Lightning's hints are about training; harmonia's own lines say what its user needs."""
    rank_zero_only.rank = 0  # every process is a job of its own: `srun` numbers its tasks, and only the first would log
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators"):
        logging.getLogger(name).setLevel(logging.WARNING)
    hints = (
        "does not have many workers",
        "IterableDataset",
        "infer the batch indices",
        "LeafSpec",
        "GPU available but",
        "The `srun` command is available",
    )
    for hint in hints:
        warnings.filterwarnings("ignore", f".*{hint}")
