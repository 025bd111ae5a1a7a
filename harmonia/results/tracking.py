"""A finished job's numbers, and media made of its rows, in a Lightning logger.

A copy of complete files, so its failure never costs the job.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from harmonia.results.trackers import CURVE_AXIS, CURVES, Media, log_media

if TYPE_CHECKING:  # a report, which imports this module, must not pay for torch
    from pytorch_lightning.loggers import Logger

# names under which loggers write and panels of a W&B workspace show
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
    # read by wandb.setup, before the run: else wandb warns, in every job, of an option that Lightning passes
    os.environ.setdefault("WANDB_SILENT", "true")
    # MLflow would try a server that is not there for four minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")  # s
    with only_warns("the logger could not be made"):
        logger = instantiate(config, _convert_="all")
        if str(config.get("_target_")).endswith("WandbLogger"):
            import wandb

            wandb.setup()
        return logger
    return None  # it has warned


def publish(
    logger: "Logger | None",
    summary: Mapping[str, float | int | None],
    config: dict[str, Any],
    media: Callable[[], Media] = Media,
) -> None:
    """The summary's numbers, the config, and what media gives, for which loggers that take no media do not ask."""
    if logger is None:
        return
    from pytorch_lightning.loggers import WandbLogger

    with only_warns(f"{type(logger).__name__} did not take all of the job's numbers"):
        logger.log_hyperparams(config)
        # A step, because WandbLogger draws every metric over it and shows nothing without one.
        logger.log_metrics({visible(name): value for name, value in summary.items() if value is not None}, step=0)
        log_media(logger, media)
        logger.save()
        if not isinstance(logger, WandbLogger):  # its run is ended by finish, even after a failure
            logger.finalize("success")


def finish(logger: "Logger | None") -> None:
    """The end of this job's run, for `finally`: else, in the same process, the next job would write into it."""
    from pytorch_lightning.loggers import WandbLogger

    if isinstance(logger, WandbLogger):
        with only_warns("W&B did not finish its run"):
            import wandb

            run = wandb.run
            wandb.finish()
            if run is not None and run.offline:
                log.info("W&B: kept offline in %s", Path(run.dir).parent)


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
