"""What the report answers first: transfer above control in plain sentences, and what may not be concluded from it.

The terminal, the page, README.md and W&B show the same sentences. Every number is one of the table of transfer above
control; "more" and "less" are said where the paired interval of the difference leaves out zero.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harmonia.arms import AREA, IMAGE_ARM, SOFT_ARM, area_of, is_equal_area, percent
from harmonia.media import markdown, number_of
from harmonia.report.glossary import full_names
from harmonia.report.tables import typeset
from harmonia.report.tables.columns import RANDOM_WEIGHTS, bounded, method_label
from harmonia.results.jobs import JobFolder
from harmonia.statistics.comparison import Comparison
from harmonia.statistics.contrasts import ALL_SOURCES, MeanTransfer
from harmonia.statistics.inference import estimates

QUESTION = (
    "Do the image regions that explain one network's prediction carry it in another network, beyond what any mask "
    "would carry?"
)
ANSWER = "answer"  # of the files that hold it
USUAL_AREA = 0.3  # of the answer, where the report is about no area
FEW_IMAGES = 50
# columns of a control's share and of the difference to it, in the order of _names
_CONTROLS = (("control_retention", "above_control"), ("centre_retention", "above_centre"))
_FILLS = {
    "mean": "the mean colour",
    "blur": "a blurred image",
    "noisy_linear": "noisy linear imputation",
    "drop_tokens": "nothing (dropped patches never enter the network)",
    "layer_mask": "nothing (no layer sees what is dropped)",
}
_RELATIONS = {1: "more than {}", -1: "less than {}", 0: "no clear difference to {}", None: "not compared with {}"}


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
        shares = {_names(self.arm)[0]: "retention"} | {_heading(name): share for share, _, name in controls}
        columns = shares | {f"Above {name.removeprefix('a ')}": above for _, above, name in controls}
        numbers = {name: bounded(self.lines, column, "{:z.0f}") for name, column in columns.items()}
        caption = "Accuracy carried into other networks (%), and by how much it is above (points)"
        caption += ", with 95 % intervals" if has_intervals(self.lines) else ""
        above = (self.lines[list(shares.values())] >= 1.005).to_numpy().any()  # printed as 101
        notes = ["Above 100: more images are named rightly by what is kept than as a whole."] if above else []
        printed = pd.DataFrame({"Map": self.lines["who"]} | numbers)
        return typeset.table(printed, f"{caption}; {self.setting}.", 1, notes)


def answer_markdown(question: str, of_settings: Sequence["Answer"]) -> str:
    """The answers as a document beside their picture."""
    parts = [f"# {markdown(question)}"]
    for answer in of_settings:
        parts += [f"## {markdown(answer.setting)}"] if len(of_settings) > 1 else []
        parts += [f"**{markdown(verdict)}** {markdown(numbers)}" for verdict, numbers in answer.findings]
        parts += [markdown(answer.basis), "What may not be concluded:"]
        parts += ["\n".join(f"- {markdown(caution)}" for caution in answer.cautions)]
        parts += [typeset.to_markdown(answer.table)] if len(answer.lines) else []
    return "\n\n".join(parts).rstrip() + "\n"


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
    with_numbers = [] if arm == SOFT_ARM else soft.dropna(subset="retention").to_dict("records")
    cautions = [*_cautions(comparison, lines, arm, images), *map(_soft_caution, with_numbers)]
    unbounded = "No number has an interval: every resample of the images gives the same."
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
            f"{setting['label_policy']} one. Kept is what a network is shown; carried (retention) is its accuracy on "
            f"that over its accuracy on the whole image. {brackets}"
        ),
        cautions=[*cautions, *_unconverged(jobs, names)],
    )


def _answered_arm(arm: str, has: Sequence[str]) -> str:
    areas = [other for other in has if is_equal_area(other)]
    if arm in areas or not areas:
        return arm if arm in areas else SOFT_ARM
    return min(areas, key=lambda other: abs((area_of(other) or 0) - USUAL_AREA))


def _lines_of(comparison: Comparison, transfers: Any, arm: str, names: dict[str, str]) -> Any:
    """The arm's lines, a method's mean over sources in place of those of each source; random weights last."""
    lines: Any = transfers[transfers["arm"] == arm]
    means = lines["source"] == ALL_SOURCES
    key = ["method", "variant", "random_weights"]
    in_mean = pd.MultiIndex.from_frame(lines[key]).isin(pd.MultiIndex.from_frame(lines.loc[means, key]))
    lines = lines[means | ~in_mean].sort_values("random_weights", kind="stable")
    # variants that show the same maps, as by another list of areas, are one
    numbers = ["retention", "kept_area", *(column for columns in _CONTROLS for column in columns)]
    lines = lines.drop_duplicates(["source", "method", "random_weights", *numbers]).reset_index(drop=True)
    alone = ~lines.duplicated(["source", "method", "random_weights"], keep=False)
    lines["variant"] = lines["variant"].where(~alone, "")
    who, methods = [], []
    for line in lines.to_dict("records"):
        cells: Any = comparison.cells[comparison.cells["random_weights"] == line["random_weights"]]
        of_method = cells[(cells["arm"] == arm) & (cells["method"] == line["method"])]
        number = of_method["source"].nunique()
        source = number_of(number, "network") if line["source"] == ALL_SOURCES else line["source"]
        variant = f" ({line['variant']})" if line["variant"] else ""
        methods.append(names.get(str(line["method"]), method_label(line["method"])) + variant)
        who.append(f"{methods[-1]} of {source}" + (RANDOM_WEIGHTS if line["random_weights"] else ""))
    return lines.assign(who=who, method_name=methods)


def _names(arm: str) -> tuple[str, str, str]:
    """What the arm and its controls are called; no centred box is as large as a soft map."""
    if arm == SOFT_ARM:
        return "Soft map", "the image dimmed as much", ""
    return f"Top {percent(area_of(arm) or 0)} %", "random blobs", "a centred box"


def controls_of(arm: str) -> list[tuple[str, str, str]]:
    """Of each of the arm's controls the column of its share, that of the difference to it, and its name."""
    return [(*columns, name) for columns, name in zip(_CONTROLS, _names(arm)[1:], strict=True) if name]


def has_intervals(lines: Any) -> bool:
    shown = ["retention", *(column for columns in _CONTROLS for column in columns)]
    return any((lines[f"{name}_low"] < lines[f"{name}_high"]).any() for name in shown)


def _finding(line: dict[str, Any], arm: str) -> tuple[str, str]:
    if np.isnan(line["retention"]):
        return f"{line['who']}: cannot be said.", "No whole image is named rightly, or none has a label."
    blobs, centre = [(*columns, name) for columns, name in zip(_CONTROLS, _names(arm)[1:], strict=True)]
    relations = (relation(line, blobs[1]), relation(line, centre[1]))
    compared = [each for each in (blobs, centre) if not np.isnan(line[each[1]])]
    has = {blobs: relations[0]} | {each: relation(line, each[1]) for each in compared}
    verdict = _word(*relations) + ", ".join(_RELATIONS[of].format(name) for (_, _, name), of in has.items())
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
    numbers = f"{kept}, what {line['who']} keeps carries {_share(line, 'retention')} of the accuracy into {into}."
    if compared:
        shares = [f"{name} {_share(line, share)}" for share, _, name in compared]
        numbers += f" Beside it: {', '.join(shares)}."
        differences = [f"{points(line, above)} to {name}" for _, above, name in compared]
        numbers += f" The difference: {', '.join(differences)}."
    return f"{line['who']}: {verdict}.", numbers


def _word(blobs: int | None, centre: int | None) -> str:
    """The question's short answer; none where a control is not known and the other does not decide."""
    if blobs is not None and blobs < 1:
        return "no, " if blobs else "not shown, "
    return "" if None in (blobs, centre) else "yes, " if centre == 1 else "in part, "


def relation(line: Any, difference: str) -> int | None:
    """1 or -1 where the difference's interval leaves out zero, 0 where it does not, None where there is none."""
    low, high = line[f"{difference}_low"], line[f"{difference}_high"]
    has_width = low < high or low == high == 0  # of another without width the bootstrap saw no image that differs
    return int(low > 0) - int(high < 0) if has_width else None


def _cautions(comparison: Comparison, lines: Any, arm: str, images: int) -> Iterator[str]:
    if lines.empty:
        yield "No other network was asked: whether the regions carry over is not known."
    yield from _guessing(comparison)
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
    if 0 in [relation(line, above) for line in lines.to_dict("records") for _, above in _CONTROLS]:
        yield "No clear difference is no proof that there is none."


def _guessing(comparison: Comparison) -> Iterator[str]:
    """Networks that are not shown to name whole images better than a guess: what they say tells nothing."""
    cells, classes = comparison.cells, len({*comparison.labels[comparison.labels >= 0].tolist()})
    whole = (cells["arm"] == IMAGE_ARM) & ~(cells["random_weights"] & (cells["target"] == cells["source"]))
    accuracy, low, _ = estimates(accuracy=comparison.accuracy).values()
    for first, target in cells[whole].drop_duplicates("target")["target"].items():
        if classes > 1 and low[first] <= 1 / classes:
            yield (
                f"{target} names {100 * accuracy[first]:.0f} % of the whole images rightly; a guess among their "
                f"{classes} classes names {100 / classes:.0f} %. Check its weights, classes and transform."
            )


def _soft_caution(line: dict[str, Any]) -> str:
    carries = f"The soft map of {line['who']} carries {_share(line, 'retention')}"
    if np.isnan(line["above_control"]):
        return f"{carries}, and no image dimmed as much ran beside it: a soft map alone proves nothing."
    beside = f"{carries}, the image dimmed as much {_share(line, 'control_retention')}"
    more = relation(line, "above_control") == 1
    return f"{beside}: more than dimming." if more else f"{beside}: not more than dimming, so it proves nothing."


def _unconverged(jobs: Sequence[JobFolder], names: dict[str, str]) -> Iterator[str]:
    counts: dict[str, dict[Any, tuple[float, float]]] = {}  # by method, then source and options: jobs may share maps
    for job in jobs:
        method, source = job.group("method"), str(job.group("source").get("name"))
        of_method = counts.setdefault(str(method.get("name")), {})
        numbers = job.summary.get("maps_not_converged") or 0, job.summary.get("images") or 0
        of_method[source, str(method)] = max(numbers, of_method.get((source, str(method)), (0, 0)))
    more = "have not converged: the search ended at its bound of steps, and more steps may change them."
    for name, of_method in counts.items():
        lacking, maps = map(sum, zip(*of_method.values(), strict=True))
        sources = {source for source, _ in of_method}
        where = sources.pop() if len(sources) == 1 else f"{len(sources)} networks"
        if lacking:
            yield f"{lacking:,.0f} of {maps:,.0f} maps of {names.get(name, name)} on {where} {more}"


def _share(line: Any, name: str) -> str:
    return _bounded(line, name, "{:z.0f}", " %")


def points(line: Any, name: str) -> str:
    near_zero = min(abs(line[f"{name}_low"]), abs(line[f"{name}_high"])) < 0.005  # so that 0.3 is not printed as 0
    return _bounded(line, name, "{:+z.1f}" if near_zero else "{:+z.0f}", " points")


def _bounded(line: Any, name: str, form: str, unit: str) -> str:
    value, low, high = (100 * line[name + end] for end in ("", "_low", "_high"))
    has_width = not np.isnan(low) and low < high
    bounds = form.replace("+", "")
    return form.format(value) + unit + (f" [{bounds.format(low)}, {bounds.format(high)}]" if has_width else "")


def _heading(name: str) -> str:
    return name.removeprefix("a ").capitalize()


def _networks(names: Sequence[str]) -> str:
    """How many, and which, where a sentence can hold them."""
    different = list(dict.fromkeys(names))
    return number_of(len(different), "network") + (f" ({', '.join(different)})" if len(different) <= 6 else "")
