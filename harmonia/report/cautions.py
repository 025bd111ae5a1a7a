"""What may not be concluded from an answer: a line for each of its weaknesses."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from harmonia.arms import IMAGE_ARM, SOFT_ARM
from harmonia.media import number_of
from harmonia.report.shares import CONTROLS, controls_of, relation, share
from harmonia.results.jobs import JobFolder
from harmonia.statistics.comparison import Comparison
from harmonia.statistics.inference import estimates
from harmonia.statistics.splits import guess_of

FEW_IMAGES = 50


def cautions_of(
    comparison: Comparison, lines: Any, soft: Any, arm: str, jobs: Sequence[JobFolder], names: dict[str, str]
) -> Iterator[str]:
    """lines, soft: of the answer's arm and of soft maps, as Answer has them. names: of methods, in words."""
    images = int(lines["images"].max()) if len(lines) else len(comparison.labels)
    if lines.empty:
        yield "No other network was asked: whether the regions carry over is not known."
    yield from _guessing(comparison)
    yield from _chance(lines)
    if images < FEW_IMAGES:
        yield f"Only {number_of(images, 'image')}: small differences cannot be seen, and intervals are rough."
    trained = comparison.cells[~comparison.cells["random_weights"]]
    families = {*trained["family"], *trained["target_family"]}
    if len(families) == 1 and "" not in families:
        yield f"All networks are of one family, {families.pop()}: nothing is said of other families."
    for _, above, name in controls_of(arm):
        alone = lines[lines[above].isna() & lines["retention"].notna()]["who"]
        if len(alone):
            of = "" if len(alone) == len(lines) else f" ({'; '.join(alone)})"
            yield f"Not run, so not known: what {name} would carry{of}."
    if 0 in [relation(line, above) for line in lines.to_dict("records") for _, above in CONTROLS]:
        yield "No clear difference is no proof that there is none."
    if arm != SOFT_ARM:
        yield from map(_soft_caution, soft.dropna(subset="retention").to_dict("records"))
    yield from _unconverged(jobs, names)


def chance_of(comparison: Comparison) -> float:
    """guess_of, where the networks asked name no class but the images'; else NaN: of 1,000 classes it is no guess."""
    within = np.isin(comparison.predicted, [-1, *comparison.labels]).all()
    return guess_of(comparison) if within else np.nan


def _chance(lines: Any) -> Iterator[str]:
    """Maps that are not shown to carry more than a guess: beside controls that carry no more, either says nothing."""
    at_chance = lines[lines[["retention", "retention_low"]].min(axis=1) <= lines["guess"]]
    at_chance = at_chance[(at_chance["guess"] <= 1) & ~at_chance["guessing"]]  # _guessing names the networks
    for line in at_chance.dropna(subset="retention").to_dict("records"):
        yield (
            f"What {line['who']} keeps carries {share(line, 'retention')}, and a guess would carry "
            f"{100 * line['guess']:.0f} %: the networks asked may be guessing there, which says nothing of the map."
        )


def _guessing(comparison: Comparison) -> Iterator[str]:
    """Networks that are not shown to name whole images better than a guess: what they say tells nothing."""
    cells, guess = comparison.cells, guess_of(comparison)
    whole = (cells["arm"] == IMAGE_ARM) & ~(cells["random_weights"] & (cells["target"] == cells["source"]))
    accuracy, low, high = (100 * each for each in estimates(accuracy=comparison.accuracy).values())
    for first, target in cells[whole].drop_duplicates("target")["target"].items():
        if low[first] <= 100 * guess:
            remedy = "Train it longer, or check its weights, classes and transform."
            if high[first] >= 50 * (1 + guess):  # it may be halfway from a guess to all
                remedy = "So few images do not tell the two apart: show more."
            yield (
                f"{target} names {accuracy[first]:.0f} % [{low[first]:.0f}, {high[first]:.0f}] of the whole images "
                f"rightly; a guess among their {1 / guess:.0f} classes names {100 * guess:.0f} %. {remedy}"
            )


def _soft_caution(line: dict[str, Any]) -> str:
    carries = f"The soft map of {line['who']} carries {share(line, 'retention')}"
    if np.isnan(line["above_control"]):
        return f"{carries}, and no image dimmed as much ran beside it: a soft map alone proves nothing."
    beside = f"{carries}, the image dimmed as much {share(line, 'control_retention')}"
    more = relation(line, "above_control") == 1
    return (
        f"{beside}: more than dimming."
        if more
        else f"{beside}: not more than dimming, so this soft map proves nothing."
    )


def _unconverged(jobs: Sequence[JobFolder], names: dict[str, str]) -> Iterator[str]:
    counts: dict[str, dict[Any, tuple[float, float]]] = {}  # by method, then source and options: jobs may share maps
    for job in jobs:
        method, source = job.group("method"), str(job.group("source").get("name"))
        of_method = counts.setdefault(str(method.get("name")), {})
        numbers = job.summary.get("maps_not_converged") or 0, job.summary.get("images") or 0
        of_method[source, str(method)] = max(numbers, of_method.get((source, str(method)), (0, 0)))
    more = "still changed when the search came to its bound of steps: all here is said of the maps as they are, and "
    more += "more steps (method.steps=) may change it."
    for name, of_method in counts.items():
        lacking, maps = map(sum, zip(*of_method.values(), strict=True))
        sources = {source for source, _ in of_method}
        where = sources.pop() if len(sources) == 1 else f"{len(sources)} networks"
        if lacking:
            yield f"{lacking:,.0f} of {maps:,.0f} maps of {names.get(name, name)} on {where} {more}"
