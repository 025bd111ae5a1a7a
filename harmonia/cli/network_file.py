"""The file of a network that harmonia.fit leaves, as far as its architecture is read without torch."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from safetensors import safe_open

from harmonia.errors import home

NETWORK = "model.safetensors"
DESCRIPTION = "harmonia"  # the metadata that describe the network


def network_file(weights: str | Path) -> Path:
    """The file that source.weights means, by itself or by its folder."""
    path = home(weights).absolute()
    return path / NETWORK if path.is_dir() else path


def network_name(weights: str) -> str:
    """What the file's folder is called, or a file of another name; fitted where there is no file."""
    if weights in ("hub", "random"):
        return "fitted"
    path = home(weights).absolute()
    return path.parent.name if path.name == NETWORK else path.name.removesuffix(".safetensors")


def architecture_in(weights: str, otherwise: str) -> str:
    """What the file names; otherwise where it cannot be read, for whoever loads it refuses it in one line."""
    with suppress(Exception):
        path = network_file(weights)
        if path.is_file():
            with cast(Any, safe_open)(path, "np") as file:
                return str(json.loads(file.metadata()[DESCRIPTION])["arch"])
    return otherwise
