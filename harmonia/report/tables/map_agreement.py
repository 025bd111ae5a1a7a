"""The table of how far maps of several networks agree, and whether their agreement foretells transfer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from harmonia.arms import matched_control
from harmonia.report.page.collection import NONE, Block, Collection, Explainer
from harmonia.report.shares import relation
from harmonia.report.tables.columns import (
    Statistic,
    StatisticTable,
    correlation_in_words,
    method_label,
    statistic_table,
)
from harmonia.results.gathered import SETTING
from harmonia.statistics.comparison import Comparison
from harmonia.statistics.map_agreement import MapAgreement, SourceMaps, agreement_correlations, map_agreement

MAP_AGREEMENT = "map_agreement"
AGREEMENTS = {"rho": "rank correlation of maps", "iou": "IoU of regions"}

_CAPTION = (
    "Do networks look at the same places? Maps of two sources for the same image, method and explained class, in the "
    "part of the image that both see: Spearman's rank correlation of the soft maps, and intersection over union of "
    "the regions of {arm}. Floors, means of both sources: the other's maps of other images, the centre, random blobs. "
    "A line of families is the mean over their pairs. Naming: over images, the rank correlation of agreement with "
    "whether the other network names the class on {arm}, both ways."
)


def map_agreement_table(
    comparisons: Sequence[Comparison], collection: Collection, arms: Sequence[str]
) -> StatisticTable | None:
    """None where no two sources share a method; arms: one a comparison."""
    arm_of = {tuple(each.setting.values()): arm for each, arm in zip(comparisons, arms, strict=True)}

    def frame_of(comparison: Comparison) -> MapAgreement:
        setting = comparison.setting
        arm = arm_of[tuple(setting.values())]
        explainers = [
            each for each in collection.explainers if all(each.key[name] == setting[name] for name in SETTING)
        ]
        labels = np.append(np.array(collection.classes, object), "")[
            np.minimum(collection.sets[setting["data"]].labels, len(collection.classes))
        ]
        families = dict(comparison.cells[["source", "family"]].itertuples(index=False))
        with_maps = [_source_maps(each, collection, families, arm) for each in explainers if each.maps is not None]
        return map_agreement(comparison, with_maps, labels, arm)

    statistic = Statistic(
        MAP_AGREEMENT,
        _CAPTION.format(arm=" or ".join(dict.fromkeys(arms))),
        frame_of,
        "method_label first second",
        "images rho rho_another rho_centre rho_above_another rho_above_centre "
        "iou iou_another iou_centre iou_blobs rho_named above_control",
        reading="Above another image's, above the centre's: what two networks share beyond the usual place of maps.",
    )
    table = statistic_table(statistic, comparisons, "")
    if not len(table.printed):
        return None
    lines: list[str] = []
    numbers: Any = table.numbers
    for setting, part in numbers.groupby(SETTING, sort=False):
        lines += [_in_words(line, setting) for line in agreement_correlations(part).to_dict("records")]
        lines += _not_counted(part)
    table.printed.attrs["footnotes"] = [*table.printed.attrs["footnotes"], *dict.fromkeys(lines)]
    return table


def agreement_in_words(agreement: Any, lines: Any) -> Iterator[tuple[str, str]]:
    """Findings on every method that has two sources. agreement: of one setting; lines: of its answer, with names."""
    names = {tuple(line): name for *line, name in lines[["method", "variant", "method_name"]].to_numpy()}
    pairs = agreement[(agreement["kind"] == "networks") & ~agreement["random_weights"].astype(bool)]
    pairs = pairs.drop_duplicates(["method", "variant"], keep=False)
    for line in pairs.dropna(subset=["rho", "rho_another", "rho_above_another_low"]).to_dict("records"):
        name = names.get((line["method"], line["variant"])) or names.get((line["method"], ""))
        who = f"{name or method_label(line['method'], line['variant'])} of {line['first']} and {line['second']}"
        alike = {1: "more", -1: "less"}.get(relation(line, "rho_above_another") or 0, "not clearly more")
        numbers = f"Their rank correlation is {line['rho']:z.2f}, that of different images {line['rho_another']:z.2f}."
        yield f"{who}: the maps are {alike} alike than those of different images.", numbers


def _source_maps(explainer: Explainer, collection: Collection, families: Mapping[str, str], arm: str) -> SourceMaps:
    assert explainer.maps is not None
    return SourceMaps(
        source=explainer.key["source"],
        method=explainer.key["method"],
        variant=explainer.key["variant"],
        family=families[explainer.key["source"]],
        random_weights=explainer.random_weights,
        maps=explainer.maps,
        map_of=explainer.map_of,
        flagged=np.array([flag != "" for flag in collection.flags])[explainer.flags],
        explained=explainer.explained,
        answers={name: _answers(explainer, block, arm) for name, block in explainer.blocks.items()},
    )


def _answers(explainer: Explainer, block: Block, arm: str) -> np.ndarray:
    """Whether the target names each image's explained class on the arm; its probability less that on the control."""
    answers = np.full((len(explainer.explained), 2), np.nan)
    if arm in block.arms:
        predicted = block.predicted[:, block.arms.index(arm)]
        answers[:, 0] = np.where(predicted == NONE, np.nan, predicted == explainer.explained)
        if (control := matched_control(arm)) in block.arms:
            shown, by_control = (block.numbers["p_explained"][:, block.arms.index(name)] for name in (arm, control))
            answers[:, 1] = shown - by_control
    return answers


def _in_words(line: Mapping[str, Any], setting: Sequence[str]) -> str:
    return (
        f"{correlation_in_words(line, AGREEMENTS[line['measure']])} networks, both ways of a pair in the mean "
        f"({', '.join(setting)}). Networks are the units, as in the table of likeness."
    )


def _not_counted(part: Any) -> list[str]:
    pairs = part[part["kind"] == "networks"]
    counted, apart, unranked = (int(pairs[name].sum()) for name in ("images", "unlike_class", "unranked"))
    return [
        f"Of {counted + apart + unranked:,} pairs of maps {apart:,} explain different classes and do not count, nor do "
        f"{unranked:,} of which one ranks nothing."
    ]
