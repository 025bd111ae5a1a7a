"""A finished job's numbers in a Lightning logger: a copy of complete files, so its failure never costs the job."""

import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from hydra.utils import instantiate

from harmonia.media import visible
from harmonia.results.logged_names import CURVE_AXIS

if TYPE_CHECKING:  # a report, which imports this module, must not pay for torch
    from pytorch_lightning.loggers import Logger, WandbLogger

log = logging.getLogger(__name__)


def make_logger(config: Mapping[str, Any] | None) -> "Logger | None":
    """The logger of the config group `logger`; None for `none` and for one that cannot be made."""
    if not config:
        return None
    # before wandb reads its settings: else it warns, in every job, of an option that Lightning passes
    os.environ.setdefault("WANDB_SILENT", "true")
    with only_warns("the logger could not be made"):
        return instantiate(config, _convert_="all")
    return None  # it has warned


@dataclass(frozen=True, kw_only=True)
class Media:
    """What W&B is given of a job beside its numbers, by the names under which it shows them."""

    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    histograms: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)  # counts, edges of the bins
    pictures: Mapping[str, Sequence[tuple[str, np.ndarray]]] = field(default_factory=dict)  # titles, H W 3 uint8
    curves: Sequence[Mapping[str, float]] = ()  # points, each with its place on CURVE_AXIS


def publish(
    logger: "Logger | None",
    summary: Mapping[str, float | int | None],
    config: dict[str, Any],
    media: Callable[[], Media] = Media,
) -> None:
    """The summary's numbers and the config; with W&B also what media gives, which other loggers do not ask for."""
    if logger is None:
        return
    from pytorch_lightning.loggers import WandbLogger

    with only_warns(f"{type(logger).__name__} did not take all of the job's numbers"):
        logger.log_hyperparams(config)
        # A step, because WandbLogger draws every metric over it and shows nothing without one.
        logger.log_metrics({visible(name): value for name, value in summary.items() if value is not None}, step=0)
        if isinstance(logger, WandbLogger):
            _log_media(logger, media())
        logger.save()


def _log_media(logger: "WandbLogger", media: Media) -> None:
    import wandb

    if media.curves:
        # no copy in the run's summary: it would be the last point's
        logger.experiment.define_metric(CURVE_AXIS, summary="none")
        logger.experiment.define_metric("curves/*", step_metric=CURVE_AXIS, summary="none")
    for step, point in enumerate(media.curves):
        logger.log_metrics(dict(point), step=step)
    objects: dict[str, Any] = {name: wandb_table(table) for name, table in media.tables.items()}
    for name, bins in media.histograms.items():
        objects[f"histograms/{name}"] = wandb.Histogram(np_histogram=bins)
    for name, pictures in media.pictures.items():
        objects[name] = [wandb.Image(picture, caption=title) for title, picture in pictures]
    logger.log_metrics(objects, step=0)


def wandb_table(frame: pd.DataFrame) -> Any:
    """The frame as a W&B table, None where it is undefined; of too many lines the first."""
    import wandb

    most = wandb.Table.MAX_ARTIFACT_ROWS
    if len(frame) > most:
        log.warning("Tracking: W&B takes %d lines of a table, the other %d are left out", most, len(frame) - most)
    plain = frame.head(most).astype(object)
    return wandb.Table(columns=list(map(str, frame)), data=plain.where(plain.notna(), None).values.tolist())


def finish(logger: "Logger | None") -> None:
    """The end of this job's run, for `finally`: else, in the same process, the next job would write into it."""
    from pytorch_lightning.loggers import WandbLogger

    if isinstance(logger, WandbLogger):
        with only_warns("W&B did not finish its run"):
            import wandb

            run = wandb.run
            wandb.finish()
            if run is not None and run.offline:
                command = shlex.join([sys.executable, "-m", "wandb", "sync", str(Path(run.dir).parent)])
                log.info("W&B: kept offline; send it later with %s", command)


@contextmanager
def only_warns(trouble: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        log.warning("Tracking: %s (%s); the files in the job's folder are complete.", trouble, reason)
