"""Whether more carries over between models that are alike: the table of pairs and its rank correlations."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from harmonia.report.tables.columns import StatisticTable, method_label, statistic_table
from harmonia.report.tables.typeset import MISSING
from harmonia.results.jobs import JobFolder
from harmonia.statistics.comparison import Comparison
from harmonia.statistics.likeness import MEASURES, correlations, model_pairs

LIKENESS = "likeness"  # of the table's and the figure's files


def likeness_table(comparisons: Sequence[Comparison], jobs: Sequence[JobFolder], arm: str) -> StatisticTable | None:
    """The pairs, printed of this arm, with the correlations beneath; None where there are too few for any."""
    pairs = statistic_table(
        LIKENESS,
        f"How alike source and target are on the whole images, and what is left of arm {arm} above its control: share "
        "of images with the same prediction, debiased linear CKA of penultimate features.",
        ["source", "method_label", "target"],
        ["agreement", "cka", "retention", "above_control"],
        comparisons,
        lambda comparison: model_pairs(comparison, jobs),
        printed_where=("arm", arm),
    )
    measured: Any = correlations(pairs.numbers, arm) if len(pairs.printed) else pd.DataFrame()
    if measured.empty:
        return None
    pairs.printed.attrs["footnotes"] = [_in_words(line) for line in measured.to_dict("records")]
    return pairs


def _in_words(line: dict[str, Any]) -> str:
    rho, low, high = (MISSING if pd.isna(line[name]) else f"{line[name]:.2f}" for name in ("rho", "low", "high"))
    p = "undefined" if pd.isna(line["p"]) else f"{line['p']:.3f}"
    return (
        f"{method_label(line['method'], line['variant'])}, {MEASURES[line['measure']]} and what is left above control: "
        f"Spearman's rho {rho} [{low}, {high}], p {p}, over {line['pairs']} pairs of {line['models']} models "
        f"({line['label_policy']}, {line['fill']}, {line['data']}). Models are the units: a jackknife over them, and p "
        "by giving them each other's likenesses."
    )
