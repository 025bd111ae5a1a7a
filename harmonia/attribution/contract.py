"""What an attribution method is given and what it gives back.

A method is a frozen dataclass of its hyperparameters; calling it explains a batch. It sees a callable
model and tensors, never configurations, files or names of architectures. Adding one takes a module here
and a yaml in conf/method.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from harmonia.attribution.passes import BatchSize, in_passes
from harmonia.shapes import Images, Labels, Logits, Maps

ChooseLabels = Callable[[Logits, Tensor], Labels]  # (logits, positions in the batch) -> explained classes


class Model(Protocol):
    """The part of harmonia.models.classifier.Classifier that a method may use."""

    def __call__(self, images: Images) -> Logits: ...
    def layer(self, name: str) -> nn.Module: ...
    def layer_name(self, place: str) -> str: ...  # input, middle, final, normalised become a module's name, others stay
    def spatial(self, activations: Tensor) -> Tensor: ...
    def unspatial(self, maps: Tensor, like: Tensor) -> Tensor: ...  # the way back from spatial
    def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...


def voters_of(model: Model) -> "Sequence[Model]":
    """The networks that a joint source is made of; another model is one by itself."""
    return getattr(model, "voters", None) or (model,)


def joint_logits(logits_BVK: Tensor) -> Logits:
    """The prediction of V networks together, (B, K): the mean of their log-probabilities; of one its own logits."""
    return logits_BVK[:, 0] if logits_BVK.shape[1] == 1 else logits_BVK.log_softmax(-1).mean(1)


@dataclass(frozen=True, kw_only=True)
class Backgrounds:
    """Which other real images a method asks for; they, the pool and the seed are part of its maps' key."""

    random_crops: bool = False  # each cropped and flipped at random, once, as for training; else in the source's view
    any_class: bool = False  # also of the explained class; else never


@dataclass(frozen=True, kw_only=True)
class Request:
    """Images to explain. ``pixels`` are uint8 on the CPU: a whole shard, which the method divides as it likes."""

    model: Model
    pixels: Tensor  # B 3 H W, uint8, the source's view
    choose_labels: ChooseLabels
    # (positions, explained classes, steps, draws) -> other real images (B, R, 3, H, W) in [0, 1], drawn by counter;
    # None for the steps: images that are held out, which no step shows
    replacements: Callable[[Tensor, Labels, Tensor | None, int], Tensor]
    device: torch.device
    batch_size: BatchSize  # inputs (images, mosaics or composites) that go through the model at once
    positions: Tensor  # B, where each image stands in the caller's batch
    image_keys: np.ndarray  # B, uint64: the images' numbers for whatever is drawn for them (harmonia.draws)
    on_progress: Callable[[float], None]  # images finished since the last call; fractions are fine
    images_per_input: int = 1  # a mosaic is an input of several
    given: Callable[[Tensor], Maps] | None = None  # positions -> maps from elsewhere, of a method that has such

    def images(self) -> Images:
        return self.pixels.to(self.device).float() / 255

    @property
    def images_shown(self) -> int:
        """Without what fills up the pass."""
        return len(self.positions.unique())

    def take(self, rows: Tensor) -> "Request":
        """The same question about some of the images."""
        image_keys = self.image_keys[rows.numpy()]
        return replace(self, pixels=self.pixels[rows], positions=self.positions[rows], image_keys=image_keys)

    def pass_size(self, size: int, count: int) -> int:
        return self.batch_size.pass_size(size, self.device, self.images_per_input, count)

    def whole_passes(self, size: int) -> int:
        return self.batch_size.whole_passes(size, self.device, self.images_per_input)

    def in_batches(self, compute: Callable[["Request"], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Tensors with one entry an image, computed in micro-batches and joined.

        On a CPU all micro-batches have the size of a pass, the last one filled up: a result is the same bit for bit
        wherever its image stands, and whatever the batch size.
        """
        parts: list[tuple[Tensor, ...]] = []
        count, first = len(self.pixels), 0

        def attempt(size: int) -> tuple[Tensor, ...]:
            slots = self.pass_size(size, count - first)
            rows = torch.arange(first, min(first + slots, count))
            return in_passes(lambda filled: compute(self.take(filled)), rows, slots)

        while first < count:
            parts.append(self.batch_size.fit(attempt))
            first += len(parts[-1][0])
        return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))

    def explain(self, compute: Callable[["Request"], tuple[Maps, Logits, Labels, int]]) -> "Explanation":
        """From what compute gives of a micro-batch: maps, logits, explained classes and network passes of an image.

        compute may tell its progress, up to the images of the micro-batch; what it leaves out is within behind it.
        """

        def of_part(part: "Request") -> tuple[Tensor, ...]:
            progress, images = 0.0, 0

            def advance(more: float) -> None:
                nonlocal progress
                progress += more
                self.on_progress(more)

            try:
                maps, logits, labels, passes = compute(replace(part, on_progress=advance))
                images = part.images_shown
            finally:
                self.on_progress(images - progress)  # takes back what an attempt told that did not fit into memory
            return maps.float(), logits, labels, torch.full_like(labels, passes)

        maps, logits, labels, passes = (tensor.cpu() for tensor in self.in_batches(of_part))
        return Explanation.of(maps, logits, labels, passes)


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Raw signed maps and what was learned on the way; every field has one entry per image, on the CPU."""

    maps: Maps  # B h w, at the resolution that the method really has
    explained: Labels
    predicted: Labels
    p_explained: Tensor  # the model's probability of the explained class on the whole image
    passes: Tensor  # network passes spent: forward, or forward and backward, of one input
    converged: Tensor  # bool; True where there is nothing to converge
    facts: dict[str, Tensor] = field(default_factory=dict)  # what else the method learned, for the index of the maps

    @classmethod
    def of(cls, maps: Maps, logits: Logits, labels: Labels, passes: Tensor) -> "Explanation":
        """From the logits of whole images, where there is nothing to converge."""
        return cls(
            maps=maps,
            explained=labels,
            predicted=logits.argmax(1),
            p_explained=logits.softmax(1).gather(1, labels[:, None])[:, 0],
            passes=passes,
            converged=torch.ones_like(labels, dtype=torch.bool),
        )


class PartByPart:
    """A method that explains the images of each micro-batch by themselves.

    A subclass says what Attribution asks of it in its head: class Mine(PartByPart, version=1, normalise="minmax").
    """

    version: ClassVar[int]
    normalise: ClassVar[str]
    backgrounds: ClassVar[Backgrounds | None] = None

    def __init_subclass__(cls, version: int | None = None, normalise: str | None = None, auto: str | None = None):
        for name, value in (("version", version), ("normalise", normalise), ("auto", auto)):
            if value is not None:
                setattr(cls, name, value)

    def explain(self, part: Request) -> tuple[Maps, Logits, Labels, int]:
        """What Request.explain takes."""
        raise NotImplementedError

    def __call__(self, request: Request) -> Explanation:
        return request.explain(self.explain)


class Attribution(Protocol):
    version: ClassVar[int]  # raised whenever the arithmetic changes: it is part of a map's key

    @property
    def normalise(self) -> str: ...  # what brings these maps into [0, 1] unless told otherwise (features.normalise)

    @property
    def backgrounds(self) -> Backgrounds | None: ...  # None: the method needs no other images

    def __call__(self, request: Request) -> Explanation: ...
