"""What a job leaves in its folder besides rows and summary: config.yaml, environment.json, error.txt."""

import fnmatch
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml

from harmonia.cli.hydra_node import HYDRAS, HYDRAS_FILES
from harmonia.errors import InputError
from harmonia.media import visible
from harmonia.results.jobs import EARLY_FILES, flat_options, read_environment
from harmonia.results.rows import CONFIG, ENVIRONMENT, ERROR, SUMMARY
from harmonia.store.files import JOBS, TEMPORARY, locked, signature, write_text
from harmonia.store.guarded import MOST_ARRAYS, is_there, read_yaml, regular_file
from harmonia.store.manifest import version_of

LOCK = ".lock"
HELPER = ".helper-"
_BEFORE = {HYDRAS, "run.log", ".report.lock", LOCK}  # what is there before a job leaves its first file
_HELPERS_LOCK = re.compile(r"\.helper-[0-9a-f]{16}\.lock")
PACKAGES = ("torch", "torchvision", "timm", "pytorch-lightning", "torchmetrics", "hydra-core", "numpy", "pillow")


def refuse_foreign(folder: Path) -> None:
    """Refuses a folder in which is something and no job: a job would replace files there, or write through a link."""
    names = set(os.listdir(folder)) if folder.is_dir() else set()
    written = [*(f"{HYDRAS}/{name}" for name in HYDRAS_FILES), HYDRAS, LOCK, *fnmatch.filter(names, "*.log")]
    if links := [name for name in written if (folder / name).is_symlink()]:
        raise InputError(f"{folder}: a job's files must lie in its folder, got the link {links[0]!r}; remove it")
    foreign, own = sorted(names - _BEFORE), CONFIG
    if not foreign and LOCK in names and (folder / LOCK).stat().st_size:
        foreign = [LOCK]
    elif not foreign and is_there(folder, config := f"{HYDRAS}/{CONFIG}") and (folder / config).stat().st_size:
        foreign, own = [HYDRAS], config  # any program's that uses Hydra
    for waited in range(20 if foreign else 0):
        with suppress(InputError):
            if signature(folder / LOCK) or {"source", "method", "data"} <= set(read_yaml(folder, own)):
                return
        if own == CONFIG or waited == 19 or is_there(folder, f"{HYDRAS}/{HYDRAS_FILES[-1]}"):
            break
        time.sleep(0.05)  # a process that begins in the same folder may be writing Hydra's files
    if foreign:
        raise InputError(
            f"{folder} must be a new folder, an empty one or a job's, got {foreign[0]!r} in it; name another with "
            "hydra.run.dir= or hydra.sweep.dir="
        )


def sole_writer(folder: Path, wait: bool = False) -> AbstractContextManager[bool]:
    """Whether this process alone writes the job's folder; False while another live process does (or wait for it)."""
    return locked(folder / LOCK, JOBS, wait)


@contextmanager
def helper_folder(folder: Path) -> Iterator[Path]:
    """A folder in the job's for a process that only helps its writer; begin removes those of helpers that died."""
    own = folder / f"{HELPER}{secrets.token_hex(8)}"
    lock = own.with_suffix(".lock")
    with locked(lock, JOBS):
        try:
            own.mkdir()
            yield own
        finally:
            shutil.rmtree(own, ignore_errors=True)
            lock.unlink(missing_ok=True)


def holds_finished_job(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether the folder holds the finished job of these settings; where it was logged is no matter."""
    if (folder / ERROR).exists() or not (folder / SUMMARY).exists():
        return False
    try:
        finished = read_yaml(folder, CONFIG)
    except InputError:
        return False
    # the group is a folder named by the time, which differs between processes of one command
    return _without_logging(finished) == _without_logging(settings)


def _without_logging(settings: Mapping[str, Any]) -> dict[str, str]:
    return flat_options({name: value for name, value in settings.items() if name not in ("logger", "tracking")})


def begin(folder: Path, settings: Mapping[str, Any], files: Sequence[str]) -> None:
    """The resolved configuration is there before anything is computed; an earlier attempt's result is not.

    A finished job's stays until the new one takes its place: a sweep that is repeated and stopped again loses none.
    What killed processes left half-written goes. The caller is its sole_writer. files: those that the job will leave.
    Files of an evaluation of one's own go by the digest that its job recorded: what differs may be the user's.
    """
    own = (ERROR, SUMMARY, *files, *EARLY_FILES)
    _remove_leftovers(folder, (*own, CONFIG, ENVIRONMENT))
    if not holds_finished_job(folder, settings):
        for stale in (*own, *_sealed(folder)):
            (folder / stale).unlink(missing_ok=True)
    write_text(folder / CONFIG, yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True))


def seal_files(folder: Path, files: Sequence[str]) -> None:
    """Record digests of the job's files that harmonia does not know by name, for who takes the folder next."""
    if own := [name for name in files if name not in EARLY_FILES]:
        facts = read_environment(folder) | {"digests": {name: _digest(folder, name) for name in own}}
        write_text(folder / ENVIRONMENT, json.dumps(facts, indent=2, sort_keys=True) + "\n")


def _sealed(folder: Path) -> list[str]:
    """Names of files in the folder that are as an earlier job recorded them."""
    with suppress(InputError):
        digests = read_environment(folder).get("digests")
        known = digests.items() if isinstance(digests, dict) else ()
        return [
            name for name, digest in known if Path(name).name == name and digest and digest == _digest(folder, name)
        ]
    return []


def _digest(folder: Path, name: str) -> str:
    """SHA-256 of a file; empty where there is none."""
    with suppress(InputError, OSError), regular_file(folder, name, MOST_ARRAYS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return ""


def _remove_leftovers(folder: Path, own: Sequence[str]) -> None:
    temporary = re.compile(TEMPORARY.format("|".join(map(re.escape, own))))
    for name in filter(temporary.fullmatch, os.listdir(folder)):
        (folder / name).unlink(missing_ok=True)
    for name in filter(_HELPERS_LOCK.fullmatch, os.listdir(folder)):
        with locked(lock := folder / name, JOBS) as dead:
            if dead:
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)


def record_failure(folder: Path, error: Exception) -> None:
    """error.txt: one line for the report; below it the traceback, unless the user is to mend it."""
    if isinstance(error, InputError):
        text = " ".join(str(error).split())
    else:
        line = " ".join(f"{type(error).__name__}: {error}".split())
        text = "\n".join([line, "", *traceback.format_exception(error)])
    write_text(folder / ERROR, "".join(f"{visible(line)}\n" for line in text.split("\n")))


def write_environment(
    folder: Path, device: torch.device, networks: Mapping[str, Mapping[str, Any]], files: Sequence[str]
) -> None:
    """Versions, commit, machine and command; what is known of each network by its name; the files that will be left."""
    cuda = device.type == "cuda"
    facts = {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version_of(name) for name in ("harmonia", *PACKAGES)},
        "git": _commit(),
        "device": torch.cuda.get_device_name(device) if cuda else device.type,
        "visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),  # what a launcher gave this job
        "host": platform.node(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "threads": torch.get_num_threads(),
        "networks": {name: dict(known) for name, known in networks.items()},
        "files": list(files),  # of the evaluation, its rows first
    }
    write_text(folder / ENVIRONMENT, json.dumps(facts, indent=2, sort_keys=True) + "\n")


def _commit() -> str | None:
    """The checkout's commit, with a + where it has uncommitted changes; None outside a checkout."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None

    def git(*words: str) -> str:
        command = ["git", "-C", str(checkout), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None
