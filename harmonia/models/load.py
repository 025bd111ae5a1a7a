"""From a spec to a classifier: timm's network, its weights, its view and its classes."""

import difflib
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import cast

import timm
import torch
from timm.data.config import resolve_data_config
from torch import nn

from harmonia.data.imagenet import wnids
from harmonia.data.view import View
from harmonia.errors import InputError, home
from harmonia.models import weights as weights_file
from harmonia.models.classifier import Classifier, ModelSpec


def load(spec: ModelSpec, seed: int = 0, precision: str = "32-true") -> Classifier:
    """The classifier of a spec, frozen, in evaluation mode, on the CPU."""
    arch = spec.arch.removeprefix("timm/")
    bare = arch.split(".")[0]
    if not timm.is_model(bare):
        near = difflib.get_close_matches(bare, timm.list_models(), n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "see timm.list_models()"
        raise InputError(f"{spec.name}: timm {timm.__version__} has no model {bare!r}; {hint}")
    _refuse_unknown_tag(spec, arch)
    if spec.weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = timm.create_model(arch, num_classes=len(_class_file(spec)) if spec.classes else 1000)
        digest = f"random-{seed}"
    else:
        path = weights_file.find_weights(str(spec.weights), spec.name, arch, spec.weights_folder)
        network, digest = _pretrained(arch, spec, path), weights_file.digest(path)
    view = _view(network, spec)
    classes = _classes(spec, cast(int, network.num_classes))
    return Classifier(network, spec, view, classes, digest, precision)


def _refuse_unknown_tag(spec: ModelSpec, arch: str) -> None:
    try:
        timm.get_pretrained_cfg(arch)
    except RuntimeError as error:  # timm: "Invalid pretrained tag (...) for ..."
        known = timm.list_pretrained(f"{arch.split('.')[0]}.*") or ["none"]
        raise InputError(f"{spec.name}: {str(error).splitlines()[0].rstrip('.')}; known: {', '.join(known)}") from error


def _pretrained(arch: str, spec: ModelSpec, path: Path) -> nn.Module:
    state = weights_file.read_weights(path, spec.name)
    network = timm.create_model(arch)
    if spec.names_in_order:
        state = weights_file.in_order(state, network.state_dict(), spec.name)
    head = state.get(f"{cast(dict, network.pretrained_cfg).get('classifier')}.weight")
    if head is not None and head.ndim and len(head) != network.num_classes:
        network = timm.create_model(arch, num_classes=len(head))
    weights_file.load_strictly(network, state, spec.name, path)
    return network


def _view(network: nn.Module, spec: ModelSpec) -> View:
    config = resolve_data_config({}, pretrained_cfg=cast(dict, network.pretrained_cfg)) | spec.overrides()
    channels, height, width = config["input_size"]
    if channels != 3 or height != width:
        raise InputError(f"{spec.name}: the input must be square RGB, got {config['input_size']}; take another arch")
    same = {name: config[name] for name in ("crop_pct", "crop_mode", "interpolation")}
    return View(size=height, mean=tuple(config["mean"]), std=tuple(config["std"]), **same)


def _classes(spec: ModelSpec, count: int) -> tuple[str, ...]:
    if spec.classes is None:
        if count != 1000:
            raise InputError(
                f"{spec.name}: its {count} classes need names; give classes=FILE with one class name a line, "
                "in the order of the model's outputs"
            )
        return wnids()
    names = _class_file(spec)
    if (got := len(names)) != count:
        raise InputError(f"{spec.name}: {spec.classes} must name the weights' {count} classes, got {got}; edit it")
    return names


def _class_file(spec: ModelSpec) -> tuple[str, ...]:
    path = home(str(spec.classes))
    if not path.is_file():
        raise InputError(f"{spec.name}: class file {path} does not exist; give a text file with one class name a line")
    names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{spec.name}: class names must differ, {path} has {twice!r} twice; rename one")
    return names


def load_job(
    source: ModelSpec, targets: Iterable[ModelSpec], seed: int, precision: str
) -> tuple[Classifier, dict[str, Classifier]]:
    """A job's source and its targets by name; equal specs are loaded once and are the same object."""
    loaded = cache(partial(load, seed=seed, precision=precision))
    by_name = {source.name: loaded(source)}
    asked = [loaded(spec) for spec in targets]
    for target in asked:
        if by_name.setdefault(target.name, target) is not target:
            raise InputError(f"two different models are named {target.name!r}; give one of them another name=")
    return loaded(source), {target.name: target for target in asked}
