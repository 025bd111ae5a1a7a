"""Whether methods localise the same cells well: Spearman's rho between the scores of two jobs over the cells of both.

S. Rao, M. Böhle, B. Schiele, CVPR 2022, Tables 1 and 2: Grad-CAM at the final layer, smoothed methods at the input.
"""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from harmonia.localisation_report import Cells
from harmonia.statistic_tables import StatisticTable
from harmonia.statistics import interval, resamples
from harmonia.typeset import MISSING, table

AGREEMENT = "localisation_agreement"
NUM_RESAMPLES = 2_000  # each ranks a pair's cells anew
MIN_MOSAICS = 5
TIED = 1e-6  # standard deviation of what float32 makes of equal scores
_CELL = ["grid", "cell", "image_id"]
_COLUMNS = ["protocol", "source", "n", "first", "second", "cells", "mosaics", "rho", "rho_low", "rho_high"]


def agreement_table(found: Sequence[Cells]) -> StatisticTable | None:
    """Every pair of jobs of one protocol and source; those with the job that localises best, of jobs whose cells
    differ, have intervals and are printed.

    None where no two jobs have scored MIN_MOSAICS mosaics or more in common.
    """
    lines, shown = [], []
    for (protocol, source, n), alike in groupby(sorted(found, key=_setting), _setting):
        jobs = sorted(alike, key=lambda cells: cells.name)  # of equally good ones the first
        # one whose cells all score alike (gradients in DiFull: 1) orders none
        best = max(range(len(jobs)), key=lambda job: (jobs[job].rows["localisation"].std() > TIED, _mean(jobs[job])))
        for first, second in ((a, b) for a in range(len(jobs)) for b in range(a + 1, len(jobs))):
            if first == best or second == best:
                first, second = best, first + second - best
            rho = _correlation(jobs[first], jobs[second], NUM_RESAMPLES if first == best else 0)
            if rho is not None:
                lines.append((protocol, source, n, jobs[first].name, jobs[second].name, *rho))
                shown.append(first == best)
    if not lines:
        return None
    numbers = pd.DataFrame(lines, columns=_COLUMNS)
    of_best = numbers[shown]
    printed = pd.DataFrame(
        {
            "Protocol": [f"{name} {n} x {n}" for name, n in zip(of_best["protocol"], of_best["n"], strict=True)],
            "Source": of_best["source"],
            "Localises best": of_best["first"],
            "Method": of_best["second"],
            "Spearman's rho": [
                MISSING if np.isnan(rho) else f"{rho:.2f}" + ("" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]")
                for rho, low, high in zip(of_best["rho"], of_best["rho_low"], of_best["rho_high"], strict=True)
            ],
            "Cells": [str(value) for value in of_best["cells"]],
        }
    )
    notes = ["95 % intervals by a bootstrap over mosaics; a job whose cells all score alike has no rank correlation."]
    caption = "Whether methods localise the same cells well: rank correlation of localisation over the cells of both."
    return StatisticTable(AGREEMENT, table(printed, caption, 4, notes), numbers)


def _mean(cells: Cells) -> float:
    return round(float(cells.rows["localisation"].mean()), 4)


def _setting(cells: Cells) -> tuple[str, str, int]:
    rows = cells.rows
    return rows["protocol"].iloc[0], rows["source"].iloc[0], int(rows["grid_side"].iloc[0])


def _correlation(first: Cells, second: Cells, num_resamples: int) -> tuple[int, int, float, float, float] | None:
    """Cells, mosaics, rho and its interval; mosaics are what is drawn, their cells stay together."""
    pair = first.rows.merge(second.rows, on=_CELL)
    mosaics, of_cell = np.unique(pair["grid"].to_numpy(), return_inverse=True)
    if len(mosaics) < MIN_MOSAICS:
        return None
    scores = pair[["localisation_x", "localisation_y"]].to_numpy()
    draws = [
        _spearman(np.repeat(scores, times.astype(int)[of_cell], axis=0))
        for block in resamples(np.zeros(len(mosaics), int), num_resamples)
        for times in block
    ]
    return len(pair), len(mosaics), *interval(np.array(draws))


def _spearman(scores: np.ndarray) -> float:
    """NaN where either side is constant."""
    ranks = rankdata(scores, axis=0)
    ranks -= ranks.mean(0)
    scale = np.sqrt((ranks**2).sum(0).prod())
    return float((ranks[:, 0] * ranks[:, 1]).sum() / scale) if scale else np.nan
