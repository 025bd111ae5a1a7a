"""What each tracker is given of a job beside its numbers and configuration: tables, histograms, pictures, curves."""

import json
import logging
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from harmonia.media import visible

if TYPE_CHECKING:  # a report, which imports this module, must not pay for torch
    from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

    from harmonia.results.trackio_logger import TrackioLogger

# names under which loggers write and panels of a W&B workspace show
CURVE_AXIS, CURVES = "curves/kept_area", "curves/{target}/{metric}"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Media:
    """By the names under which trackers show them."""

    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    histograms: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)  # counts, edges of the bins
    pictures: Mapping[str, Sequence[tuple[str, np.ndarray]]] = field(default_factory=dict)  # titles, H W 3 uint8
    curves: Sequence[Mapping[str, float]] = ()  # points, each with its place on CURVE_AXIS


def log_media(logger: "Logger", media: Callable[[], Media]) -> None:
    """All that the logger's tracker can show; a logger that shows none does not ask for them."""
    from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger

    from harmonia.results.trackio_logger import TrackioLogger

    match logger:
        case WandbLogger():
            _to_wandb(logger, media())
        case TensorBoardLogger():
            _to_tensorboard(logger, media())
        case MLFlowLogger():
            _to_mlflow(logger, media())
        case TrackioLogger():
            _to_trackio(logger, media())


def _to_wandb(logger: "WandbLogger", media: Media) -> None:
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


def _to_tensorboard(logger: "TensorBoardLogger", media: Media) -> None:
    board: Any = logger.experiment
    config = json.dumps(dict(cast(dict, logger.hparams)), indent=1, default=str)
    board.add_text("config", textwrap.indent(config, "    "))  # it reads Markdown
    _log_curves(logger, media)
    for name, (counts, edges) in media.histograms.items():
        centres = (edges[1:] + edges[:-1]) / 2
        board.add_histogram_raw(
            f"histograms/{name}",
            min=edges[0],
            max=edges[-1],
            num=counts.sum(),
            sum=counts @ centres,
            sum_squares=counts @ centres**2,
            bucket_limits=edges[1:].tolist(),
            bucket_counts=counts.tolist(),
        )
    for name, title, picture in _pictures(media):
        board.add_image(f"{name}/{title}", picture, dataformats="HWC")


def _to_mlflow(logger: "MLFlowLogger", media: Media) -> None:
    from matplotlib.figure import Figure

    client, run = logger.experiment, logger.run_id
    _log_curves(logger, media)
    for name, table in media.tables.items():
        client.log_table(run, table, f"{name}.json")
    for name, (counts, edges) in media.histograms.items():
        figure = Figure()
        figure.subplots().stairs(counts, edges, fill=True)
        client.log_figure(run, figure, f"histograms/{name}.png")
    for number, (name, title, picture) in enumerate(_pictures(media)):
        client.log_image(run, picture, f"{name}/{number}.png")
        client.log_text(run, title, f"{name}/{number}.txt")  # a title may be anything, a file's name not


def _to_trackio(logger: "TrackioLogger", media: Media) -> None:
    trackio = logger.library
    _log_curves(logger, media)
    objects: dict[str, Any] = {name: trackio.Table(dataframe=table) for name, table in media.tables.items()}
    for name, bins in media.histograms.items():
        objects[f"histograms/{name}"] = trackio.Histogram(np_histogram=bins)
    for name, title, picture in _pictures(media):
        objects[f"{name}/{title}"] = trackio.Image(picture, caption=title)
    logger.log_metrics(objects, step=0)


def _log_curves(logger: "Logger", media: Media) -> None:
    """For trackers whose only axis is a whole number: the kept area in percent."""
    for point in media.curves:
        values = {name: value for name, value in point.items() if name != CURVE_AXIS}
        logger.log_metrics(values, step=round(100 * point[CURVE_AXIS]))


def _pictures(media: Media) -> Iterator[tuple[str, str, np.ndarray]]:
    for name, pictures in media.pictures.items():
        yield from ((name, visible(title), picture) for title, picture in pictures)
