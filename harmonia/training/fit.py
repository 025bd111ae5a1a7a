"""One fit: images and network, Lightning's training, one file that source=fitted takes."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from scipy.stats import binomtest

from harmonia.cli.network_file import NETWORK
from harmonia.job.device import arithmetic
from harmonia.job.folder import LOCK, write_environment
from harmonia.job.prepare import device_of, quiet_lightning
from harmonia.models import fitted
from harmonia.models.classifier import Classifier
from harmonia.results import tracking
from harmonia.results.rows import read_summary, write_summary
from harmonia.store.files import JOBS, disk_errors, locked
from harmonia.training import folder as fits
from harmonia.training.images import list_images, read_images
from harmonia.training.module import ACCURACY, SCORE, Fit, Row
from harmonia.training.network import trainable
from harmonia.training.settings import FitSettings

log = logging.getLogger(__name__)

BFLOAT_FROM = 5_000_000  # parameters: below, a GPU waits for its launches, and casts are more of them


def fit_network(settings: FitSettings) -> dict[str, Any] | None:
    """Trains, or goes on where it was stopped; the summary, which is also on disk. None: another process is at it."""
    folder = Path(settings.paths.job)
    with disk_errors(folder, JOBS):
        folder.mkdir(parents=True, exist_ok=True)
    fits.refuse_others(folder)
    with locked(folder / LOCK, JOBS) as alone:
        if not alone:
            log.info("another process trains in %s: left to it", folder)
            return None
        quiet_lightning()
        make_trainer = partial(
            settings.trainer.with_options(precision="32-true").build, plugins=[LightningEnvironment()]
        )
        device = device_of(make_trainer, settings.trainer.options.get("devices", "auto"))
        if fits.is_finished(folder, settings.resolved):
            fits.remove_checkpoints(folder)
            log.info("%s has its network already", folder)
            return dict(read_summary(folder))
        rounded = settings.precision == "auto" and device.type == "cuda"
        with arithmetic(settings.num_threads, "tf32" if rounded else settings.precision):
            return _trained(settings, folder, make_trainer, device)


def _trained(settings: FitSettings, folder: Path, make_trainer: Any, device: torch.device) -> dict[str, Any]:
    classes = list_images(settings.data).classes
    classifier = trainable(settings.source, classes, settings.seed)
    learned, judged = read_images(settings.data, classifier.view, settings.unreadable)
    classifier = classifier.of_a_job(_precision(settings, classifier, device))
    log.info(
        "%s: %s parameters, %d images of %d classes, judged by %d, on %s in %s",
        classifier.name,
        f"{classifier.size_facts()['parameters']:,}",
        len(learned),
        len(classes),
        len(judged),
        device,
        classifier.precision,
    )
    # only now: a fit that is refused leaves no settings for the next to differ from
    fits.write_settings(folder, settings.resolved)
    files = (NETWORK, fits.METRICS)
    write_environment(folder, device, {classifier.name: classifier.size_facts()}, files)
    logger = tracking.make_logger(settings.logger)
    try:
        with tracking.only_warns("the logger did not take the configuration"):
            if logger is not None:
                logger.log_hyperparams(dict(settings.resolved))
        module = Fit(classifier, learned, judged, settings, partial(_tell, folder, logger, settings.epochs))
        _train(module, settings, folder, make_trainer)
        with tracking.only_warns("the logger did not end"):
            if logger is not None:
                logger.save()
                logger.finalize("success")
    finally:
        tracking.finish(logger)
    summary = _leave(module, settings, folder)
    fits.remove_checkpoints(folder)
    log.info("%s: %.1f %% of the images that judge, %s", classifier.name, 100 * summary[ACCURACY], folder / NETWORK)
    if not settings.shuffled_labels:
        _warn_of_guess(module, summary[ACCURACY], settings.epochs)
    return summary


def _warn_of_guess(module: Fit, accuracy: float, epochs: int) -> None:
    """Of a network whose accuracy has an interval (Wilson's, of 95 %) that holds the share of the commonest class."""
    images = len(module.true)
    guess = module.true.bincount().max().item() / images
    low, high = binomtest(round(accuracy * images), images).proportion_ci(method="wilson")
    if low <= guess:
        log.warning(
            "%s: a network must be better than a guess, got %.0f %% [%.0f, %.0f] of %d images that judge, of which "
            "%.0f %% are of the commonest class; train longer (epochs=%d), from weights (source.weights=hub) or on "
            "more images",
            *(module.classifier.name, 100 * accuracy, 100 * low, 100 * high, images, 100 * guess, 2 * epochs),
        )


def _precision(settings: FitSettings, classifier: Classifier, device: torch.device) -> str:
    if settings.precision != "auto":
        return settings.precision
    if device.type != "cuda":
        return "32-true"
    large = int(classifier.size_facts()["parameters"]) >= BFLOAT_FROM  # pyright: ignore
    return "bf16-mixed" if large and torch.cuda.is_bf16_supported() else "tf32"


def _train(module: Fit, settings: FitSettings, folder: Path, make_trainer: Any) -> None:
    """Through all epochs that are left; then the module has the numbers of the best one."""
    place = folder / fits.CHECKPOINTS
    every = {"dirpath": place, "enable_version_counter": False, "auto_insert_metric_name": False}
    best = ModelCheckpoint(**every, filename=fits.BEST, monitor=SCORE, mode="max", save_weights_only=True)
    # behind the best: it keeps which one that was
    callbacks: list[Callback] = [best, ModelCheckpoint(**every, filename=fits.LAST)]
    if settings.patience is not None:
        callbacks.insert(0, EarlyStopping(SCORE, mode="max", patience=settings.patience))
    trainer = make_trainer(
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=True,
        max_epochs=settings.epochs,
        gradient_clip_val=settings.clip,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        default_root_dir=folder,
    )
    last = place / f"{fits.LAST}.ckpt"
    if last.is_file():
        log.info("resumed from %s", last)
    with disk_errors(place, JOBS):
        trainer.fit(module, ckpt_path=last if last.is_file() else None, weights_only=True)
    kept: Any = torch.load(place / f"{fits.BEST}.ckpt", map_location="cpu", weights_only=True)
    module.load_state_dict(kept["state_dict"])


def _tell(folder: Path, logger: Any, epochs: int, rows: list[Row]) -> None:
    row = rows[-1]
    fits.write_metrics(folder, rows)
    line = "epoch %d of %d: loss %.3f, %.1f %% right, %.1f s"
    log.info(line, row["epoch"], epochs, row["loss"], 100 * row[ACCURACY], row["seconds"])
    with tracking.only_warns("the logger did not take an epoch"):
        if logger is not None:
            logger.log_metrics({name: value for name, value in row.items() if name != "epoch"}, step=row["epoch"])


def _leave(module: Fit, settings: FitSettings, folder: Path) -> dict[str, Any]:
    judge, rows = module.judge, module.history
    with disk_errors(folder / NETWORK, JOBS):
        fitted.write(folder / NETWORK, judge, settings.source.name)
    best = max(rows, key=lambda row: (row[ACCURACY], -row["val_loss"]))
    counts = {"epochs": len(rows), "images": len(module.learned), "images_that_judge": len(module.judged)}
    summary = {
        ACCURACY: best[ACCURACY],
        "best_epoch": best["epoch"],
        **counts,
        "parameters": judge.size_facts()["parameters"],
        "seconds": round(sum(row["seconds"] for row in rows), 3),
    }
    write_summary(folder, summary)  # pyright: ignore
    return summary
