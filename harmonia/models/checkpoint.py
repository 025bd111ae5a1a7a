"""What a weights file holds: one state dict out of its wrappers, and the class names kept beside it.

A file is read without running code from it: safetensors, or torch.load(weights_only=True) with argparse.Namespace, the
options in timm's training checkpoints, as the one class that is no tensor (timm/models/_helpers.py does the same).
What training loops write beside weights, numpy's numbers, dates, paths, is passed over: none of its code runs either.
"""

import re
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from harmonia.errors import InputError
from harmonia.media import visible
from harmonia.models.classes import names_in_order
from harmonia.models.pickled import check_tuples

# where training programs keep the network in a checkpoint; averaged weights (EMA) go before the raw ones
_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "params_ema", "ema")
_RAW = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "params", "weights")
_DEPTH = 4  # wrappers in wrappers
_CLASSES = (
    "classes",
    "class_names",
    "class_to_idx",
    "idx_to_class",
    "label_names",
    "id2label",
    "CLASSES",
    "categories",
)
# in pickles of any numpy and Python; of what they would make only a plain container is of use
_PASSED_OVER = [
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *("numpy.dtype", "numpy.ndarray"),
    *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    *(f"pathlib{place}.{system}Path" for place in ("", "._local") for system in ("Posix", "Windows", "PurePosix")),
    *(f"builtins.{name}" for name in ("list", "dict", "int", "float", "str", "frozenset")),
]
_OPTIONS = ("hyper_parameters", "datamodule_hyper_parameters", "hparams", "args", "config", "meta")


@dataclass(frozen=True)
class Checkpoint:
    """Named tensors as the file has them; the classes that it states, in the order of the outputs, not yet believed."""

    state: dict[str, Tensor]
    classes: tuple[str, ...] | None = None


class _Unread:
    """In the place of what is passed over."""

    def __new__(cls, *made_of: Any) -> "_Unread":
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Nothing of it is kept."""


def _plain(*made_of: Any) -> dict:
    return {}  # a defaultdict without what it makes by itself


def read(path: Path, name: str) -> Checkpoint:
    """The state dict in a file, out of its wrappers, and the class names beside it.

    name is the model's, for messages. Raises InputError in one line: code in the file, broken bytes, no state dict.
    """
    content = _content(path, name)
    state = _state(content, path, name)
    if state is None:
        raise InputError(
            f"{name}: {path} must hold a state dict (name -> tensor){_kinds(content)}; save model.state_dict()"
        )
    for key, value in state.items():
        if value.layout is not torch.strided or value.is_quantized or value.is_nested or value.is_meta:
            kind = f"{value.layout} {value.dtype} on {value.device}".replace("torch.", "")
            raise InputError(
                f"{name}: {path} must hold plain tensors, {listed([key])} is {kind}; save it dense, as float32"
            )
    return Checkpoint(state, _class_names(content))


def listed(keys: Iterable[str], most: int = 3) -> str:
    """The first of some names out of a file, as a line shows them."""
    keys = list(keys)
    words = [visible(key[:100]) for key in keys[:most]]
    return ", ".join(words + ["..."] * (len(keys) > most))


def _content(path: Path, name: str) -> Any:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)  # plain tensors, whatever is in it
        check_tuples(path)
        unread = [(_Unread, name) for name in _PASSED_OVER]
        with torch.serialization.safe_globals([Namespace, (_plain, "collections.defaultdict"), *unread]):
