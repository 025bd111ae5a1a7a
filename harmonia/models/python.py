"""Any network that Python can make: source=python source.factory=package.module:function."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from harmonia.errors import InputError, one_line
from harmonia.models import checkpoint
from harmonia.models import timm as of_timm
from harmonia.models import weights as weights_file
from harmonia.models.contract import Built
from harmonia.models.found import FoundStructure, Reshape, settings_of_modules
from harmonia.models.spec import ModelSpec

_USUAL = {"crop_pct": 1.0, "crop_mode": "center", "interpolation": "bilinear"}


def build(spec: ModelSpec, seed: int) -> Built:
    """The factory is called without arguments and returns an nn.Module."""
    factory = named(spec.factory, f"{spec.name}: source.factory")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network = factory()
        except Exception as error:
            rule = f"must give a network when called without arguments, got {one_line(error)}"
            raise InputError(f"{spec.name}: {spec.factory} {rule}; edit it") from error
    if not isinstance(network, nn.Module):
        raise InputError(
            f"{spec.name}: {spec.factory} must return a torch.nn.Module, got {type(network).__name__}; edit it"
        )
    reshape = None if spec.reshape is None else named(spec.reshape, f"{spec.name}: source.reshape")
    if spec.weights in ("hub", "random"):
        return in_memory(network, {}, spec, reshape)
    path = weights_file.find_weights(str(spec.weights), spec.name, spec.arch)
    content = checkpoint.read(path, spec.name)
    weights_file.load_strictly(network, content.state, spec.name, path)
    known = in_memory(network, {}, spec, reshape)
    return replace(known, classes=known.classes or content.classes_of(known.num_classes))


def in_memory(
    network: nn.Module, transform: Mapping[str, Any], spec: ModelSpec, reshape: Reshape | None = None
) -> Built:
    """Of a network in memory, whose transform is that of the spec, else the one given; one of timm's has its own."""
    if hasattr(network, "pretrained_cfg") and hasattr(network, "forward_head"):
        known = of_timm.made_by_timm(network)
        made_for = getattr(getattr(network, "patch_embed", None), "img_size", None)
        size = {} if made_for is None else {"size": made_for}  # its configuration knows what it was trained for
        return replace(known, transform={**known.transform, **size, **transform})
    view = {**_USUAL, **transform, **spec.overrides()}
    for option, name in (("size", "input_size"), ("mean", "mean"), ("std", "std")):
        if option not in view:
            if spec.weights == "memory":
                remedy = 'give transform=, torchvision\'s or {"size": 224, "mean": (...), "std": (...)}'
                raise InputError(f"{spec.name}: a network of your own must come with its transform, got none; {remedy}")
            raise InputError(f"{spec.name}: {name} must be given for a network of your own; add source.{name}=VALUE")
    network = network.eval()
    structure = FoundStructure(network, type(network).__name__, view["size"], len(view["mean"]))
    with structure.tried(), torch.no_grad():
        count = structure.logits(structure.probe()).shape[1]
    names = getattr(network, "classes", None)
    return Built(
        network=network,
        arch=type(network).__name__,
        structure=partial(FoundStructure, reshape=reshape),
        transform=view,
        num_classes=count,
        classes=tuple(map(str, names)) if isinstance(names, list | tuple) and len(names) == count else None,
        facts=settings_of_modules(network),
    )


def named(path: str | None, subject: str) -> Callable[..., Any]:
    """The function that package.module:NAME means."""
    module, colon, name = (path or "").partition(":")
    if not (module and colon and name):
        raise InputError(f"{subject} must name a function, got {path!r}; write package.module:function")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{subject}: {path} cannot be imported ({one_line(error)}); write package.module:function"
        ) from error
