"""What an attribution method is given and what it gives back.

A method is a frozen dataclass of its hyperparameters; calling it explains a batch. It sees a callable
model and tensors, never configurations, files or names of architectures. Adding one takes a module here
and a yaml in conf/method.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from harmonia.shapes import Images, Labels, Logits, Maps


class Model(Protocol):
    """The part of harmonia.models.Classifier that a method may use."""

    def __call__(self, images: Images) -> Logits: ...
    def layer(self, name: str) -> nn.Module: ...
    def default_layer(self) -> str: ...
    def spatial(self, activations: Tensor) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class Request:
    """Images to explain. ``pixels`` are uint8 on the CPU, so that a whole shard fits in memory."""

    model: Model
    pixels: Tensor  # B 3 H W, uint8, the source's view
    choose_labels: Callable[[Logits, Tensor], Labels]  # (logits, positions in the batch) -> explained classes
    # (positions, explained classes, step, draws) -> other real images (B, R, 3, H, W) in [0, 1], drawn by counter
    replacements: Callable[[Tensor, Labels, int, int], Images]
    device: torch.device
    batch_size: int  # images, or composites, that go through the model at once
    positions: Tensor  # B, where each image stands in the caller's batch
    on_progress: Callable[[float], None]  # images finished since the last call; fractions are fine

    def images(self) -> Images:
        return self.pixels.to(self.device).float() / 255

    def split(self, size: int) -> Iterator["Request"]:
        """Micro-batches of at most ``size`` images."""
        for pixels, positions in zip(self.pixels.split(size), self.positions.split(size), strict=True):
            yield replace(self, pixels=pixels, positions=positions)


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Raw signed maps and what was learned on the way; every field has one entry per image, on the CPU."""

    maps: Maps  # B h w, at the resolution that the method really has
    explained: Labels
    predicted: Labels
    p_explained: Tensor  # the model's probability of the explained class on the whole image
    passes: Tensor  # network passes spent: forward, or forward and backward, of one input
    converged: Tensor  # bool; True where there is nothing to converge

    @staticmethod
    def join(parts: list["Explanation"]) -> "Explanation":
        return Explanation(
            **{name: torch.cat([getattr(part, name) for part in parts]) for name in Explanation.__dataclass_fields__}
        )


class Attribution(Protocol):
    version: ClassVar[int]  # raised whenever the arithmetic changes: it is part of a map's key
    uses_replacements: ClassVar[bool]  # then the pool and the seed are part of the key too
    normalise: ClassVar[str]  # how harmonia.keep brings these maps into [0, 1] unless told otherwise

    def __call__(self, request: Request) -> Explanation: ...
