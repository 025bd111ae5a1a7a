"""How a network of unknown build is taken apart: by looking, with hooks, at what a probe does in it."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from harmonia.attribution.layer import CANCELLED, uncancelled
from harmonia.errors import InputError
from harmonia.models.contract import MIDDLE_STRIDE, Structure
from harmonia.shapes import Images, Logits

MOST_PREFIX_TOKENS = 16  # class tokens and registers
IN_PLACE = 0.3  # share of a change that must lie in the quarter that changed; of scrambled tokens it is 0.25
_NOT_THE_NETWORK = {"transformers_version", "_name_or_path", "id2label", "label2id", "dtype", "torch_dtype"}
_PLAIN = (bool, int, float, str, type(None))

Reshape = Callable[[Tensor], Tensor]  # a layer's activations -> (B, C, h, w)


@dataclass(frozen=True)
class FeatureMap:
    """What a module gave that lies in the image, while the probe went through."""

    name: str
    shape: tuple[int, ...]  # as the network lays it out
    side: int  # cells
    is_read: bool  # whether what represents the image depends on any of its places
    cancels: bool  # whether features times gradients sum to 0 at every place (harmonia.attribution.layer)


class FoundStructure(Structure):
    """Places are found by looking; where that fails, a layer's name and a function that reshapes say it."""

    def __init__(self, network: nn.Module, arch: str, size: int, channels: int = 3, reshape: Reshape | None = None):
        super().__init__(network, arch, size, channels)
        self._reshape = reshape
        self._mostly_channels_last = False  # where axes do not tell; known once a probe has gone through

    @property
    def representation_size(self) -> int:
        return self.represent(self.probe())[1].shape[1]

    def logits(self, images: Images) -> Logits:
        return logits_of(self.network(images), self.arch)

    def features(self, images: Images) -> Tensor:
        outputs: list[Tensor] = []
        with self._at_final(lambda output: outputs.append(output)):
            self.logits(images)
        return outputs[-1]

    def head(self, features: Tensor) -> Logits:
        """The network on black images with the features in the place of its own."""
        if features.ndim != 4:
            raise InputError(f"{self.arch}: its head over tokens is not known; use evaluation=gridpg or difull")
        if not self._final_is_all:
            remedy = "use evaluation=gridpg or difull"
            raise InputError(f"{self.arch}: its logits must depend on layer {self.final!r} alone; {remedy}")
        return self._behind_final(features)

    def _behind_final(self, features: Tensor) -> Logits:
        black = torch.zeros(len(features), self.channels, self.size, self.size, device=features.device)
        with self._at_final(lambda output: features):
            return self.logits(black)

    @cached_property
    def _final_is_all(self) -> bool:
        """Whether nothing of an image reaches the logits beside the final layer."""
        with torch.no_grad():
            return torch.allclose(self._behind_final(self.features(self.probe())), self.logits(self.probe()))

    def represent(self, images: Images) -> tuple[Logits, Tensor]:
        read: list[Tensor] = []
        with self._module(self.last_layer).register_forward_pre_hook(lambda module, args: read.append(args[0])):
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
        """The last feature map that the class depends on: of a chain of equal blocks the last such block's.

        So of a ViT with a class token the last block but one: behind the last block nobody reads the patches.
        """
        maps = self._feature_maps
        chain = [each for each in maps if each.name in self._blocks]
        read = [each for each in chain or maps if each.is_read]
        if not read:
            raise self._nothing_found()
        if len(read[-1].shape) == 3:
            self._check_place(read[-1].name)
        return read[-1].name

    @cached_property
    def middle(self) -> str:
        """Of the maps nearest to an eighth of the image's side the outermost module's, the last of them."""
        maps = [each for each in self._feature_maps if each.is_read]
        blocks = [each for each in maps if each.name in self._blocks]
        if blocks:  # one resolution: the output of the first half
            return blocks[(len(blocks) - 1) // 2].name
        if not maps:
            raise self._nothing_found()

        def order(each: FeatureMap) -> tuple[float, int]:
            return abs(each.side - self.size / MIDDLE_STRIDE), each.name.count(".")

        return min(reversed(maps), key=order).name

    @cached_property
    def normalised(self) -> str:
        maps = self._feature_maps
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
        """By its equal axes, every view being square; where all three are equal, as most of the network has it."""
        first, last = _equal_axes(activations.shape)
        return first and (not last or self._mostly_channels_last)

    def prefix_tokens(self, tokens: int) -> int:
        side = int(tokens**0.5)
        spare = tokens - side * side
        if side < 2 or spare > MOST_PREFIX_TOKENS:
            raise InputError(
                f"{tokens} tokens of {self.arch} do not form a square grid; give another layer or a reshape"
            )
        return spare

    def describe(self) -> str:
        parts = []
        for place in ("final", "middle"):
            try:
                parts.append(f"{place} layer {getattr(self, place)}")
            except InputError as error:  # a target needs none
                parts.append(str(error))
        return "; ".join([*parts, f"representation in front of {self.last_layer}"])

    @cached_property
    def _feature_maps(self) -> list[FeatureMap]:
        """In the order in which their modules end; a pooling's is one of the module before it."""
        outputs: dict[str, Tensor] = {}

        def keep(name: str, module: nn.Module, args: tuple, output: Any) -> None:
            if isinstance(output, Tensor) and output.requires_grad:
                outputs.pop(name, None)  # the last call counts
                outputs[name] = output

        with ExitStack() as hooks, torch.enable_grad():
            for name, module in self.network.named_modules():
                if name and not re.search("Pool|Dropout|Identity", type(module).__name__):
                    hooks.enter_context(module.register_forward_hook(partial(keep, name)))
            representation = self.represent(self.probe().requires_grad_())[1]
            weights = torch.randn(representation.shape[1], generator=torch.Generator().manual_seed(1))
            score = (representation @ weights.to(representation)).sum()
        gradients = torch.autograd.grad(score, list(outputs.values()), allow_unused=True) if outputs else ()
        certain = [
            first for first, last in map(_equal_axes, (each.shape for each in outputs.values())) if first != last
        ]
        self._mostly_channels_last = 2 * sum(certain) > len(certain)
        found = zip(outputs.items(), gradients, strict=True)
        maps = (self._feature_map(name, output.detach(), gradient) for (name, output), gradient in found)
        return [each for each in maps if each is not None]

    def _feature_map(self, name: str, output: Tensor, gradient: Tensor | None) -> FeatureMap | None:
        """None where the output does not lie in the image, or has one place."""
        try:
            spatial = self.spatial(output)
        except (InputError, RuntimeError, IndexError, ValueError):
            return None
        if spatial.ndim != 4 or len(spatial) > 1 or not spatial.shape[2] == spatial.shape[3] > 1:
            return None
        read = gradient is not None and bool(self.spatial(gradient).any())
        products = spatial if gradient is None else self.spatial(output * gradient)
        cancels = read and bool((uncancelled(products.double(), 1) < CANCELLED).all())
        return FeatureMap(name, tuple(output.shape), spatial.shape[2], read, cancels)

    @cached_property
    def _blocks(self) -> set[str]:
        """Names of the longest chain of modules of one class in a list whose feature maps are tokens of one shape."""
        chains: dict[tuple, list[str]] = {}
        for each in self._feature_maps:
            parent = each.name.rpartition(".")[0]
            if len(each.shape) == 3 and isinstance(self._module(parent), nn.Sequential | nn.ModuleList):
                chains.setdefault((parent, type(self._module(each.name)), each.shape), []).append(each.name)
        longest = max(chains.values(), key=len, default=[])
        return set(longest) if len(longest) > 1 else set()

    def _check_place(self, layer: str) -> None:
        """Refuses a layer whose map does not change where the image does: its tokens are in another order."""
        images = self.probe().repeat(5, 1, 1, 1)
        halves = [slice(None, self.size // 2), slice(self.size // 2, None)]
        for image, (rows, columns) in zip(images[1:], product(halves, halves), strict=True):
            image[:, rows, columns] = image[:, rows, columns].flip(1, 2)
        outputs: list[Tensor] = []
        with torch.no_grad(), self._module(layer).register_forward_hook(lambda *call: outputs.append(call[2])):
            self.logits(images)
        maps = self.spatial(outputs[-1]).float()
        change_44 = adaptive_avg_pool2d((maps[1:] - maps[:1]).abs().sum(1), 2).flatten(1)  # an image, a quarter
        share = (change_44.diagonal() / change_44.sum(1).clamp(min=1e-30)).mean().item()
        if share < IN_PLACE:
            raise InputError(
                f"{self.arch}: layer {layer!r} does not change where the image does ({share:.2f} of a change in "
                f"its own quarter, {IN_PLACE} are needed); give another layer, or source.reshape"
            )

    def _nothing_found(self) -> InputError:
        return InputError(f"{self.arch}: no feature map was found on the way to its logits; give layer=NAME")

    def _module(self, name: str) -> nn.Module:
        return self.network.get_submodule(name)

    @contextmanager
    def _at_final(self, replaced: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
        def act(module: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
            return replaced(output)

        with self._module(self.final).register_forward_hook(act):
            yield


def _equal_axes(shape: Sequence[int]) -> tuple[bool, bool]:
    """Whether of four axes the two in the middle are equal, and the last two."""
    return len(shape) == 4 and shape[1] == shape[2], len(shape) == 4 and shape[2] == shape[3]


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


def settings_of_modules(network: nn.Module) -> dict[str, Any]:
    """What a network is beside its numbers, as far as its modules say: classes and plain settings; JSON-able."""
    config: Any = getattr(network, "config", None)
    facts: dict[str, Any] = {}
    if hasattr(config, "to_dict"):  # of Hugging Face; without what names the file and the library
        entries = {key: value for key, value in config.to_dict().items() if key not in _NOT_THE_NETWORK}
        facts["config"] = json.loads(json.dumps(entries, sort_keys=True, default=str))
    for name, module in network.named_modules():
        settings = {key: value for key, value in vars(module).items() if key[0] != "_" and key != "training"}
        plain = {key: value for key, value in settings.items() if _is_plain(value)}
        facts[name] = [type(module).__name__, plain]
    return facts


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(isinstance(item, _PLAIN) for item in value)
    return isinstance(value, _PLAIN)
