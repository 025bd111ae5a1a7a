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
from harmonia.statistics.inference import Resampled, at_positions, estimates, group_means, interval, ratio

FEWEST_METHODS = 3  # methods of an order
# verdicts; "" where nothing has no rows
JUDGES, LEAKS, BLIND, ORDER_TURNS = "yes", "leaks", "blind", "order turns"
_SAME = ["label_policy", "data", "target", "arm"]  # what lines stand together by


class FillReliability(
    Frame,
    text="label_policy data target arm fill verdict answer",
    numbers="entropy",
    estimates="control_retention nothing_retention control_above_nothing top_share tau",
):
    """A line per target, arm and fill.

    nothing_retention: where nothing of the image is kept; answer, top_share, entropy: the commonest answer there, how
    often it is given, and the entropy of all answers in bits. tau: Kendall's tau-b of the retention of a source's
    methods under this fill and another, mean over sources and fills; NaN of fewer than three methods, and of other
    images.
    """

    methods: int  # the most that a source has here


def fill_reliability(comparisons: Sequence[Comparison]) -> FillReliability:
    """Targets that have been asked under two fills or more, by features of other networks."""
    frames = [_of_setting(comparison, comparisons) for comparison in comparisons]
    lines: Any = pd.concat(frames, ignore_index=True) if frames else FillReliability.of_lines()
    several = lines.groupby(_SAME, sort=False)["fill"].transform("nunique") > 1
    lines = lines[several].reset_index(drop=True)
    together = lines.groupby(_SAME, sort=False).ngroup().sort_values(kind="stable").index
    return FillReliability.checked(lines.loc[together].reset_index(drop=True))


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
        of_nothing, of_line = without[target]
        control = at_positions(comparison.retention, comparison.control_position[part.index])
        (control,) = group_means(control, [np.arange(len(part))])[0].T
        above, tau = control - of_line["nothing_retention"], _order_kept(comparison, part, others)
        draws.append(of_line | {"control_retention": control, "control_above_nothing": above, "tau": tau})
        verdict = _verdict(of_nothing["leaks"], above, tau[0])
        of_cell = {"target": target, "arm": arm, "methods": int(part.groupby("source").size().max())}
        of_cell |= {"verdict": verdict, "answer": of_nothing["answer"], "entropy": of_nothing["entropy"]}
        facts.append(of_cell | comparison.setting)
    if not facts:
        return FillReliability.of_lines()
    numbers = estimates(**{name: np.stack([line[name] for line in draws], 1) for name in draws[0]})
    return pd.DataFrame(facts).assign(**numbers)


def _without_image(comparison: Comparison, target: str) -> tuple[dict[str, Any], dict[str, Resampled]]:
    """Facts of a target's answers where nothing is kept, and resampled numbers; NaN where none has run."""
    cells = comparison.cells
    (at, *_) = *np.flatnonzero((cells["target"] == target) & (cells["arm"] == arms.NOTHING_ARM)), -1
    missing = np.full(len(comparison.retention), np.nan)
    if at < 0:
        return {"answer": "", "entropy": np.nan, "leaks": None}, {"nothing_retention": missing, "top_share": missing}
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
    return facts, {"nothing_retention": comparison.retention[:, at], "top_share": ratio(top, given)[:, 0]}


def _verdict(leaks: bool | None, above_nothing: Resampled, tau: float) -> str:
    """leaks: what is left names the class without the image; blind: a random region tells no more than nothing."""
    if leaks is None:
        return ""
    found = {LEAKS: leaks, BLIND: interval(above_nothing)[1] <= 0, ORDER_TURNS: tau <= 0}
    return ", ".join(word for word, is_so in found.items() if is_so) or JUDGES


def _differs_by_fill(comparison: Comparison, beside: Comparison) -> bool:
    """And in nothing else: resamples of the same images are paired."""
    settings = [each.setting | {"fill": ""} for each in (comparison, beside)]
    first, second = (np.append(each.class_names, "")[each.labels] for each in (comparison, beside))
    fills_differ = comparison.setting["fill"] != beside.setting["fill"]
    return fills_differ and settings[0] == settings[1] and np.array_equal(first, second)


def _order_kept(comparison: Comparison, part: pd.DataFrame, others: Sequence[Comparison]) -> Resampled:
    """Mean tau between this fill and each other one, of each source's methods; NaN where there is none."""
    taus = [np.full(len(comparison.retention), np.nan)]
    for beside in others:
        for _, of_source in part.groupby("source", sort=False):
            at = beside.positions(of_source)
            here = of_source.index[at >= 0]
            if len(here) >= FEWEST_METHODS:
                taus.append(kendall(comparison.retention[:, here], beside.retention[:, at[at >= 0]]))
    return group_means(np.stack(taus, 1), [np.arange(len(taus))])[0][:, 0]
