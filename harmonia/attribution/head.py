"""The network behind a layer as a function of that layer's feature map.

ML-Att: S. Rao, M. Böhle, B. Schiele, "Towards Better Understanding Attribution Methods", CVPR 2022,
https://arxiv.org/abs/2205.10435: f = f_explain after f_pre, and a method explains f_explain with its features as input.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from harmonia.attribution.contract import Model, Request
from harmonia.attribution.layer import AtLayer, feeds_no_logits, spatial_of
from harmonia.errors import InputError
from harmonia.shapes import Images, Labels, Logits, Maps


class Head:
    """What stands behind a layer, for the images of one micro-batch.

    features: (B, C, h, w), float32; at the layer "input" the normalised image. A feature of 0 is absent. Tokens without
    a place (class token, registers) are held at the values they have.
    """

    def __init__(self, model: Model, layer: str, images: Images):
        self._model, self.layer, self._module, self._images = model, layer, model.layer(layer), images
        self._activations: Tensor | None = None
        self.on_pass: Callable[[], None] = lambda: None  # called before each pass behind the layer
        with torch.no_grad():
            self.logits = self._run(images, self._remember).detach()
        if self._activations is None:
            raise feeds_no_logits(layer)
        self.features = spatial_of(model, layer, self._activations, images).float()

    def __call__(self, features: Tensor, rows: Tensor) -> Logits:
        """Logits (b, K) of feature maps (b, C, h, w), the i-th put in the place of those of image rows[i]."""
        self.on_pass()
        # nothing but the layer's output is read behind it: any one image will do to get there
        images = self._images[:1] if self._feeds_all else self._images[rows]
        return self._run(images, lambda output: self._laid_out(features, rows))

    @property
    def own_passes(self) -> int:
        """The images' own, and inside the network the black ones' that tell what passes beside the layer."""
        return 1 if self.layer == "input" else 2

    def _laid_out(self, features: Tensor, rows: Tensor) -> Tensor:
        assert self._activations is not None
        like = self._activations.unflatten(0, (len(self._images), -1))[rows].flatten(0, 1)
        # a clone, because layers behind may work in place
        return self._model.unspatial(features, like).clone()

    def _remember(self, output: Any) -> None:
        self._activations = single_tensor(self.layer, output).detach().clone()

    def _run(self, images: Images, put: Callable[[Tensor], Tensor | None]) -> Logits:
        def stand_in(module: nn.Module, args: tuple, output: Any) -> Any:
            return put(output)

        with self._module.register_forward_hook(stand_in):
            return self._model(images)

    @cached_property
    def _feeds_all(self) -> bool:
        """Whether nothing of an image reaches the logits beside the layer: black images in front change nothing."""
        if self.layer == "input":  # all that the network is given
            return True
        rows = torch.arange(len(self._images), device=self._images.device)
        with torch.no_grad():
            black = self._run(torch.zeros_like(self._images), lambda like: self._laid_out(self.features.to(like), rows))
        return torch.equal(black, self.logits)


class StopAtLayer(Exception):
    """Ends a pass at a layer; its argument is the layer's output."""


def features_of(model: Model, layer: str, images: Images) -> Tensor:
    """A layer's feature maps (B, C, h, w), float32; what stands behind the layer does not run."""

    def end_pass(module: nn.Module, args: tuple, output: Any) -> None:
        raise StopAtLayer(output)

    try:
        with torch.no_grad(), model.layer(layer).register_forward_hook(end_pass):
            model(images)
    except StopAtLayer as stop:
        return spatial_of(model, layer, single_tensor(layer, stop.args[0]), images).float()
    raise feeds_no_logits(layer)


def single_tensor(layer: str, output: Any) -> Tensor:
    """A layer's output, if it is one tensor."""
    if not isinstance(output, Tensor):
        raise InputError(f"layer {layer!r} gives a {type(output).__name__} and no single tensor; choose another layer")
    return output


@dataclass(frozen=True)
class HeadBatch:
    """One micro-batch, the network behind its layer, and the classes to explain."""

    head: Head
    labels: Labels
    request: Request

    @property
    def rows(self) -> Tensor:
        return torch.arange(len(self.labels), device=self.labels.device)

    def score(self, features: Tensor) -> Tensor:
        """The logit of every image's class, (B,), for features in the place of its own."""
        return self.head(features, self.rows).gather(1, self.labels[:, None])[:, 0]

    def gradient(self, features: Tensor) -> Tensor:
        """The gradient of the class's logit at these features."""
        with torch.enable_grad():
            at = features.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.score(at).sum(), at, allow_unused=True)
        if gradient is None:
            raise feeds_no_logits(self.head.layer)
        return gradient


class FromHead(AtLayer):
    """A method that runs the network behind a layer many times."""

    def passes(self, head: Head) -> int:
        """Of each image."""
        raise NotImplementedError

    def maps(self, part: HeadBatch) -> Maps:
        raise NotImplementedError

    @torch.no_grad()
    def explain(self, part: Request) -> tuple[Maps, Logits, Labels, int]:
        head = Head(part.model, self.layer_of(part.model), part.images())
        labels, passes = part.choose_labels(head.logits, part.positions), self.passes(head)
        head.on_pass = lambda: part.on_progress(part.images_shown / passes)
        return self.maps(HeadBatch(head, labels, part)), head.logits, labels, passes
