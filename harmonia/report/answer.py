"""What the report answers first: transfer above control in plain sentences, and what may not be concluded from it.

The terminal, the page, README.md and W&B show the same sentences. Every number is one of the table of transfer above
control; "more" and "less" are said where the paired interval of the difference leaves out zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harmonia.arms import AREA, SOFT_ARM, area_of, is_equal_area
from harmonia.media import markdown, number_of
from harmonia.report.cautions import cautions_of, chance_of
from harmonia.report.glossary import full_names
from harmonia.report.shares import CONTROLS, controls_of, names_of, points, relation, share
from harmonia.report.tables import typeset
from harmonia.report.tables.columns import ABOVE_100, RANDOM_WEIGHTS, bounded, method_label
from harmonia.results.jobs import JobFolder
from harmonia.statistics.comparison import Comparison, judges
from harmonia.statistics.contrasts import ALL_SOURCES, MeanTransfer
from harmonia.statistics.inference import at_positions, interval

QUESTION = (
    "Do the image regions that explain one network's prediction carry it in another network, beyond what any mask "
    "would carry?"
)
ANSWER = "answer"  # of the files that hold it
USUAL_AREA = 0.3  # of the answer, where the report is about no area
_FILLS = {
    "mean": "the mean colour",
    "blur": "a blurred image",
    "noisy_linear": "noisy linear imputation",
    "drop_tokens": "nothing (dropped patches never enter the network)",
    "layer_mask": "nothing (no layer sees what is dropped)",
}
_RELATIONS = {1: "more than {}", -1: "less than {}", 0: "no clear difference to {}", None: "not compared with {}"}
_NO_INTERVAL = "no interval of the difference to {}"


@dataclass(frozen=True, eq=False)
class Answer:
    """What the jobs of one setting say of the question."""

    fill: str
    beside: str  # the setting without its fill, in words
    cells: frozenset[tuple]  # source, method and target of what it is about
    arm: str  # soft, or one of equal area
    lines: Any  # a frame of transfer above control, one a method; `who` and `method_name` in words
    findings: list[tuple[str, str]]  # a verdict and its numbers, one a line
    basis: str  # images, networks, fill, intervals
    cautions: list[str]  # what may not be concluded

    @property
    def setting(self) -> str:
        """In words."""
        return f"fill {self.fill}, {self.beside}"

    @property
    def sentences(self) -> list[str]:
        return [f"{verdict} {numbers}" for verdict, numbers in self.findings]

    @property
    def table(self) -> pd.DataFrame:
        """The same numbers, short."""
        controls = [control for control in controls_of(self.arm) if self.lines[control[0]].notna().any()]
        shares = {names_of(self.arm)[0]: "retention"}
        shares |= {name.removeprefix("a ").capitalize(): share for share, _, name in controls}
        columns = shares | {f"Above {name.removeprefix('a ')}": above for _, above, name in controls}
        numbers = {name: bounded(self.lines, column, "{:z.0f}") for name, column in columns.items()}
        caption = "Accuracy carried into other networks (%), and by how much it is above (points)"
        caption += ", with 95 % intervals" if has_intervals(self.lines) else ""
        notes = [ABOVE_100] * bool((self.lines[list(shares.values())] >= 1.005).any(axis=None))  # printed as 101
        printed = pd.DataFrame({"Map": self.lines["who"]} | numbers)
        return typeset.table(printed, f"{caption}; {self.setting}.", 1, notes)


def answer_markdown(question: str, of_settings: Sequence["Answer"]) -> str:
    """The answers as a document beside their picture."""
    parts = [f"# {markdown(question)}"]
    for answer in of_settings:
        parts += [f"## {markdown(answer.setting)}"] if len(of_settings) > 1 else []
        parts += [f"**{markdown(verdict)}** {markdown(numbers)}" for verdict, numbers in answer.findings]
        parts += [markdown(answer.basis)]
        parts += [typeset.to_markdown(answer.table)] if len(answer.lines) else []
    parts += ["What may not be concluded:"]
    parts += ["\n".join(f"- {markdown(caution)}" for caution in cautions_of_all(of_settings))]
    return "\n\n".join(parts).rstrip() + "\n"


def cautions_of_all(of_settings: Sequence["Answer"]) -> list[str]:
    """What no answer allows first; then what some do not, and which."""
    holders: dict[str, list[Answer]] = {}
    for answer in of_settings:
        for caution in dict.fromkeys(answer.cautions):
            holders.setdefault(caution, []).append(answer)
    fills_differ = len({answer.beside for answer in of_settings}) == 1
    shared, of_some = [], []
    for caution, held in holders.items():
        which = f"Fill {', '.join(each.fill for each in held)}" if fills_differ else "; ".join(e.setting for e in held)
        if len(held) == len(of_settings):
            shared.append(caution)
        else:
            of_some.append(f"{which[:1].upper()}{which[1:]}: {caution}")
    return shared + of_some


def answers(
    comparisons: Sequence[Comparison], transfers: Sequence[MeanTransfer], jobs: Sequence[JobFolder], arm: str
) -> list[Answer]:
    """One a setting. arm: the report's; of a control, and of soft where areas ran, the answer is at the usual area."""
    return [_answer(*of_setting, jobs, arm) for of_setting in zip(comparisons, transfers, strict=True)]


def _answer(comparison: Comparison, transfers: Any, jobs: Sequence[JobFolder], arm: str) -> Answer:
    shown = set(comparison.cells["job"])
    jobs = [job for job in jobs if str(job.folder) in shown]
    names = full_names(jobs)
    arm = _answered_arm(arm, transfers["arm"].unique())
    lines, soft = (_lines_of(comparison, transfers, of_arm, names) for of_arm in (arm, SOFT_ARM))
    setting = {name: value.replace("_", " ") for name, value in comparison.setting.items()}
    cells = comparison.cells[comparison.cells["arm"] == arm]
    images = int(lines["images"].max()) if len(lines) else len(comparison.labels)
    unbounded = "No number of the table has an interval: every resample of the images gives the same."
    brackets = "Brackets are 95 % intervals over the images." if has_intervals(lines) else unbounded
    return Answer(
        fill=setting["fill"],
        beside=f"label policy {setting['label_policy']}, data {comparison.setting['data']}",
        cells=frozenset(cells[["source", "method", "target"]].itertuples(index=False, name=None)),
        arm=arm,
        lines=lines,
        findings=[_finding(line, arm) for line in lines.to_dict("records")],
        basis=(
            f"Measured on {number_of(images, 'image')} of {comparison.setting['data']} with "
            f"{_networks([*cells['source'], *cells['target']])}. What is dropped is filled with "
            f"{_FILLS.get(comparison.setting['fill'], setting['fill'])}; the explained class is the "
            f"{setting['label_policy']} one. Kept is what a network is shown; carried (retention) is the network's "
            "accuracy on what is kept over its accuracy on whole images; above 100 % it names more of them rightly. "
            f"{brackets}"
        ),
        cautions=list(cautions_of(comparison, lines, soft, arm, jobs, names)),
    )


def _answered_arm(arm: str, arms: Sequence[str]) -> str:
    areas = [each for each in arms if is_equal_area(each)]
    if arm in areas or not areas:
        return arm if arm in areas else SOFT_ARM
    return min(areas, key=lambda area: abs((area_of(area) or 0) - USUAL_AREA))


def _lines_of(comparison: Comparison, transfers: Any, arm: str, names: dict[str, str]) -> Any:
    """The arm's lines, a method's mean over sources in place of those of each source; random weights last."""
    lines: Any = transfers[transfers["arm"] == arm]
    means = lines["source"] == ALL_SOURCES
    key = ["method", "variant", "random_weights"]
    in_mean = pd.MultiIndex.from_frame(lines[key]).isin(pd.MultiIndex.from_frame(lines.loc[means, key]))
    lines = lines[means | ~in_mean].sort_values("random_weights", kind="stable")
    # variants that show the same maps, as by another list of areas, are one
    numbers = ["retention", "kept_area", *(column for columns in CONTROLS for column in columns)]
    lines = lines.drop_duplicates(["source", "method", "random_weights", *numbers]).reset_index(drop=True)
    alone = ~lines.duplicated(["source", "method", "random_weights"], keep=False)
    lines["variant"] = lines["variant"].where(~alone, "")
    who, methods, guesses, guessing = [], [], [], []
    whole, low, _ = interval(at_positions(comparison.accuracy, comparison.image_position)).T
    for line in lines.to_dict("records"):
        cells: Any = comparison.cells[comparison.cells["random_weights"] == line["random_weights"]]
        of_method = cells[(cells["arm"] == arm) & (cells["method"] == line["method"])]
        number = of_method["source"].nunique()
        source = number_of(number, "network") if line["source"] == ALL_SOURCES else line["source"]
        variant = f" ({line['variant']})" if line["variant"] else ""
        methods.append(names.get(str(line["method"]), method_label(line["method"])) + variant)
        who.append(f"{methods[-1]} of {source}" + (RANDOM_WEIGHTS if line["random_weights"] else ""))
        of_sources = (line["source"] == ALL_SOURCES) | (of_method["source"] == line["source"])
        asked = of_method[judges(of_method) & of_sources].index
        right = whole[asked]
        guessing.append(bool(len(asked)) and bool((low[asked] <= chance_of(comparison)).all()))
        guesses.append(chance_of(comparison) * np.mean(1 / right[right > 0]) if (right > 0).any() else np.nan)
    return lines.assign(
        who=who, method_name=methods, guessing=guessing, guess=guesses, guess_low=guesses, guess_high=guesses
    )


def has_intervals(lines: Any) -> bool:
    shown = ["retention", *(column for columns in CONTROLS for column in columns)]
    return any((lines[f"{name}_low"] < lines[f"{name}_high"]).any() for name in shown)


def _finding(line: dict[str, Any], arm: str) -> tuple[str, str]:
    if np.isnan(line["retention"]):
        return f"{line['who']}: cannot be said.", "No whole image is named rightly, or none has a label."
    blobs, centre = [(*columns, name) for columns, name in zip(CONTROLS, names_of(arm)[1:], strict=True)]
    relations = (relation(line, blobs[1]), relation(line, centre[1]))
    compared = [each for each in (blobs, centre) if not np.isnan(line[each[1]])]
    verdicts = []
    for each in dict.fromkeys((blobs, *compared)):
        side = relation(line, each[1])
        text = _NO_INTERVAL if side is None and each in compared else _RELATIONS[side]
        verdicts.append(text.format(each[2]))
    verdict = ", ".join(verdicts)
    if line["guessing"]:
        verdict = "cannot be said. The networks asked are not shown to name whole images better than a guess"
    elif word := _word(*relations):
        verdict = f"{word}. {verdict[:1].upper()}{verdict[1:]}"
    kept = (
        f"As a soft map, which lets {100 * line['kept_area']:.0f} % of the light through"
        if arm == SOFT_ARM
        else f"At {arm.removeprefix(AREA)} % of the pixels"
    )
    into = (
        f"other networks ({line['cells']} pairs)"
        if line["source"] == ALL_SOURCES
        else number_of(line["cells"], "other network")
    )
    numbers = f"{kept}, what {line['who']} keeps carries {share(line, 'retention')} of the accuracy into {into}."
    shares = [f"{name} {share(line, column)}" for column, _, name in compared]
    shares += [] if not line["guess"] <= 1 else [f"a guess {100 * line['guess']:.0f} %"]
    numbers += f" For comparison: {', '.join(shares)}." if shares else ""
    if compared:
        differences = [f"{points(line, above)} to {name}" for _, above, name in compared]
        numbers += f" The difference: {', '.join(differences)}."
    return f"{line['who']}: {verdict}.", numbers


def _word(blobs: int | None, centre: int | None) -> str:
    """The question's short answer; none where a control is not known and the other does not decide."""
    if blobs is not None and blobs < 1:
        return "no" if blobs else "not shown"
    return "" if None in (blobs, centre) else "yes" if centre == 1 else "partly"


def _networks(names: Sequence[str]) -> str:
    """How many, and which, where a sentence can hold them."""
    different = list(dict.fromkeys(names))
    return number_of(len(different), "network") + (f" ({', '.join(different)})" if len(different) <= 6 else "")
