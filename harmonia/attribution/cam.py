"""Class activation maps from one gradient: Grad-CAM, Grad-CAM++, HiResCAM, Layer-CAM.

R. Selvaraju, M. Cogswell, A. Das, R. Vedantam, D. Parikh, D. Batra, "Grad-CAM", ICCV 2017, https://arxiv.org/abs/1610.02391;
A. Chattopadhay, A. Sarkar, P. Howlader, V. Balasubramanian, "Grad-CAM++", WACV 2018, https://arxiv.org/abs/1710.11063;
R. Draelos, L. Carin, "Use HiResCAM instead of Grad-CAM", 2020, https://arxiv.org/abs/2011.08891;
P.-T. Jiang, C.-B. Zhang, Q. Hou, M.-M. Cheng, Y. Wei, "LayerCAM", IEEE TIP 2021.
Maps are kept before the papers' ReLU: clipping belongs to the normalisation.
"""

import torch

from harmonia.attribution.layer import ClassGradient, FromGradient, features_x_gradient, refuse_vanishing
from harmonia.shapes import Maps


class GradCAM(FromGradient, version=1, normalise="positive_minmax", auto="final"):
    """Channels weighted by the spatial mean of the class score's gradient, summed (eq. 1-2)."""

    def maps(self, at_layer: ClassGradient) -> Maps:
        weights_BC11 = at_layer.gradients.mean((2, 3), keepdim=True)
        return (weights_BC11 * at_layer.features).sum(1).float()


class GradCAMPlusPlus(FromGradient, version=2, normalise="positive_minmax", auto="final"):
    """Channels weighted by their positive gradients, each position by alpha (eq. 19), summed.

    Of the exponential of the score, whose constant factor an image is left out. Where g > 0,
    alpha = g^2 / (2 g^2 + sum(relu(A)) g^3) in (0, 1/2]; elsewhere its factor relu(g) is 0. Features are clipped at 0
    in it: the paper's stand behind a ReLU, and signed ones give alpha a pole. pytorch-grad-cam adds 1e-6 below, which
    outweighs the g^2 of a layer of 7 x 7 positions; nothing is added here.
    """

    def maps(self, at_layer: ClassGradient) -> Maps:
        features, gradients = at_layer.features.double(), at_layer.gradients.double()
        below = 2 + features.relu().sum((2, 3), keepdim=True) * gradients  # g^2 cancels
        alpha = torch.where(gradients > 0, 1 / below, 0.0)
        weights_BC11 = (alpha * gradients.relu()).sum((2, 3), keepdim=True)
        return (weights_BC11 * features).sum(1).float()


class HiResCAM(FromGradient, version=2, normalise="positive_minmax", auto="normalised"):
    """Features times gradients, summed over channels."""

    def maps(self, at_layer: ClassGradient) -> Maps:
        return features_x_gradient(at_layer)


class LayerCAM(FromGradient, version=2, normalise="positive_minmax", auto="normalised"):
    """Features times positive gradients, summed over channels (eq. 6-8)."""

    def maps(self, at_layer: ClassGradient) -> Maps:
        refuse_vanishing(at_layer.features * at_layer.gradients)
        return (at_layer.features * at_layer.gradients.relu()).sum(1)
