"""Cells on the same images: what each got right there, how sure that is, and what is left above its control.

A *cell* is a source, a method (with its variant), a target and an arm. *Retention* of an arm is its accuracy over
that of the whole image, same target, same images; *above control* is the retention less that of the matched
control, which shows as much of the image and knows nothing: random blobs of the same area for an equal-area arm,
uniform dimming to the map's own mean for the soft one.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from harmonia.results import IMAGE_ARM, calibration_error, matched_control
from harmonia.statistics import NUM_RESAMPLES, Draws, draw_f1, draw_sums, interval, ratio, strata

Frame = Any  # a pd.DataFrame: pandas' annotations do not tell a column from a frame

SETTING = ["label_policy", "fill", "data"]  # cells that differ in one of these answer different questions
LINE = ["source", "method", "variant"]
CELL = [*LINE, "target", "arm"]
_OF_JOBS = ["job", "family", "target_family", "source_parameters", "target_parameters", "random_weights", "unreadable"]


def is_feature(arm: str) -> bool:
    """Whether the arm shows what a source's map keeps: no whole image and no control."""
    return re.fullmatch(r"soft|area\d+", arm) is not None


@dataclass(frozen=True, eq=False)
class Comparison:
    """The cells of one setting, and resamples of their images that all of them share.

    Codes number the classes; -1 says that an image has no label or that a cell lacks the image.
    """

    setting: dict[str, str]
    cells: Frame  # a line per cell: CELL, what is known of its models, and of its rows
    class_names: np.ndarray  # (classes,) those of labels first
    labels: np.ndarray  # (images,) codes
    predicted: np.ndarray  # (images, cells) codes, by the target
    source_predicted: np.ndarray  # (images, cells) codes, by the source on the whole image
    confidence: np.ndarray  # (images, cells) the target's p of what it predicts, NaN where it lacks the image
    has_class: np.ndarray  # (images, cells): whether the target has the label's class at all
    num_resamples: int = NUM_RESAMPLES
    seed: int = 0

    @cached_property
    def there(self) -> np.ndarray:
        """Whether the cell has the image and the image a label, (images, cells)."""
        return (self.predicted >= 0) & (self.labels >= 0)[:, None]

    @cached_property
    def right(self) -> np.ndarray:
        """Whether the target names the label, (images, cells)."""
        return self.there & (self.predicted == self.labels[:, None])

    @cached_property
    def strata(self) -> np.ndarray:
        return strata(self.labels.astype(str))

    @property
    def accuracy(self) -> Draws:
        return self._accuracy_and_retention[0]

    @property
    def retention(self) -> Draws:
        """NaN for the image arm and where the target has no image arm or no image right."""
        return self._accuracy_and_retention[1]

    @cached_property
    def _accuracy_and_retention(self) -> tuple[Draws, Draws]:
        image = self.image_position
        paired = self.there & self.there[:, image] & (image >= 0)
        hits, images, kept, whole = self.sums(
            self.right, self.there, self.right & paired, self.right[:, image] & paired
        )
        retention = ratio(kept, whole)
        retention[:, self.cells["arm"] == IMAGE_ARM] = np.nan
        return ratio(hits, images), retention

    @cached_property
    def above_control(self) -> Draws:
        """NaN for arms without a matched control, and where that has not run."""
        control = self.control_position
        return np.where(control >= 0, self.retention - self.retention[:, control], np.nan)

    @cached_property
    def image_position(self) -> np.ndarray:
        """Each cell's whole image, -1 for none."""
        return self.positions(self.cells.assign(arm=IMAGE_ARM))

    @cached_property
    def control_position(self) -> np.ndarray:
        """Each cell's matched control, -1 for none."""
        return self.positions(self.cells.assign(arm=self.cells["arm"].map(matched_control)))

    def positions(self, keys: Frame) -> np.ndarray:
        """Where the cells of these CELL columns stand, -1 for none."""
        index = pd.MultiIndex.from_frame(self.cells[CELL])
        return index.get_indexer(pd.MultiIndex.from_frame(keys[CELL]))

    def sums(self, *columns: np.ndarray) -> list[Draws]:
        """Draws of how many images are true, for several blocks of columns in one pass."""
        # an only image never varies: no resample, so that its interval is undefined
        num_resamples = self.num_resamples if len(self.labels) > 1 else 0
        widths = np.cumsum([block.shape[1] for block in columns])[:-1]
        return np.split(draw_sums(np.hstack(columns), self.strata, num_resamples, self.seed), widths, axis=1)

    def f1(self, positions: Sequence[int] | np.ndarray) -> Draws:
        """Draws of F1 of these cells, averaged by support and equally, (1 + resamples, cells, 2)."""
        predicted = np.where(self.there[:, positions], self.predicted[:, positions], -1)
        num_resamples = self.num_resamples if len(self.labels) > 1 else 0
        return draw_f1(self.labels, predicted, self.strata, num_resamples, self.seed)

    def calibration_errors(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Expected calibration error of each of these cells over its labelled images, NaN without one."""
        errors = []
        for at in positions:
            used = self.there[:, at]
            error = calibration_error(pd.Series(self.confidence[used, at]), pd.Series(self.right[used, at]))
            errors.append(np.nan if error is None else error)
        return np.array(errors)


def compare(rows: Frame, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> list[Comparison]:
    """A comparison per setting, for rows as harmonia.gathering.gather gives them."""
    return [
        _comparison(dict(zip(SETTING, setting, strict=True)), part, num_resamples, seed)
        for setting, part in rows.groupby(SETTING, sort=False)
    ]


def _comparison(setting: dict[str, str], rows: Frame, num_resamples: int, seed: int) -> Comparison:
    image, _ = pd.factorize(rows["image_id"])
    cell = rows.groupby(CELL, sort=False).ngroup().to_numpy()
    first = np.unique(cell, return_index=True)[1]
    columns = [rows["label"], rows["predicted"], rows["source_predicted"]]
    # labels first: they number the classes that F1 is averaged over
    codes, names = pd.factorize(pd.concat(columns, ignore_index=True))
    label, predicted, source_predicted = np.split(codes, 3)

    def table(values: np.ndarray, missing: float = -1, kind: type = np.int32) -> np.ndarray:
        filled = np.full((image.max() + 1, len(first)), missing, kind)
        filled[image, cell] = values
        return filled

    count = np.bincount(cell)
    has_class = rows["p_label"].notna().to_numpy()
    lacks_class = rows["label"].notna().to_numpy() & ~has_class
    cells = rows.iloc[first][CELL + _OF_JOBS].reset_index(drop=True)
    labels = np.full(image.max() + 1, -1, np.int32)
    labels[image] = label
    return Comparison(
        setting=setting,
        cells=cells.assign(
            kept_area=np.bincount(cell, rows["kept_area"].to_numpy(float)) / count,
            images=count,
            flagged=np.bincount(cell, rows["flag"].ne("").to_numpy(float)).astype(int),
            lacking=np.bincount(cell, lacks_class).astype(int),
        ),
        class_names=np.asarray(names, dtype=object),
        labels=labels,
        predicted=table(predicted),
        source_predicted=table(source_predicted),
        confidence=table(rows["p_predicted"].to_numpy(float), np.nan, np.float32),
        has_class=table(has_class) > 0,
        num_resamples=num_resamples,
        seed=seed,
    )


def estimates(**draws: Draws) -> dict[str, np.ndarray]:
    """NAME, NAME_low and NAME_high of each of several draws (1 + resamples, lines): 95 % intervals."""
    columns: dict[str, np.ndarray] = {}
    for name, of_lines in draws.items():
        columns |= dict(zip((name, f"{name}_low", f"{name}_high"), interval(of_lines).T, strict=True))
    return columns


def cell_estimates(comparison: Comparison) -> Frame:
    """A line per cell but those of the image arm, fractions: accuracy, retention, control, above_control.

    lacking: images whose class the target lacks; they count as wrong. reason: why a number is undefined, else "".
    """
    shown = np.flatnonzero(comparison.cells["arm"] != IMAGE_ARM)
    cells = comparison.cells.iloc[shown].reset_index(drop=True)
    image, control = comparison.image_position[shown], comparison.control_position[shown]
    whole = np.where(image >= 0, comparison.accuracy[:, image], np.nan)
    of_control = np.where(control >= 0, comparison.retention[:, control], np.nan)
    columns = estimates(
        accuracy_image=whole,
        accuracy_feature=comparison.accuracy[:, shown],
        retention=comparison.retention[:, shown],
        control_retention=of_control,
        above_control=comparison.above_control[:, shown],
    )
    frame = cells.assign(control=cells["arm"].map(matched_control), **columns)
    there = comparison.there[:, shown].any(0)
    checks = [
        (~there, "no image has a label"),
        (image < 0, "no whole images have run"),
        (frame["accuracy_image"] == 0, "no whole image is right"),
        (frame["retention_low"].isna(), "too few images for an interval"),
        ((control < 0) & frame["control"].notna(), "the matched control has not run"),
    ]
    return frame.assign(reason=np.select([np.asarray(met) for met, _ in checks], [why for _, why in checks], ""))


def mean_draws(draws: Draws, groups: Iterable[np.ndarray]) -> tuple[Draws, np.ndarray]:
    """Draws of the mean over each group of positions, and how many of them are defined; the others are left out."""
    means, counts = [], []
    for group in groups:
        defined = group[~np.isnan(draws[0, group])]
        means.append(draws[:, defined].mean(1) if len(defined) else np.full(len(draws), np.nan))
        counts.append(len(defined))
    return np.stack(means, 1) if means else draws[:, :0], np.array(counts, dtype=int)
