"""The folders of jobs below a folder, finished or not, and which options tell one job from another."""

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from harmonia.errors import InputError, did_you_mean, one_line
from harmonia.results.localisation import AGGATT, LOCALISATION, MOSAICS
from harmonia.results.maps import MAPS
from harmonia.results.rows import CONFIG, ENVIRONMENT, ERROR, REPRESENTATIONS, ROWS, SUMMARY, read_summary
from harmonia.results.scores import SCORES
from harmonia.store.files import walk
from harmonia.store.guarded import MOST_JSON, is_there, read_first_line, read_json, read_yaml, regular_file

# what jobs left before they recorded their files: rows of one of these names, and what stood beside them
EARLY_ROWS = (ROWS, LOCALISATION, SCORES)
EARLY_FILES = (*EARLY_ROWS, REPRESENTATIONS, MAPS, AGGATT, MOSAICS)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobFolder:
    """What a job's folder says about it; `error` is one line and None exactly when the job is finished."""

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, float | int | None] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)  # lacks what an earlier version did not record
    rows_file: str = ""  # the name of what it leaves its rows in
    error: str | None = None

    @property
    def finished(self) -> bool:
        return self.error is None

    @property
    def started(self) -> str:
        """Text that sorts by time; empty where none is recorded."""
        return str(self.environment.get("started") or "")

    def group(self, name: str) -> dict[str, Any]:
        """A group of the configuration; empty where there is none."""
        return _dict(self.config.get(name))

    @property
    def targets(self) -> dict[str, dict[str, Any]]:
        """Configurations of the networks asked, by key."""
        return {key: entry for key, entry in self.group("target").items() if isinstance(entry, dict)}

    @cached_property
    def models(self) -> dict[str, dict[str, Any]]:
        """Configurations of the source and of the networks asked, by name."""
        return {str(entry.get("name")): entry for entry in (self.group("source"), *self.targets.values())}

    @property
    def data_name(self) -> str:
        """A folder of the user's own, which all jobs store as folder, by its own name."""
        data = self.group("data")
        name, own = data.get("name"), Path(str(data.get("root") or "")).name
        return str((own if name == "folder" else name) or own or name or "unnamed data")

    @property
    def random_weights(self) -> bool:
        """Whether the source knows nothing."""
        return self.group("source").get("weights") == "random"

    def known_of(self, network: str) -> dict[str, Any]:
        """What the job has recorded of a network."""
        return _dict(_dict(self.environment.get("networks")).get(network))

    def parameters(self, network: str) -> float:
        """The number of a network's parameters; NaN where none is recorded."""
        parameters = self.known_of(network).get("parameters")
        return float(parameters) if isinstance(parameters, int | float) else float("nan")

    @property
    def voters(self) -> list[str]:
        """Names of the networks that the source is made of; none of a source that is one network."""
        voters = self.known_of(str(self.group("source").get("name"))).get("voters")
        return [name for name in voters if isinstance(name, str)] if isinstance(voters, list) else []

    @cached_property
    def options(self) -> dict[str, str]:
        """Those that change numbers, KEY: VALUE of the command line; the targets' own are no part of them.

        Options that follow another one (data.seed follows seed) and numbers of images are left out. Folders of images
        and weights are not: a table that shows a number twice is better than one that hides another number.
        """
        options = _without_followers(self._all_options, self._all_options)
        controls = {key for key in options if key.startswith("evaluation.controls")} - {_CONTROLS_SEED}
        return {key: value for key, value in options.items() if key not in _NO_NUMBERS | controls}

    @cached_property
    def target_options(self) -> dict[str, dict[str, str]]:
        """By target's name its own options; none of the source itself."""
        return {
            str(entry.get("name")): _without_followers(flat_options(entry, f"target.{key}."), self._all_options)
            for key, entry in self.targets.items()
            if entry != self.config.get("source")
        }

    @cached_property
    def _all_options(self) -> dict[str, str]:
        options = {name: self.config.get(name) for name in _OPTIONS}
        smooth = self.group("smooth")
        no_number = set() if self.rows_file == SCORES else {"boxes"}  # they change scores of maps alone
        no_number |= {name for name in _ADDED if self.group("data").get(name) is None}
        options["data"] = {name: value for name, value in self.group("data").items() if name not in no_number}
        options["smooth"] = {} if smooth.get("k") is None else smooth
        options |= {group: {name: self.group(group).get(name)} for group, name in _PARTS}
        return flat_options(options)

    @property
    def data_options(self) -> str:
        """Those of the data set, as text: ids tell neither its variants (full, 160px) nor two folders apart."""
        names = {name for name in self.options if name.startswith("data.")} - _NOT_SHOWN
        return json.dumps({name: self.options[name] for name in names}, sort_keys=True)


def check_run(run: Path, module: str) -> None:
    """Refuses what is no folder; the module is of the command, whose help may tell more."""
    if run.is_file():
        raise InputError(f"run must be a folder, got the file {str(run)!r}; name the folder it lies in")
    if not run.is_dir():
        siblings = [path.name for path in run.parent.iterdir()] if run.parent.is_dir() else []
        raise InputError(
            f"run must be an existing folder, got {str(run)!r}; {did_you_mean(run.name, siblings, module)}"
        )


def find_jobs(folder: str | Path) -> list[JobFolder]:
    """Every job in the folder or below it, finished or not, job 10 after job 9."""
    return sorted(map(_read_job, job_folders(folder)), key=lambda job: _by_number(str(job.folder)))


def job_folders(folder: str | Path) -> Iterator[Path]:
    """Of all of them, and folders that cannot be read and may be some, in no order."""
    unreadable: list[OSError] = []
    links: list[str] = []
    for path, folders, files in walk(folder, unreadable.append):
        if CONFIG in files or is_there(Path(path), _HYDRAS):
            yield Path(path)
            folders.clear()  # W&B keeps a config.yaml of its own inside a job
        else:
            # a report's W&B run, unless it was kept offline, has a config.yaml of its own
            folders[:] = [name for name in folders if not name.startswith(".") and name != "wandb"]
            links += [below for name in folders if os.path.islink(below := os.path.join(path, name))]
    yield from (Path(error.filename) for error in unreadable if not isinstance(error, FileNotFoundError))
    if links:
        log.warning("%s: %d folders are links, which are not followed, first %s", folder, len(links), links[0])


def _by_number(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def _read_job(folder: Path) -> JobFolder:
    config: dict[str, Any] = {}
    try:
        config = read_yaml(folder, CONFIG if is_there(folder, CONFIG) else _HYDRAS)
        if is_there(folder, ERROR):
            return JobFolder(folder, config, error=read_first_line(folder, ERROR) or f"failed; {ERROR} is empty")
        environment = read_environment(folder)
        rows_file = _rows_file(folder, environment)
        if lacking := [name for name in (CONFIG, rows_file, SUMMARY) if not (folder / name).is_file()]:
            return JobFolder(folder, config, error=f"unfinished: no {', '.join(lacking)}")
        return JobFolder(folder, config, read_summary(folder), environment, rows_file)
    # damage may show as anything, such as a name that the system does not take
    except Exception as error:
        return JobFolder(folder, config, error=one_line(error))


def _rows_file(folder: Path, environment: Mapping[str, Any]) -> str:
    """The first of the files that the job records; of a version that recorded none, whichever it left."""
    match environment.get("files"):
        case [str(name), *_] if name and Path(name).name == name:
            return name
    return next((name for name in EARLY_ROWS if (folder / name).is_file()), "rows")


def read_environment(folder: Path) -> dict[str, Any]:
    """What the job's environment.json says; {} where it is lacking or torn, as an early version's may be."""
    try:
        return _dict(read_json(folder, ENVIRONMENT))
    except InputError:
        if is_there(folder, ENVIRONMENT):
            regular_file(folder, ENVIRONMENT, MOST_JSON)  # no torn text, but none that was meant to be read
        return {}


def _dict(content: Any) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}


_OPTIONS = ("source", "method", "label", "fill", "data", "evaluation", "seed", "crop_pct")
_PARTS = (("trainer", "precision"), ("paths", "weights"))
# where the same images come from, and how many there are: which they are, the rows say
_NO_NUMBERS = {"data.cache", "data.download", "data.url", "data.per_class", "data.limit", "evaluation.representations"}
_ADDED = ("boxes", "labels")  # to options of data: earlier jobs lack them, which is null
_CONTROLS_SEED = "evaluation.controls.seed"  # which of them run changes no number of another arm
_NOT_SHOWN = {"data.pool", "data.pool_size", "data.seed", "data.boxes"}  # of replacement images, or known of images
_HYDRAS = f".hydra/{CONFIG}"  # there before the job's own
_WANDB = "pytorch_lightning.loggers.WandbLogger"  # as conf/logger/wandb.yaml has it
_FOLLOWED = {"seed": "seed", "crop_pct": "crop_pct", "weights_folder": "paths.weights"}  # as conf/ interpolates them


def flat_options(options: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """KEY: VALUE as text; a class by its name, so that jobs of versions that kept it elsewhere are no variants."""
    flat: dict[str, str] = {}
    for name, value in options.items():
        if isinstance(value, dict):
            flat |= flat_options(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=str)
            flat[f"{prefix}{name}"] = text.rpartition(".")[2] if name == "_target_" else text
    return flat


def _without_followers(options: Mapping[str, str], of_job: Mapping[str, str]) -> dict[str, str]:
    def follows(key: str) -> bool:
        leader = _FOLLOWED.get(key.rpartition(".")[2])
        return leader not in (None, key) and of_job.get(leader) == options[key]

    return {key: value for key, value in options.items() if not follows(key)}


def differing(options: pd.Series) -> pd.Series:
    """Of each row's options, JSON, those that not all rows share, as text."""
    by_text: dict[str, dict[str, str]] = {text: json.loads(text) for text in options.unique()}
    shared = set.intersection(*(set(of_row.items()) for of_row in by_text.values()))
    return options.map(
        {
            text: ", ".join(f"{key}={value}" for key, value in of_row.items() if (key, value) not in shared)
            for text, of_row in by_text.items()
        }
    )


def logged_to_wandb(jobs: Sequence[JobFolder]) -> list[JobFolder]:
    return [job for job in jobs if job.group("logger").get("_target_") == _WANDB]
