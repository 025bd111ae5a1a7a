"""What tells a network from another beside its numbers: settings of its modules, and the code that is its user's own.

Code of installed packages is told by names. Other code is told by what Python runs of it, its bytecode, with what it
reads from around it: two cells of a notebook may define one name in two ways. Nothing here is an address.
"""

import hashlib
import json
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dis import get_instructions
from enum import Enum
from functools import cache, partial
from itertools import count
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from harmonia.errors import refused

# of a configuration: what names the file, the library and the classes
_NOT_THE_NETWORK = {"transformers_version", "_name_or_path", "architectures", "id2label", "label2id", "dtype"}
_NOT_THE_NETWORK |= {"torch_dtype"}
# of modules: what names a network, and what is of training
_NOT_ITS_SETTINGS = {"training", "config", "name_or_path", "pretrained_cfg", "default_cfg", "classes", "num_classes"}
_NOT_ITS_SETTINGS |= {"drop_rate"}
_OF_TRAINING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, DropPath, StochasticDepth)
_PLAIN = (bool, int, float, str, type(None))
_WRITTEN = (torch.dtype, Enum, bytes, complex, slice, range)
_RUNS = (FunctionType, BuiltinFunctionType, MethodType, partial, type)
_STDLIB = Path(sysconfig.get_path("stdlib")).resolve()


def facts_of(network: nn.Module, reshape: Callable | None = None) -> dict[str, Any]:
    """Of a network and the function that lays out its activations; JSON-able."""
    rule = f"{type(network).__name__}: the network's settings must be plain enough to tell it from others, got"
    with refused(rule, "take out of it what is no part of it"):
        describe = _Told()
        facts = {"modules": describe.of_modules(network)}
        config: Any = getattr(network, "config", None)
        if hasattr(config, "to_dict"):  # of Hugging Face
            entries = {key: value for key, value in config.to_dict().items() if key not in _NOT_THE_NETWORK}
            facts["config"] = json.loads(json.dumps(entries, sort_keys=True, default=str))
        return facts if reshape is None else {**facts, "reshape": describe(reshape)}


class _Told:
    """What values are, JSON-able; of what was met before, which it was."""

    def __init__(self):
        self._met: dict[int, tuple[Any, Any]] = {}  # by id: what it is called, and itself, to keep the id its own
        self._number = count()

    def of_modules(self, network: nn.Module) -> dict[str, Any]:
        named = dict(network.named_modules())
        self._met |= {id(module): (f"module {name}", module) for name, module in named.items()}
        return {name: self._of_module(module) for name, module in named.items() if type(module) not in _OF_TRAINING}

    def _of_module(self, module: nn.Module) -> list[Any]:
        """Class and settings; of a class of one's own all that it has beside its numbers."""
        own = not _is_installed(type(module).__module__)
        settings = {
            key: self(value)
            for key, value in sorted(vars(module).items())
            if value is not None and key[0] != "_" and key not in _NOT_ITS_SETTINGS and (own or _is_plain(value))
        }
        # those of libraries follow from settings, and their last bits from the processor
        buffers = sorted(module._non_persistent_buffers_set) if own else ()
        return [self(type(module)), settings, *(self(module._buffers[name]) for name in buffers)]

    def __call__(self, value: Any) -> Any:
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, _WRITTEN):
            return repr(value)
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Tensor | np.ndarray):
            return value.tolist() if value.dtype == object else _of_array(value)
        if isinstance(value, Mapping):
            return sorted(([str(key), self(inner)] for key, inner in value.items()), key=lambda pair: pair[0])
        if isinstance(value, list | tuple):
            return [self(inner) for inner in value]
        if isinstance(value, set | frozenset):
            return sorted(map(str, map(self, value)))
        if isinstance(value, partial):
            return [self(value.func), self(value.args), self(value.keywords)]
        if isinstance(value, MethodType):
            return [self(value.__func__), self(value.__self__)]
        if id(value) not in self._met:
            self._met[id(value)] = next(self._number), value
            return self._of_object(value)
        return f"met: {self._met[id(value)][0]}"

    def _of_object(self, value: Any) -> Any:
        if isinstance(value, type):
            return [value.__name__, *self._of_class(value)]
        if isinstance(value, nn.Module):  # one that no parent has registered
            return [self.of_modules(value), self(value.state_dict())]
        name = getattr(value, "__name__", type(value).__name__)
        if isinstance(value, FunctionType):
            return name if _is_installed(value.__module__) else self._of_function(value)
        if not _is_installed(type(value).__module__):
            return [self(type(value)), self(getattr(value, "__dict__", None))]
        public = {key: inner for key, inner in getattr(value, "__dict__", {}).items() if key[0] != "_"}
        return [name, {} if isinstance(value, ModuleType) else {k: self(v) for k, v in public.items() if _is_plain(v)}]

    def _of_class(self, kind: type) -> Iterator[tuple[str, Any]]:
        """Own code in it, of which some may stand in a class of a library; how it is made is told by what was made."""
        for each in kind.__mro__:
            own = not _is_installed(each.__module__)
            for name, value in sorted(vars(each).items()):
                value = getattr(value, "fget", None) or getattr(value, "__func__", value)
                runs = isinstance(value, FunctionType)
                is_told = not _is_installed(value.__module__) if runs else own and not name.startswith(("__", "_abc"))
                if is_told and name != "__init__":
                    yield f"{each.__name__}.{name}", self(value)

    def _of_function(self, function: FunctionType) -> list[Any]:
        """Its bytecode, its defaults, and what it reads from a function around it and from its module."""
        around = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
        code, codes = function.__code__, list(_codes(function.__code__))
        loaded = {step.argval for each in codes for step in get_instructions(each) if step.opname == "LOAD_GLOBAL"}
        read = {name: function.__globals__.get(name) for name in sorted(loaded)}
        words = sorted({word for each in codes for word in each.co_names})
        for name, module in list(read.items()):
            if isinstance(module, ModuleType) and not _is_installed(module.__name__):
                read |= {f"{name}.{word}": getattr(module, word) for word in words if hasattr(module, word)}
        told = [self(value) for value in (function.__defaults__, function.__kwdefaults__, around, read)]
        return [hashlib.sha256(repr(_bytecode(code)).encode()).hexdigest()[:16], *told]


def _of_array(value: Tensor | np.ndarray) -> list[Any]:
    if isinstance(value, np.ndarray) and value.dtype.kind not in "biufc":  # texts and dates
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()[:16]]
    value = value.to_dense() if isinstance(value, Tensor) and value.layout != torch.strided else value
    tensor = torch.as_tensor(value).detach().cpu().contiguous()
    numbers = hashlib.sha256(tensor.flatten().view(torch.uint8).numpy().tobytes()).hexdigest()
    return [str(tensor.dtype), list(tensor.shape), numbers[:16]]


def _bytecode(code: CodeType) -> list[Any]:
    """Without names of files and numbers of lines."""
    inner = {place: _bytecode(each) for place, each in enumerate(code.co_consts) if isinstance(each, CodeType)}
    sets = {place: sorted(map(repr, each)) for place, each in enumerate(code.co_consts) if isinstance(each, frozenset)}
    constants = [(inner | sets).get(place, each) for place, each in enumerate(code.co_consts)]
    return [code.co_code.hex(), code.co_names, code.co_varnames, constants]


def _codes(code: CodeType) -> Iterator[CodeType]:
    """And those of the functions in it."""
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(isinstance(item, _PLAIN) for item in value)
    return isinstance(value, (*_PLAIN, *_RUNS))


@cache
def _is_installed(module: str | None) -> bool:
    """Whether a package manager has put it there, or Python brings it."""
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    if file is None or module == "__main__":  # a notebook's, whatever starts it
        return module in sys.builtin_module_names
    path = Path(file).resolve()
    return _STDLIB in path.parents or not {"site-packages", "dist-packages"}.isdisjoint(path.parts)
