"""One cell under every fill: whether what is above the controls hangs on what stands where the image is dropped."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from harmonia import arms
from harmonia.results.gathered import CELL, CellNames
from harmonia.statistics.comparison import Comparison, judges
from harmonia.statistics.inference import at_positions, estimates

SAME = ["label_policy", "data", *CELL]  # what a cell under another fill shares


class FillEffects(
    CellNames,
    text="label_policy data fill",
    estimates="retention control_retention above_control above_centre",
):
    """Lines of one cell stand together, a line a fill."""

    random_weights: bool
    kept_area: float


def fill_effects(comparisons: Sequence[Comparison]) -> FillEffects:
    """Features in other networks that have run under two fills or more."""
    frames = [_of_setting(comparison) for comparison in comparisons]
    return FillEffects.checked(under_several_fills(frames or [FillEffects.of_lines()], SAME))


def under_several_fills(frames: Sequence[pd.DataFrame], same: Sequence[str]) -> pd.DataFrame:
    """The lines of which others, alike in these columns, have another fill; these stand together."""
    lines: Any = pd.concat(frames, ignore_index=True)
    alike = lines.groupby(list(same), sort=False)
    several = alike["fill"].transform("nunique") > 1
    return lines.loc[alike.ngroup()[several].sort_values(kind="stable").index].reset_index(drop=True)


def _of_setting(comparison: Comparison) -> pd.DataFrame:
    cells = comparison.cells
    chosen = np.flatnonzero(judges(cells) & cells["arm"].map(arms.is_feature))
    of_centre = at_positions(comparison.retention, comparison.centre_position)
    of_control = at_positions(comparison.retention, comparison.control_position)
    columns = {
        "retention": comparison.retention,
        "control_retention": of_control,
        "above_control": comparison.above_control,
        "above_centre": comparison.retention - of_centre,
    }
    numbers = estimates(**{name: values[:, chosen] for name, values in columns.items()})
    facts = cells.iloc[chosen][[*CELL, "random_weights", "kept_area"]].reset_index(drop=True)
    return facts.assign(**comparison.setting, **numbers)
