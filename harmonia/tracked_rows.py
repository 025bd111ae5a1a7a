"""What a logger is given of a finished job, all of it from the job's rows and the summary that was made of them."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pandas as pd

from harmonia.results import IMAGE_ARM, is_control, matched_control

AREA, CURVES = "curves/kept_area", "curves/{target}/{metric}"
IMAGES = "images"  # the table with a line per image and target
CELLS = "cells"  # the table with a line per scored cell of a mosaic
_OF_IMAGE = ["image_id", "target", "label", "explained", "source_predicted", "flag"]
_OF_ARM = ["predicted", "p_label", "p_explained", "kept_area"]
COLUMNS = [*_OF_IMAGE, "arm", *_OF_ARM]  # of the rows, all that is read here


def metrics(summary: Mapping[str, float | int | None], rows: pd.DataFrame) -> dict[str, float | int | None]:
    """The summary; of the controls only accuracy and retention, since a dashboard draws a chart for each metric."""
    shown = rows[["target", "arm"]].drop_duplicates().itertuples(index=False)
    controls = tuple(f"{target}/{arm}/" for target, arm in shown if is_control(arm))
    return {
        name: value
        for name, value in summary.items()
        if not name.startswith(controls) or name.rpartition("/")[2] in ("accuracy", "retention")
    }


def histograms(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Probabilities of the label by `<target>/<arm>/p_label`; none of the controls."""
    own: Any = rows[~rows["arm"].map(is_control)]
    return {
        "/".join([*cast(tuple[str, str], group), "p_label"]): of_group["p_label"].to_numpy()
        for group, of_group in own.groupby(["target", "arm"])
    }


def area_curves(summary: Mapping[str, float | int | None], rows: pd.DataFrame) -> list[dict[str, float]]:
    """A point per equal-area arm, areas rising: the area that is kept of the source's view, and each target's numbers.

    accuracy, retention and above_control are the arm's, control the accuracy of the random regions of that area.
    Fractions; what is undefined or has not run is left out.
    """
    areas = sorted({int(arm[4:]) for arm in rows["arm"].unique() if arm.startswith("area")})
    points = []
    for area in areas:
        arm = f"area{area}"
        point: dict[str, float] = {AREA: area / 100}
        for target in rows["target"].unique():
            named = {name: f"{target}/{arm}/{name}" for name in ("accuracy", "retention", "above_control")}
            named["control"] = f"{target}/{matched_control(arm)}/accuracy"
            for metric, name in named.items():
                if (value := summary.get(name)) is not None:
                    point[CURVES.format(target=target, metric=metric)] = value
        points.append(point)
    return points


def image_table(rows: pd.DataFrame) -> pd.DataFrame:
    """A line per image and target, in the rows' order; per own arm the prediction and the probabilities."""
    own: Any = rows[~rows["arm"].map(is_control)]
    lines = own.drop_duplicates(["image_id", "target"])[_OF_IMAGE].set_index(["image_id", "target"])
    for arm, part in own.groupby("arm", sort=False):
        shown = [name for name in _OF_ARM if arm != IMAGE_ARM or name != "kept_area"]  # the image arm keeps all
        columns = part.set_index(["image_id", "target"])[shown].add_prefix(f"{arm}/")
        lines = lines.join(columns)
    return lines.reset_index()
