"""How a network of unknown build is taken apart: by looking, with hooks, at what a probe does in it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from harmonia.errors import InputError
from harmonia.models.contract import MIDDLE_STRIDE
from harmonia.models.probed import FeatureMap, ProbedStructure
from harmonia.shapes import Images, Logits, Size

FOUND = 2  # raised whenever another layer is found: part of keys
Reshape = Callable[[Tensor], Tensor]  # a layer's activations -> (B, C, h, w)


class FoundStructure(ProbedStructure):
    """Places are found by looking; where that fails, a layer's name and a function that reshapes say it."""

    def __init__(self, network: nn.Module, arch: str, size: Size, channels: int = 3, reshape: Reshape | None = None):
        super().__init__(network, arch, size, channels)
        self._reshape = reshape

    @property
    def representation_size(self) -> int:
        return self.represent(self.probe())[1].shape[1]

    def logits(self, images: Images) -> Logits:
        return logits_of(self.network(images), self.arch)

    def features(self, images: Images) -> Tensor:
        outputs: list[Tensor] = []
        with self._at(self.final, lambda output: outputs.append(output)):
            self.logits(images)
        return outputs[-1]

    def head(self, features: Tensor) -> Logits:
        """The network on black images with the features in the place of its own."""
        if features.ndim != 4:
            raise InputError(f"{self.arch}: its head over tokens is not known; use evaluation=gridpg or difull")
        black = torch.zeros(len(features), self.channels, self.height, self.width, device=features.device)
        with self._at(self.final, lambda output: features):
            return self.logits(black)

    def _is_all(self, layer: str) -> bool:
        """Whether nothing of an image reaches the class beside this layer: behind it a black one answers as the probe.

        A branch whose output is added to what passes by is not.
        """
        outputs: list[Tensor] = []
        with torch.no_grad():
            with self._at(layer, lambda output: outputs.append(output.clone())):
                answers = self.represent(self.probe())
            with self._at(layer, lambda output: outputs[-1].clone()):
                black = self.represent(torch.zeros_like(self.probe()))
        return all(torch.allclose(*pair, equal_nan=True) for pair in zip(answers, black, strict=True))

    def represent(self, images: Images) -> tuple[Logits, Tensor]:
        read: list[Tensor] = []
        with self.module(self.last_layer).register_forward_pre_hook(lambda module, args: read.append(args[0])):
            logits = self.logits(images)
        inputs = read[-1]
        if inputs.ndim == 4:
            inputs = inputs.mean((2, 3))  # a convolution over classes
        return logits, inputs.mean(1) if inputs.ndim == 3 else inputs.flatten(1)

    @cached_property
    def last_layer(self) -> str:
        """The linear layer or convolution that runs last: what it reads is the representation."""
        names: list[str] = []
        with torch.no_grad(), ExitStack() as hooks:
            for name, module in self.network.named_modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    note = partial(lambda name, module, args: names.append(name), name)
                    hooks.enter_context(module.register_forward_pre_hook(note))
            self.logits(self.probe())
        if not names:
            rule = "must have a linear layer or a convolution, whose inputs represent an image, got none"
            raise InputError(f"{self.arch}: the network {rule}; end it with one")
        return names[-1]

    @cached_property
    def final(self) -> str:
        """The last feature map through which all goes that the class depends on, of the size of the last one read.

        Of a chain of equal blocks the last such block's. So of a ViT with a class token the last block but one: behind
        the last block nobody reads the patches.
        """
        read = self._read
        last, chain = read[-1], [each for each in read if each.name in self._blocks]
        maps = [each for each in read if each.rows == last.rows or each in chain]
        maps += chain if chain and chain[-1].rows == last.rows else []
        whole = next((each for each in reversed(maps) if self._is_all(each.name)), None)
        if whole is None:
            beside = f"its class reads other feature maps beside {last.name!r}, the last"
            raise InputError(f"{self.arch}: {beside}, and none that holds all; give layer=NAME")
        if len(whole.shape) == 3:
            self.check_place(whole.name)
        return whole.name

    @cached_property
    def middle(self) -> str:
        """Of the maps nearest to an eighth of the image's size the outermost module's, the last of them."""
        maps = self._read
        blocks = [each for each in maps if each.name in self._blocks]
        if blocks and len({each.rows for each in maps if len(each.shape) == 3}) == 1:
            return blocks[(len(blocks) - 1) // 2].name  # one resolution: the output of the first half

        def order(each: FeatureMap) -> tuple[float, int]:
            return abs(each.rows - self.height / MIDDLE_STRIDE), each.name.count(".")

        return min(reversed(maps), key=order).name

    @cached_property
    def normalised(self) -> str:
        maps = self.feature_maps
        place = next(index for index, each in enumerate(maps) if each.name == self.final)
        if len(maps[place].shape) == 4 or not maps[place].cancels:
            return self.final
        behind = (each.name for each in maps[place + 1 :] if each.is_read and not each.cancels)
        return next(behind, self.final)

    def spatial(self, activations: Tensor) -> Tensor:
        return super().spatial(activations) if self._reshape is None else self._reshape(activations)

    def unspatial(self, maps: Tensor, like: Tensor) -> Tensor:
        if self._reshape is not None:
            raise InputError(
                f"{self.arch}: this method writes into the layer, which source.reshape cannot; use method=gc"
            )
        return super().unspatial(maps, like)

    def channels_last(self, activations: Tensor) -> bool:
        """By the two axes in the image's aspect; where either two may be, as most of the network has it."""
        first, last = self.axes_in_aspect(activations.shape)
        return first and (not last or self._mostly_channels_last)

    def describe(self) -> str:
        parts = []
        for place in ("final", "middle"):
            try:
                parts.append(f"{place} layer {getattr(self, place)}")
            except InputError as error:  # a target needs none
                parts.append(str(error))
        return "; ".join([*parts, f"representation in front of {self.last_layer}"])

    @cached_property
    def _read(self) -> list[FeatureMap]:
        """The feature maps that the class depends on."""
        maps = [each for each in self.feature_maps if each.is_read]
        if not maps:
            raise self.nothing_found()
        return maps

    @cached_property
    def _blocks(self) -> set[str]:
        """Names of a chain of modules of one class in a list whose feature maps are tokens of one shape: of the
        coarsest such chains the longest.
        """
        chains: dict[tuple, list[FeatureMap]] = {}
        for each in self.feature_maps:
            parent = each.name.rpartition(".")[0]
            if len(each.shape) == 3 and isinstance(self.module(parent), nn.Sequential | nn.ModuleList):
                chains.setdefault((parent, type(self.module(each.name)), each.shape), []).append(each)
        longer = [chain for chain in chains.values() if len(chain) > 1]
        return {each.name for each in max(longer, key=lambda chain: (-chain[0].rows, len(chain)), default=[])}

    def map_in(self, output: Any) -> Any:
        return output[0] if _is_several(output) else output

    def layer(self, name: str) -> Any:
        return FirstOfSeveral(self.module(name)) if name in self._several else self.module(name)

    @cached_property
    def _several(self) -> set[str]:
        """Modules that give a tuple which begins with a tensor, as blocks do that give their attention beside it."""
        names: set[str] = set()

        def note(name: str, module: nn.Module, args: tuple, output: Any) -> None:
            if _is_several(output):
                names.add(name)

        with torch.no_grad(), ExitStack() as hooks:
            for name, module in self.network.named_modules():
                hooks.enter_context(module.register_forward_hook(partial(note, name)))
            self.logits(self.probe())
        return names

    @contextmanager
    def _at(self, layer: str, replaced: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
        def act(module: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
            return replaced(output)

        with self.layer(layer).register_forward_hook(act):
            yield


class FirstOfSeveral:
    """A module that gives a tuple, for hooks: they see its first tensor and may put another there."""

    def __init__(self, module: nn.Module):
        self._module = module

    def register_forward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        def on_first(module: nn.Module, args: tuple, outputs: tuple) -> tuple | None:
            first = hook(module, args, outputs[0])
            return None if first is None else (first, *outputs[1:])

        return self._module.register_forward_hook(on_first)


def _is_several(output: Any) -> bool:
    return isinstance(output, tuple) and len(output) > 0 and isinstance(output[0], Tensor)


def logits_of(output: Any, arch: str) -> Logits:
    """The logits in what a network gives: a tensor, an object or a mapping that has logits, or the first of a tuple."""
    if isinstance(output, Mapping):
        output = output.get("logits")
    elif not isinstance(output, Tensor):
        output = getattr(output, "logits", output)
    if isinstance(output, Sequence) and not isinstance(output, str) and output:
        output = output[0]
    if not isinstance(output, Tensor) or output.ndim != 2:
        got = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"{arch}: a classifier must give logits (images, classes), got {got}; wrap it in a module that does"
        )
    return output
