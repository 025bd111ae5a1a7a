"""A finished job's numbers in a Lightning logger: a copy, so its failure never costs the job.

summary.json and rows.parquet are complete before anything here runs, and no table reads it back.
"""

import logging
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra.utils import instantiate
from pytorch_lightning.loggers import Logger, WandbLogger

from harmonia.results import tracked_rows

log = logging.getLogger(__name__)


def make_logger(config: Mapping[str, Any] | None) -> Logger | None:
    """The logger of the config group `logger`; None for `none` and for one that cannot be made."""
    if not config:
        return None
    # before wandb reads its settings: else it warns, in every job, of an option that Lightning passes
    os.environ.setdefault("WANDB_SILENT", "true")
    with only_warns("the logger could not be made"):
        return instantiate(config, _convert_="all")
    return None  # it has warned


def publish(
    logger: Logger | None,
    summary: Mapping[str, float | int | None],
    config: dict[str, Any],
    rows: pd.DataFrame,
    panel: Sequence[tuple[str, np.ndarray]] = (),
) -> None:
    """The summary's numbers and the config; with W&B also pictures, histograms, curves and a table of the images.

    rows are those of tracked_rows.tracked_rows. panel holds titles with H W 3 uint8 pictures.
    """
    if logger is None:
        return
    with only_warns(f"{type(logger).__name__} did not take all of the job's numbers"):
        logger.log_hyperparams(config)
        numbers = tracked_rows.metrics(summary)
        # A step, because WandbLogger draws every metric over it and shows nothing without one.
        logger.log_metrics({name: value for name, value in numbers.items() if value is not None}, step=0)
        if isinstance(logger, WandbLogger):
            _log_curves(logger, summary, rows)
            _log_media(logger, rows, panel)
        logger.save()


def publish_cells(
    logger: Logger | None, summary: Mapping[str, float | int | None], config: dict[str, Any], cells: pd.DataFrame
) -> None:
    """Numbers and config of a job that scored cells of mosaics; with W&B also a histogram and a table of them."""
    histograms = {f"{cells['protocol'].iloc[0]}/localisation": np.histogram(cells["localisation"], 20, (0, 1))}
    _publish_table(logger, summary, config, tracked_rows.CELLS, cells, histograms)


def publish_scores(
    logger: Logger | None, summary: Mapping[str, float | int | None], config: dict[str, Any], scores: pd.DataFrame
) -> None:
    """Numbers and config of a job that scored maps; with W&B also histograms and a table with a line an image."""
    histograms = tracked_rows.score_histograms(scores)
    _publish_table(logger, summary, config, tracked_rows.IMAGES, tracked_rows.score_table(scores), histograms)


def _publish_table(
    logger: Logger | None,
    summary: Mapping[str, float | int | None],
    config: dict[str, Any],
    name: str,
    table: pd.DataFrame,
    histograms: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    if logger is None:
        return
    with only_warns(f"{type(logger).__name__} did not take all of the job's numbers"):
        logger.log_hyperparams(config)
        logger.log_metrics({name: value for name, value in summary.items() if value is not None}, step=0)
        if isinstance(logger, WandbLogger):
            import wandb

            media: dict[str, Any] = {
                f"histograms/{of}": wandb.Histogram(np_histogram=bins) for of, bins in histograms.items()
            }
            logger.log_metrics({**media, name: wandb_table(table)}, step=0)
        logger.save()


def _log_curves(logger: WandbLogger, summary: Mapping[str, float | int | None], rows: pd.DataFrame) -> None:
    # no copy in the run's summary: it would be the largest area's
    logger.experiment.define_metric(tracked_rows.AREA, summary="none")
    logger.experiment.define_metric("curves/*", step_metric=tracked_rows.AREA, summary="none")
    for step, point in enumerate(tracked_rows.area_curves(summary, rows)):
        logger.log_metrics(point, step=step)


def _log_media(logger: WandbLogger, rows: pd.DataFrame, panel: Sequence[tuple[str, np.ndarray]]) -> None:
    import wandb

    media: dict[str, Any] = {tracked_rows.IMAGES: wandb_table(tracked_rows.image_table(rows))}
    for name, values in tracked_rows.histograms(rows).items():
        finite = np.asarray(values, dtype=float)
        finite = finite[np.isfinite(finite)]
        if finite.size:
            bins = np.histogram(finite, bins=20, range=(0, 1))  # one axis for every target and arm
            media[f"histograms/{name}"] = wandb.Histogram(np_histogram=bins)
    if panel:
        media["samples"] = [wandb.Image(picture, caption=title) for title, picture in panel]
    logger.log_metrics(media, step=0)


def wandb_table(frame: pd.DataFrame) -> Any:
    """The frame as a W&B table, None where it is undefined; of too many lines the first."""
    import wandb

    most = wandb.Table.MAX_ARTIFACT_ROWS
    if len(frame) > most:
        log.warning("Tracking: W&B takes %d lines of a table, the other %d are left out", most, len(frame) - most)
    plain = frame.head(most).astype(object)
    return wandb.Table(
        columns=[str(name) for name in frame.columns], data=plain.where(plain.notna(), None).values.tolist()
    )


def finish(logger: Logger | None) -> None:
    """The end of this job's run; call it in `finally`.

    Launchers that start no process per job would otherwise let the next job write into this one's run.
    """
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
