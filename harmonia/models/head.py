"""Another last layer for another number of classes."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from harmonia.errors import refused
from harmonia.models.contract import Built
from harmonia.models.found import FoundStructure


def with_head(built: Built, count: int, name: str, seed: int) -> Built:
    """With a new last layer where the network has another number of outputs; name: the model's, for messages."""
    if built.num_classes == count:
        return built
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rule = f"{name}: its last layer must be one that can be replaced by {count} classes, got"
        with refused(rule, f"take another network, or one made for {count} classes"):
            _replace_head(built, count)
    return replace(built, num_classes=count)


def last_layer(built: Built) -> str:
    """The module that gives the outputs, by its dotted name; ValueError where it is not one layer."""
    network: Any = built.network
    if known := getattr(network, "pretrained_cfg", None):  # of timm
        name = known.get("classifier")
    else:
        size, channels = built.transform["size"], built.channels or len(built.transform["mean"])
        structure = built.structure(network.eval(), built.arch, size, channels)
        name = structure.last_layer if isinstance(structure, FoundStructure) else None
    if not isinstance(name, str):
        raise ValueError(f"{name} of {built.arch}")
    return name


def _replace_head(built: Built, count: int) -> None:
    network: Any = built.network
    if hasattr(network, "reset_classifier"):  # of timm
        network.reset_classifier(count)
        return
    last = network.get_submodule(name := last_layer(built))
    if isinstance(last, nn.Linear) and last.out_features == built.num_classes:
        head: nn.Module = nn.Linear(last.in_features, count, last.bias is not None)
    elif isinstance(last, nn.Conv2d) and last.out_channels == built.num_classes and last.groups == 1:
        sides: Any = last.kernel_size, last.stride, last.padding, last.dilation
        head = nn.Conv2d(last.in_channels, count, *sides, bias=last.bias is not None)
    else:
        raise ValueError(f"{name}, which does not give its {built.num_classes} outputs")
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, head)
    config: Any = getattr(network, "config", None)
    if hasattr(config, "num_labels"):  # of Hugging Face
        network.num_labels = config.num_labels = count
