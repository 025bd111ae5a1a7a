"""Tables of the ranking page: methods by metrics, spread of ranks, agreement of metrics, their link to transfer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from harmonia.report.tables.columns import StatisticTable, method_label, p_value
from harmonia.report.tables.typeset import DOUBLE_DAGGER, MISSING, table
from harmonia.results.gathered import Frame
from harmonia.results.gathered_scores import ScoredMaps
from harmonia.statistics.inference import LEVEL, NUM_RESAMPLES
from harmonia.statistics.metric_transfer import ARM, CONTROL, Transferred
from harmonia.statistics.ranking import MIN_METHODS, rank_spread
from harmonia.statistics.ranks import IMAGE_RESAMPLES, MIN_IMAGES

RANKING, SPREAD, METRIC_AGREEMENT, LINK = "ranking", "rank_spread", "metric_agreement", "metric_transfer"
RANKING_STEMS = (RANKING, SPREAD, METRIC_AGREEMENT, LINK)
ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}
KEYS = ["source", "method", "variant"]
INTERVALS = (
    f"{100 * LEVEL:.0f} % intervals: percentile bootstrap, {NUM_RESAMPLES:,} resamples of the images within their "
    "class, the same for all; methods, networks and maps are held fixed."
)
WITHOUT_TRANSFER = (
    "No rows of transfer of the same maps are in this folder: nothing can be said about whether a metric foretells "
    "transfer. evaluation=transfer with the same options, in the same sweep, makes them."
)


def ranking_table(found: Sequence[ScoredMaps], lines: Sequence[Frame], linked: bool) -> StatisticTable:
    """Printed a line per method, a column per metric; the numbers have a line per method and metric.

    linked: whether there are rows of transfer of these maps.
    """
    blocks, notes = [], [] if linked else [WITHOUT_TRANSFER]
    for scores, frame in zip(found, lines, strict=True):
        blind = _blind(scores)
        cells: Any = frame[KEYS].drop_duplicates()
        of_cells = list(cells.itertuples(index=False, name=None))
        marks = [f" {DOUBLE_DAGGER}" if cell in blind else "" for cell in of_cells]
        columns = {"Source": list(cells["source"]), "Method": list(labels(cells) + marks)}
        for metric, part in frame.groupby("metric", sort=False):
            printed = dict(zip(part[KEYS].itertuples(index=False, name=None), _values_and_ranks(part), strict=True))
            columns[f"{metric}{ARROWS[part['better'].iloc[0]]}"] = [printed.get(cell, MISSING) for cell in of_cells]
        blocks.append(_with_setting(found, scores, pd.DataFrame(columns)))
        notes += [f"{DOUBLE_DAGGER} {line}" for line in blind.values()]
        notes += _images(frame) + _ranked_on_fewer(frame) + _undefined(scores)
    caption = (
        "Methods by metrics, which run on the source itself: mean over the images that have the score, its interval, "
        "and the rank by that metric among the source's methods, on the images that all of them have (1 is best). "
        "↑ more is better, ↓ less is better; without an arrow a metric describes and ranks nothing. No number sums "
        f"them up. {INTERVALS}"
    )
    return _table(RANKING, blocks, caption, _varying(found) + 2, notes, _all(found, lines))


def spread_table(found: Sequence[ScoredMaps], lines: Sequence[Frame]) -> StatisticTable:
    """How far the places of a method lie apart, of those that two metrics or more have ranked."""
    frames = [rank_spread(frame) for frame in lines]
    frames = [frame[frame["metrics"] > 1] if len(frame) else frame for frame in frames]
    blocks = []
    for scores, frame in zip(found, frames, strict=True):
        if len(frame):
            columns = {"Source": frame["source"], "Method": labels(frame)}
            columns |= {"Best by": frame["best_by"], "Worst by": frame["worst_by"]}
            columns |= {name.capitalize(): [f"{value:.2f}" for value in frame[name]] for name in _PLACES}
            columns |= {"Methods": _ranges(frame["fewest_methods"], frame["most_methods"])}
            columns |= {"Metrics": _counts(frame["metrics"])}
            blocks.append(_with_setting(found, scores, pd.DataFrame(columns)))
    caption = (
        "How far metrics disagree about a method: its best and worst place among its source's methods, (rank - 1) / "
        "(methods - 1): 0 the first, 1 the last. Methods: how many the metrics ranked, fewest to most. Metrics of one "
        "family (road and its halves, the measures of mprt) count one by one."
    )
    return _table(SPREAD, blocks, caption, _varying(found) + 4, [], _all(found, frames))


def agreement_table(
    found: Sequence[ScoredMaps], over_methods: Sequence[Frame], over_images: Sequence[Frame]
) -> StatisticTable:
    """A line per pair of metrics."""
    blocks, few = [], []
    for scores, of_methods, of_images in zip(found, over_methods, over_images, strict=True):
        columns = {"Metric": list(of_images["first"]), "and": list(of_images["second"])}
        for source, part in of_methods.groupby("source", sort=False):
            columns[f"Over methods of {source}"] = _rhos(part, "rho")
            if (most := int(part["methods"].max())) < MIN_METHODS:
                few.append(f"{source} has {_counted(most, 'method')}: too few for a rank correlation over methods.")
        columns |= {"Over images, mean of cells": _rhos(of_images, "rho"), "Cells": _counts(of_images["cells"])}
        blocks.append(_with_setting(found, scores, pd.DataFrame(columns)))
    caption = (
        "Do metrics agree? Spearman's rho of each two, turned so that more is better. Over methods: of their means, "
        f"one source, {MIN_METHODS} methods or more; other images are drawn, methods stay. Over images: within a "
        f"source and method, {MIN_IMAGES} images or more, mean over these cells ({IMAGE_RESAMPLES:,} resamples)."
    )
    both = [
        pd.concat([of_methods.assign(units="methods"), of_images.assign(units="images", source="all")])
        for of_methods, of_images in zip(over_methods, over_images, strict=True)
    ]
    return _table(METRIC_AGREEMENT, blocks, caption, _varying(found) + 2, few, _all(found, both))


def link_table(found: Sequence[ScoredMaps], links: Sequence[Transferred], lines: Sequence[Frame]) -> StatisticTable:
    """A line per metric, of every fill that has run."""
    several = len({part.fill for part in links}) > 1
    blocks, frames, few = [], [], []
    for part, frame in zip(links, lines, strict=True):
        columns = {"Fill": [part.fill] * len(frame)} if several else {}
        columns |= {"Metric": list(frame["metric"] + frame["better"].map(ARROWS))}
        columns |= {"Over methods": _rhos(frame, "over_cells"), "p": p_value(frame, "over_cells_p")}
        columns |= {name.capitalize(): _counts(frame[name]) for name in ("cells", "methods", "sources")}
        columns |= {"Over images": _rhos(frame, "over_images"), "Cells of images": _counts(frame["image_cells"])}
        blocks.append(_with_setting(found, part.scores, pd.DataFrame(columns)))
        frames.append(frame.assign(**part.scores.setting, fill=part.fill))
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
    numbers = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return _table(LINK, blocks, caption, _varying(found) + several + 1, few, numbers)


def labels(frame: Frame) -> pd.Series:
    """Printed names of a frame's methods."""
    names = [method_label(method, variant) for method, variant in frame[["method", "variant"]].to_numpy()]
    return pd.Series(names, index=frame.index, dtype=object)


def _table(
    stem: str, blocks: Sequence[Frame], caption: str, text_columns: int, notes: Sequence[str], numbers: Frame
) -> StatisticTable:
    printed = pd.concat(blocks, ignore_index=True).fillna(MISSING) if blocks else pd.DataFrame()
    return StatisticTable(stem, table(printed, caption, text_columns, notes), numbers)


def _varying(found: Sequence[ScoredMaps]) -> int:
    """How many parts of the setting differ and so have a column."""
    return len(_differing(found))


def _differing(found: Sequence[ScoredMaps]) -> list[str]:
    return [name for name in ("label_policy", "data") if len({scores.setting[name] for scores in found}) > 1]


def _with_setting(found: Sequence[ScoredMaps], scores: ScoredMaps, block: Frame) -> Frame:
    for place, name in enumerate(_differing(found)):
        block.insert(place, name.replace("_", " ").capitalize(), scores.setting[name])
    return block


def _all(found: Sequence[ScoredMaps], frames: Sequence[Frame]) -> Frame:
    parts = [frame.assign(**scores.setting) for scores, frame in zip(found, frames, strict=True)]
    return pd.concat(parts, ignore_index=True)


_PLACES = ("best", "worst", "spread")


def _values_and_ranks(lines: Frame) -> list[str]:
    printed = []
    for value, low, high, rank in lines[["value", "value_low", "value_high", "rank"]].itertuples(index=False):
        bounds = "" if np.isnan(low) else f" [{low:.3g}, {high:.3g}]"
        place = "" if np.isnan(rank) else f" ({rank:g})"
        printed.append(MISSING if np.isnan(value) else f"{value:.3g}{bounds}{place}")
    return printed


def _rhos(lines: Frame, name: str) -> list[str]:
    printed = []
    for value, low, high in lines[[name, f"{name}_low", f"{name}_high"]].itertuples(index=False):
        bounds = "" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]"
        printed.append(MISSING if np.isnan(value) else f"{value:.2f}{bounds}")
    return printed


def _ranges(fewest: Any, most: Any) -> list[str]:
    return [str(one) if one == other else f"{one}–{other}" for one, other in zip(fewest, most, strict=True)]


def _counts(numbers: Any) -> list[str]:
    return [str(number) for number in numbers]


def _blind(scores: ScoredMaps) -> dict[tuple[str, str, str], str]:
    """Cells with images whose map never changed with the network's parameters, and that in a sentence."""
    found = {}
    for cell, part in scores.looks[scores.looks["blind"] > 0].groupby("cell"):
        line = scores.cells.iloc[cell]
        worst = part.loc[part["blind"].idxmax()]
        found[tuple(line[KEYS])] = (
            f"{_cell_names(scores, [cell])}: does not look at the model in {worst['blind']} of "
            f"{_counted(int(worst['images']), 'image')}: no map changes when its parameters are drawn anew."
        )
    return found


def _images(lines: Frame) -> list[str]:
    """On how many images each metric ran, scored or not, where that differs."""
    ran = (lines["images"] + lines["undefined"]).groupby(lines["metric"], sort=False).max()
    if ran.nunique() == 1:
        return []
    by_count = [f"{count:,} ({', '.join(ran.index[ran == count])})" for count in ran.unique()]
    return [f"Images: {', '.join(by_count)}."]


def _ranked_on_fewer(lines: Frame) -> list[str]:
    """Where a method lacks images that others of its source have, how many decide the ranks."""
    ranked: Any = lines[lines["methods"] > 1]
    said = []
    for source, part in ranked.groupby("source", sort=False):
        of_metrics = part.groupby("metric", sort=False).agg({"images": "max", "rank_images": "max"})
        fewer = of_metrics[of_metrics["rank_images"] < of_metrics["images"]]
        said += [
            f"{source}: ranks by {', '.join(metrics)} are of the {_counted(count, 'image')} that all its methods have."
            for count, metrics in fewer.groupby("rank_images", sort=False).groups.items()
        ]
    return said


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
