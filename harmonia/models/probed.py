"""What a probe shows of a network: which modules give feature maps, whether the class reads them, and their order."""

import math
import re
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from harmonia.attribution.layer import CANCELLED, uncancelled
from harmonia.errors import InputError
from harmonia.models.contract import Structure

MOST_PREFIX_TOKENS = 16  # class tokens and registers
IN_PLACE = 0.3  # share of a change that must lie in the quarter that changed; of scrambled tokens it is 0.25


@dataclass(frozen=True)
class FeatureMap:
    """What a module gave that lies in the image, while the probe went through."""

    name: str
    shape: tuple[int, ...]  # as the network lays it out
    rows: int  # of cells
    is_read: bool  # whether what represents the image depends on any of its places
    cancels: bool  # whether features times gradients sum to 0 at every place (harmonia.attribution.layer)


class ProbedStructure(Structure):
    """A network of which hooks learn, on a probe, what its kind does not say."""

    _mostly_channels_last = False  # where axes do not tell; known once a probe has gone through

    def prefix_tokens(self, tokens: int) -> int:
        """As many as are left over from a grid in the image's aspect."""
        for spare in range(min(tokens, MOST_PREFIX_TOKENS + 1)):
            if math.prod(self.grid_of(tokens - spare) or ()) > 1:
                return spare
        form = self.grid_in_words
        raise InputError(f"{tokens} tokens of {self.arch} do not form {form}; give another layer or a reshape")

    def check_place(self, layer: str) -> None:
        """InputError where a layer's map does not change where the image does: its positions are in another order.

        One pass of five probes, once a layer, of tokens alone: axes say where the others lie. What a method cannot take
        for maps at all is left to its own words.
        """
        if layer in self._in_place:
            return
        images = self.probe().repeat(5, 1, 1, 1)
        halves = [(slice(None, side // 2), slice(side // 2, None)) for side in (self.height, self.width)]
        for image, (rows, columns) in zip(images[1:], product(*halves), strict=True):
            image[:, rows, columns] = image[:, rows, columns].flip(1, 2)
        outputs: list[Any] = []
        with torch.no_grad(), self.layer(layer).register_forward_hook(lambda *call: outputs.append(call[2])):
            self.logits(images)
        tokens = outputs and isinstance(outputs[-1], Tensor) and outputs[-1].ndim == 3 and not outputs[-1].is_meta
        maps = self._maps_of(outputs[-1], len(images)) if tokens else None
        if maps is not None:
            change = maps[1:] - maps[:1]
            change = change - change.mean((2, 3), keepdim=True)  # without what all places share, of global attention
            change_44 = adaptive_avg_pool2d(change.abs().sum(1), 2).flatten(1)  # an image, a quarter
            share_4 = change_44.diagonal() / change_44.sum(1).clamp(min=1e-30)
            elsewhere = change_44.argmax(1) != torch.arange(4, device=maps.device)
            if share_4.mean() < IN_PLACE or elsewhere.sum() > 1:  # of rows taken for columns two are
                raise InputError(
                    f"{self.arch}: layer {layer!r} does not change where the image does ({share_4.mean():.2f} of a "
                    f"change in its own quarter, {IN_PLACE} are needed); give another layer, or source.reshape"
                )
        self._in_place.add(layer)

    @cached_property
    def _in_place(self) -> set[str]:
        """Layers whose place is checked."""
        return set()

    def _maps_of(self, output: Any, images: int) -> Tensor | None:
        """Maps in the image's aspect, of more than one place, one an image, float32; None of what is no such thing."""
        if not isinstance(output, Tensor):
            return None
        try:
            spatial = self.spatial(output)
        except (InputError, RuntimeError, IndexError, ValueError):
            return None
        _, in_aspect = self.axes_in_aspect(spatial.shape)
        are_maps = in_aspect and len(spatial) == images and math.prod(spatial.shape[2:]) > 1
        return spatial.float() if are_maps else None

    @cached_property
    def feature_maps(self) -> list[FeatureMap]:
        """In the order in which their modules end; a pooling's is one of the module before it."""
        outputs: dict[str, Tensor] = {}

        def keep(name: str, module: nn.Module, args: tuple, output: Any) -> None:
            output = self.map_in(output)
            if isinstance(output, Tensor) and output.requires_grad:
                outputs.pop(name, None)  # the last call counts
                outputs[name] = output

        with ExitStack() as hooks, torch.enable_grad():
            for name, module in self.network.named_modules():
                if name and not re.search("Pool(?!Former)|Dropout|Identity", type(module).__name__):
                    hooks.enter_context(module.register_forward_hook(partial(keep, name)))
            representation = self.represent(self.probe().requires_grad_().clone())[1]  # it may work in place
            weights = torch.randn(representation.shape[1], generator=torch.Generator().manual_seed(1))
            score = (representation @ weights.to(representation)).sum()
        gradients = torch.autograd.grad(score, list(outputs.values()), allow_unused=True) if outputs else ()
        axes = [self.axes_in_aspect(output.shape) for output in outputs.values()]
        certain = [first for first, last in axes if first != last]
        self._mostly_channels_last = 2 * sum(certain) > len(certain)
        found = zip(outputs.items(), gradients, strict=True)
        maps = (self._feature_map(name, output.detach(), gradient) for (name, output), gradient in found)
        return [each for each in maps if each is not None]

    def _feature_map(self, name: str, output: Tensor, gradient: Tensor | None) -> FeatureMap | None:
        """None where the output does not lie in the image, or has one place."""
        spatial = self._maps_of(output, 1)
        if spatial is None:
            return None
        read = gradient is not None and bool(self.spatial(gradient).any())
        products = spatial if gradient is None else self.spatial(output * gradient)
        cancels = read and bool((uncancelled(products.double(), 1) < CANCELLED).all())
        return FeatureMap(name, tuple(output.shape), spatial.shape[2], read, cancels)

    def nothing_found(self) -> InputError:
        return InputError(f"{self.arch}: no feature map was found on the way to its logits; give layer=NAME")

    def module(self, name: str) -> nn.Module:
        return self.network.get_submodule(name)
