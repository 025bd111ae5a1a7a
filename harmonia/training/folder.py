"""What a fit leaves in its folder, and whose folder it is."""

import csv
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from harmonia.cli.network_file import NETWORK
from harmonia.errors import InputError
from harmonia.job.folder import LOCK
from harmonia.results.jobs import flat_options
from harmonia.results.rows import ENVIRONMENT, SUMMARY
from harmonia.store.files import JOBS, disk_errors, signature, write_text
from harmonia.store.guarded import is_there, read_yaml

FIT = "fit.yaml"
METRICS = "metrics.csv"
CHECKPOINTS = "checkpoints"  # while it trains
LAST, BEST = "last", "best"
_LOG = "fit.log"
_BEFORE = {_LOG, LOCK}
# where it runs and what it tells changes nothing that is learned
_NO_NUMBERS = ("logger", "tracking", "paths", "num_threads", "trainer", "packages")


def refuse_others(folder: Path) -> None:
    """Refuses a folder in which is something and no fit: its files would be replaced, or a link written through."""
    names = set(os.listdir(folder)) if folder.is_dir() else set()
    own = (LOCK, _LOG, FIT, METRICS, SUMMARY, ENVIRONMENT, NETWORK, CHECKPOINTS)
    if links := [name for name in own if (folder / name).is_symlink()]:
        raise InputError(f"{folder}: a fit's files must lie in its folder, got the link {links[0]!r}; remove it")
    foreign = sorted(names - _BEFORE)
    if LOCK in names and (folder / LOCK).stat().st_size and not signature(folder / LOCK):
        foreign = [LOCK]
    elif FIT in names and {"source", "epochs", "data"} <= set(read_yaml(folder, FIT)):
        return
    if foreign:
        raise InputError(
            f"{folder} must be a new folder, an empty one or a fit's, got {foreign[0]!r} in it; name another with "
            "hydra.run.dir= or hydra.sweep.dir="
        )


def is_finished(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether the fit of these settings is; where another has learned anything in the folder, this one is refused."""
    learned = is_there(folder, NETWORK) or is_there(folder, f"{CHECKPOINTS}/{LAST}.ckpt")
    if learned and is_there(folder, FIT):
        before, now = (_numbers(each) for each in (read_yaml(folder, FIT), settings))
        if changed := [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]:
            key = changed[0]
            raise InputError(
                f"{folder} must hold one fit, got another with {key}={before.get(key)} for {now.get(key)}; name "
                "another folder with hydra.run.dir= or hydra.sweep.dir=, or remove that one"
            )
    return is_there(folder, SUMMARY) and is_there(folder, NETWORK)


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    with disk_errors(folder, JOBS):
        write_text(folder / FIT, yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True))


def _numbers(settings: Mapping[str, Any]) -> dict[str, str]:
    kept = {name: value for name, value in settings.items() if name not in _NO_NUMBERS}
    trainer = settings.get("trainer")
    return flat_options(kept | {"precision": trainer.get("precision") if isinstance(trainer, Mapping) else None})


def remove_checkpoints(folder: Path) -> None:
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def write_metrics(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A line an epoch."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with disk_errors(folder / METRICS, JOBS):
        write_text(folder / METRICS, text.getvalue(), lasting=False)
