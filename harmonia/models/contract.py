"""What a kind of network gives: a module here with a function build, and how its networks are taken apart."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from harmonia.errors import InputError, refused
from harmonia.shapes import Images, Logits, Size, fits, sides

MIDDLE_STRIDE = 8


class Structure:
    """The parts of a network, the places in it, and how its activations lie; images are normalised, (B, C, H, W)."""

    def __init__(self, network: nn.Module, arch: str, size: Size, channels: int = 3):
        """arch: what messages call it; size: of its images in pixels."""
        self.network: Any = network
        self.arch = arch
        self.height, self.width = sides(size)
        self.channels = channels

    @property
    def representation_size(self) -> int:
        """D of the penultimate representation."""
        raise NotImplementedError

    def logits(self, images: Images) -> Logits:
        return self.network(images)

    def features(self, images: Images) -> Tensor:
        """The last activations before the head, as the network lays them out."""
        raise NotImplementedError

    def head(self, features: Tensor) -> Logits:
        """Logits of such activations; logits is head after features."""
        raise NotImplementedError

    def represent(self, images: Images) -> tuple[Logits, Tensor]:
        """The logits, bit for bit those of logits, and the penultimate representation (B, D), in one pass."""
        raise NotImplementedError

    @cached_property
    def final(self) -> str:
        """The module that gives the last feature map before pooling which the class still depends on."""
        raise NotImplementedError

    @cached_property
    def middle(self) -> str:
        """The module that gives the last feature map at an eighth of the image's size; of one resolution, the half."""
        raise NotImplementedError

    @cached_property
    def normalised(self) -> str:
        """final or, where its tokens' scale is normalised away, the normalisation."""
        raise NotImplementedError

    def spatial(self, activations: Tensor) -> Tensor:
        """Activations of a layer as (B, C, h, w), whatever way the network lays them out; keeps the graph."""
        if not isinstance(activations, Tensor):
            raise InputError(f"{self.arch} gives several feature maps there; choose a layer that gives one")
        if activations.ndim == 4:
            return activations.permute(0, 3, 1, 2) if self.channels_last(activations) else activations
        if activations.ndim == 3:
            patches = activations[:, self.prefix_tokens(activations.shape[1]) :]
            grid, order = self.token_grid(patches.shape[1]), self.token_order(patches.shape[1])
            rows = patches if order is None else patches[:, order.to(patches.device)]
            return rows.transpose(1, 2).unflatten(2, grid)
        raise InputError(
            f"a layer of {self.arch} gives a tensor of shape {tuple(activations.shape)}, which has no image axes; "
            "choose an earlier layer"
        )

    def unspatial(self, maps: Tensor, like: Tensor) -> Tensor:
        """Maps (B, C, h, w) in the layout of a layer's activations, the way back from spatial; keeps the graph.

        Tokens without a place (class token, registers) keep the values they have in ``like``.
        """
        if like.ndim == 4:
            return maps.permute(0, 2, 3, 1) if self.channels_last(like) else maps
        prefix = like[:, : self.prefix_tokens(like.shape[1])]
        rows = maps.flatten(2).mT
        order = self.token_order(rows.shape[1])
        patches = rows if order is None else rows[:, order.argsort().to(rows.device)]
        return torch.cat([prefix.to(maps), patches], 1)

    def channels_last(self, activations: Tensor) -> bool:
        """Whether activations with four axes are (B, h, w, C)."""
        raise NotImplementedError

    def prefix_tokens(self, tokens: int) -> int:
        """How many of them stand before the patches: class token, registers."""
        raise NotImplementedError

    def token_grid(self, tokens: int) -> tuple[int, int]:
        """Rows and columns of so many patches."""
        grid = self.grid_of(tokens)
        if grid is None:
            raise InputError(f"{tokens} tokens of {self.arch} do not form {self.grid_in_words}; choose another layer")
        return grid

    def grid_of(self, tokens: int) -> tuple[int, int] | None:
        """Rows and columns in the ratio of the image's sides; None where so many do not fill such a grid."""
        shared = math.gcd(self.height, self.width)
        rows, columns = self.height // shared, self.width // shared
        times = math.isqrt(tokens // (rows * columns))
        return (rows * times, columns * times) if rows * columns * times**2 == tokens > 0 else None

    @property
    def grid_in_words(self) -> str:
        """What the patches of its images form."""
        return "a square grid" if self.height == self.width else f"a grid in the ratio {self.height} : {self.width}"

    def axes_in_aspect(self, shape: Sequence[int]) -> tuple[bool, bool]:
        """Whether of four axes the middle two may be rows and columns of its images, and whether the last two."""
        if len(shape) != 4:
            return False, False
        _, first, second, third = shape
        size = self.height, self.width
        return fits((first, second), size), fits((second, third), size)

    def token_order(self, tokens: int) -> Tensor | None:
        """Of so many patches those in the order of the image, row by row; None where they stand so."""
        return None

    def layer(self, name: str) -> Any:
        """A module by its dotted name, or what stands for it where its output is hooked."""
        return self.network.get_submodule(name)

    def map_in(self, output: Any) -> Any:
        """Of what a module gives that which may be a feature map."""
        return output

    def check_place(self, layer: str) -> None:
        """InputError where a layer's map does not lie as the image does, as far as the kind can tell."""

    def describe(self) -> str:
        """What was found by looking, in words; nothing where the kind knows its networks."""
        return ""

    def tried(self) -> AbstractContextManager[None]:
        """What fails in it while a probe goes through is refused in one line."""
        shape = f"images (B, {self.channels}, {self.height}, {self.width})"
        return refused(f"{self.arch}: the network must take {shape}, got", "mend it")

    def outputs(self) -> int:
        """How many logits an image has, as a probe of two images shows."""
        with self.tried(), torch.no_grad():
            logits = self.logits(self.probe().repeat(2, 1, 1, 1))
        if logits.ndim != 2 or len(logits) != 2:
            rule = "a classifier must give logits (images, classes)"
            raise InputError(f"{self.arch}: {rule}, got {tuple(logits.shape)} for two images; mend its forward")
        if logits.layout != torch.strided or logits.is_complex():
            raise InputError(
                f"{self.arch}: logits must be plain real numbers, got {logits.layout}, {logits.dtype}; mend it"
            )
        if (logits[0] - logits[1]).abs().max() > 1e-4 * logits.abs().max():  # rounding leaves 1e-6; NaN are found later
            rule = "a classifier in evaluation mode must answer one image one way, got two answers"
            raise InputError(f"{self.arch}: {rule}; take out what draws at random, as F.dropout without training=")
        return logits.shape[1]

    def probe(self) -> Images:
        """Noise: before one colour all tokens of a network without position embeddings are the same."""
        generator = torch.Generator().manual_seed(0)
        device = next((tensor.device for tensor in self.network.parameters()), torch.device("cpu"))
        return torch.randn(1, self.channels, self.height, self.width, generator=generator).to(device)


@dataclass(frozen=True, kw_only=True)
class Built:
    """A network with its weights, and what is known of it."""

    network: nn.Module
    arch: str  # its name in keys; of networks that share a class it tells them apart
    structure: Callable[..., Structure]  # of the network, its name, its images' size and channels
    transform: Mapping[str, Any]  # of harmonia.data.view.View
    num_classes: int
    channels: int | None = None  # of its images, where the kind knows without looking
    facts: Mapping[str, Any] = field(default_factory=dict)  # what else tells it from others, for keys
    classes: tuple[str, ...] | None = None  # where the weights come with names of their own
