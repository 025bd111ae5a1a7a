"""Where a feature carries and where not: class by class, source right or wrong, source and target agreed or not."""

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from harmonia.arms import IMAGE_ARM, is_feature
from harmonia.results.frames import Frame
from harmonia.results.gathered import CELL, EXPLAINER, CellNames, Explainers
from harmonia.statistics.comparison import Comparison
from harmonia.statistics.inference import LEVEL, estimates, interval, ratio


class Accuracies(Frame, counts="images", estimates="accuracy_image accuracy_feature"): ...


class ClassLines(Explainers, Accuracies, text="target label", numbers="retention"): ...


def classes(comparison: Comparison, arm: str) -> ClassLines:
    """Accuracy of each class on the whole image and on an arm, with Wilson's interval (E. B. Wilson 1927).

    NaN for a class that the target lacks or never saw.
    """
    image = comparison.image_position
    shown = [p for p in np.flatnonzero(comparison.cells["arm"] == arm) if image[p] >= 0]
    known = comparison.has_class
    frames = []
    for code in np.unique(comparison.labels[comparison.labels >= 0]):
        members = comparison.labels == code
        columns: dict[str, np.ndarray] = {}
        for name, positions in (("accuracy_image", image[shown]), ("accuracy_feature", shown)):
            images = (comparison.judged & known)[np.ix_(members, positions)].sum(0)
            hits = comparison.right[np.ix_(members, positions)].sum(0)
            columns[name] = ratio(hits, images)
            bounds = proportion_confint(hits, np.maximum(images, 1), alpha=1 - LEVEL, method="wilson")
            for end, bound in zip(("low", "high"), bounds, strict=True):
                columns[f"{name}_{end}"] = np.where(images > 0, bound, np.nan)
        frame = comparison.cells.iloc[shown][[*EXPLAINER, "target"]].reset_index(drop=True)
        columns["retention"] = ratio(columns["accuracy_feature"], columns["accuracy_image"])
        frames.append(frame.assign(label=comparison.class_names[code], images=images, **columns))
    table = pd.concat(frames, ignore_index=True) if frames else ClassLines.of_lines()
    return ClassLines.checked(table.sort_values([*EXPLAINER, "target"], kind="stable", ignore_index=True))


class SourceRight(CellNames, Accuracies, text="source_was", estimates="retention"): ...


def source_right(comparison: Comparison) -> SourceRight:
    """Accuracy and retention where the source was right on the whole image and where it was wrong, for feature arms."""
    image = comparison.image_position
    shown = np.flatnonzero(comparison.cells["arm"].map(is_feature) & (image >= 0))
    cells = comparison.cells.iloc[shown][CELL].reset_index(drop=True)
    was_right = comparison.source_predicted[:, shown] == comparison.labels[:, None]
    paired = comparison.judged[:, shown] & comparison.judged[:, image[shown]]
    blocks = []
    for part in (was_right, ~was_right):
        chosen = part & paired
        blocks += [chosen, comparison.right[:, shown] & chosen, comparison.right[:, image[shown]] & chosen]
    sums, frames = comparison.sums(*blocks), []
    for named, (images, hits, whole) in (("right", sums[:3]), ("wrong", sums[3:])):
        columns = estimates(
            accuracy_image=ratio(whole, images), accuracy_feature=ratio(hits, images), retention=ratio(hits, whole)
        )
        frames.append(cells.assign(source_was=named, images=images[0].astype(int), **columns))
    table = pd.concat(frames, ignore_index=True)
    return SourceRight.checked(table.sort_values(CELL, kind="stable", ignore_index=True))


class SameAnswers(CellNames, numbers="ece_image ece_feature", estimates="on_image kept on_feature"):
    """on_image: both on the whole image; kept: the target on the feature, the source on the whole image; on_feature:
    both on the feature, undefined where the source was no target; ece_*: expected calibration error of the target.
    """


def agreement(comparison: Comparison) -> SameAnswers:
    """How often source and target name the same class, right or wrong, labels or none; feature arms."""
    cells, image = comparison.cells, comparison.image_position
    shown = np.flatnonzero(cells["arm"].map(is_feature))
    itself = comparison.positions(cells.iloc[shown].assign(target=cells["source"].iloc[shown]))
    target, source = comparison.predicted, comparison.source_predicted

    named = [  # what the target says, and what that is held against
        (np.where(image[shown] >= 0, target[:, image[shown]], -1), source[:, shown]),
        (target[:, shown], source[:, shown]),
        (target[:, shown], np.where(itself >= 0, target[:, itself], -1)),
    ]
    known = [(answer >= 0) & (reference >= 0) for answer, reference in named]
    same = [both & (answer == reference) for both, (answer, reference) in zip(known, named, strict=True)]
    sums = comparison.sums(*same, *known)
    draws = [ratio(part, whole) for part, whole in zip(sums[:3], sums[3:], strict=True)]
    columns = estimates(on_image=draws[0], kept=draws[1], on_feature=draws[2])
    frame = cells.iloc[shown][CELL].reset_index(drop=True)
    used, at = np.unique(image[shown], return_inverse=True)
    ece_image = np.where(image[shown] >= 0, comparison.calibration_errors(used)[at], np.nan)
    ece_feature = comparison.calibration_errors(shown)
    return SameAnswers.checked(frame.assign(ece_image=ece_image, ece_feature=ece_feature, **columns))


def guess_of(comparison: Comparison) -> float:
    """The accuracy of a guess among the images' classes; NaN of one class. Which is common, a network of more classes
    does not know: harmonia.fit, whose networks do, asks for more than the commonest one's share.
    """
    classes = len(np.unique(comparison.labels[comparison.labels >= 0]))
    return 1 / classes if classes > 1 else np.nan


def guessing_sources(comparison: Comparison) -> set[str]:
    """Sources of random weights, and those not shown to name whole images better than a guess among their classes."""
    cells, labels = comparison.cells, comparison.labels
    whole = cells[cells["arm"] == IMAGE_ARM].drop_duplicates("source")
    judged = comparison.judged[:, whole.index]
    right = judged & (comparison.source_predicted[:, whole.index] == labels[:, None])
    hits, images = comparison.sums(right, judged)
    low = interval(ratio(hits, images))[:, 1]
    return {*whole["source"][(low <= guess_of(comparison)) | whole["random_weights"]]}
