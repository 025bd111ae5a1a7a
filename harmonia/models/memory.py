"""Networks that are in memory: a frozen copy of a caller's, and what is known of any network."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from harmonia.data.view import View
from harmonia.errors import InputError, refused
from harmonia.models import timm as of_timm
from harmonia.models.contract import Built, Structure
from harmonia.models.facts import facts_of
from harmonia.models.found import FOUND, FoundStructure, Reshape
from harmonia.models.spec import ModelSpec

_USUAL = {"crop_pct": 1.0, "crop_mode": "center", "interpolation": "bilinear"}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def copy_of(network: nn.Module) -> nn.Module:
    """A caller's network on the CPU, float32, out of what compiles and shares it, without hooks of the caller's."""
    kind, remedy = (
        type(network).__name__,
        "take out of it what cannot be copied, as locks and activations kept in lists",
    )
    with refused(f"{kind}: the network must be one that copy.deepcopy copies, got", remedy):
        inner: Any = network
        while inner is not None:
            network = inner
            inner = network.module if isinstance(network, _PARALLEL) else getattr(network, "_orig_mod", None)
        return _copied(network).float().cpu().eval()


def _copied(network: nn.Module) -> nn.Module:
    name = type(network).__name__
    if isinstance(network, torch.jit.ScriptModule):
        raise InputError(f"{name}: the network must be Python's, got TorchScript; give the one it was made of")
    state = network.state_dict()
    packed = next((key for key, value in state.items() if not isinstance(value, Tensor) or value.is_quantized), None)
    if packed is not None:
        raise InputError(f"{name}: the network must have gradients, {packed} is quantised; give the one it was made of")
    for key, tensor in state.items():
        if tensor.is_meta:
            raise InputError(f"{name}: the network must have numbers, got {key} on the meta device; load its weights")
        if tensor.is_complex():
            raise InputError(f"{name}: the network must be of real numbers, got complex ones in {key}; give another")
    memo: dict[int, Any] = {}
    for module in network.modules():
        for hooks in (getattr(module, each) for each in _HOOKS):
            # torch's own belong to the network: weight_norm, spectral_norm, pruning
            kept = ((key, hook) for key, hook in hooks.items() if type(hook).__module__.startswith("torch."))
            memo[id(hooks)] = OrderedDict(copy.deepcopy(list(kept)))
        memo |= {id(value): None for value in vars(module).values() if isinstance(value, Tensor) and not value.is_leaf}
    return copy.deepcopy(network, memo)


def in_memory(
    network: nn.Module, transform: Mapping[str, Any], spec: ModelSpec, reshape: Reshape | None = None
) -> Built:
    """Of any network, whose transform is that of the spec, else the one given; one of timm's has its own."""
    network = network.eval()
    arch = type(network).__name__
    if hasattr(network, "forward_head") and getattr(network, "pretrained_cfg", None):
        return _of_timm(network, transform, reshape)
    view = {**_USUAL, **transform, **spec.overrides()}
    for option, name in (("size", "input_size"), ("mean", "mean"), ("std", "std")):
        if option not in view and spec.weights == "memory":
            rule = f"a network of your own must come with its transform, got {f'no {option}' if transform else 'none'}"
            remedy = 'give transform=, torchvision\'s or {"size": 224, "mean": (...), "std": (...)}'
            raise InputError(f"{spec.name}: {rule}; {remedy}")
        if option not in view:
            raise InputError(f"{spec.name}: {name} must be given for a network of your own; add source.{name}=VALUE")
    structure = partial(FoundStructure, reshape=reshape)
    view, count = _tried(partial(structure, network, arch), view, (1, 3))
    return Built(
        network=network,
        arch=arch,
        structure=structure,
        transform=view,
        num_classes=count,
        classes=_classes_of(network),
        facts={**facts_of(network, reshape=reshape), "found": FOUND},
    )


def _of_timm(network: nn.Module, transform: Mapping[str, Any], reshape: Reshape | None) -> Built:
    known = of_timm.made_by_timm(network)
    structure = known.structure if reshape is None else partial(FoundStructure, reshape=reshape)
    made_for = getattr(getattr(network, "patch_embed", None), "img_size", None)
    size = {} if made_for is None else {"size": made_for}  # its configuration knows what it was trained for
    view = {**known.transform, **size, **transform}
    as_known = {**view, "crop_pct": known.transform["crop_pct"]}
    # two shares may be one scale: 200 of 210 pixels are .9524, and timm's .95
    view = as_known if View(**as_known).scale == View(**view).scale else view
    view, count = _tried(partial(structure, network, known.arch), view, (known.channels or 3,))
    built = replace(known, structure=structure, transform=view, num_classes=count)
    return replace(built, facts=of_timm.changes(built, made_for, reshape))


def _tried(
    structure: Callable[..., Structure], view: Mapping[str, Any], channels: Sequence[int]
) -> tuple[Mapping[str, Any], int]:
    """The view and how many outputs the network has; where the view has one mean, that of as many channels as fit."""
    *others, last = channels if len(view["mean"]) == 1 else (len(view["mean"]),)
    for count in others:
        with suppress(InputError):
            return view, structure(view["size"], count).outputs()
    same = {key: view[key] * last if len(view[key]) == 1 else view[key] for key in ("mean", "std")}
    return {**view, **same}, structure(view["size"], last).outputs()


def _classes_of(network: nn.Module) -> tuple[str, ...] | None:
    """Those that the network itself names, not yet believed."""
    names = getattr(network, "classes", None)
    labels = getattr(getattr(network, "config", None), "id2label", None)  # of Hugging Face
    if isinstance(names, list | tuple):
        return tuple(map(str, names))
    return tuple(str(labels[index]) for index in sorted(labels)) if isinstance(labels, Mapping) else None
