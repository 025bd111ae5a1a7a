"""Infidelity: how far a map is from foretelling what a perturbation does to the class's logit.

C.-K. Yeh, C.-Y. Hsieh, A. Suggala, D. Inouye, P. Ravikumar, "On the (In)fidelity and Sensitivity of Explanations",
NeurIPS 2019, https://arxiv.org/abs/1901.09392, definition 2.1 and, with the scale, Captum's ``normalize``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from harmonia.draws import Purpose, normal, uniform
from harmonia.errors import InputError
from harmonia.evaluation.metrics.baselines import Baseline, baseline_of
from harmonia.evaluation.metrics.contract import ExplainedImages, Scores
from harmonia.evaluation.metrics.perturbation import (
    Normalisation,
    Reading,
    answers,
    at_least,
    of_explained,
    passes_of,
    score,
)
from harmonia.features.areas import in_view

# (image (3, H, W), map (H, W), the image's key, number of the draw) -> the perturbed image, and the map's word for the
# drop: I times Phi
Perturb = Callable[[Tensor, Tensor, int, int], tuple[Tensor, Tensor]]


@runtime_checkable
class Perturbation(Protocol):
    def of(self, explained: ExplainedImages, seed: int) -> Perturb: ...


@dataclass(frozen=True, kw_only=True)
class Square:
    """A square at a random place becomes the baseline; the map says its sum over the square.

    For maps that divide the class's logit among the pixels (the paper's square removal: I / (x - baseline) is 1 there).
    """

    side: float = 0.25  # of the view's
    baseline: Baseline = "zero"

    def __post_init__(self):
        if not 0 < self.side <= 1:
            raise InputError(f"evaluation.metric.perturbation.side must lie in (0, 1], got {self.side}")

    def of(self, explained: ExplainedImages, seed: int) -> Perturb:
        baseline = baseline_of(self.baseline, explained)

        def perturb(image: Tensor, phi: Tensor, key: int, draw: int) -> tuple[Tensor, Tensor]:
            size = len(phi)
            side = max(1, round(self.side * size))
            top, left = (uniform(seed, key, Purpose.INFIDELITY + draw, np.arange(2)) * (size - side + 1)).astype(int)
            place = (..., slice(top, top + side), slice(left, left + side))
            perturbed = image.clone()
            perturbed[place] = baseline(image)[place]
            return perturbed, phi[place].sum()

        return perturb


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Gaussian noise, the same in all channels, is subtracted; the map says its inner product with the noise.

    For maps that say how the logit changes with the pixels (gradients).
    """

    sigma: float = 0.1  # in units of the normalised image

    def __post_init__(self):
        if self.sigma <= 0:
            raise InputError(f"evaluation.metric.perturbation.sigma must be above 0, got {self.sigma}")

    def of(self, explained: ExplainedImages, seed: int) -> Perturb:
        std = Normalisation.of(explained.model, explained.device).std

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

    perturbation: Perturbation = field(default_factory=Square)
    draws: int = 32  # each costs a pass
    normalize: bool = True
    reading: Reading = "logit"
    seed: int = 0

    def __post_init__(self):
        if not isinstance(self.perturbation, Perturbation):
            raise InputError(
                f"evaluation.metric.perturbation must be Square or Noise, got {type(self.perturbation).__name__}"
            )
        at_least(2 if self.normalize else 1, draws=self.draws)  # of one draw some scale fits exactly
        at_least(0, seed=self.seed)

    @property
    def better(self) -> Mapping[str, str]:
        return {"infidelity": "lower"}

    def __call__(self, explained: ExplainedImages) -> Scores:
        perturb = self.perturbation.of(explained, self.seed)
        foretold: list[list[Tensor]] = [[] for _ in explained.labels]

        def inputs(row: int, image: Tensor) -> Iterator[Tensor]:
            yield image
            phi = in_view(explained.maps[row : row + 1].to(explained.device), image.shape[-1])[0].double()
            for draw in range(self.draws):
                perturbed, product = perturb(image, phi, int(explained.keys[row]), draw)
                foretold[row].append(product.cpu())
                yield perturbed

        of_images = answers(explained, inputs, of_explained(self.reading))
        drops = torch.stack([of_image[0] - of_image[1:] for of_image in of_images])
        values = infidelity(torch.stack([torch.stack(of_image) for of_image in foretold]), drops, self.normalize)
        return Scores({"infidelity": score(values)}, passes_of(of_images))


def infidelity(foretold: Tensor, drops: Tensor, normalize: bool) -> Tensor:
    """(B,) from what a map says and what the model does, (B, draws) each; a map that says nothing has the scale 0."""
    if normalize:
        power = (foretold**2).mean(1, keepdim=True)
        foretold = foretold * torch.where(power > 0, (foretold * drops).mean(1, keepdim=True) / power, 0.0)
    return ((foretold - drops) ** 2).mean(1)
