"""What a weights file holds: one state dict out of its wrappers, and the class names kept beside it.

A file is read without running code from it: safetensors, or torch.load(weights_only=True) with argparse.Namespace, the
options in timm's training checkpoints, as the one class that is no tensor (timm/models/_helpers.py does the same).
What training loops write beside weights, numpy's numbers, dates, paths, is passed over: none of its code runs either.
"""

import re
from argparse import Namespace
from collections.abc import Iterable, Iterator
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

# where training programs keep the network in a checkpoint; averaged weights (EMA, SWA) go before the raw ones
AVERAGED = re.compile(r"(^|[._])(ema|swa|averaged?)([._]|$)", re.IGNORECASE)
_RAW = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "params", "weights")
_DEPTH = 4  # wrappers in wrappers
_CLASSES = "classes class_names class_to_idx idx_to_class label_names id2label CLASSES categories"
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
            return torch.load(path, map_location="cpu", weights_only=True)
    # weights_only refuses anything but tensors and plain containers, without running it; broken bytes raise
    # nearly anything: UnpicklingError, SafetensorError, EOFError, RuntimeError, IndexError
    except Exception as error:
        reason, remedy = "", "save the state dict as .safetensors"
        if blocked := re.search(r"GLOBAL ([\w.]+)", str(error)):
            reason = f": it holds {blocked[1]}, which could run code"
            remedy = (
                "where you trust the file, open it by torch.load(FILE, weights_only=False) and save the state dict "
                "in it alone: torch.save(STATE_DICT, NEW)"
            )
        elif "TorchScript" in str(error):
            reason, remedy = ": it is a TorchScript archive", "save the state dict of the network in it"
        raise InputError(f"{name}: {path} is not a readable weights file of plain tensors{reason}; {remedy}") from error


def _is_state(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    )


def _state(content: Any, path: Path, name: str, depth: int = _DEPTH) -> dict[str, Tensor] | None:
    """The one state dict in a checkpoint: itself, averaged, raw, or the only one under another name."""
    if _is_state(content):
        return content
    if not isinstance(content, dict) or not depth:
        return None
    averaged: dict[str, dict[str, Tensor]] = {}
    for key, inner in _kept_averages(content):
        if (state := _state(inner, path, name, depth - 1)) is not None:
            averaged[key] = state
        elif isinstance(inner, dict) and any(map(_has_tensors, inner.values())):
            raise InputError(f"{name}: {path} has averaged weights ({key}) without names; save the state dict you mean")
    if len(averaged) > 1:
        raise InputError(f"{name}: {path} has several averages ({listed(averaged)}); save the one you mean alone")
    if averaged:
        return averaged.popitem()[1]
    for key in _RAW:
        if (state := _state(content.get(key), path, name, depth - 1)) is not None:
            return state
    others = {key: value for key, value in content.items() if _is_state(value)}
    if len(others) > 1:
        which = listed(map(str, others))
        raise InputError(f"{name}: {path} has {len(others)} state dicts ({which}); save the one you mean alone")
    return next(iter(others.values()), None)


def _kept_averages(content: dict) -> Iterator[tuple[str, Any]]:
    """In a checkpoint, or in what Lightning's callbacks keep in it."""
    callbacks = content.get("callbacks")
    for place in (content, *(callbacks.values() if isinstance(callbacks, dict) else ())):
        for key, inner in place.items() if isinstance(place, dict) else ():
            if isinstance(key, str) and AVERAGED.search(key):
                yield key, inner


def _has_tensors(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, list | tuple) and any(isinstance(v, Tensor) for v in value))


def _kinds(content: Any) -> str:
    if not isinstance(content, dict):
        return f", got {type(content).__name__}"
    kinds = {key: type(value).__name__ for key, value in content.items() if not isinstance(value, Tensor)}
    odd = [f"{key} ({kind.replace(_Unread.__name__, 'no tensor')})" for key, kind in kinds.items()]
    return f", got {listed(odd)}" if odd else ""


def _class_names(content: Any) -> tuple[str, ...] | None:
    """The first class names in a checkpoint or among the options it keeps."""
    if not isinstance(content, dict):
        return None
    for place in (content, *map(content.get, _OPTIONS)):
        entries = vars(place) if isinstance(place, Namespace) else place
        if isinstance(entries, dict):
            for key in _CLASSES.split():
                if names := names_in_order(entries.get(key)):
                    return names
    return None
