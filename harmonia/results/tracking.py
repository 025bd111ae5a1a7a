"""A finished job's numbers, and media made of its rows, in a Lightning logger.

A copy of complete files, so its failure never costs the job.
"""

import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from hydra.utils import instantiate

from harmonia.arms import IMAGE_ARM, area_of, is_control, is_equal_area, matched_control
from harmonia.media import visible
from harmonia.results.localisation import LocalisationRows
from harmonia.results.rows import read_pieces, with_categories
from harmonia.results.scores import ScoreRows

if TYPE_CHECKING:  # a report, which imports this module, must not pay for torch
    from pytorch_lightning.loggers import Logger, WandbLogger

# names under which loggers write and panels of a W&B workspace show
CURVE_AXIS, CURVES = "curves/kept_area", "curves/{target}/{metric}"
IMAGES = "images"  # the table with a line per image and target
CELLS = "cells"  # the table with a line per scored cell of a mosaic
SAMPLES = "samples"  # pictures of some images

TABLE_IMAGES = 1000  # W&B builds its table in memory
_OF_IMAGE = ["image_id", "target", "label", "explained", "source_predicted", "flag"]
_OF_ARM = ["predicted", "p_label", "p_explained", "kept_area"]
_NAMES = [*_OF_IMAGE, "arm", "predicted"]

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


def tracked_rows(job_folder: str | Path) -> pd.DataFrame:
    """What is read here of a job's rows: none of the controls', names as categories."""
    pieces: Iterator[Any] = read_pieces(job_folder, [*_OF_IMAGE, "arm", *_OF_ARM])
    return with_categories(piece[~piece["arm"].map(is_control).astype(bool)] for piece in pieces)


def metrics(summary: Mapping[str, float | int | None]) -> dict[str, float | int | None]:
    """The summary; of the controls only accuracy and retention, since a dashboard draws a chart for each metric."""
    return {
        name: value
        for name, value in summary.items()
        if name.count("/") < 2 or not is_control(name.split("/")[-2]) or name.endswith(("/accuracy", "/retention"))
    }


def transfer_media(
    rows: pd.DataFrame, summary: Mapping[str, float | int | None], panel: Sequence[tuple[str, np.ndarray]] = ()
) -> Media:
    """Of a job that showed features to targets; rows as tracked_rows gives them.

    panel: titles and pictures (H W 3 uint8) of some images.
    """
    pictures, curves = {SAMPLES: panel} if panel else {}, area_curves(summary, rows)
    return Media(
        tables={IMAGES: image_table(rows)}, histograms=_label_probabilities(rows), pictures=pictures, curves=curves
    )


def mosaic_media(cells: LocalisationRows) -> Media:
    """Of a job that scored cells of mosaics."""
    bins = np.histogram(cells["localisation"], 20, (0, 1))
    return Media(tables={CELLS: cells}, histograms={f"{cells['protocol'].iloc[0]}/localisation": bins})


def score_media(scores: ScoreRows) -> Media:
    """Of a job that scored maps."""
    groups = scores.dropna(subset="value").groupby(["evaluation", "metric"], sort=False, observed=True)["value"]
    histograms = {"/".join(map(str, cast(tuple, names))): np.histogram(values, bins=20) for names, values in groups}
    return Media(tables={IMAGES: score_table(scores)}, histograms=histograms)


def _label_probabilities(rows: pd.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By `<target>/<arm>/p_label`, one axis for all of them; nothing where no image has a label."""
    histograms = {}
    for (target, arm), group in cast(Any, rows.groupby(["target", "arm"], observed=True)):
        values = group["p_label"].astype(float).to_numpy()
        if np.isfinite(values).any():
            histograms[f"{target}/{arm}/p_label"] = np.histogram(values[np.isfinite(values)], bins=20, range=(0, 1))
    return histograms


def area_curves(summary: Mapping[str, float | int | None], rows: pd.DataFrame) -> list[dict[str, float]]:
    """A point per equal-area arm, areas rising: the area that is kept of the source's view, and each target's numbers.

    accuracy, retention and above_control are the arm's, control the accuracy of the random regions of that area.
    Fractions; what is undefined or has not run is left out.
    """
    points = []
    for area, arm in sorted((area_of(arm) or 0.0, arm) for arm in rows["arm"].unique() if is_equal_area(arm)):
        point: dict[str, float] = {CURVE_AXIS: area}
        for target in rows["target"].unique():
            named = {name: f"{target}/{arm}/{name}" for name in ("accuracy", "retention", "above_control")}
            named["control"] = f"{target}/{matched_control(arm)}/accuracy"
            for metric, name in named.items():
                if (value := summary.get(name)) is not None:
                    point[CURVES.format(target=target, metric=metric)] = value
        points.append(point)
    return points


def image_table(rows: pd.DataFrame) -> pd.DataFrame:
    """A line per image and target, in the rows' order, of at most TABLE_IMAGES images; per arm what was predicted."""
    shown: Any = rows[rows["image_id"].isin(_spread(rows))].astype(dict.fromkeys(_NAMES, "str"))
    lines = shown.drop_duplicates(["image_id", "target"])[_OF_IMAGE].set_index(["image_id", "target"])
    for arm, part in shown.groupby("arm", sort=False):
        of_arm = [name for name in _OF_ARM if arm != IMAGE_ARM or name != "kept_area"]  # the image arm keeps all
        columns = part.set_index(["image_id", "target"])[of_arm].add_prefix(f"{arm}/")
        lines = lines.join(columns)
    return lines.reset_index()


def score_table(scores: ScoreRows) -> pd.DataFrame:
    """A line an image: its facts, a column a score (NaN where undefined), why; of too many images as image_table."""
    rows: Any = scores[scores["image_id"].isin(_spread(scores))]
    facts = rows.drop_duplicates("image_id").set_index("image_id")[["label", "explained", "p_explained"]]
    values = rows.pivot(index="image_id", columns="metric", values="value")
    why = rows[rows["reason"] != ""].drop_duplicates("image_id").set_index("image_id")["reason"]
    return facts.astype({"label": "str", "explained": "str"}).join([values, why.astype("str")]).reset_index()


def _spread(rows: Any) -> Any:
    """Image ids, of more than TABLE_IMAGES as many, evenly spread."""
    images = rows["image_id"].unique()
    return images[evenly_spaced(len(images), TABLE_IMAGES)]


def evenly_spaced(count: int, most: int) -> list[int]:
    """Positions of at most ``most`` of ``count`` images, evenly spread over their order."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()
