"""Gradient, input x gradient and guided backpropagation: one pass each, at the image or at an inner layer.

K. Simonyan, A. Vedaldi, A. Zisserman, "Deep Inside Convolutional Networks", 2013, https://arxiv.org/abs/1312.6034;
A. Shrikumar, P. Greenside, A. Kundaje, "Not Just a Black Box", 2016, https://arxiv.org/abs/1605.01713;
J. Springenberg, A. Dosovitskiy, T. Brox, M. Riedmiller, "Striving for Simplicity", 2014, https://arxiv.org/abs/1412.6806.
Gradient and guided backpropagation take absolute values, then all sum over channels (Rao, Böhle, Schiele 2022).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from harmonia.attribution.contract import Explanation, Model, Request
from harmonia.attribution.layer import ClassGradient, FromGradient, features_x_gradient
from harmonia.errors import InputError
from harmonia.shapes import Maps

RECTIFIERS = (nn.ReLU, nn.ReLU6)
ACTIVATIONS = ("torch.nn.modules.activation", "timm.layers.activations")  # where their classes stand
GATES = (nn.Sigmoid, nn.Hardsigmoid, nn.Softmax)  # they weigh channels or tokens: their gradient passes as it is


class Gradient(FromGradient, version=1, normalise="percentile", auto="input"):
    """Sum over channels of the class score's absolute gradient. 0 or more: it knows no sign."""

    def maps(self, at_layer: ClassGradient) -> Maps:
        return at_layer.gradients.abs().sum(1)


class InputXGradient(FromGradient, version=2, normalise="percentile", auto="input"):
    """Sum over channels of features times the class score's gradient, against a reference of 0."""

    def maps(self, at_layer: ClassGradient) -> Maps:
        return features_x_gradient(at_layer)


class GuidedBackprop(Gradient, version=1):
    """The same where every rectifier lets its gradient through only where that is positive."""

    def __call__(self, request: Request) -> Explanation:
        with guided(request.model):
            return super().__call__(request)


@contextmanager
def guided(model: Model) -> Iterator[None]:
    """Inside, gradients pass ReLU and ReLU6 only where they are positive; another nonlinearity is refused by name."""
    rectifiers = []
    for name, module in model.named_modules():
        if isinstance(module, RECTIFIERS):
            rectifiers.append(module)
        elif type(module).__module__.startswith(ACTIVATIONS) and not isinstance(module, GATES):
            raise InputError(
                f"guided backpropagation: module {name!r} is a {type(module).__name__}; the method is defined for ReLU "
                "and ReLU6 alone; use method=grad or another network"
            )
    if not rectifiers:
        raise InputError("guided backpropagation: the network has no ReLU module to guide; use method=grad")
    with ExitStack() as hooks:
        for module in rectifiers:
            hooks.enter_context(module.register_forward_hook(lambda module, args, output: Guide.apply(output)))
        yield


class Guide(torch.autograd.Function):
    """The identity, whose gradient loses its negative part."""

    @staticmethod
    def forward(ctx: Any, output: Tensor) -> Tensor:
        return output.clone()  # layers behind may work in place

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].clamp(min=0)
