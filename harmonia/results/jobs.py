"""The jobs below a folder, finished or not, and which options tell one from another."""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from harmonia.errors import InputError
from harmonia.results.localisation import LOCALISATION
from harmonia.results.rows import CONFIG, ENVIRONMENT, ERROR, ROWS, SUMMARY, read_summary
from harmonia.results.scores import SCORES


@dataclass(frozen=True)
class Job:
    """What a job's folder says about it; `error` is one line and None exactly when it is finished."""

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, float | int | None] = field(default_factory=dict)
    finished: bool = False
    error: str | None = None


def find_jobs(folder: str | Path) -> list[Job]:
    """Every job in the folder or below it, finished or not, job 10 after job 9."""
    jobs = []
    for path, folders, files in os.walk(folder):
        if CONFIG in files or Path(path, ".hydra", CONFIG).is_file():
            jobs.append(_read_job(Path(path)))
            folders.clear()  # W&B keeps a config.yaml of its own inside a job
        else:
            # a report's W&B run, unless it was kept offline, has a config.yaml of its own
            folders[:] = [name for name in folders if not name.startswith(".") and name != "wandb"]
    return sorted(jobs, key=lambda job: _natural(str(job.folder)))


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def _read_job(folder: Path) -> Job:
    config: dict[str, Any] = {}
    try:
        config = _read_config(folder)
        if (folder / ERROR).is_file():
            lines = (folder / ERROR).read_text(encoding="utf-8", errors="replace").split("\n")
            return Job(folder, config, error=lines[0].strip() or f"failed; {ERROR} is empty")
        rows = next((name for name in (ROWS, LOCALISATION, SCORES) if (folder / name).is_file()), "rows")
        if lacking := [name for name in (CONFIG, rows, SUMMARY) if not (folder / name).is_file()]:
            return Job(folder, config, error=f"unfinished: no {', '.join(lacking)}")
        return Job(folder, config, read_summary(folder), finished=True)
    except InputError as error:
        return Job(folder, config, error=str(error))


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG if (folder / CONFIG).is_file() else folder / ".hydra" / CONFIG
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} must be readable YAML, got: {reason}; run the job again") from error
    return config if isinstance(config, dict) else {}


_NO_NUMBERS = {"data.cache", "data.download", "data.url"}  # where the same images come from
_NO_NUMBERS |= {"evaluation.representations"}
_CONTROLS = "evaluation.controls"  # which of them run changes no number of another arm; their seed does
_OF_A_PART = {"data.per_class", "data.limit"}  # how many of the same images; which they are, the rows say
_NOT_SHOWN = {"data.pool", "data.pool_size", "data.seed", "data.boxes"}  # of replacement images, or known of images
_WANDB = "pytorch_lightning.loggers.WandbLogger"  # as conf/logger/wandb.yaml has it
_FOLLOWED = {"seed": "seed", "crop_pct": "crop_pct", "weights_folder": "paths.weights"}  # as conf/ interpolates them


def recorded_networks(folder: Path) -> dict[str, dict[str, float]]:
    """The numbers that a job recorded of each of its networks (parameters, input_px); empty where it recorded none."""
    found = _recorded(folder, "networks")
    return {
        name: {fact: float(value) for fact, value in known.items() if isinstance(value, int | float)}
        for name, known in (found.items() if isinstance(found, dict) else ())
        if isinstance(known, dict)
    }


def recorded_start(folder: Path) -> str:
    """When a job began, as text that sorts by time; empty where it recorded none."""
    return str(_recorded(folder, "started") or "")


def _recorded(folder: Path, name: str) -> Any:
    try:
        return json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))[name]
    except (OSError, ValueError, LookupError, TypeError):
        return None  # a job of an earlier version


def options_of(config: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """A job's options that change numbers, KEY: VALUE of its command line, and by target's name that target's own.

    Left out are options that repeat the one they follow (data.seed and seed), and how many images there are. Folders of
    images and weights count: the same numbers shown twice are seen, others passed over are not.
    """
    data = section(config, "data")
    if data.get("boxes") is None or "metric" not in section(config, "evaluation"):
        data = {name: value for name, value in data.items() if name != "boxes"}  # boxes change scores of maps alone
    kept: dict[str, Any] = {
        **{name: config.get(name) for name in ("source", "method", "label", "fill", "data", "evaluation")},
        "data": data,
        **{name: config.get(name) for name in ("seed", "crop_pct")},
        "trainer": {"precision": section(config, "trainer").get("precision")},
        "smooth": {} if section(config, "smooth").get("k") is None else section(config, "smooth"),
        "paths": {"weights": section(config, "paths").get("weights")},
    }
    common = _flat(kept)
    of_targets = {
        str(entry.get("name")): _without_followers(_flat(entry, f"target.{key}."), common)
        for key, entry in section(config, "target").items()
        if isinstance(entry, dict) and entry != config.get("source")  # the source itself has no others
    }
    own = _without_followers(common, common)
    return {key: value for key, value in own.items() if not _is_no_number(key)}, of_targets


def differing(options: pd.Series) -> pd.Series:
    """Of each row's options those that not all rows share, as text."""
    known: dict[str, dict[str, str]] = {text: json.loads(text) for text in options.unique()}
    shared = set.intersection(*(set(given.items()) for given in known.values()))
    shown = {
        text: ", ".join(f"{key}={value}" for key, value in given.items() if (key, value) not in shared)
        for text, given in known.items()
    }
    return options.map(shown)


def _is_no_number(key: str) -> bool:
    return key in _NO_NUMBERS | _OF_A_PART or (key.startswith(_CONTROLS) and key != f"{_CONTROLS}.seed")


def section(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A group of a job's configuration; empty where there is none."""
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in options.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=str)
            # a class by its name: jobs of versions that kept it in another module are no variants
            flat[prefix + name] = text.rpartition(".")[2] if name == "_target_" else text
    return flat


def _without_followers(options: Mapping[str, str], common: Mapping[str, str]) -> dict[str, str]:
    def follows(key: str) -> bool:
        leader = _FOLLOWED.get(key.rpartition(".")[2])
        return leader not in (None, key) and common.get(leader) == options[key]

    return {key: value for key, value in options.items() if not follows(key)}


def logged_to_wandb(jobs: Sequence[Job]) -> list[Job]:
    """The jobs that were configured to log to W&B."""
    return [job for job in jobs if section(job.config, "logger").get("_target_") == _WANDB]


def data_options(options: Mapping[str, str]) -> str:
    """A job's options that say which data set it is about, as text: ids alone tell neither a data set's variants (full,
    160px) apart nor two folders with the same names in them.
    """
    shown = {key: value for key, value in options.items() if key.startswith("data.") and key not in _NOT_SHOWN}
    return json.dumps(shown, sort_keys=True)


def image_set(image_ids: Sequence[str], options: str) -> str:
    """A short digest of these images of such a data set."""
    digest = hashlib.sha256(options.encode("utf-8"))
    for image_id in sorted(image_ids):
        digest.update(image_id.encode("utf-8") + b"\0")
    return digest.hexdigest()[:8]
