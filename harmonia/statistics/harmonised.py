"""Does what several networks explain together carry better than what one of them explains?

Judged at equal area, by networks that had no vote. The best of the networks is picked anew in each resample of the
images: it owes nothing to luck with these.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from harmonia.arms import is_equal_area
from harmonia.results.frames import Frame
from harmonia.statistics.comparison import Comparison, judges
from harmonia.statistics.inference import Resampled, estimates

MEAN, BEST_ALONE, BEST_AS_MANY = "their mean", "the best of them", "the best of them, as many passes"
VOTE = "their vote"
AS_MANY = 1.25  # passes of which one is more than this times the other are not as many
_KEY = ("source", "method", "variant", "arm")
_GROUP = ("method", "variant", "arm", "voters", "source_kind", "beside")


class Harmonised(
    Frame,
    text="source method variant arm beside",
    counts="voters sources targets images",
    numbers="passes beside_passes",
    estimates="retention beside_retention difference above_control",
):
    """A line per joint source and what it is held against: each of its networks alone, their mean, the best of them.

    A joint mask is held against the vote of the same networks, too, where that ran. Then the mean over joint sources
    of as many networks, where there are two or more (sources), joint masks and votes apart. All but beside_... are of
    the joint source: means over targets without a vote, passes of networks an image.
    """


@dataclass(frozen=True, eq=False)
class _Run:
    source: str
    method: str
    variant: str
    arm: str
    source_kind: str
    voters: list[str]
    passes: float
    images: int
    cell_of: dict[str, int]  # by target, of those without a vote


def harmonised(comparison: Comparison) -> Harmonised:
    """Empty where no source is made of networks that have all explained alone, too."""
    runs = list(_runs(comparison))
    lines = [line for run in runs if run.voters for line in _lines(comparison, run, runs)]
    lines.sort(key=lambda line: [line[0][name] for name in _GROUP])
    for group, of_group in groupby(list(lines), key=lambda line: [line[0][name] for name in _GROUP]):
        facts, draws = zip(*of_group, strict=True)
        if len(facts) > 1:
            means = pd.DataFrame(facts)[["targets", "images", "passes", "beside_passes"]].agg(["max", "mean"])
            counts = means.loc["max", ["targets", "images"]].astype(int).to_dict()
            passes = means.loc["mean", ["passes", "beside_passes"]].to_dict()
            several = f"{facts[0]['voters']} networks"
            source = f"votes of {several}" if facts[0]["source_kind"] == "vote" else several
            named = dict(zip(_GROUP, group, strict=True)) | {"source": source}
            lines.append((named | counts | passes | {"sources": len(facts)}, np.mean(draws, 0)))
    if not lines:
        return Harmonised.of_lines()
    lines.sort(key=lambda line: (line[0]["voters"], line[0]["sources"] > 1))
    facts, draws = zip(*lines, strict=True)
    retention, beside, above_control = np.stack(draws, 2).swapaxes(0, 1)
    named = {"retention": retention, "beside_retention": beside, "above_control": above_control}
    columns = estimates(**named, difference=retention - beside)
    return Harmonised.checked(pd.DataFrame(facts).drop(columns="source_kind").assign(**columns))


def _runs(comparison: Comparison) -> Iterator[_Run]:
    cells = comparison.cells
    counts = judges(cells) & cells["arm"].map(is_equal_area) & ~np.isnan(comparison.retention[0])
    for (source, method, variant, arm), group in cells[counts].groupby(list(_KEY), sort=False):
        kind, voters, passes = group.iloc[0][["source_kind", "voters", "passes"]]
        cell_of, images = dict(zip(group["target"], group.index, strict=True)), int(group["images"].max())
        yield _Run(source, method, variant, arm, kind, json.loads(voters or "[]"), passes, images, cell_of)


def _lines(comparison: Comparison, run: _Run, runs: Sequence[_Run]) -> Iterator[tuple[dict[str, Any], Resampled]]:
    """Facts of a line and its draws (1 + resamples, 3): retention, the same of what it is beside, above control."""
    same = [other for other in runs if (other.method, other.arm) == (run.method, run.arm)]
    of_each = [[other for other in same if other.source == name and not other.voters] for name in run.voters]
    if not all(of_each):
        return
    alone = [min(of_one, key=lambda other: (np.nan_to_num(other.passes), other.variant)) for of_one in of_each]
    as_many = [min(of_one, key=lambda other: _times(other.passes, run.passes)) for of_one in of_each]
    beside = [(each.source, [each]) for each in alone]
    beside += [(MEAN, alone), (BEST_ALONE, alone)] if len(alone) > 1 else []
    beside += [(BEST_AS_MANY, as_many)] if all(_times(each.passes, run.passes) <= AS_MANY for each in as_many) else []
    if run.source_kind == "joint":
        votes = [other for other in same if (other.source_kind, other.voters) == ("vote", run.voters)]
        beside += [(VOTE, votes)] if len(votes) == 1 else []
    for name, others in beside:
        targets = [target for target in run.cell_of if all(target in other.cell_of for other in others)]
        if targets:
            cells = [[each.cell_of[target] for target in targets] for each in (run, *others)]
            own, *theirs = [comparison.retention[:, of_one].mean(1) for of_one in cells]
            both = np.mean(theirs, 0) if name == MEAN else np.max(theirs, 0)
            facts = {field: getattr(run, field) for field in (*_KEY, "source_kind", "passes", "images")}
            facts |= {"voters": len(run.voters), "beside": name, "targets": len(targets), "sources": 1}
            facts["beside_passes"] = float(np.mean([each.passes for each in others]))
            yield facts, np.stack([own, both, comparison.above_control[:, cells[0]].mean(1)], 1)


def _times(passes: float, others: float) -> float:
    """The larger over the smaller; infinite where one is not known."""
    return max(passes / others, others / passes) if passes > 0 and others > 0 else np.inf
