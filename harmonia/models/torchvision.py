"""Networks of torchvision: source=torchvision source.arch=resnet18, or resnet18.IMAGENET1K_V1 for older weights."""

import difflib
import re
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.models.vision_transformer import interpolate_embeddings

from harmonia.errors import InputError, refused
from harmonia.models import checkpoint
from harmonia.models import weights as weights_file
from harmonia.models.classes import given_classes
from harmonia.models.contract import Built
from harmonia.models.memory import in_memory
from harmonia.models.spec import ModelSpec
from harmonia.models.transform import view_options

_WITH_SIDE_HEADS = ("googlenet", "inception_v3")  # in training; their weights hold them


def build(spec: ModelSpec, seed: int) -> Built:
    name, _, tag = spec.arch.partition(".")
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "see torchvision.models.list_models()"
        version = torchvision.__version__
        raise InputError(f"{spec.name}: torchvision {version} has no classifier {name!r}; {hint}")
    published = torchvision.models.get_model_weights(name)
    if tag and tag not in published.__members__:
        raise InputError(f"{spec.name}: {name} has no weights {tag!r}; known: {', '.join(published.__members__)}")
    chosen: Any = published[tag or "DEFAULT"]
    classes = None
    options: dict[str, Any] = {"init_weights": False, "aux_logits": True} if name in _WITH_SIDE_HEADS else {}
    if name.startswith("vit_"):  # of fixed size, that of the weights without another
        options["image_size"] = spec.input_size or chosen.transforms().crop_size[0]
    if spec.weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            count = len(given_classes(spec)) if spec.classes else 1000
            network = _made(spec, name, count, options)
    elif spec.weights == "hub":
        if name in _WITH_SIDE_HEADS:
            options["transform_input"] = True  # as these weights need it
        network = _made(spec, name, 1000, options)
        state = _at_size(network, _published(spec, chosen))
        weights_file.load_strictly(network, state, spec.name, Path(chosen.url.rpartition("/")[2]))
    else:
        network, classes = _from_file(spec, name, options)
    built = in_memory(network, view_options(chosen.transforms(), spec.name), spec)
    return replace(built, classes=classes)


def _made(spec: ModelSpec, name: str, count: int, options: dict[str, Any]) -> Any:
    rule = f"{spec.name}: input_size must suit {name}, got {spec.input_size}"
    # of a ViT that its patches do not fill, or that is no square
    with refused(rule, "give a multiple of its patches", AssertionError, TypeError):
        return torchvision.models.get_model(name, weights=None, num_classes=count, **options)


def _published(spec: ModelSpec, chosen: Any) -> dict[str, torch.Tensor]:
    """From torch's own cache, or fetched."""
    remedy = "fetch that file elsewhere and give weights=PATH"
    with refused(f"{spec.name}: {chosen.url} cannot be fetched", remedy, OSError, RuntimeError):
        return chosen.get_state_dict(check_hash=True, weights_only=True, progress=False)


def _from_file(spec: ModelSpec, name: str, options: dict[str, Any]) -> tuple[nn.Module, tuple[str, ...] | None]:
    """The network with a file's weights and a head of their size, and the classes that the file names."""
    path = weights_file.find_weights(str(spec.weights), spec.name, name)
    content = checkpoint.read(path, spec.name)
    if name in _WITH_SIDE_HEADS:
        options["aux_logits"] = any(re.search(r"(^|\.)(aux[12]|AuxLogits)\.", key) for key in content.state)
    network = _made(spec, name, 1000, options)
    state = weights_file.under_names_of(network.state_dict(), content.state, spec.name, path)
    if (count := _outputs(state, network)) != 1000:
        network = _made(spec, name, count, options)
    weights_file.load_strictly(network, _at_size(network, state), spec.name, path)
    return network, content.classes


def _at_size(network: Any, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A ViT's positions resampled, by torchvision's own function, where they are of another input size."""
    at, positions = "encoder.pos_embedding", getattr(getattr(network, "encoder", None), "pos_embedding", None)
    if positions is None or at not in state or state[at].shape == positions.shape:
        return state
    try:
        return dict(interpolate_embeddings(network.image_size, network.patch_size, OrderedDict(state)))
    except (ValueError, IndexError, RuntimeError):  # of no square: named with what does not fit
        return state


def _outputs(state: dict[str, torch.Tensor], network: nn.Module) -> int:
    """Of the last layer: torchvision lists layers in the order of the network, side heads before the last; a file of
    safetensors by their names.
    """
    known = (state[key] for key in network.state_dict() if key.endswith("weight") and key in state)
    weights = [value for value in known if value.ndim in (2, 4)]
    return len(weights[-1]) if weights else 1000
