"""What methods share that look at a layer: which one, its feature maps, the gradient there, and whether it cancels."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from harmonia.attribution.contract import Model, PartByPart, Request
from harmonia.errors import InputError
from harmonia.shapes import Labels, Logits, Maps, fits

# shares left (uncancelled); float32 and a normalisation's epsilon leave 1e-7 to 1e-5, channels that do not cancel 1e-2
CANCELLED = 1e-4  # below, a layer is taken for one in front of a normalisation
VANISHED = 1e-5  # below, a map of what is left would be rounding


@dataclass(frozen=True, kw_only=True)
class AtLayer(PartByPart):
    """A method that looks at one layer."""

    auto: ClassVar[str]  # the place that layer="auto" stands for

    layer: str = "auto"  # input, middle, final, normalised, or a module's name

    def layer_of(self, model: Model) -> str:
        """The module's name."""
        return model.layer_name(self.auto if self.layer == "auto" else self.layer)


@dataclass(frozen=True)
class ClassGradient:
    """A layer's feature maps and the explained class's gradient there, both (B, C, h, w), after one pass."""

    features: Tensor
    gradients: Tensor
    logits: Logits
    labels: Labels


class FromGradient(AtLayer):
    """A method whose maps follow from a layer's feature maps and the class's gradient there: one pass an image."""

    def maps(self, at_layer: ClassGradient) -> Maps:
        raise NotImplementedError

    def explain(self, part: Request) -> tuple[Maps, Logits, Labels, int]:
        at_layer = class_gradient(part, self.layer_of(part.model))
        return self.maps(at_layer), at_layer.logits, at_layer.labels, 1


def class_gradient(request: Request, layer: str) -> ClassGradient:
    """Of one micro-batch, on its device; only the part of the network behind the layer is differentiated."""
    model = request.model
    with torch.no_grad(), graph_behind(model.layer(layer)) as outputs:
        logits = model(request.images())
        labels = request.choose_labels(logits.detach(), request.positions)
        if not outputs or not logits.requires_grad:
            raise feeds_no_logits(layer)
        score = logits.gather(1, labels[:, None]).sum()
        (gradients,) = torch.autograd.grad(score, outputs[-1], allow_unused=True)
    if gradients is None:  # parameters that are not frozen give the logits a graph of their own
        raise feeds_no_logits(layer)
    features_BChw = spatial_of(model, layer, outputs[-1].detach(), request.pixels)
    return ClassGradient(features_BChw, model.spatial(gradients), logits.detach(), labels)


@contextmanager
def graph_behind(layer: nn.Module) -> Iterator[list[Tensor]]:
    """The layer's outputs; forward passes inside record a graph from them on, and none before.

    To be entered under no_grad, which also ends the recording; the layer's hook is removed on the way out.
    """
    outputs: list[Tensor] = []

    def start_graph(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        if not isinstance(output, Tensor):
            raise InputError(f"a {type(module).__name__} gives no single tensor; choose another layer for the map")
        outputs.append(output.detach().requires_grad_())
        torch.set_grad_enabled(True)
        # a clone, because layers behind may work in place and a leaf does not allow it
        return outputs[-1].clone()

    with layer.register_forward_hook(start_graph):
        yield outputs


def feeds_no_logits(layer: str) -> InputError:
    return InputError(f"layer {layer!r} does not feed the logits; choose a layer on the way from image to classes")


def spatial_of(model: Model, layer: str, activations: Tensor, images: Tensor) -> Tensor:
    """A layer's activations as feature maps of the images' (B, 3, H, W) aspect, one each, (B, C, h, w)."""
    maps_BChw = model.spatial(activations)
    if len(maps_BChw) != len(images):
        raise InputError(
            f"layer {layer!r} gives {len(maps_BChw)} maps for {len(images)} images; "
            "choose a layer that keeps one map an image, not windows or heads"
        )
    (h, w), (height, width) = maps_BChw.shape[-2:], images.shape[-2:]
    if not fits((h, w), (height, width)):
        image = "a square image" if height == width else f"an image of {height} x {width}"
        raise InputError(
            f"layer {layer!r} gives maps of {h} x {w} for {image}: their axes are not those of the "
            "network's feature maps; choose another layer"
        )
    return maps_BChw


def features_x_gradient(at_layer: ClassGradient) -> Maps:
    """Sum over channels of features times gradients."""
    products = at_layer.features * at_layer.gradients
    refuse_vanishing(products)
    return products.sum(1)


def refuse_vanishing(contributions_BChw: Tensor) -> None:
    """InputError where what the channels contribute cancels at nearly every position: what is left is rounding.

    So it is in front of a normalisation of each position, which takes no notice of scale (Euler's theorem).
    """
    share = uncancelled(contributions_BChw, 1)
    if contributions_BChw.shape[1] > 1 and (share < VANISHED).any():
        raise InputError(
            "layer: features times gradients cancel at every position here, since the network normalises them next "
            f"(share left {share.nan_to_num(torch.inf).min():.0e}); take the layer behind the normalisation, "
            "layer=normalised in a ViT, or method=gc"
        )


def uncancelled(contributions: Tensor, channels: int) -> Tensor:
    """What is left of contributions summed over channels, as a share of their magnitudes; float64 (B,).

    0.95 of the positions have no more: where all magnitudes are next to nothing, their rounding is not. NaN without any
    contribution.
    """
    left = contributions.sum(channels).abs() / contributions.abs().sum(channels)
    return left.flatten(1).double().nanquantile(0.95, dim=1)
