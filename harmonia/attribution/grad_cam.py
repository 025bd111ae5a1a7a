"""Grad-CAM.

R. Selvaraju, M. Cogswell, A. Das, R. Vedantam, D. Parikh, D. Batra, "Grad-CAM: Visual Explanations from
Deep Networks via Gradient-based Localization", ICCV 2017, https://arxiv.org/abs/1610.02391, equations 1 and 2.
The map is kept before the paper's ReLU: clipping belongs to the normalisation.
"""

from dataclasses import dataclass
from typing import ClassVar

from harmonia.attribution.contract import Explanation, Request
from harmonia.attribution.layer import AtLayer, ClassGradient, maps_from_gradient
from harmonia.shapes import Maps


@dataclass(frozen=True, kw_only=True)
class GradCAM(AtLayer):
    """Channels of one layer, weighted by the spatial mean of the class score's gradient, summed (eq. 1-2).

    Only the part of the network behind the layer is differentiated.
    """

    version: ClassVar[int] = 1
    backgrounds: ClassVar[None] = None
    normalise: ClassVar[str] = "positive_minmax"
    auto: ClassVar[str] = "final"

    def __call__(self, request: Request) -> Explanation:
        return maps_from_gradient(request, self.layer_of(request.model), weighted_channels)


def weighted_channels(at_layer: ClassGradient) -> Maps:
    """Grad-CAM's raw maps."""
    weights_BC11 = at_layer.gradients.mean((2, 3), keepdim=True)
    return (weights_BC11 * at_layer.features).sum(1).float()
