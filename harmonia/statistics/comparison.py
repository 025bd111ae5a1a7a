"""Cells on the same images: what each got right there, how sure that is, and what is left above its control.

A *cell* is a source, a method (with its variant), a target and an arm. Retention and what is left above control are
those of results.summary.summarise. A matched control knows nothing: random blobs of the same area for an equal-area
arm, uniform dimming to the map's own mean for the soft one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from harmonia.arms import IMAGE_ARM, by_pixel, centred_box, matched_control
from harmonia.results.gathered import CELL, CELL_COLUMN, SETTING, CellFacts, Rows
from harmonia.results.rows import codes_of
from harmonia.results.summary import calibration_error
from harmonia.statistics import inference
from harmonia.statistics.inference import Resampled, at_positions, estimates, ratio, resampled_sums


class ComparedCells(CellFacts):
    """A line per cell of a comparison."""

    kept_area: float  # mean, fraction of the view
    images: int
    flagged: int  # images whose map is zero, constant or not finite
    lacking: int  # images whose class the target lacks; they count as wrong


class CellEstimates(
    ComparedCells, estimates="accuracy_image accuracy_feature retention control_retention above_control"
):
    """A line per cell that shows a part of the image."""

    control: str  # the matched control's arm, NaN for none
    reason: str  # why a number is undefined, else ""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The cells of one setting, and resamples of their images that all of them share.

    Codes number the classes; -1 says that an image has no label or that a cell lacks the image.
    """

    setting: dict[str, str]
    cells: ComparedCells
    class_names: np.ndarray  # (classes,) those of labels first
    labels: np.ndarray  # (images,) codes
    predicted: np.ndarray  # (images, cells) codes, by the target
    source_predicted: np.ndarray  # (images, cells) codes, by the source on the whole image
    confidence: np.ndarray  # (images, cells) the target's p of what it predicts, NaN where it lacks the image
    has_class: np.ndarray  # (images, cells): whether the target has the label's class at all

    @cached_property
    def judged(self) -> np.ndarray:
        """Whether the cell has the image and the image a label, (images, cells)."""
        return (self.predicted >= 0) & (self.labels >= 0)[:, None]

    @cached_property
    def right(self) -> np.ndarray:
        """Whether the target names the label, (images, cells)."""
        return self.judged & (self.predicted == self.labels[:, None])

    @cached_property
    def strata(self) -> np.ndarray:
        return inference.strata(self.labels.astype(str))

    @property
    def accuracy(self) -> Resampled:
        return self._accuracy_and_retention[0]

    @property
    def retention(self) -> Resampled:
        """NaN for the image arm and where the target has no image arm or no image right."""
        return self._accuracy_and_retention[1]

    @cached_property
    def _accuracy_and_retention(self) -> tuple[Resampled, Resampled]:
        image = self.image_position
        both = self.judged & self.judged[:, image] & (image >= 0)
        hits, images, kept, whole = self.sums(self.right, self.judged, self.right & both, self.right[:, image] & both)
        retention = ratio(kept, whole)
        retention[:, self.cells["arm"] == IMAGE_ARM] = np.nan
        return ratio(hits, images), retention

    @cached_property
    def above_control(self) -> Resampled:
        """NaN for arms without a matched control, and where that has not run."""
        return self.retention - at_positions(self.retention, self.control_position)

    @cached_property
    def image_position(self) -> np.ndarray:
        """Each cell's whole image, -1 for none."""
        return self.positions(self.cells.assign(arm=IMAGE_ARM))

    @cached_property
    def control_position(self) -> np.ndarray:
        """Each cell's matched control, -1 for none."""
        return self.positions(self.cells.assign(arm=self.cells["arm"].map(matched_control)))

    @cached_property
    def centre_position(self) -> np.ndarray:
        """Each cell's centred box of the same area, -1 for none."""
        return self.positions(self.cells.assign(arm=self.cells["arm"].map(centred_box)))

    def positions(self, keys: pd.DataFrame) -> np.ndarray:
        """Where the cells of these CELL columns stand, -1 for none."""
        cells: Any = keys[CELL]
        return pd.MultiIndex.from_frame(self.cells[CELL]).get_indexer(pd.MultiIndex.from_frame(cells))

    def sums(self, *columns: np.ndarray) -> list[Resampled]:
        """For how many images each column is true, for several blocks of boolean columns (images, m) in one pass."""
        widths = np.cumsum([block.shape[1] for block in columns])[:-1]
        return np.split(resampled_sums(np.hstack(columns), self.strata), widths, axis=1)

    def calibration_errors(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Expected calibration error of each of these cells over its labelled images, NaN without one."""
        errors = []
        for at in positions:
            used = self.judged[:, at]
            errors.append(calibration_error(pd.Series(self.confidence[used, at]), pd.Series(self.right[used, at])))
        return np.array(errors)


def compare(rows: Rows) -> list[Comparison]:
    """A comparison per setting, for rows as results.gathered.gather gives them."""
    cells = rows.cells
    setting_of, settings = pd.factorize(pd.MultiIndex.from_frame(cells[SETTING]))
    place = np.zeros(len(cells), int)
    builders = []
    for number in range(len(settings)):
        members = np.flatnonzero(setting_of == number)
        place[members] = np.arange(len(members))
        jobs = dict.fromkeys(cells["job"].iloc[members])
        images = dict.fromkeys(name for job in jobs for name in rows.image_ids[job])
        facts = cells.iloc[members][CellFacts.columns_of()].reset_index(drop=True)
        builders.append(_ComparisonBuilder(facts, list(images)))
    for piece in rows.read(_COMPARED):
        setting = setting_of[piece[CELL_COLUMN]]
        for number in np.unique(setting).tolist():
            part = piece[setting == number]
            builders[number].add(part, place[part[CELL_COLUMN]])
    named = [dict(zip(SETTING, setting, strict=True)) for setting in settings]
    return [builder.comparison(setting) for builder, setting in zip(builders, named, strict=True)]


_COMPARED = ["image_id", "label", "predicted", "source_predicted", "p_label", "p_predicted", "kept_area", "flag"]


class _ComparisonBuilder:
    """The arrays of a comparison while its rows come in; each column numbers its classes as they are met."""

    def __init__(self, cells: pd.DataFrame, image_ids: list[str]):
        self.cells = cells
        self._image = {name: number for number, name in enumerate(image_ids)}
        shape = (len(image_ids), len(cells))
        shapes = {"label": shape[:1], "predicted": shape, "source_predicted": shape}
        self._codes = {column: np.full(of, -1, np.int32) for column, of in shapes.items()}
        self._numbers: dict[str, dict[str, int]] = {column: {} for column in shapes}
        self._confidence = np.full(shape, np.nan, np.float32)
        self._has_class = np.zeros(shape, bool)
        self._count, self._flagged, self._lacking = (np.zeros(len(cells), int) for _ in range(3))
        self._kept = np.zeros(len(cells))

    def add(self, rows: pd.DataFrame, cell: np.ndarray) -> None:
        """Rows of this setting, each with its cell's position."""
        image = codes_of(rows["image_id"], self._image)
        label, predicted, source_predicted = (codes_of(rows[name], of) for name, of in self._numbers.items())
        has_class = rows["p_label"].notna().to_numpy()
        self._codes["label"][image] = label
        self._codes["predicted"][image, cell] = predicted
        self._codes["source_predicted"][image, cell] = source_predicted
        self._confidence[image, cell] = rows["p_predicted"]
        self._has_class[image, cell] = has_class
        self._count += np.bincount(cell, minlength=len(self.cells))
        self._flagged += np.bincount(cell[rows["flag"].ne("")], minlength=len(self.cells))
        self._lacking += np.bincount(cell[(label >= 0) & ~has_class], minlength=len(self.cells))
        # row after row, so that the pieces change no rounding
        np.add.at(self._kept, cell, rows["kept_area"].to_numpy(float))

    def comparison(self, setting: dict[str, str]) -> Comparison:
        # labels number the classes that F1 is averaged over, so they come first
        names = pd.Index(list(dict.fromkeys(chain.from_iterable(self._numbers.values()))), dtype=object)
        labels, predicted, by_source = (
            np.append(names.get_indexer(list(numbers)), -1).astype(np.int32)[self._codes[column]]
            for column, numbers in self._numbers.items()
        )
        kept_area = self._kept / self._count
        counts = {"images": self._count, "flagged": self._flagged, "lacking": self._lacking}
        cells = ComparedCells.checked(self.cells.assign(kept_area=kept_area, **counts))
        return Comparison(
            setting=setting,
            cells=cells,
            class_names=names.to_numpy(),
            labels=labels,
            predicted=predicted,
            source_predicted=by_source,
            confidence=self._confidence,
            has_class=self._has_class,
        )


def judges(cells: ComparedCells) -> pd.Series:
    """Whether a cell's target is no part of its source."""
    return (cells["target"] != cells["source"]) & ~cells["voted"]


def cell_estimates(comparison: Comparison) -> CellEstimates:
    """What each cell but those of the image arm comes to."""
    shown = np.flatnonzero(comparison.cells["arm"] != IMAGE_ARM)
    cells = comparison.cells.iloc[shown].reset_index(drop=True)
    image, control = comparison.image_position[shown], comparison.control_position[shown]
    columns = estimates(
        accuracy_image=at_positions(comparison.accuracy, image),
        accuracy_feature=comparison.accuracy[:, shown],
        retention=comparison.retention[:, shown],
        control_retention=at_positions(comparison.retention, control),
        above_control=comparison.above_control[:, shown],
    )
    frame = cells.assign(control=cells["arm"].map(matched_control), **columns)
    checks = [
        (~comparison.judged[:, shown].any(0), "no image has a label"),
        (image < 0, "no whole images have run"),
        (frame["accuracy_image"] == 0, "no whole image is right"),
        (frame["retention_low"].isna(), "too few images for an interval"),
        ((control < 0) & frame["control"].notna(), "the matched control has not run"),
    ]
    reasons = np.select([np.asarray(met) for met, _ in checks], [why for _, why in checks], "")
    return CellEstimates.checked(frame.assign(reason=reasons))


def missing(comparison: Comparison) -> list[str]:
    """What others of the grid have and a cell lacks, a line each: methods and targets of a source, arms of a method.

    A target is missed where another source has it, unless that is itself the target: self is no target of others. A
    target without patches lacks no arm in whole ones.
    """
    cells = comparison.cells
    lines = []
    common = cells.loc[cells["source"] != cells["target"], "target"]
    for source, of_source in cells.groupby("source", sort=False):
        for method in [name for name in cells["method"].unique() if name not in set(of_source["method"])]:
            lines.append(f"source {source}: method {method} has not run")
        for method, part in of_source.groupby("method", sort=False):
            wanted_targets = dict.fromkeys([*of_source["target"], *common])
            for target in [name for name in wanted_targets if name not in set(part["target"])]:
                lines.append(f"source {source}, method {method}: target {target} has not run")
            for target, of_target in part.groupby("target", sort=False):
                has = set(of_target["arm"])
                wanted = {control for arm in has if (control := matched_control(arm)) is not None}
                has_patches = any(arm != by_pixel(arm) for arm in has)
                wanted |= {arm for arm in of_source["arm"] if has_patches or arm == by_pixel(arm)}
                if lacks := sorted(wanted - has):
                    lines.append(f"source {source}, method {method}, target {target}: no arms {', '.join(lacks)}")
    return lines
