"""How tables, figures and pages call what has run: methods, sources with random weights, which way is better."""

import pandas as pd

ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}
RANDOM_WEIGHTS, RANDOM = " (random weights)", " (random)"  # of a source; the short one in figures


def method_label(method: str, variant: str = "") -> str:
    return method.upper() + (f" ({variant})" if variant else "")


def method_labels(frame: pd.DataFrame, which: str = "") -> pd.Series:
    """Printed names of a frame's methods; which: what the names of their columns begin with."""
    pairs = frame[[f"{which}method", f"{which}variant"]].to_numpy()
    return pd.Series([method_label(*pair) for pair in pairs], index=frame.index, dtype=object)
