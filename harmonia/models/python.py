"""Any network that Python can make: source=python source.factory=package.module:function."""

import importlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from harmonia.errors import InputError, refused
from harmonia.models import checkpoint
from harmonia.models import weights as weights_file
from harmonia.models.contract import Built
from harmonia.models.head import last_layer, with_head
from harmonia.models.memory import in_memory
from harmonia.models.spec import ModelSpec


def build(spec: ModelSpec, seed: int) -> Built:
    """The factory is called without arguments and returns an nn.Module."""
    factory = named(spec.factory, f"{spec.name}: source.factory")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with refused(f"{spec.name}: {spec.factory} must give a network when called without arguments, got", "edit it"):
            network = factory()
    if not isinstance(network, nn.Module):
        raise InputError(
            f"{spec.name}: {spec.factory} must return a torch.nn.Module, got {type(network).__name__}; edit it"
        )
    reshape = None if spec.reshape is None else named(spec.reshape, f"{spec.name}: source.reshape")
    if spec.weights in ("hub", "random"):
        return in_memory(network, {}, spec, reshape)
    path = weights_file.find_weights(str(spec.weights), spec.name, spec.arch)
    content = checkpoint.read(path, spec.name)
    state = weights_file.under_names_of(network.state_dict(), content.state, spec.name, path)
    with suppress(ValueError):  # no one last layer: what does not fit is named below
        drawn = in_memory(network, {}, spec, reshape)
        head = state.get(f"{last_layer(drawn)}.weight")
        if head is not None and head.ndim:
            with_head(drawn, len(head), spec.name, seed)
    weights_file.load_strictly(network, state, spec.name, path)
    known = in_memory(network, {}, spec, reshape)
    return replace(known, classes=known.classes or content.classes)


def named(path: str | None, subject: str) -> Callable[..., Any]:
    """The function that package.module:NAME means."""
    module, colon, name = (path or "").partition(":")
    if not (module and colon and name):
        raise InputError(f"{subject} must name a function, got {path!r}; write package.module:function")
    remedy = "write package.module:function"
    with refused(f"{subject}: {path} cannot be imported", remedy, ImportError, AttributeError):
        return getattr(importlib.import_module(module), name)
