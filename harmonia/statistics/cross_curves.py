"""Does the order of a map's pixels matter to another network? Insertion and deletion curves in the target.

V. Petsiuk, A. Das, K. Saenko, "RISE", BMVC 2018: pixels are shown, or removed, in the order of the map. M. Jiang,
S. Khorram, L. Fuxin, 2022, https://arxiv.org/abs/2212.06872: the network asked is not the one explained. Here a curve
is of retention, over the areas that the arms keep or remove, and a number is the mean under it, by trapezoids.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.integrate import trapezoid

from harmonia.arms import AREA, BLOBS, CENTRE, COMPLEMENT, area_of, arm_of
from harmonia.results.gathered import EXPLAINER, Explainers
from harmonia.statistics.comparison import Comparison
from harmonia.statistics.inference import Resampled, estimates

FEWEST = 3  # areas of a curve
INSERTION, DELETION = "insertion", "deletion"


class CrossCurves(
    Explainers,
    text="target",
    counts="areas_inserted areas_deleted images",
    estimates="insertion insertion_of_blobs insertion_above_blobs insertion_above_centre "
    "deletion deletion_of_blobs deletion_beyond_blobs",
):
    """A line for each source, method and target that has both curves."""


class CurvePoints(Explainers, text="target curve shown", numbers="share", estimates="retention"):
    """A line for each point of a curve, by the share of the view inserted or deleted; shown: the kind of arm."""

    random_weights: bool


def curve_points(comparison: Comparison) -> CurvePoints:
    """Of the same curves: a map's, and those of blobs and the centred box (insertion alone) by what they show."""
    lines, positions = [], []
    for names, part, shown, removed in _with_both_curves(comparison):
        at = dict(zip(part["arm"], part.index, strict=True))
        points = [(INSERTION, kind, area, arm_of(kind, area)) for kind in (AREA, BLOBS, CENTRE) for area in shown]
        points += [(DELETION, COMPLEMENT, area, arm_of(COMPLEMENT, area)) for area in removed]
        points += [(DELETION, BLOBS, area, arm_of(BLOBS, 1 - area)) for area in removed]
        lines += [[*names, *point, bool(part["random_weights"].iloc[0])] for *point, arm in points if arm in at]
        positions += [at[arm] for *_, arm in points if arm in at]
    if not lines:
        return CurvePoints.of_lines()
    frame = pd.DataFrame(lines, columns=[*EXPLAINER, "target", "curve", "shown", "share", "random_weights"])
    return CurvePoints.checked(frame.assign(**estimates(retention=comparison.retention[:, positions])))


def cross_curves(comparison: Comparison) -> CrossCurves:
    """Insertion beside blobs and the centred box of each area; deletion beside blobs as large as what it leaves."""
    lines, curves = [], []
    for names, part, shown, removed in _with_both_curves(comparison):
        at = dict(zip(part["arm"], part.index, strict=True))

        def mean_under(kind: str, areas: Sequence[float], rest: bool = False, at: dict[str, int] = at) -> Resampled:
            """rest: of the arms that keep as much as is removed. NaN where an arm has not run."""
            positions = [at.get(arm_of(kind, 1 - area if rest else area), -1) for area in areas]
            retention = comparison.retention[:, positions] if min(positions) >= 0 else np.nan
            values = np.broadcast_to(retention, (len(comparison.retention), len(areas)))
            return trapezoid(values, areas, axis=1) / (areas[-1] - areas[0])

        insertion, of_blobs, of_centre = (mean_under(kind, shown) for kind in (AREA, BLOBS, CENTRE))
        deletion, of_rest = mean_under(COMPLEMENT, removed), mean_under(BLOBS, removed, rest=True)
        lines.append([*names, len(shown), len(removed), int(part["images"].min())])
        curves.append(
            {
                "insertion": insertion,
                "insertion_of_blobs": of_blobs,
                "insertion_above_blobs": insertion - of_blobs,
                "insertion_above_centre": insertion - of_centre,
                "deletion": deletion,
                "deletion_of_blobs": of_rest,
                "deletion_beyond_blobs": of_rest - deletion,
            }
        )
    if not lines:
        return CrossCurves.of_lines()
    numbers = estimates(**{name: np.stack([curve[name] for curve in curves], 1) for name in curves[0]})
    facts = zip(*lines, strict=True)
    names = (*EXPLAINER, "target", "areas_inserted", "areas_deleted", "images")
    return CrossCurves.checked(pd.DataFrame(dict(zip(names, facts, strict=True))).assign(**numbers))


def _with_both_curves(comparison: Comparison) -> Iterator[tuple[Any, Any, list[float], list[float]]]:
    """Source, method, variant and target; their cells; areas of insertion and of deletion."""
    for names, part in comparison.cells.groupby([*EXPLAINER, "target"], sort=False):
        has = set(part["arm"])
        areas = sorted({area for arm in has if (area := area_of(arm)) is not None})
        shown = [area for area in areas if {arm_of(AREA, area), arm_of(BLOBS, area)} <= has]
        removed = [area for area in areas if {arm_of(COMPLEMENT, area), arm_of(BLOBS, 1 - area)} <= has]
        if min(len(shown), len(removed)) >= FEWEST:
            yield names, part, shown, removed
