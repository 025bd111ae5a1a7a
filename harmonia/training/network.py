"""The network to train: any that harmonia builds, with a head for the classes at hand."""

from dataclasses import replace

import torch
from torch import nn

from harmonia.errors import InputError, one_line
from harmonia.models import fitted
from harmonia.models.classifier import Classifier
from harmonia.models.contract import Built
from harmonia.models.found import FoundStructure
from harmonia.models.load import build, classifier_of
from harmonia.models.spec import ModelSpec


def trainable(spec: ModelSpec, classes: tuple[str, ...], seed: int) -> Classifier:
    """The classifier, its parameters taking gradients as their network has them by itself."""
    of_classes = replace(fitted.described(spec), classes=classes)
    built = _with_head(build(of_classes, seed), of_classes, seed)
    learned = [parameter for parameter in built.network.parameters() if parameter.requires_grad]
    if not learned:
        raise InputError(
            f"{spec.name}: a network to train must have parameters that take gradients, got none; take another"
        )
    classifier = classifier_of(replace(built, classes=classes), of_classes)
    for parameter in learned:
        parameter.requires_grad_(True)
    return classifier


def _with_head(built: Built, spec: ModelSpec, seed: int) -> Built:
    """With a new last layer where the network has another number of outputs."""
    count = len(spec.classes or ())
    if built.num_classes == count:
        return built
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            _replace_head(built, count)
        except Exception as error:
            rule = f"its last layer must be one that can be replaced by {count} classes, got: {one_line(error)}"
            raise InputError(f"{spec.name}: {rule}; take another network, or one made for {count} classes") from error
    return replace(built, num_classes=count)


def _replace_head(built: Built, count: int) -> None:
    network = built.network
    if hasattr(network, "reset_classifier") and getattr(network, "pretrained_cfg", None):  # of timm
        network.reset_classifier(count)  # pyright: ignore
        return
    size, channels = built.transform["size"], built.channels or len(built.transform["mean"])
    structure = built.structure(network.eval(), built.arch, size, channels)
    if not isinstance(structure, FoundStructure):
        raise ValueError(f"the layout of {built.arch}")
    name = structure.last_layer
    last = network.get_submodule(name)
    bias = last.bias is not None
    if isinstance(last, nn.Linear) and last.out_features == built.num_classes:
        head: nn.Module = nn.Linear(last.in_features, count, bias)
    elif isinstance(last, nn.Conv2d) and last.out_channels == built.num_classes and last.groups == 1:
        sides = last.kernel_size, last.stride, last.padding, last.dilation
        head = nn.Conv2d(last.in_channels, count, *sides, bias=bias)  # pyright: ignore
    else:
        raise ValueError(f"{name}, which does not give its {built.num_classes} outputs")
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, head)
    config = getattr(network, "config", None)
    if hasattr(config, "num_labels"):  # of Hugging Face
        network.num_labels = config.num_labels = count  # pyright: ignore
