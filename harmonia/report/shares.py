"""What a map carries beside its controls, in words: one line of transfer above control, number by number."""

from typing import Any

import numpy as np

from harmonia.arms import SOFT_ARM, area_of, percent

# columns of a control's share and of the difference to it, in the order of names_of
CONTROLS = (("control_retention", "above_control"), ("centre_retention", "above_centre"))


def names_of(arm: str) -> tuple[str, str, str]:
    """What the arm and its controls are called; no centred box is as large as a soft map."""
    if arm == SOFT_ARM:
        return "Soft map", "the image dimmed as much", ""
    return f"Top {percent(area_of(arm) or 0)} %", "random blobs", "a centred box"


def controls_of(arm: str) -> list[tuple[str, str, str]]:
    """Of each of the arm's controls the column of its share, that of the difference to it, and its name."""
    return [(*columns, name) for columns, name in zip(CONTROLS, names_of(arm)[1:], strict=True) if name]


def relation(line: Any, difference: str) -> int | None:
    """1 or -1 where the difference's interval leaves out zero, 0 where it does not, None where there is none."""
    low, high = line[f"{difference}_low"], line[f"{difference}_high"]
    has_width = low < high or low == high == 0  # of another without width the bootstrap saw no image that differs
    return int(low > 0) - int(high < 0) if has_width else None


def share(line: Any, name: str) -> str:
    return _bounded(line, name, "{:z.0f}", " %")


def points(line: Any, name: str) -> str:
    near_zero = min(abs(line[f"{name}_low"]), abs(line[f"{name}_high"])) < 0.005  # so that 0.3 is not printed as 0
    return _bounded(line, name, "{:+z.1f}" if near_zero else "{:+z.0f}", " points")


def _bounded(line: Any, name: str, form: str, unit: str) -> str:
    value, low, high = (100 * line[name + end] for end in ("", "_low", "_high"))
    has_width = not np.isnan(low) and low < high
    bounds = form.replace("+", "")
    printed = form.format(value)
    printed = (printed if float(printed) else "0") + unit
    return printed + (f" [{bounds.format(low)}, {bounds.format(high)}]" if has_width else "")
