"""The tables of mosaics: how well methods localise their cells, and whether they localise the same ones well."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from harmonia.report.tables.columns import StatisticTable, bounded, text
from harmonia.report.tables.typeset import table
from harmonia.statistics.localisation import MosaicScores, agreement_over_cells, localisation

STEM = "localisation"
AGREEMENT = "localisation_agreement"
_READING = "Higher is better: the share of positive attribution that lies where the class is."
_AGREEMENT_READING = "Near 1: both methods find the class in the same mosaics; near 0: in others."


def localisation_table(scored: Sequence[MosaicScores]) -> StatisticTable:
    """A line a job: mean, median and quartiles of localisation, and what could not be scored."""
    numbers = localisation(scored)
    chance = ", ".join(f"{100 / side**2:.0f} % for {side} x {side}" for side in sorted(numbers["n"].unique()))
    printed = pd.DataFrame(
        {
            "Protocol": _protocols(numbers),
            "Source": numbers["source"],
            "Method": numbers["shown_as"],
            "Mean (%)": bounded(numbers, "localisation"),
            "Median (%)": bounded(numbers, "median"),
            "Quartiles (%)": list(map("{} – {}".format, bounded(numbers, "q25"), bounded(numbers, "q75"))),
            "Undefined": text(numbers, "undefined"),
            "Label in top n² (%)": bounded(numbers, "in_top", "{:z.0f}"),
            "Cells": text(numbers, "cells"),
        }
    )
    notes = ["Undefined: no positive attribution, or none that is finite; scored 0, as in the paper."]
    caption = f"Localisation on mosaics (Rao et al. 2022); a uniform map has {chance}."
    return StatisticTable(STEM, table(printed, caption, 3, notes), numbers, reading=_READING)


def localisation_agreement_table(scored: Sequence[MosaicScores]) -> StatisticTable | None:
    """Every pair of jobs of one protocol and source, printed those with the job that localises best; None without."""
    numbers, with_best = agreement_over_cells(scored)
    if numbers.empty:
        return None
    of_best: Any = numbers[with_best]
    printed = pd.DataFrame(
        {
            "Protocol": _protocols(of_best),
            "Source": of_best["source"],
            "Localises best": of_best["first"],
            "Method": of_best["second"],
            "Spearman's rho": bounded(of_best, "rho", "{:z.2f}", 1),
            "Cells": text(of_best, "cells"),
        }
    )
    notes = ["95 % intervals by a bootstrap over mosaics; a job whose cells all score alike has no rank correlation."]
    caption = "Whether methods localise the same cells well: rank correlation of localisation over the cells of both."
    return StatisticTable(AGREEMENT, table(printed, caption, 4, notes), numbers, reading=_AGREEMENT_READING)


def _protocols(numbers: pd.DataFrame) -> list[str]:
    return [f"{name} {n} x {n}" for name, n in zip(numbers["protocol"], numbers["n"], strict=True)]
