"""The table of networks as units, and what of it the answer says where there are enough of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from harmonia.report.answer import Answer
from harmonia.report.shares import points, relation
from harmonia.report.tables.columns import Statistic, StatisticTable, method_label, p_value, statistic_table
from harmonia.report.tables.map_agreement import AGREEMENTS
from harmonia.results.gathered import SETTING
from harmonia.statistics.comparison import Comparison
from harmonia.statistics.likeness import MEASURES
from harmonia.statistics.networks import networks

NETWORKS = "networks"
KIN_WORDS = {
    "itself": "itself",
    "seed": "another training of it",
    "size": "another size of its family",
    "family": "another family",
}
_TO = {
    "kinship": KIN_WORDS,
    "capacity": {"family": "a larger one of its family", "any": "a larger one of any family"},
    "likeness": {name: f"all others, by {words}" for name, words in (MEASURES | AGREEMENTS).items()},
}
ENOUGH = 6  # networks, for words
_CAPTION = (
    "Networks as units: what is left of {arm} above its control and above the centred box, of pairs of source and "
    "target. Difference: how much more a kinship carries than less related pairs, a larger target than the way back, "
    "by one standard deviation of likeness, networks of as many parameters than a source that is none of them. Kinship "
    "and likeness: sources and targets of equal strength, by least squares of source + target. p: networks in each "
    "other's places."
)
_INTERVALS = (
    "95 % intervals: 2,000 Bayesian bootstrap draws of the networks, a pair by the product, seeds beside their "
    "architecture, and of the images at once; they speak of other networks and other images."
)


def networks_table(
    comparisons: Sequence[Comparison], arm: str, likeness: Any = None, agreement: Any = None
) -> StatisticTable | None:
    """Printed of this arm; None where nowhere so many networks meet. likeness, agreement: those tables' numbers."""

    def frame_of(comparison: Comparison) -> Any:
        lines = networks(comparison, _measures(comparison.setting, likeness, agreement))
        return lines.assign(to=[_to(line) for line in lines.to_dict("records")])

    statistic = Statistic(
        NETWORKS,
        _CAPTION.format(arm=arm),
        frame_of,
        "method_label to",
        "pairs networks above_control above_centre difference p_orders p_within",
        reading="Does kinship matter? Look at Difference and p of another training and of another size.",
        printed_of_arm="arm",
        intervals=_INTERVALS,
    )
    table = statistic_table(statistic, comparisons, arm)
    return table if len(table.printed) else None


def with_networks(comparisons: Sequence[Comparison], answers: Sequence[Answer], numbers: Any) -> list[Answer]:
    """The answers, one a comparison, each with a sentence on kinship of every method that has ENOUGH networks."""
    kinships = numbers[numbers["kind"] == "kinship"]
    of_answers = []
    for comparison, answer in zip(comparisons, answers, strict=True):
        of_setting = (kinships[SETTING] == [comparison.setting[name] for name in SETTING]).all(axis=1)
        chosen = kinships[of_setting & (kinships["arm"] == answer.arm)]
        names = {tuple(line): name for *line, name in answer.lines[["method", "variant", "method_name"]].to_numpy()}
        findings = [
            _finding(names.get(key) or names.get((key[0], "")) or method_label(*key), lines.to_dict("records"))
            for key, lines in chosen.groupby(["method", "variant"], sort=False)
            if lines["networks"].max() >= ENOUGH
        ]
        of_answers.append(replace(answer, findings=[*answer.findings, *findings]))
    return of_answers


def _measures(setting: Mapping[str, str], likeness: Any, agreement: Any) -> dict[str, Any]:
    """By name, of two networks how alike they are, as statistics.networks takes it."""
    frames = {}
    for numbers, names, ends in (
        (likeness, MEASURES, ("source", "target")),
        (agreement, AGREEMENTS, ("first", "second")),
    ):
        if numbers is not None:
            lines = numbers[(numbers[SETTING] == [setting[name] for name in SETTING]).all(axis=1)]
            for name in names:
                columns = {ends[0]: "first", ends[1]: "second", name: "value"}
                frames[name] = lines[[*columns, "method", "variant"]].rename(columns=columns)
    return frames


def _to(line: Mapping[str, Any]) -> str:
    if line["kind"] in ("beside", "guesses"):
        return f"all, from {line['what']}" + ", which guesses" * (line["kind"] == "guesses")
    return _TO[line["kind"]][line["what"]]


def _finding(name: str, lines: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    who = f"{name}, {max(line['networks'] for line in lines)} networks as units"
    verdicts, numbers = [], []
    for line in lines:
        words = KIN_WORDS[line["what"]]
        numbers.append(f"{words} {points(line, 'above_control')}")
        if not pd.isna(line["p_orders"]) and line["what"] != "itself":
            claim = (relation(line, "difference") or 0) if line["p_orders"] < 0.05 else 0
            says = {1: "carries more", 0: "carries not clearly more", -1: "carries less"}[claim]
            (p,) = p_value(pd.DataFrame([line]), "p_orders")
            verdicts.append(f"{words} {says} than less related networks (p {p.replace('<', 'below ')})")
    verdict = "; ".join(verdicts) or "no kinship to compare"
    return f"{who}: {verdict}.", f"Above control, from a network to {', '.join(numbers)}."
