"""Whether more carries over between models that are alike: the table of pairs and its rank correlations."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from harmonia.comparison import SETTING, Comparison, Frame
from harmonia.finished_jobs import Job
from harmonia.model_pairs import model_pairs
from harmonia.similarity import rank_correlation
from harmonia.statistic_tables import (
    ABOVE,
    METHOD,
    RETENTION,
    SOURCE,
    TARGET,
    StatisticTable,
    percent,
    statistic_table,
)
from harmonia.tables import method_label
from harmonia.typeset import MISSING

LIKENESS = "likeness"  # of the table's and the figure's files
MIN_PAIRS = 5  # of four, no order is significant at 5 %
_FOUND = ("rho", "low", "high", "p", "pairs", "models")
MEASURES = {"agreement": "agreement of predictions", "cka": "linear CKA"}


def correlations(pairs: Frame, arm: str) -> pd.DataFrame:
    """Spearman's rho (rho, low, high, p, pairs, models) of each measure of likeness with what is left above control.

    A line per setting, method, variant and measure with MIN_PAIRS pairs or more. Random-weight sources are left out:
    they resemble nothing and transfer nothing, and would decide the correlation alone.
    """
    shown: Frame = pairs[(pairs["arm"] == arm) & ~pairs["random_weights"].astype(bool)]
    lines = []
    for names, part in shown.groupby([*SETTING, "method", "variant"], sort=False):
        for measure in MEASURES:
            known = part[["source", "target", measure, "above_control"]].dropna()
            if len(known) >= MIN_PAIRS:
                ends = list(zip(known["source"], known["target"], strict=True))
                alike, above = (dict(zip(ends, known[name], strict=True)) for name in (measure, "above_control"))
                found = rank_correlation(alike, above)
                lines.append((*names, measure, *(getattr(found, name) for name in _FOUND)))
    return pd.DataFrame(lines, columns=[*SETTING, "method", "variant", "measure", *_FOUND])


def likeness_table(comparisons: Sequence[Comparison], jobs: Sequence[Job], arm: str) -> StatisticTable | None:
    """The pairs, printed of this arm, with the correlations beneath; None where there are too few for any."""
    made = statistic_table(
        LIKENESS,
        f"How alike source and target are on the whole images, and what is left of arm {arm} above its control: share "
        "of images with the same prediction, debiased linear CKA of penultimate features.",
        [SOURCE, METHOD, TARGET],
        [("Agreement (%)", "agreement", percent), ("CKA", "cka", _two_decimals), RETENTION, ABOVE],
        comparisons,
        lambda comparison: model_pairs(comparison, jobs),
        lambda frame: frame["arm"] == arm,
    )
    found: Any = correlations(made.numbers, arm) if len(made.printed) else pd.DataFrame()
    if found.empty:
        return None
    notes = [_in_words(line) for line in found.to_dict("records")]
    made.printed.attrs["footnotes"] = notes
    return made


def _two_decimals(frame: Frame, column: str) -> list[str]:
    return [MISSING if pd.isna(value) else f"{value:.2f}" for value in frame[column]]


def _in_words(line: dict[str, Any]) -> str:
    rho, low, high = (MISSING if pd.isna(line[name]) else f"{line[name]:.2f}" for name in ("rho", "low", "high"))
    p = "undefined" if pd.isna(line["p"]) else f"{line['p']:.3f}"
    return (
        f"{method_label(line['method'], line['variant'])}, {MEASURES[line['measure']]} and what is left above control: "
        f"Spearman's rho {rho} [{low}, {high}], p {p}, over {line['pairs']} pairs of {line['models']} models "
        f"({line['label_policy']}, {line['fill']}, {line['data']}). Models are the units: a jackknife over them, and p "
        "by giving them each other's likenesses."
    )
