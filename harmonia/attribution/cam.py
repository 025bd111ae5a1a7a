"""Class activation maps from one gradient: Grad-CAM++, HiResCAM, Layer-CAM. Kept before their ReLU, as Grad-CAM's.

A. Chattopadhay, A. Sarkar, P. Howlader, V. Balasubramanian, "Grad-CAM++", WACV 2018, https://arxiv.org/abs/1710.11063;
R. Draelos, L. Carin, "Use HiResCAM instead of Grad-CAM", 2020, https://arxiv.org/abs/2011.08891;
P.-T. Jiang, C.-B. Zhang, Q. Hou, M.-M. Cheng, Y. Wei, "LayerCAM", IEEE TIP 2021.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from harmonia.attribution.contract import Explanation, Request
from harmonia.attribution.layer import (
    AtLayer,
    ClassGradient,
    features_x_gradient,
    maps_from_gradient,
    refuse_vanishing,
)
from harmonia.shapes import Maps


@dataclass(frozen=True, kw_only=True)
class GradCAMPlusPlus(AtLayer):
    """Channels weighted by their positive gradients, each position by alpha (eq. 19), summed.

    In alpha features are clipped at 0: the paper's stand behind a ReLU, and signed ones give alpha a pole.
    """

    version: ClassVar[int] = 2
    backgrounds: ClassVar[None] = None
    normalise: ClassVar[str] = "positive_minmax"
    auto: ClassVar[str] = "final"

    def __call__(self, request: Request) -> Explanation:
        return maps_from_gradient(request, self.layer_of(request.model), plus_plus)


@dataclass(frozen=True, kw_only=True)
class HiResCAM(AtLayer):
    """Features times gradients, summed over channels."""

    version: ClassVar[int] = 2
    backgrounds: ClassVar[None] = None
    normalise: ClassVar[str] = "positive_minmax"
    auto: ClassVar[str] = "normalised"

    def __call__(self, request: Request) -> Explanation:
        return maps_from_gradient(request, self.layer_of(request.model), features_x_gradient)


@dataclass(frozen=True, kw_only=True)
class LayerCAM(AtLayer):
    """Features times positive gradients, summed over channels (eq. 6-8)."""

    version: ClassVar[int] = 2
    backgrounds: ClassVar[None] = None
    normalise: ClassVar[str] = "positive_minmax"
    auto: ClassVar[str] = "normalised"

    def __call__(self, request: Request) -> Explanation:
        return maps_from_gradient(request, self.layer_of(request.model), positive_gradients)


def positive_gradients(at_layer: ClassGradient) -> Maps:
    """Layer-CAM's raw maps."""
    refuse_vanishing(at_layer.features * at_layer.gradients)
    return (at_layer.features * at_layer.gradients.relu()).sum(1)


def plus_plus(at_layer: ClassGradient) -> Maps:
    """Grad-CAM++ of the exponential of the score, whose constant factor an image is left out.

    alpha = g^2 / (2 g^2 + sum(relu(A)) g^3) where g > 0, elsewhere its factor relu(g) is 0; so it lies in (0, 1/2].
    pytorch-grad-cam adds 1e-6 below, which outweighs the g^2 of a layer of 7 x 7 positions; nothing is added here.
    """
    features, gradients = at_layer.features.double(), at_layer.gradients.double()
    below = 2 + features.relu().sum((2, 3), keepdim=True) * gradients  # g^2 cancels
    alpha = torch.where(gradients > 0, 1 / below, 0.0)
    weights_BC11 = (alpha * gradients.relu()).sum((2, 3), keepdim=True)
    return (weights_BC11 * features).sum(1).float()
