"""The rows of finished jobs as one frame: which cells count, and what names those that differ."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from harmonia.comparison import SETTING, Frame
from harmonia.errors import InputError
from harmonia.finished_jobs import Job, image_set, options_of, recorded_networks, section
from harmonia.results import SCHEMA, read_rows

_COLUMNS = [name for name in SCHEMA.names if name not in ("path", "top5")]  # no table needs the largest two
_FROM_JOB = ["job", "unreadable", "data", "image_set", "options", "target_options", "variant"]
_FROM_JOB += ["family", "target_family", "source_parameters", "target_parameters", "random_weights"]


def gather(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several jobs, each as `job_rows` gives them, as one frame.

    Where one data set's name stands for several sets of images, a digest tells them apart. A cell that
    ran twice with the same options counts once, the later job's; with others it counts as a variant, named
    by the options in which the variants differ.
    """
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=[*_COLUMNS, *_FROM_JOB])
    line = ["source", "method", *SETTING]
    given = [*line, "target", "arm", "options", "target_options", "image_set"]
    # by cells, of which there are hundreds: grouping a million rows takes seconds
    cells: Frame = pd.concat([part[[*given, "job"]].drop_duplicates() for part in parts], ignore_index=True)
    sets = cells.groupby("data")["image_set"].transform("nunique")
    cells["data"] = cells["data"].where(sets == 1, cells["data"] + " [" + cells["image_set"] + "]")
    latest = cells.groupby(given)["job"].transform("last")
    cells = cells[cells["job"] == latest]
    of_job = cells.groupby(line)["options"].transform(_differing)
    of_target = cells.groupby([*line, "target"])["target_options"].transform(_differing)
    both = zip(of_job, of_target, strict=True)
    cells = cells.assign(variant=[", ".join(filter(None, parts)) for parts in both])
    used = [_used(part, cells[cells["job"] == part["job"].iloc[0]]) for part in parts]
    return pd.concat(used, ignore_index=True)


def _used(rows: Frame, cells: Frame) -> pd.DataFrame:
    """Of one job's rows those of these cells, with the cells' names of data and variant."""
    key = ["target", "arm"]
    group = rows.groupby(key, sort=False).ngroup().to_numpy()
    first = rows.iloc[np.unique(group, return_index=True)[1]]
    cell = pd.MultiIndex.from_frame(cells[key]).get_indexer(pd.MultiIndex.from_frame(first[key]))[group]
    if (cell < 0).any():
        rows, cell = rows[cell >= 0], cell[cell >= 0]
    return rows.assign(**{name: cells[name].to_numpy()[cell] for name in ("data", "variant")})


def _differing(options: pd.Series) -> pd.Series:
    """Of each row's options those that not all rows share, as text."""
    known: dict[str, dict[str, str]] = {text: json.loads(text) for text in options.unique()}
    shared = set.intersection(*(set(given.items()) for given in known.values()))
    shown = {
        text: ", ".join(f"{key}={value}" for key, value in given.items() if (key, value) not in shared)
        for text, given in known.items()
    }
    return options.map(shown)


def job_rows(job: Job) -> pd.DataFrame:
    """A finished job's rows, and what else a table needs to know of the job in columns of their own."""
    rows: Frame = read_rows(job.folder, _COLUMNS)
    if rows.empty:
        raise InputError(f"rows must be one per image, target and arm, got none in {job.folder}; run the job again")
    key = ["target", "arm", "image_id"]
    if (repeats := rows.duplicated(key)).any():
        raise InputError(
            f"rows must be one per image, target and arm, got another {rows.loc[repeats, key].iloc[0].to_dict()}"
        )
    data, source = (section(job.config, name) for name in ("data", "source"))
    options, of_targets = options_of(job.config)
    entries = [entry for entry in section(job.config, "target").values() if isinstance(entry, dict)]
    targets = {str(entry.get("name")): entry for entry in [*entries, source]}
    networks = recorded_networks(job.folder)
    of_target = pd.DataFrame(
        [
            {
                "target_options": json.dumps(of_targets.get(name, {}), sort_keys=True),
                "target_family": str(targets.get(name, {}).get("family") or ""),
                "target_parameters": networks.get(name, {}).get("parameters", np.nan),
            }
            for name in rows["target"].unique()
        ]
    )
    position = pd.factorize(rows["target"])[0]
    return rows.assign(
        job=str(job.folder),
        family=str(source.get("family") or ""),
        source_parameters=networks.get(str(source.get("name")), {}).get("parameters", np.nan),
        random_weights=source.get("weights") == "random",
        unreadable=float(job.summary.get("images_unreadable") or 0),
        data=str(data.get("name") or Path(str(data.get("root") or "")).name or "unnamed data"),
        image_set=image_set(rows, options),
        options=json.dumps(options, sort_keys=True),
        **{name: of_target[name].to_numpy()[position] for name in of_target},
    )
