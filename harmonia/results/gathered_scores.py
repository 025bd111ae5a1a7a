"""Scores of stored maps from several jobs side by side: images x cells x metrics. A cell is a source with a method.

Parts of a score (NAME/PART: a layer, a choice of label) are left to scores.parquet; flags, NAME_looks_at_model, apart.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harmonia.results.frames import Frame
from harmonia.results.gathered import EXPLAINER, Explainers, latest_of_repeats, tag_colliding_names
from harmonia.results.jobs import JobFolder, differing
from harmonia.results.parquet import check_rows
from harmonia.results.scores import read_scores

FLAG = "_looks_at_model"
_NO_METRIC = ("evaluation.name", "evaluation._target_", "evaluation.metric._target_")


class ScoredCells(Explainers):
    """A line for each source with a method."""

    maps: str  # what made them, see maps_key
    random_weights: bool  # the source's


class Metrics(Frame):
    metric: str  # with the options in which it differs from others of the name
    better: str  # higher, lower, or "": it describes and does not judge


class Reasons(Frame):
    """For how many of a cell's images a score is undefined, by reason."""

    cell: int  # its position
    metric: str
    reason: str
    images: int


class BlindMaps(Frame):
    """For how many images no map changed with the network's parameters."""

    cell: int  # its position
    flag: str  # NAME_looks_at_model
    images: int  # for which it is known
    blind: int


class JobScores(
    Frame,
    text="folder data data_options maps metric_options started source method label_policy better metric",
    counts="images",
):
    """A line for each metric of a job: what is known of the job; options are JSON."""

    random_weights: bool  # the source's
    rows: object  # the metric's ScoreRows


@dataclass(frozen=True, eq=False)
class ScoredMaps:
    """The scores of one setting: a label policy and a data set."""

    setting: Mapping[str, str]  # label_policy, data
    image_ids: list[str]
    labels: np.ndarray  # (images,) the images' classes, "" where they have none
    cells: ScoredCells
    metrics: Metrics
    values: np.ndarray  # (images, cells, metrics), NaN where undefined or not run
    reasons: Reasons
    blind_maps: BlindMaps


def maps_key(options: Mapping[str, str]) -> str:
    """Of a job's options those that its maps depend on, as text: what a job of scores shares with one of transfer."""
    of_no_map = ("evaluation.", "fill.", "data.boxes")
    return json.dumps({key: value for key, value in options.items() if not key.startswith(of_no_map)}, sort_keys=True)


def job_scores(job: JobFolder) -> JobScores:
    """Of a finished job, parts of scores left out."""
    rows = read_scores(job.folder)
    rules = {
        "have a better of higher, lower or none": ~rows["better"].isin(["higher", "lower", ""]),
        "have finite values": rows["value"].abs() > np.finfo(np.float32).max,  # their sums and squares, too
    }
    check_rows(job.folder, rows, ["source", "method", "label_policy"], ["metric", "image_id"], rules)
    of_metric = {key: value for key, value in job.options.items() if key.startswith("evaluation.")}
    facts = {
        "folder": str(job.folder),
        "data": job.data_name,
        "data_options": job.data_options,
        "maps": maps_key(job.options),
        "metric_options": json.dumps({key: value for key, value in of_metric.items() if key not in _NO_METRIC}),
        "random_weights": job.random_weights,
        "started": job.started,
    }
    lines = []
    for name, part in rows.groupby("metric", sort=False, observed=True):
        if "/" not in str(name):
            of_rows = {column: str(part[column].iloc[0]) for column in ("source", "method", "label_policy", "better")}
            lines.append({**facts, **of_rows, "metric": str(name), "rows": part, "images": len(part)})
    return JobScores.of_lines(lines)


def gather_scores(scores_of_jobs: Sequence[JobScores]) -> tuple[list[ScoredMaps], set[str]]:
    """A ScoredMaps per setting, and the folders of jobs of which nothing is in them.

    A metric that ran twice on the same maps with the same options counts once, on the most images, the later job's;
    with other options it is another metric, named by what differs, as other maps are another variant of their method.
    """
    if not sum(map(len, scores_of_jobs)):
        return [], set()
    lines: Any = pd.concat(scores_of_jobs, ignore_index=True)
    number = lines.groupby("data")["data_options"].transform(lambda options: pd.factorize(options)[0] + 1)
    lines["data"] = tag_colliding_names(lines["data"], lines["data_options"], number.astype(str))
    setting = ["label_policy", "data"]
    lines["variant"] = lines.groupby([*setting, "source", "method"])["maps"].transform(differing)
    options = lines.groupby([*setting, "metric"])["metric_options"].transform(differing)
    lines["metric"] += options.map(lambda text: f" ({text})" if text else "")
    counts = latest_of_repeats(lines, [*setting, *EXPLAINER, "metric"])
    settings = [
        _scored_maps(dict(zip(setting, names, strict=True)), part[counts[part.index]])
        for names, part in lines.groupby(setting, sort=False)
    ]
    return settings, set(lines["folder"]) - set(lines["folder"][counts])


def _scored_maps(setting: Mapping[str, str], parts: Any) -> ScoredMaps:
    cells = parts.drop_duplicates(EXPLAINER).sort_values(["source"], kind="stable").reset_index(drop=True)
    cells = cells[ScoredCells.columns_of()]
    cell_of = {tuple(line): number for number, line in enumerate(cells[EXPLAINER].itertuples(index=False))}
    is_flag = parts["metric"].str.contains(FLAG, regex=False)
    metrics = parts.loc[~is_flag, ["metric", "better"]].drop_duplicates("metric").reset_index(drop=True)
    column_of = {name: number for number, name in enumerate(metrics["metric"])}
    labels: dict[str, str] = {}  # by image
    for rows in parts["rows"]:
        classes = rows["label"].astype(object).fillna("").astype(str)
        labels |= dict(zip(rows["image_id"].astype(str), classes, strict=True))
    image_ids = pd.Index(list(labels))
    values = np.full((len(labels), len(cells), len(metrics)), np.nan)
    reasons, blind_maps = [], []
    for part in parts.itertuples(index=False):
        rows, cell = part.rows, cell_of[part.source, part.method, part.variant]
        if FLAG in part.metric:
            looked = rows["value"].dropna()
            blind_maps.append((cell, part.metric, len(looked), int((looked == 0).sum())))
            continue
        values[image_ids.get_indexer(rows["image_id"].astype(str)), cell, column_of[part.metric]] = rows["value"]
        undefined = rows.loc[rows["value"].isna(), "reason"].astype(str).value_counts()
        reasons += [(cell, part.metric, reason or "undefined", int(count)) for reason, count in undefined.items()]
    return ScoredMaps(
        setting,
        image_ids=list(labels),
        labels=np.array(list(labels.values())),
        cells=ScoredCells.checked(cells),
        metrics=Metrics.checked(metrics),
        values=values,
        reasons=Reasons.of_lines(reasons),
        blind_maps=BlindMaps.of_lines(blind_maps),
    )
