"""Whether methods localise the same cells well: Spearman's rho between the scores of two jobs over the cells of both.

S. Rao, M. Böhle, B. Schiele, CVPR 2022, Tables 1 and 2: Grad-CAM at the final layer, smoothed methods at the input.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from harmonia.report.tables.columns import StatisticTable
from harmonia.report.tables.typeset import MISSING, table
from harmonia.results.jobs import JobFolder, options_of, section
from harmonia.results.localisation import QUARTILES, read_localisation
from harmonia.statistics.inference import interval, resamples

STEM = "localisation"
PROTOCOLS = ("gridpg", "difull", "dipart")


@dataclass(frozen=True, eq=False)
class Cells:
    """One job's scored cells."""

    name: str  # method, layer, smoothing and what else tells it from the report's others
    rows: Any
    job: JobFolder


def scored_cells(job: JobFolder) -> Cells:
    """What a finished job left of the cells that it scored."""
    rows = read_localisation(job.folder)
    k = section(job.config, "smooth").get("k")
    n = round(rows["cells"].iloc[0] ** 0.5)
    positions = section(job.config, "evaluation").get("positions")
    rows = rows.assign(
        grid_side=n,
        smooth_k=np.nan if k is None else k,
        positions="" if positions in (None, "interpolated") else positions,
    )
    layer = rows["layer"].iloc[0]
    parts = [
        f"{rows['method'].iloc[0]} at {layer}" if layer else rows["method"].iloc[0],
        "" if k is None else f"K = {k}",
        rows["positions"].iloc[0],
        "" if n == 2 else f"{n} x {n}",
    ]
    return Cells(", ".join(filter(None, parts)), rows, job)


def told_apart(found: Sequence[Cells]) -> list[Cells]:
    """By protocol. Jobs of one name with the same options count once, the last; others are named by what differs."""
    alike: dict[tuple, dict[str, Cells]] = {}
    for cells in sorted(found, key=lambda cells: PROTOCOLS.index(cells.rows["protocol"].iloc[0])):
        line = (cells.rows["protocol"].iloc[0], cells.rows["source"].iloc[0], cells.name)
        options, _ = options_of(cells.job.config)
        alike.setdefault(line, {})[json.dumps(options, sort_keys=True)] = cells
    told = []
    for same in alike.values():
        known = {text: json.loads(text).items() for text in same}
        shared = set.intersection(*(set(options) for options in known.values()))
        for text, cells in same.items():
            differing = [f"{key}={value}" for key, value in known[text] if (key, value) not in shared]
            told.append(replace(cells, name=", ".join([cells.name, *differing])))
    return told


def localisation_table(found: Sequence[Cells]) -> StatisticTable:
    """A line a job: mean, median and quartiles of localisation, and what could not be scored."""
    numbers = pd.DataFrame([_line(cells) for cells in found])
    chance = ", ".join(f"{100 / side**2:.0f} % for {side} x {side}" for side in sorted(numbers["n"].unique()))
    printed = pd.DataFrame(
        {
            "Protocol": [f"{name} {n} x {n}" for name, n in zip(numbers["protocol"], numbers["n"], strict=True)],
            "Source": numbers["source"],
            "Method": [cells.name for cells in found],
            "Mean (%)": [f"{100 * value:.1f}" for value in numbers["localisation"]],
            "Median (%)": [f"{100 * value:.1f}" for value in numbers["median"]],
            "Quartiles (%)": [
                f"{100 * low:.1f} – {100 * high:.1f}" for low, high in zip(numbers["q25"], numbers["q75"], strict=True)
            ],
            "Undefined": [str(value) for value in numbers["undefined"]],
            "Label in top n² (%)": [f"{100 * value:.0f}" for value in numbers["in_top"]],
            "Cells": [str(value) for value in numbers["cells"]],
        }
    )
    notes = ["Undefined: no positive attribution, or none that is finite; scored 0, as in the paper."]
    caption = f"Localisation on mosaics (Rao et al. 2022); a uniform map has {chance}."
    return StatisticTable(STEM, table(printed, caption, 3, notes), numbers)


def _line(cells: Cells) -> dict[str, Any]:
    rows, scores = cells.rows, cells.rows["localisation"]
    same = ("protocol", "grid_side", "source", "method", "layer", "smooth_k", "positions")
    return {
        **{name if name != "grid_side" else "n": rows[name].iloc[0] for name in same},
        "localisation": scores.mean(),
        **{name: scores.quantile(at) for name, at in QUARTILES.items()},
        "undefined": int(rows["undefined"].sum()),
        "in_top": rows["in_top"].mean(),
        "cells": len(rows),
        "shown_as": cells.name,
    }


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
