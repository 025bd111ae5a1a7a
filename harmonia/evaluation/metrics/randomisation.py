"""A network whose parameters are drawn anew, layer by layer, in place, and given back bit for bit; its maps.

J. Adebayo, J. Gilmer, M. Muelly, I. Goodfellow, M. Hardt, B. Kim, "Sanity Checks for Saliency Maps", NeurIPS 2018,
section 3, https://arxiv.org/abs/1810.03292.
"""

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from harmonia.attribution.contract import Model
from harmonia.errors import InputError
from harmonia.evaluation.metrics.contract import ExplainedImages
from harmonia.features.maps import flag_of
from harmonia.shapes import Maps

Granularity = Literal["block", "layer"]
MICRO_BATCH = 16  # images: bounds their memory as floats, whatever the shard


@dataclass(frozen=True)
class _Unit:
    """A module's own tensors that belong to one layer."""

    module: nn.Module
    tensors: dict[str, Tensor]  # by the names that the module gives them
    name: str  # of the module in the network: what is drawn for it follows from that


class Layers:
    """A model's layers, to be drawn anew and given back one by one.

    Modules with a reset_parameters of their own are initialised by it, as Quantus does: BatchNorm loses its affine map
    and its statistics, LayerScale its trained scales. Parameters without one (class tokens, position embeddings,
    tables of relative positions, ConvNeXt's scales), and those that it leaves as they are, are drawn from a normal of
    the tensor's own mean and standard deviation. A tensor of equal numbers holds nothing learned and may stay as it is.
    What is drawn depends on the seed and the names alone, not on the device, the order or the granularity.
    """

    def __init__(self, model: Model, granularity: Granularity, seed: int):
        self._seed = seed
        units_of: dict[str, dict[str, _Unit]] = {}
        for owner, module in _owners(model):
            for name, tensor in _own(module).items():
                layer = _layer(f"{owner}.{name}" if owner else name, granularity)
                unit = units_of.setdefault(layer, {}).setdefault(owner, _Unit(module, {}, owner))
                unit.tensors[name] = tensor
        if not units_of:
            raise InputError("evaluation: the source has no parameters that could be randomised; choose another metric")
        self._units = {layer: list(units.values()) for layer, units in units_of.items()}
        tensors = [tensor for units in self._units.values() for unit in units for tensor in unit.tensors.values()]
        # the one extra copy of the weights that this takes
        self._kept = {id(tensor): tensor.detach().clone() for tensor in tensors}

    @property
    def names(self) -> list[str]:
        """From the logits down to the image: the order in which the network lists them, reversed."""
        return list(reversed(self._units))

    def randomise(self, layer: str) -> None:
        for unit in self._units[layer]:
            initial = self._initial(unit)
            for name, tensor in unit.tensors.items():
                before = self._kept[id(tensor)]
                drawn = initial.get(name)
                if isinstance(tensor, nn.Parameter) and (drawn is None or torch.equal(drawn, before.cpu())):
                    drawn = self._like(before, f"{unit.name}.{name}")
                if drawn is not None:
                    tensor.data.copy_(drawn)

    def restore(self, layer: str) -> None:
        for unit in self._units[layer]:
            for tensor in unit.tensors.values():
                tensor.data.copy_(self._kept[id(tensor)])

    def _initial(self, unit: _Unit) -> dict[str, Tensor]:
        """The module's tensors as it initialises them; empty where it does not."""
        if not callable(getattr(unit.module, "reset_parameters", None)):
            return {}
        fresh = copy.deepcopy(unit.module).cpu()  # drawn on the CPU, so that every device has the same
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(self._number(unit.name))
            fresh.reset_parameters()  # type: ignore[operator]  # nn.Module's annotations make a tensor of it
        return _own(fresh)

    def _like(self, tensor: Tensor, name: str) -> Tensor:
        generator = torch.Generator().manual_seed(self._number(name))
        noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        values = tensor.double().cpu()
        return values.mean() + values.std(correction=0) * noise

    def _number(self, name: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self._seed}:{name}".encode()).digest()[:7], "little")


@contextmanager
def randomised(model: Model, granularity: Granularity, seed: int) -> Iterator[Layers]:
    """The model's layers; behind the block, and behind an exception in it, the model is what it was, bit for bit."""
    layers = Layers(model, granularity, seed)
    try:
        yield layers
    finally:
        for layer in layers.names:
            layers.restore(layer)


def _owners(model: Model) -> list[tuple[str, nn.Module]]:
    """Modules with parameters or statistics of their own, under the names that the network gives them."""
    owners = [
        (name, module)
        for name, module in model.named_modules()
        if dict(module.named_parameters(recurse=False)) or (hasattr(module, "reset_parameters") and _own(module))
    ]
    first = {name.split(".")[0] for name, _ in owners}
    if len(first) == 1 and first != {""}:  # the classifier's own name for its network
        (holder,) = first
        owners = [(name.removeprefix(holder).removeprefix("."), module) for name, module in owners]
    return owners


def _own(module: nn.Module) -> dict[str, Tensor]:
    """A module's own parameters and buffers that hold fractions, without those of its children."""
    own = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
    return {name: tensor for name, tensor in own.items() if tensor.is_floating_point()}


def _layer(tensor: str, granularity: Granularity) -> str:
    """The layer of a tensor by its name in the network.

    block: what stands under the first number in the name (blocks.3, layer1.0, stages.2), else the network's child
    (conv_stem, head, pos_embed). layer: the module that owns it.
    """
    *owner, _ = parts = tensor.split(".")
    if granularity == "layer":
        return ".".join(owner) or tensor
    numbered = next((place for place, part in enumerate(owner) if part.isdecimal()), 0)
    return ".".join(parts[: numbered + 1])


def explain_again(explained: ExplainedImages) -> Maps:
    """Raw maps (B, h, w) of the batch's images on the network as it is now, on the CPU."""
    parts = []
    for rows in torch.arange(len(explained.pixels)).split(MICRO_BATCH):
        images = explained.pixels[rows].to(explained.device).float() / 255
        parts.append(explained.explain(explained.model, images, rows).float().cpu())
    return torch.cat(parts)


def why_undefined(original: Maps, maps: Maps, kind: str, how: str) -> list[str]:
    """Of each pair of maps why it cannot be compared, "" where it can: one is zero, constant or non-finite.

    kind: the word in front of "map"; how: what the second map was made with.
    """
    pairs = zip(original, maps, strict=True)
    flags = [(flag_of(np.asarray(first)), flag_of(np.asarray(second))) for first, second in pairs]
    return [f"{own} {kind}map" if own else f"{flag} map {how}" if flag else "" for own, flag in flags]
