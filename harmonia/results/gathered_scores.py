"""Scores of stored maps from several jobs side by side: images x cells x metrics. A cell is a source with a method.

Parts of a score (NAME/PART: a layer, a choice of label) are left to scores.parquet; the flags NAME_looks_at_model stand
apart.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harmonia.results.gathered import Frame
from harmonia.results.jobs import Job, data_options, differing, options_of, recorded_start, section
from harmonia.results.scores import read_scores

FLAG = "_looks_at_model"
_NO_METRIC = ("evaluation.name", "evaluation._target_", "evaluation.metric._target_")


@dataclass(frozen=True, eq=False)
class JobScores:
    """What one job left, and what tells it from others."""

    job: Job
    rows: Frame
    facts: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class ScoredMaps:
    """The scores of one setting: a label policy and a data set."""

    setting: Mapping[str, str]  # label_policy, data
    image_ids: list[str]
    labels: np.ndarray  # (images,) the images' classes, "" where they have none
    cells: Frame  # a line per cell: source, method, variant, maps (what made them), random_weights
    metrics: Frame  # a line per metric: metric, better
    values: np.ndarray  # (images, cells, metrics), NaN where undefined or not run
    reasons: Frame  # cell, metric, reason, images: why so many of a cell's images have no score
    looks: Frame  # cell, flag, images, blind: for how many of the images no map changed with the network's parameters


def maps_key(options: Mapping[str, str]) -> str:
    """Of a job's options those that its maps depend on, as text: what a job of scores shares with one of transfer."""
    other = ("evaluation.", "fill.", "data.boxes")
    return json.dumps({key: value for key, value in options.items() if not key.startswith(other)}, sort_keys=True)


def job_scores(job: Job) -> JobScores:
    """A finished job's scores."""
    rows: Frame = read_scores(job.folder)
    options, _ = options_of(job.config)
    data = section(job.config, "data")
    first = rows.iloc[0] if len(rows) else {}
    of_metric = {key: value for key, value in options.items() if key.startswith("evaluation.")}
    facts = {
        **{name: str(first.get(name, "")) for name in ("source", "method", "label_policy")},
        "data": str(data.get("name") or Path(str(data.get("root") or "")).name or "unnamed data"),
        "data_options": data_options(options),
        "maps": maps_key(options),
        "metric_options": json.dumps({key: value for key, value in of_metric.items() if key not in _NO_METRIC}),
        "random_weights": "random" if section(job.config, "source").get("weights") == "random" else "",
        "started": recorded_start(job.folder),
    }
    return JobScores(job, rows, facts)


def gather_scores(found: Sequence[JobScores]) -> tuple[list[ScoredMaps], list[Job]]:
    """A ScoredMaps per setting, and the jobs of which nothing is in them.

    A metric that ran twice on the same maps with the same options counts once, on the most images, the later job's;
    with other options it is another metric, named by what differs, as other maps are another variant of their method.
    """
    found = [scores for scores in found if len(scores.rows)]
    if not found:
        return [], []
    jobs: Frame = pd.DataFrame([scores.facts for scores in found])
    same_name = jobs.groupby("data")["data_options"].transform("nunique")
    number = jobs.groupby("data")["data_options"].transform(lambda options: pd.factorize(options)[0] + 1)
    jobs["data"] = jobs["data"].where(same_name == 1, jobs["data"] + " [" + number.astype(str) + "]")
    jobs["variant"] = jobs.groupby(["label_policy", "data", "source", "method"])["maps"].transform(differing)
    made, used = [], set()
    for names, part in jobs.groupby(["label_policy", "data"], sort=False):
        policy, data = names  # type: ignore[misc]
        setting = {"label_policy": str(policy), "data": str(data)}
        scores, counted = _of_setting(setting, part, [found[place].rows for place in part.index])
        made.append(scores)
        used |= {part.index[place] for place in counted}
    return made, [scores.job for place, scores in enumerate(found) if place not in used]


def _of_setting(setting: Mapping[str, str], jobs: Frame, rows: Sequence[Frame]) -> tuple[ScoredMaps, set[int]]:
    """jobs: a line for each of the frames of rows. Also the places of those that count."""
    jobs = jobs.reset_index(drop=True)
    groups = [
        {"job": place, "metric": str(name), "better": str(part["better"].iloc[0]), "rows": part, "images": len(part)}
        for place, frame in enumerate(rows)
        for name, part in frame.groupby("metric", sort=False, observed=True)
        if "/" not in str(name)
    ]
    parts: Frame = pd.DataFrame(groups).join(jobs, on="job")
    parts["options"] = parts.groupby("metric")["metric_options"].transform(differing)
    parts["metric"] += parts["options"].map(lambda options: f" ({options})" if options else "")
    cell = ["source", "method", "variant"]
    ranked = parts.sort_values(["images", "started"], kind="stable")
    parts = parts.loc[sorted(ranked.drop_duplicates([*cell, "metric"], keep="last").index)]
    cells = parts[[*cell, "maps", "random_weights"]].drop_duplicates(cell).sort_values(["source"], kind="stable")
    cells = cells.assign(random_weights=cells["random_weights"] != "").reset_index(drop=True)
    place_of = {tuple(line): place for place, line in enumerate(cells[cell].itertuples(index=False))}
    flags = parts["metric"].str.contains(FLAG, regex=False)
    metrics = parts.loc[~flags, ["metric", "better"]].drop_duplicates("metric").reset_index(drop=True)
    column_of = {name: place for place, name in enumerate(metrics["metric"])}
    images: dict[str, str] = {}
    for part in parts["rows"]:
        images |= dict(
            zip(part["image_id"].astype(str), part["label"].astype(object).fillna("").astype(str), strict=True)
        )
    row_of = {name: place for place, name in enumerate(images)}
    values = np.full((len(images), len(cells), len(metrics)), np.nan)
    reasons, looks = [], []
    for line in parts.itertuples(index=False):
        of_part: Any = line.rows
        place = place_of[line.source, line.method, line.variant]
        if FLAG in line.metric:
            seen = of_part["value"].dropna()
            looks.append((place, line.metric, len(seen), int((seen == 0).sum())))
            continue
        at = [row_of[name] for name in of_part["image_id"].astype(str)]
        values[at, place, column_of[line.metric]] = of_part["value"].to_numpy()
        undefined = of_part.loc[of_part["value"].isna(), "reason"].astype(str).value_counts()
        reasons += [(place, line.metric, reason or "undefined", int(count)) for reason, count in undefined.items()]
    made = ScoredMaps(
        setting,
        list(images),
        np.array(list(images.values())),
        cells,
        metrics,
        values,
        pd.DataFrame(reasons, columns=["cell", "metric", "reason", "images"]),
        pd.DataFrame(looks, columns=["cell", "flag", "images", "blind"]),
    )
    return made, set(parts["job"])
