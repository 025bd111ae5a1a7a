"""By which fill can a target be judged? What it keeps of random regions and of nothing, and whether methods keep order.

C.-Y. Hsieh, H.-Y. Fang, C.-S. Wei, "AIM", 2026, https://arxiv.org/abs/2605.16905, ask of a way to mask how biased
random maps are under it, and whether the ranks of methods are stable. Bias is told here by an arm that keeps nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import entropy

from harmonia import arms
from harmonia.results.frames import Frame
from harmonia.statistics.comparison import Comparison, judges
from harmonia.statistics.fills import under_several_fills
from harmonia.statistics.inference import Resampled, at_positions, estimates, group_means, interval, ratio

FEWEST_METHODS = 3  # methods of an order
# verdicts; "" where there is no answer: see _verdict
JUDGES, LEAKS, BLIND, ORDER_TURNS = "yes", "leaks", "blind", "order turns"
_SAME = ["label_policy", "data", "target", "arm"]  # what lines stand together by


class FillReliability(
    Frame,
    text="label_policy data target arm fill verdict answer",
    numbers="entropy",
    estimates="control_retention nothing_retention control_above_nothing top_share tau",
):
    """A line per target, arm and fill.

    nothing_retention: where nothing of the image is kept; control_above_nothing: job by job, mean over those that have
    both. answer, top_share, entropy: the commonest answer to nothing, how often it is given, and the entropy of all
    answers in bits, of the job with the most images. tau: Kendall's tau-b of the retention of a source's methods under
    this fill and another, mean over sources and fills; NaN of fewer than three methods on the same images.
    """

    methods: int  # the most that a source has here


def fill_reliability(comparisons: Sequence[Comparison]) -> FillReliability:
    """Targets that have been asked under two fills or more, by features of other networks."""
    frames = [_of_setting(comparison, comparisons) for comparison in comparisons]
    return FillReliability.checked(under_several_fills(frames or [FillReliability.of_lines()], _SAME))


def kendall(first: Resampled, second: Resampled) -> Resampled:
    """Tau-b of two orders, line by line: (lines, n) gives (lines,); NaN where one of them ties all."""
    low, high = np.triu_indices(first.shape[1], 1)
    a, b = (np.sign(values[:, low] - values[:, high]) for values in (first, second))
    return ratio((a * b).sum(1), np.sqrt((a**2).sum(1) * (b**2).sum(1)))


def _of_setting(comparison: Comparison, comparisons: Sequence[Comparison]) -> pd.DataFrame:
    cells = comparison.cells
    shown = cells[judges(cells) & cells["arm"].map(arms.is_feature)]
    without = {target: _without_image(comparison, target) for target in shown["target"].unique()}
    others = [each for each in comparisons if _differs_by_fill(comparison, each)]
    facts, draws = [], []
    for (target, arm), part in shown.groupby(["target", "arm"], sort=False):
        of_nothing, top_share = without[target]
        of_jobs = comparison.control_position[part.index], comparison.positions(part.assign(arm=arms.NOTHING_ARM))
        control, nothing = (at_positions(comparison.retention, positions) for positions in of_jobs)
        above, tau = _mean(control - nothing), _order_kept(comparison, part, others)
        line = {"control_retention": _mean(control), "nothing_retention": _mean(nothing), "top_share": top_share}
        draws.append(line | {"control_above_nothing": above, "tau": tau})
        verdict = _verdict(of_nothing["leaks"], above, tau[0])
        of_cell = {"target": target, "arm": arm, "methods": int(part.groupby("source").size().max())}
        of_cell |= {"verdict": verdict, "answer": of_nothing["answer"], "entropy": of_nothing["entropy"]}
        facts.append(of_cell | comparison.setting)
    if not facts:
        return FillReliability.of_lines()
    numbers = estimates(**{name: np.stack([line[name] for line in draws], 1) for name in draws[0]})
    return pd.DataFrame(facts).assign(**numbers)


def _mean(draws: Resampled) -> Resampled:
    """Over the defined ones of (lines, n): (lines,)."""
    return group_means(draws, [np.arange(draws.shape[1])])[0][:, 0]


def _without_image(comparison: Comparison, target: str) -> tuple[dict[str, Any], Resampled]:
    """Facts of a target's answers where nothing is kept, and the commonest one's share; NaN where none has run."""
    cells = comparison.cells
    of_nothing = cells[(cells["target"] == target) & (cells["arm"] == arms.NOTHING_ARM)]
    if of_nothing.empty:
        return {"answer": "", "entropy": np.nan, "leaks": None}, np.full(len(comparison.retention), np.nan)
    at = of_nothing["images"].idxmax()
    codes = comparison.predicted[:, at]
    counts = np.bincount(codes[codes >= 0])
    top, given = comparison.sums((codes == counts.argmax())[:, None], (codes >= 0)[:, None])
    labels = comparison.labels[comparison.judged[:, at]]
    one_answer = np.bincount(labels).max(initial=0) / max(1, len(labels))  # what the best of constant answers has right
    facts = {
        "answer": str(comparison.class_names[counts.argmax()]),
        "entropy": float(entropy(counts, base=2)),
        "leaks": interval(comparison.accuracy[:, at])[1] > one_answer,
    }
    return facts, ratio(top, given)[:, 0]


def _verdict(leaks: bool | None, above_nothing: Resampled, tau: float) -> str:
    """leaks: what is left names the class without the image; blind: no sign that a random region tells more than that.

    "" where nothing has no rows; and, where none of these is found, without an interval for above_nothing.
    """
    if leaks is None:
        return ""
    low = interval(above_nothing)[1]
    found = {LEAKS: leaks, BLIND: low <= 0, ORDER_TURNS: tau <= 0}
    return ", ".join(word for word, is_so in found.items() if is_so) or ("" if np.isnan(low) else JUDGES)


def _differs_by_fill(comparison: Comparison, beside: Comparison) -> bool:
    """And in nothing else: resamples of the same images are paired."""
    settings = [each.setting | {"fill": ""} for each in (comparison, beside)]
    first, second = (np.append(each.class_names, "")[each.labels] for each in (comparison, beside))
    fills_differ = comparison.setting["fill"] != beside.setting["fill"]
    return fills_differ and settings[0] == settings[1] and np.array_equal(first, second)


def _order_kept(comparison: Comparison, part: pd.DataFrame, others: Sequence[Comparison]) -> Resampled:
    """Mean tau between this fill and each other one, of a source's methods on the same images; NaN where none is."""
    taus = [np.full(len(comparison.retention), np.nan)]
    images = _images(comparison, part.index)
    for beside in others:
        at = beside.positions(part)
        alike = (at >= 0) & (_images(beside, at) == images)
        shared = part[["source"]].assign(images=images, at=at)[alike]
        for _, methods in shared.groupby(["source", "images"], sort=False):
            if len(methods) >= FEWEST_METHODS:
                taus.append(kendall(comparison.retention[:, methods.index], beside.retention[:, methods["at"]]))
    return _mean(np.stack(taus, 1))


def _images(comparison: Comparison, positions: np.ndarray | pd.Index) -> np.ndarray:
    """Which images each of these cells has, as one value that can be compared."""
    return np.array([comparison.judged[:, at].tobytes() for at in positions], object)
