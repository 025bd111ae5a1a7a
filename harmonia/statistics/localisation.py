"""How well methods localise the cells of mosaics, and whether they localise the same cells well.

S. Rao, M. Böhle, B. Schiele, CVPR 2022, Tables 1 and 2: Grad-CAM at the final layer, smoothed methods at the input.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby

import numpy as np
import pandas as pd

from harmonia.results.frames import Frame
from harmonia.results.jobs import JobFolder, differing
from harmonia.results.localisation import PROTOCOLS, QUARTILES, LocalisationRows, read_localisation
from harmonia.results.parquet import check_rows
from harmonia.statistics.inference import interval, resamples
from harmonia.statistics.ranks import spearman

AGREEMENT_RESAMPLES = 2_000  # each ranks a pair's cells anew
MIN_MOSAICS = 5
MOST_SIDE = 16  # cells of a mosaic
TIED = 1e-6  # standard deviation of what float32 makes of equal scores
MOSAIC_CELL = ["grid", "cell", "image_id"]


class CellScores(LocalisationRows, text="positions", counts="grid_side", numbers="smooth_k"):
    """A job's scored cells and what of its options tells it from others; smooth_k is NaN for maps as they are."""


class JobLocalisation(
    Frame,
    text="protocol source method layer positions shown_as",
    counts="n undefined cells",
    numbers="smooth_k localisation q25 median q75 in_top",
):
    """A line a job of n x n cells: fractions, and how many cells could not be scored."""


class CellAgreement(Frame, text="protocol source first second", counts="n cells mosaics", estimates="rho"):
    """A line for two jobs, on the cells that both have scored."""


@dataclass(frozen=True, eq=False)
class MosaicScores:
    """One job's scored cells of mosaics."""

    name: str  # method, layer, smoothing and what else tells it from the report's others
    rows: CellScores
    job: JobFolder

    @property
    def setting(self) -> tuple[str, str, int]:
        """Protocol, source and cells a side."""
        first = self.rows.iloc[0]
        return first["protocol"], first["source"], int(first["grid_side"])


def mosaic_scores(job: JobFolder) -> MosaicScores:
    """What a finished job left of the cells that it scored."""
    rows = read_localisation(job.folder)
    sides = np.sqrt(rows["cells"].clip(0))
    rules = {
        "have a protocol of " + ", ".join(PROTOCOLS): ~rows["protocol"].isin(PROTOCOLS),
        f"have cells of n x n, n at most {MOST_SIDE}": ~sides.isin(range(1, MOST_SIDE + 1)),
        "have a cell of their mosaic": ~rows["cell"].between(0, rows["cells"] - 1),
        "have a localisation in 0..1": ~rows["localisation"].between(-0.01, 1.01),
    }
    check_rows(job.folder, rows, ["protocol", "source", "method", "layer", "cells"], MOSAIC_CELL, rules)
    k, side = job.group("smooth").get("k"), int(sides.iloc[0])
    positions = job.group("evaluation").get("positions")
    positions = "" if positions in (None, "interpolated") else positions
    of_job = {"grid_side": side, "smooth_k": np.nan if k is None else float(k), "positions": positions}
    method, layer = rows["method"].iloc[0], rows["layer"].iloc[0]
    smoothed, cells = "" if k is None else f"K = {k}", "" if side == 2 else f"{side} x {side}"
    parts = [f"{method} at {layer}" if layer else method, smoothed, positions, cells]
    return MosaicScores(", ".join(filter(None, parts)), CellScores.checked(rows.assign(**of_job)), job)


def without_repeats(scored: Sequence[MosaicScores]) -> list[MosaicScores]:
    """By protocol. Jobs of one name with the same options count once, the last; others are named by what differs."""
    by_name: dict[tuple, dict[str, MosaicScores]] = {}
    for scores in sorted(scored, key=lambda scores: PROTOCOLS.index(scores.setting[0])):
        options = json.dumps(scores.job.options, sort_keys=True)
        by_name.setdefault((*scores.setting[:2], scores.name), {})[options] = scores
    kept = []
    for same_name in by_name.values():
        for options, scores in zip(differing(pd.Series(list(same_name))), same_name.values(), strict=True):
            kept.append(replace(scores, name=", ".join(filter(None, [scores.name, options]))))
    return kept


def localisation(scored: Sequence[MosaicScores]) -> JobLocalisation:
    lines = []
    for scores in scored:
        rows, values = scores.rows, scores.rows["localisation"]
        named = rows[["protocol", "grid_side", "source", "method", "layer", "smooth_k", "positions"]].iloc[0]
        lines.append(
            {
                **named.rename({"grid_side": "n"}),
                "localisation": values.mean(),
                **{name: values.quantile(at) for name, at in QUARTILES.items()},
                "undefined": int(rows["undefined"].sum()),
                "in_top": rows["in_top"].mean(),
                "cells": len(rows),
                "shown_as": scores.name,
            }
        )
    return JobLocalisation.checked(pd.DataFrame(lines))


def agreement_over_cells(scored: Sequence[MosaicScores]) -> tuple[CellAgreement, np.ndarray]:
    """Spearman's rho of the localisation by each two jobs of one protocol and source, over the cells of both.

    A line per pair with MIN_MOSAICS mosaics or more in common; and which of the lines set the job that localises best,
    of those whose cells differ, against another: these alone have intervals.
    """
    lines, with_best = [], []
    for (protocol, source, n), alike in groupby(sorted(scored, key=lambda s: s.setting), lambda s: s.setting):
        jobs = sorted(alike, key=lambda scores: scores.name)  # of equally good ones the first
        best = max(jobs, key=_ordering_then_mean)
        for pair in combinations(jobs, 2):
            first, second = sorted(pair, key=lambda scores: scores is not best)
            rho = _correlation(first, second, AGREEMENT_RESAMPLES if first is best else 0)
            if rho is not None:
                lines.append((protocol, source, n, first.name, second.name, *rho))
                with_best.append(first is best)
    columns = ["protocol", "source", "n", "first", "second", "cells", "mosaics", "rho", "rho_low", "rho_high"]
    return CellAgreement.checked(pd.DataFrame(lines, columns=columns)), np.array(with_best, bool)


def _ordering_then_mean(scores: MosaicScores) -> tuple[bool, float]:
    """One whose cells all score alike (gradients in DiFull: 1) orders none."""
    values = scores.rows["localisation"]
    return values.std() > TIED, round(float(values.mean()), 4)


def _correlation(first: MosaicScores, second: MosaicScores, draws: int) -> tuple[int, int, float, float, float] | None:
    """Cells, mosaics, rho and its interval; mosaics are what is drawn, their cells stay together."""
    pair = first.rows.merge(second.rows, on=MOSAIC_CELL)
    mosaics, of_cell = np.unique(pair["grid"].to_numpy(), return_inverse=True)
    if len(mosaics) < MIN_MOSAICS:
        return None
    scores = pair[["localisation_x", "localisation_y"]].to_numpy().T
    rhos = [
        spearman(*np.repeat(scores, times.astype(int)[of_cell], axis=1)[:, None])[0]
        for block in resamples(np.zeros(len(mosaics), int), draws)
        for times in block
    ]
    return len(pair), len(mosaics), *interval(np.array(rhos))
