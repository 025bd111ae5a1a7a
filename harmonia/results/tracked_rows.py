"""What a logger is given of a finished job: its summary, and media made of its rows."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from harmonia.arms import IMAGE_ARM, area_of, is_control, is_equal_area, matched_control
from harmonia.results.localisation import LocalisationRows
from harmonia.results.logged_names import CELLS, CURVE_AXIS, CURVES, IMAGES, SAMPLES
from harmonia.results.rows import read_pieces, with_categories
from harmonia.results.scores import ScoreRows
from harmonia.results.tracking import Media

_OF_IMAGE = ["image_id", "target", "label", "explained", "source_predicted", "flag"]
_OF_ARM = ["predicted", "p_label", "p_explained", "kept_area"]
_NAMES = [*_OF_IMAGE, "arm", "predicted"]
TABLE_IMAGES = 1000  # W&B builds its table in memory


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
