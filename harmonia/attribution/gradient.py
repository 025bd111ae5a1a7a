"""Gradient, input x gradient and guided backpropagation: one pass each, at the image or at an inner layer.

K. Simonyan, A. Vedaldi, A. Zisserman, "Deep Inside Convolutional Networks", 2013, https://arxiv.org/abs/1312.6034;
A. Shrikumar, P. Greenside, A. Kundaje, "Not Just a Black Box", 2016, https://arxiv.org/abs/1605.01713;
J. Springenberg, A. Dosovitskiy, T. Brox, M. Riedmiller, "Striving for Simplicity", 2014, https://arxiv.org/abs/1412.6806.
Gradient and guided backpropagation take absolute values, then all sum over channels (Rao, Böhle, Schiele 2022).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from harmonia.attribution.contract import Explanation, Model, Request
from harmonia.attribution.layer import AtLayer, ClassGradient, features_x_gradient, maps_from_gradient
from harmonia.errors import InputError
from harmonia.shapes import Maps

RECTIFIERS = (nn.ReLU, nn.ReLU6)
GATES = (nn.Sigmoid, nn.Hardsigmoid, nn.Softmax)  # they weigh channels or tokens: their gradient passes as it is


@dataclass(frozen=True, kw_only=True)
class Gradient(AtLayer):
    """Sum over channels of the class score's absolute gradient. 0 or more: it knows no sign."""

    version: ClassVar[int] = 1
    backgrounds: ClassVar[None] = None
    normalise: ClassVar[str] = "percentile"
    auto: ClassVar[str] = "input"

    def __call__(self, request: Request) -> Explanation:
        return maps_from_gradient(request, self.layer_of(request.model), absolute_gradient)


@dataclass(frozen=True, kw_only=True)
class InputXGradient(AtLayer):
    """Sum over channels of features times the class score's gradient, against a reference of 0."""

    version: ClassVar[int] = 2
    backgrounds: ClassVar[None] = None
    normalise: ClassVar[str] = "percentile"
    auto: ClassVar[str] = "input"

    def __call__(self, request: Request) -> Explanation:
        return maps_from_gradient(request, self.layer_of(request.model), features_x_gradient)


@dataclass(frozen=True, kw_only=True)
class GuidedBackprop(AtLayer):
    """Sum over channels of the absolute gradient that passes a rectifier only where it is positive."""

    version: ClassVar[int] = 1
    backgrounds: ClassVar[None] = None
    normalise: ClassVar[str] = "percentile"
    auto: ClassVar[str] = "input"

    def __call__(self, request: Request) -> Explanation:
        with guided(request.model):
            return maps_from_gradient(request, self.layer_of(request.model), absolute_gradient)


def absolute_gradient(at_layer: ClassGradient) -> Maps:
    """Gradient's raw maps."""
    return at_layer.gradients.abs().sum(1)


@contextmanager
def guided(model: Model) -> Iterator[None]:
    """Inside, gradients pass ReLU and ReLU6 only where they are positive; another nonlinearity is refused by name."""
    rectifiers = []
    for name, module in model.named_modules():
        if isinstance(module, RECTIFIERS):
            rectifiers.append(module)
        elif is_activation(module) and not isinstance(module, GATES):
            raise InputError(
                f"guided backpropagation: module {name!r} is a {type(module).__name__}; the method is defined for ReLU "
                "and ReLU6 alone; use method=grad or another network"
            )
    if not rectifiers:
        raise InputError("guided backpropagation: the network has no ReLU module to guide; use method=grad")
    hooks = [module.register_forward_hook(lambda module, args, output: Guide.apply(output)) for module in rectifiers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def is_activation(module: nn.Module) -> bool:
    """Whether torch or timm keeps the module's class among its activations."""
    home = type(module).__module__
    return home == "torch.nn.modules.activation" or home.startswith("timm.layers.activations")


class Guide(torch.autograd.Function):
    """The identity, whose gradient loses its negative part."""

    @staticmethod
    def forward(ctx: Any, output: Tensor) -> Tensor:
        return output.clone()  # layers behind may work in place

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].clamp(min=0)
