"""Infidelity: how far a map is from foretelling what a perturbation does to the class's logit.

C.-K. Yeh, C.-Y. Hsieh, A. Suggala, D. Inouye, P. Ravikumar, "On the (In)fidelity and Sensitivity of Explanations",
NeurIPS 2019, https://arxiv.org/abs/1901.09392, definition 2.1 and, with the scale, Captum's ``normalize``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from harmonia.draws import Purpose, normal, uniform
from harmonia.errors import InputError, Seed, Within
from harmonia.evaluation.metrics.contract import ExplainedImages, Score, Scores
from harmonia.evaluation.metrics.perturbation import Baseline, Reading, baseline_of, drops, mean_and_std, passes_of

# (image (3, H, W), map (H, W), the image's key, number of the draw) -> the perturbed image, and the map's word for the
# drop: I times Phi
Perturb = Callable[[Tensor, Tensor, int, int], tuple[Tensor, Tensor]]


class Perturbation:
    def of(self, explained: ExplainedImages, seed: int) -> Perturb:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Square(Perturbation):
    """A square at a random place becomes the baseline; the map says its sum over the square.

    For maps that divide the class's logit among the pixels (the paper's square removal: I / (x - baseline) is 1 there).
    """

    side: Annotated[float, Within(1e-6, 1)] = 0.25  # of the view's shorter one
    baseline: Baseline = "zero"

    def of(self, explained: ExplainedImages, seed: int) -> Perturb:
        baseline = baseline_of(self.baseline, explained)

        def perturb(image: Tensor, phi: Tensor, key: int, draw: int) -> tuple[Tensor, Tensor]:
            side = max(1, round(self.side * min(phi.shape)))
            free = np.array(phi.shape) - side + 1
            top, left = (uniform(seed, key, Purpose.INFIDELITY + draw, np.arange(2)) * free).astype(int)
            place = (..., slice(top, top + side), slice(left, left + side))
            perturbed = image.clone()
            perturbed[place] = baseline(image)[place]
            return perturbed, phi[place].sum()

        return perturb


@dataclass(frozen=True, kw_only=True)
class Noise(Perturbation):
    """Gaussian noise, the same in all channels, is subtracted; the map says its inner product with the noise.

    For maps that say how the logit changes with the pixels (gradients).
    """

    sigma: Annotated[float, Within(1e-6, 1000)] = 0.1  # in units of the normalised image

    def of(self, explained: ExplainedImages, seed: int) -> Perturb:
        _, std = mean_and_std(explained)

        def perturb(image: Tensor, phi: Tensor, key: int, draw: int) -> tuple[Tensor, Tensor]:
            numbers = self.sigma * normal(seed, key, Purpose.INFIDELITY + draw, np.arange(phi.numel()))
            noise = torch.from_numpy(numbers).view_as(phi).to(phi)
            return image - (noise * std).to(image), (noise * phi).sum()

        return perturb


@dataclass(frozen=True, kw_only=True)
class Infidelity:
    """Mean of (beta I.Phi - (f(x) - f(x - I)))^2 over the draws: 0 or more, in squared logits.

    beta is the scale that fits best, so that methods whose maps have different units can be compared; it may be
    negative, so that a map and its negative have the same score. Without normalize it is 1.
    """

    version: ClassVar[int] = 1
    better: ClassVar[Mapping[str, str]] = {"infidelity": "lower"}

    perturbation: Perturbation = field(default_factory=Square)
    draws: Annotated[int, Within(1, 10**6)] = 32  # each costs a pass
    normalize: bool = True
    reading: Reading = "logit"
    seed: Seed = 0

    def __post_init__(self):
        if not isinstance(self.perturbation, Perturbation):
            got = type(self.perturbation).__name__
            raise InputError(f"evaluation.metric.perturbation must be Square or Noise, got {got}; name one as _target_")
        if self.normalize and self.draws == 1:  # of one draw some scale fits exactly
            raise InputError("evaluation.metric.draws must be at least 2, got 1; write evaluation.metric.draws=2")

    def __call__(self, explained: ExplainedImages) -> Scores:
        perturb = self.perturbation.of(explained, self.seed)
        products, fallen, of_images = drops(
            explained,
            self.reading,
            lambda image, phi, key: (perturb(image, phi, key, draw) for draw in range(self.draws)),
        )
        return Scores({"infidelity": Score.of(infidelity(products, fallen, self.normalize))}, passes_of(of_images))


def infidelity(foretold: Tensor, drops: Tensor, normalize: bool) -> Tensor:
    """(B,) from what a map says and what the model does, (B, draws) each; a map that says nothing has the scale 0."""
    if normalize:
        power = (foretold**2).mean(1, keepdim=True)
        foretold = foretold * torch.where(power > 0, (foretold * drops).mean(1, keepdim=True) / power, 0.0)
    return ((foretold - drops) ** 2).mean(1)
