"""Tables of the ranking page: methods by metrics, spread of ranks, agreement of metrics, their link to transfer."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from harmonia.media import number_of
from harmonia.report.tables.columns import ARROWS, StatisticTable, bounded, method_labels, p_value, text
from harmonia.report.tables.typeset import DOUBLE_DAGGER, MISSING, table
from harmonia.results.gathered import EXPLAINER
from harmonia.results.gathered_scores import ScoredMaps
from harmonia.statistics.inference import LEVEL, NUM_RESAMPLES
from harmonia.statistics.metric_transfer import ARM, CONTROL, MetricLinks, Transferred
from harmonia.statistics.ranking import AgreementOverImages, AgreementOverMethods, RankedMethods, rank_spread
from harmonia.statistics.ranks import IMAGE_RESAMPLES, MIN_IMAGES, MIN_SIGNIFICANT

RANKING, SPREAD, METRIC_AGREEMENT, LINK = "ranking", "rank_spread", "metric_agreement", "metric_transfer"
INTERVALS = (
    f"{100 * LEVEL:.0f} % intervals: percentile bootstrap, {NUM_RESAMPLES:,} resamples of the images within their "
    "class, the same for all; methods, networks and maps are held fixed."
)
_two_decimals = partial(bounded, form="{:z.2f}", factor=1)
WITHOUT_TRANSFER = (
    "No rows of transfer of the same maps are in this folder: nothing can be said about whether a metric foretells "
    "transfer. evaluation=transfer with the same options, in the same sweep, makes them."
)

_READINGS = {
    RANKING: "Go down a column: rank 1 is best by that metric alone; methods whose intervals meet are not told apart.",
    SPREAD: "Best near 0 and worst near 1: which method is good depends on the metric that is asked.",
    METRIC_AGREEMENT: "Near 1 two metrics order the methods alike, near -1 the other way round.",
    LINK: "Above 0, and p below 0.05: methods that score better by this metric carry more.",
}


def ranking_table(settings: Sequence[ScoredMaps], lines: Sequence[RankedMethods], linked: bool) -> StatisticTable:
    """Printed a line per method, a column per metric; the numbers have a line per method and metric.

    linked: whether there are rows of transfer of these maps.
    """
    parts, notes = [], [] if linked else [WITHOUT_TRANSFER]
    for scores, frame in zip(settings, lines, strict=True):
        blind = _blind(scores)
        methods = frame[EXPLAINER].drop_duplicates()
        keys = _keys(methods)
        marks = [f" {DOUBLE_DAGGER}" if key in blind else "" for key in keys]
        columns = {"Source": list(methods["source"]), "Method": list(method_labels(methods) + marks)}
        for metric, part in frame.groupby("metric", sort=False):
            printed = dict(zip(_keys(part), _values_and_ranks(part), strict=True))
            columns[f"{metric}{ARROWS[part['better'].iloc[0]]}"] = [printed.get(key, MISSING) for key in keys]
        parts.append((scores.setting, columns, frame))
        notes += [f"{DOUBLE_DAGGER} {line}" for line in blind.values()]
        notes += _images(frame) + _ranked_on_fewer(frame) + _undefined(scores)
    caption = (
        "Methods by metrics, which run on the source itself: mean over the images that have the score, its interval, "
        "and the rank by that metric among the source's methods, on the images that all of them have (1 is best). "
        "↑ more is better, ↓ less is better; without an arrow a metric describes and ranks nothing. No number sums "
        f"them up. {INTERVALS}"
    )
    return _table(RANKING, "Methods by metrics", settings, parts, caption, 2, notes)


def spread_table(settings: Sequence[ScoredMaps], lines: Sequence[RankedMethods]) -> StatisticTable:
    """How far the places of a method lie apart, of those that two metrics or more have ranked."""
    parts = []
    for scores, of_setting in zip(settings, lines, strict=True):
        frame = rank_spread(of_setting)
        frame = frame[frame["metrics"] > 1]
        fewest, most = text(frame, "fewest_methods"), text(frame, "most_methods")
        columns = {"Source": text(frame, "source"), "Method": list(method_labels(frame))}
        columns |= {"Best by": text(frame, "best_by"), "Worst by": text(frame, "worst_by")}
        columns |= {name.capitalize(): _two_decimals(frame, name) for name in ("best", "worst", "spread")}
        columns["Methods"] = ["–".join(dict.fromkeys(ends)) for ends in zip(fewest, most, strict=True)]
        columns["Metrics"] = text(frame, "metrics")
        parts.append((scores.setting, columns, frame))
    caption = (
        "How far metrics disagree about a method: its best and worst place among its source's methods, (rank - 1) / "
        "(methods - 1): 0 the first, 1 the last. Methods: how many the metrics ranked, fewest to most. Metrics of one "
        "family (road and its halves, the measures of mprt) count one by one."
    )
    return _table(SPREAD, "Spread of ranks", settings, parts, caption, 4)


def metric_agreement_table(
    settings: Sequence[ScoredMaps],
    over_methods: Sequence[AgreementOverMethods],
    over_images: Sequence[AgreementOverImages],
) -> StatisticTable:
    """A line per pair of metrics."""
    parts, few = [], []
    for scores, of_methods, of_images in zip(settings, over_methods, over_images, strict=True):
        columns = {"Metric": list(of_images["first"]), "and": list(of_images["second"])}
        for source, part in of_methods.groupby("source", sort=False):
            columns[f"Over methods of {source}"] = _two_decimals(part, "rho")
            if (most := int(part["methods"].max())) < MIN_SIGNIFICANT:
                few.append(f"{source} has {number_of(most, 'method')}: too few for a rank correlation over methods.")
        columns |= {"Over images, mean of cells": _two_decimals(of_images, "rho"), "Cells": text(of_images, "cells")}
        frame = pd.concat([of_methods.assign(units="methods"), of_images.assign(units="images", source="all")])
        parts.append((scores.setting, columns, frame))
    caption = (
        "Do metrics agree? Spearman's rho of each two, turned so that more is better. Over methods: of their means, "
        f"one source, {MIN_SIGNIFICANT} methods or more; other images are drawn, methods stay. Over images: within a "
        f"source and method, {MIN_IMAGES} images or more, mean over these cells ({IMAGE_RESAMPLES:,} resamples)."
    )
    return _table(METRIC_AGREEMENT, "Agreement of metrics", settings, parts, caption, 2, few)


def link_table(settings: Sequence[ScoredMaps], links: Sequence[tuple[Transferred, MetricLinks]]) -> StatisticTable:
    """A line per metric, of every fill that has run."""
    several = len({part.fill for part, _ in links}) > 1
    parts, few = [], []
    for part, frame in links:
        columns = {"Fill": [part.fill] * len(frame)} if several else {}
        columns |= {"Metric": list(frame["metric"] + frame["better"].map(ARROWS))}
        columns |= {"Over methods": _two_decimals(frame, "over_cells"), "p": p_value(frame, "over_cells_p")}
        columns |= {name.capitalize(): text(frame, name) for name in ("cells", "methods", "sources")}
        columns |= {"Over images": _two_decimals(frame, "over_images"), "Cells of images": text(frame, "image_cells")}
        parts.append(({**part.scores.setting, "fill": part.fill}, columns, frame))
        if (most := int(frame["most_methods"].max())) < MIN_SIGNIFICANT:
            few.append(
                f"Too few cells: at most {number_of(most, 'method')} of a source have both scores and transfer, and a "
                f"rank correlation over methods needs {MIN_SIGNIFICANT}."
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
    return _table(LINK, "Link to transfer", settings, parts, caption, several + 1, few)


def _keys(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    return list(frame[EXPLAINER].itertuples(index=False, name=None))


def _table(
    stem: str,
    name: str,
    settings: Sequence[ScoredMaps],
    parts: Sequence[tuple[Mapping[str, str], dict[str, list[str]], pd.DataFrame]],
    caption: str,
    text_columns: int,
    notes: Sequence[str] = (),
) -> StatisticTable:
    """Parts one under the other: their setting, printed columns and numbers.

    settings: all of the report; what differs among them has a column.
    """
    differing = [key for key in ("label_policy", "data") if len({scores.setting[key] for scores in settings}) > 1]
    blocks = [
        pd.DataFrame({key.replace("_", " ").capitalize(): setting[key] for key in differing} | columns)
        for setting, columns, _ in parts
    ]
    printed = pd.concat(blocks, ignore_index=True).fillna(MISSING) if blocks else pd.DataFrame()
    frames = [frame.assign(**setting) for setting, _, frame in parts]
    numbers = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    printed = table(printed, caption, len(differing) + text_columns, notes)
    return StatisticTable(stem, printed, numbers, name, _READINGS[stem])


def _values_and_ranks(lines: RankedMethods) -> list[str]:
    pairs = zip(bounded(lines, "value", "{:.3g}", 1), lines["rank"], strict=True)
    return [value if np.isnan(rank) or value == MISSING else f"{value} ({rank:g})" for value, rank in pairs]


def _blind(scores: ScoredMaps) -> dict[tuple[str, ...], str]:
    """Cells with images whose map never changed with the network's parameters, and that in a sentence."""
    sentences = {}
    for cell, part in scores.blind_maps[scores.blind_maps["blind"] > 0].groupby("cell"):
        worst = part.loc[part["blind"].idxmax()]
        sentences[tuple(scores.cells.iloc[cell][EXPLAINER])] = (
            f"{_cell_names(scores, [cell])}: does not look at the model in {worst['blind']} of "
            f"{number_of(int(worst['images']), 'image')}: no map changes when its parameters are drawn anew."
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
            f"{source}: ranks by {', '.join(metrics)} are of the {number_of(count, 'image')} that all its methods have."
            for count, metrics in fewer.groupby("rank_images", sort=False).groups.items()
        ]
    return sentences


def _undefined(scores: ScoredMaps) -> list[str]:
    """How many images have no score, and why; cells and metrics with the same number and reason share a sentence."""
    cells: dict[tuple[str, int, str], list[int]] = {}
    for (cell, reason, images), part in scores.reasons.groupby(["cell", "reason", "images"], sort=False):
        cells.setdefault((reason, images, ", ".join(sorted(part["metric"]))), []).append(cell)
    return [
        f"{_cell_names(scores, of)}: {number_of(images, 'image')} without {metrics}: {reason}."
        for (reason, images, metrics), of in cells.items()
    ]


def _cell_names(scores: ScoredMaps, cells: Sequence[int]) -> str:
    if 1 < len(cells) == len(scores.cells):
        return "Every source and method"
    lines = scores.cells.iloc[list(cells)]
    return "; ".join(lines["source"] + ", " + method_labels(lines))
