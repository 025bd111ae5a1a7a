"""Tables of the ranking page: methods by metrics, spread of ranks, agreement of metrics, their link to transfer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from harmonia.report.tables.columns import StatisticTable, bounded, method_label, p_value, text
from harmonia.report.tables.typeset import DOUBLE_DAGGER, MISSING, table
from harmonia.results.gathered import EXPLAINER
from harmonia.results.gathered_scores import ScoredMaps
from harmonia.statistics.inference import LEVEL, NUM_RESAMPLES
from harmonia.statistics.metric_transfer import ARM, CONTROL, MetricLinks, Transferred
from harmonia.statistics.ranking import (
    MIN_METHODS,
    AgreementOverImages,
    AgreementOverMethods,
    RankedMethods,
    rank_spread,
)
from harmonia.statistics.ranks import IMAGE_RESAMPLES, MIN_IMAGES

RANKING, SPREAD, METRIC_AGREEMENT, LINK = "ranking", "rank_spread", "metric_agreement", "metric_transfer"
ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}
INTERVALS = (
    f"{100 * LEVEL:.0f} % intervals: percentile bootstrap, {NUM_RESAMPLES:,} resamples of the images within their "
    "class, the same for all; methods, networks and maps are held fixed."
)
WITHOUT_TRANSFER = (
    "No rows of transfer of the same maps are in this folder: nothing can be said about whether a metric foretells "
    "transfer. evaluation=transfer with the same options, in the same sweep, makes them."
)


def ranking_table(settings: Sequence[ScoredMaps], lines: Sequence[RankedMethods], linked: bool) -> StatisticTable:
    """Printed a line per method, a column per metric; the numbers have a line per method and metric.

    linked: whether there are rows of transfer of these maps.
    """
    blocks, notes = [], [] if linked else [WITHOUT_TRANSFER]
    for scores, frame in zip(settings, lines, strict=True):
        blind = _blind(scores)
        methods = frame[EXPLAINER].drop_duplicates()
        keys = _keys(methods)
        marks = [f" {DOUBLE_DAGGER}" if key in blind else "" for key in keys]
        columns = {"Source": list(methods["source"]), "Method": list(labels(methods) + marks)}
        for metric, part in frame.groupby("metric", sort=False):
            printed = dict(zip(_keys(part), _values_and_ranks(part), strict=True))
            columns[f"{metric}{ARROWS[part['better'].iloc[0]]}"] = [printed.get(key, MISSING) for key in keys]
        blocks.append(columns)
        notes += [f"{DOUBLE_DAGGER} {line}" for line in blind.values()]
        notes += _images(frame) + _ranked_on_fewer(frame) + _undefined(scores)
    caption = (
        "Methods by metrics, which run on the source itself: mean over the images that have the score, its interval, "
        "and the rank by that metric among the source's methods, on the images that all of them have (1 is best). "
        "↑ more is better, ↓ less is better; without an arrow a metric describes and ranks nothing. No number sums "
        f"them up. {INTERVALS}"
    )
    return _table(RANKING, settings, blocks, caption, 2, notes, lines)


def spread_table(settings: Sequence[ScoredMaps], lines: Sequence[RankedMethods]) -> StatisticTable:
    """How far the places of a method lie apart, of those that two metrics or more have ranked."""
    frames: list[Any] = [rank_spread(frame) for frame in lines]
    frames = [frame[frame["metrics"] > 1] if len(frame) else frame for frame in frames]
    blocks = [
        {
            "Source": list(frame["source"]),
            "Method": list(labels(frame)),
            "Best by": list(frame["best_by"]),
            "Worst by": list(frame["worst_by"]),
            **{name.capitalize(): [f"{place:.2f}" for place in frame[name]] for name in ("best", "worst", "spread")},
            "Methods": [
                str(fewest) if fewest == most else f"{fewest}–{most}"
                for fewest, most in zip(frame["fewest_methods"], frame["most_methods"], strict=True)
            ],
            "Metrics": text(frame, "metrics"),
        }
        if len(frame)
        else {}
        for frame in frames
    ]
    caption = (
        "How far metrics disagree about a method: its best and worst place among its source's methods, (rank - 1) / "
        "(methods - 1): 0 the first, 1 the last. Methods: how many the metrics ranked, fewest to most. Metrics of one "
        "family (road and its halves, the measures of mprt) count one by one."
    )
    return _table(SPREAD, settings, blocks, caption, 4, [], frames)


def metric_agreement_table(
    settings: Sequence[ScoredMaps],
    over_methods: Sequence[AgreementOverMethods],
    over_images: Sequence[AgreementOverImages],
) -> StatisticTable:
    """A line per pair of metrics."""
    blocks, few, frames = [], [], []
    for of_methods, of_images in zip(over_methods, over_images, strict=True):
        columns = {"Metric": list(of_images["first"]), "and": list(of_images["second"])}
        for source, part in of_methods.groupby("source", sort=False):
            columns[f"Over methods of {source}"] = _rhos(part, "rho")
            if (most := int(part["methods"].max())) < MIN_METHODS:
                few.append(f"{source} has {_counted(most, 'method')}: too few for a rank correlation over methods.")
        columns |= {"Over images, mean of cells": _rhos(of_images, "rho"), "Cells": text(of_images, "cells")}
        blocks.append(columns)
        frames.append(pd.concat([of_methods.assign(units="methods"), of_images.assign(units="images", source="all")]))
    caption = (
        "Do metrics agree? Spearman's rho of each two, turned so that more is better. Over methods: of their means, "
        f"one source, {MIN_METHODS} methods or more; other images are drawn, methods stay. Over images: within a "
        f"source and method, {MIN_IMAGES} images or more, mean over these cells ({IMAGE_RESAMPLES:,} resamples)."
    )
    return _table(METRIC_AGREEMENT, settings, blocks, caption, 2, few, frames)


def link_table(
    settings: Sequence[ScoredMaps], links: Sequence[Transferred], lines: Sequence[MetricLinks]
) -> StatisticTable:
    """A line per metric, of every fill that has run."""
    several = len({part.fill for part in links}) > 1
    blocks, few = [], []
    for part, frame in zip(links, lines, strict=True):
        columns = {"Fill": [part.fill] * len(frame)} if several else {}
        columns |= {"Metric": list(frame["metric"] + frame["better"].map(ARROWS))}
        columns |= {"Over methods": _rhos(frame, "over_cells"), "p": p_value(frame, "over_cells_p")}
        columns |= {name.capitalize(): text(frame, name) for name in ("cells", "methods", "sources")}
        columns |= {"Over images": _rhos(frame, "over_images"), "Cells of images": text(frame, "image_cells")}
        blocks.append(columns)
        if (most := int(frame["most_methods"].max())) < MIN_METHODS:
            few.append(
                f"Too few cells: at most {_counted(most, 'method')} of a source have both scores and transfer, and a "
                f"rank correlation over methods needs {MIN_METHODS}."
            )
    caption = (
        f"Does a metric foretell transfer? Spearman's rho with what is left of {ARM} above {CONTROL} in the targets "
        "that are not the source; metrics turned so that more is better. Over methods: the metric's mean and retention "
        "above control, within a source, mean over sources. p decides: two-sided, methods change places on all "
        "sources at once, in every order (of many methods in drawn ones), not corrected for the number of metrics. "
        "The interval leaves out one method after the other (jackknife) and is too narrow for few methods: of five "
        "independent ones it leaves 0 out in 13 % of draws; none where no method changes rho. Over images: the score "
        "and the targets' probability of the explained class on the feature less that on the control, within a cell, "
        f"mean over cells; {IMAGE_RESAMPLES:,} resamples of images."
    )
    frames = [frame.assign(**part.scores.setting, fill=part.fill) for part, frame in zip(links, lines, strict=True)]
    return _table(LINK, [part.scores for part in links], blocks, caption, several + 1, few, frames, among=settings)


def labels(frame: pd.DataFrame) -> pd.Series:
    """Printed names of a frame's methods."""
    names = [method_label(method, variant) for method, variant in frame[["method", "variant"]].to_numpy()]
    return pd.Series(names, index=frame.index, dtype=object)


def _keys(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    return list(frame[EXPLAINER].itertuples(index=False, name=None))


def _table(
    stem: str,
    settings: Sequence[ScoredMaps],
    blocks: Sequence[dict[str, list[str]]],
    caption: str,
    text_columns: int,
    notes: Sequence[str],
    numbers: Sequence[pd.DataFrame],
    among: Sequence[ScoredMaps] = (),
) -> StatisticTable:
    """The printed columns and the numbers of each setting, one under the other.

    among: all settings of the report, where these are not; of the setting what differs among them has a column.
    """
    of_all = [scores.setting for scores in among or settings]
    differing = [name for name in ("label_policy", "data") if len({setting[name] for setting in of_all}) > 1]
    shown = []
    for scores, block in zip(settings, blocks, strict=True):
        if block:
            part = pd.DataFrame(block)
            for place, name in enumerate(differing):
                part.insert(place, name.replace("_", " ").capitalize(), scores.setting[name])
            shown.append(part)
    printed = pd.concat(shown, ignore_index=True).fillna(MISSING) if shown else pd.DataFrame()
    frames = [frame.assign(**scores.setting) for scores, frame in zip(settings, numbers, strict=True)]
    together = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return StatisticTable(stem, table(printed, caption, len(differing) + text_columns, notes), together)


def _values_and_ranks(lines: RankedMethods) -> list[str]:
    values = bounded(lines, "value", "{:.3g}", 1)
    return [
        value if np.isnan(rank) or value == MISSING else f"{value} ({rank:g})"
        for value, rank in zip(values, lines["rank"], strict=True)
    ]


def _rhos(lines: pd.DataFrame, name: str) -> list[str]:
    return bounded(lines, name, "{:.2f}", 1)


def _blind(scores: ScoredMaps) -> dict[tuple[str, ...], str]:
    """Cells with images whose map never changed with the network's parameters, and that in a sentence."""
    sentences = {}
    for cell, part in scores.looks[scores.looks["blind"] > 0].groupby("cell"):
        worst = part.loc[part["blind"].idxmax()]
        sentences[tuple(scores.cells.iloc[cell][EXPLAINER])] = (
            f"{_cell_names(scores, [cell])}: does not look at the model in {worst['blind']} of "
            f"{_counted(int(worst['images']), 'image')}: no map changes when its parameters are drawn anew."
        )
    return sentences


def _images(lines: RankedMethods) -> list[str]:
    """On how many images each metric ran, scored or not, where that differs."""
    ran = (lines["images"] + lines["undefined"]).groupby(lines["metric"], sort=False).max()
    if ran.nunique() == 1:
        return []
    by_count = [f"{count:,} ({', '.join(ran.index[ran == count])})" for count in ran.unique()]
    return [f"Images: {', '.join(by_count)}."]


def _ranked_on_fewer(lines: RankedMethods) -> list[str]:
    """Where a method lacks images that others of its source have, how many decide the ranks."""
    ranked = lines[lines["methods"] > 1]
    sentences = []
    for source, part in ranked.groupby("source", sort=False):
        of_metrics = part.groupby("metric", sort=False).agg({"images": "max", "rank_images": "max"})
        fewer = of_metrics[of_metrics["rank_images"] < of_metrics["images"]]
        sentences += [
            f"{source}: ranks by {', '.join(metrics)} are of the {_counted(count, 'image')} that all its methods have."
            for count, metrics in fewer.groupby("rank_images", sort=False).groups.items()
        ]
    return sentences


def _undefined(scores: ScoredMaps) -> list[str]:
    """Why how many images have no score: a sentence for all cells and metrics of which the same is true."""
    cells: dict[tuple[str, int, str], list[int]] = {}
    for (cell, reason, images), part in scores.reasons.groupby(["cell", "reason", "images"], sort=False):
        cells.setdefault((reason, images, ", ".join(sorted(part["metric"]))), []).append(cell)
    return [
        f"{_cell_names(scores, of)}: {_counted(images, 'image')} without {metrics}: {reason}."
        for (reason, images, metrics), of in cells.items()
    ]


def _cell_names(scores: ScoredMaps, cells: Sequence[int]) -> str:
    if 1 < len(cells) == len(scores.cells):
        return "Every source and method"
    lines = scores.cells.iloc[list(cells)]
    return "; ".join(f"{source}, {label}" for source, label in zip(lines["source"], labels(lines), strict=True))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
