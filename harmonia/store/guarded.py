"""Files in folders that somebody may have sent, jobs' above all: regular ones, bounded, and plain data."""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import yaml
from safetensors.numpy import load_file

from harmonia.errors import InputError, refused
from harmonia.plain_yaml import LOADER, MOST_TEXT, check_yaml

MOST_JSON = 1 << 26
MOST_ARRAYS = 1 << 34  # of Parquet and safetensors
SHOWN_BYTES = 4096  # of error.txt


def is_there(folder: Path, name: str) -> bool:
    """Whether the folder has something of this name, be it what it may: reading it says what is wrong with it."""
    return os.path.lexists(folder / name)


def regular_file(folder: Path, name: str, most: int, remedy: str = "run the job again") -> Path:
    """The path of a file that may be opened: no pipe or device, in the folder, of so many bytes at most."""
    path = folder / name
    with refused(f"{path} must be readable as a file, got", remedy):
        status = path.stat()
        inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    if not stat.S_ISREG(status.st_mode) or not inside:
        raise InputError(f"{path} must be a regular file in that folder, got another; {remedy}")
    if status.st_size > most:
        raise InputError(f"{path} must have at most {most:,} bytes, got {status.st_size:,}; {remedy}")
    return path


def read_yaml(folder: Path, name: str) -> dict[str, Any]:
    """What a YAML file holds, {} if that is no mapping. Aliases are refused: a few lines of them unfold without end."""
    with _reading(folder, name, MOST_TEXT, "YAML") as file:
        text = file.read(MOST_TEXT).decode()
        check_yaml(text)
        content = yaml.load(text, LOADER)
        json.dumps(content, default=str)  # TypeError: a key that sorts beside no text, as a date
    return content if isinstance(content, dict) else {}


def read_json(folder: Path, name: str) -> Any:
    with _reading(folder, name, MOST_JSON, "JSON") as file:
        return json.loads(file.read(MOST_JSON).decode())


def read_arrays(folder: Path, name: str) -> dict[str, np.ndarray]:
    with _reading(folder, name, MOST_ARRAYS, "safetensors") as file:
        return load_file(file.name)


def read_first_line(folder: Path, name: str) -> str:
    """A text's first line; of one that is longer than SHOWN_BYTES its beginning, and the end of the text."""
    half = SHOWN_BYTES // 2
    with _reading(folder, name, 1 << 62, "text") as file:
        line, ended, _ = file.read(SHOWN_BYTES).partition(b"\n")
        if not ended and file.read(1):
            file.seek(-half, os.SEEK_END)
            line = line[:half] + b" ... " + file.read(half)
    return " ".join(line.decode("utf-8", "replace").split())


@contextmanager
def _reading(folder: Path, name: str, most: int, kind: str) -> Iterator[BinaryIO]:
    path = regular_file(folder, name, most)
    with refused(f"{path} must be readable {kind}, got", "run the job again"), path.open("rb") as file:
        yield file
