"""Faithfulness correlation: do sums of the map over random pixels go with the drop when these pixels are removed?

U. Bhatt, A. Weller, J. Moura, "Evaluating and Aggregating Feature-based Model Explanations", IJCAI 2020,
https://arxiv.org/abs/2005.00631, equation 2; numbers of draws and pixels as in Quantus.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from harmonia.draws import Purpose, counter_hash
from harmonia.errors import InputError, Seed, Within
from harmonia.evaluation.metrics.contract import ExplainedImages, Score, Scores
from harmonia.evaluation.metrics.perturbation import Baseline, Reading, baseline_of, drops, passes_of

ROUNDING = 2.0**-21  # of float32 logits, four units in the last place; what a bf16 network rounds cannot be told apart


@dataclass(frozen=True, kw_only=True)
class FaithfulnessCorrelation:
    """Pearson correlation in [-1, 1] over random subsets of pixels, between the map's sum and the logit's drop."""

    version: ClassVar[int] = 2
    better: ClassVar[Mapping[str, str]] = {"faithfulness_correlation": "higher"}

    draws: Annotated[int, Within(3, 10**6)] = 100  # each costs a pass
    subset: Annotated[int, Within(1, 2048**2)] = 224  # pixels
    baseline: Baseline = "zero"  # what removed pixels become
    reading: Reading = "logit"
    seed: Seed = 0

    def __call__(self, explained: ExplainedImages) -> Scores:
        if self.subset >= (pixels := math.prod(explained.size)):
            raise InputError(
                f"evaluation.metric.subset must be less than the view's {pixels} pixels, got {self.subset}; take fewer"
            )
        baseline = baseline_of(self.baseline, explained)

        def perturbed(image: Tensor, phi: Tensor, key: int) -> Iterator[tuple[Tensor, Tensor]]:
            removed = baseline(image).flatten(1)
            for draw in range(self.draws):
                pixels = self.pixels(key, draw, phi.numel())
                shown = image.flatten(1).clone()
                shown[:, pixels] = removed[:, pixels]
                yield shown.view_as(image), phi.flatten()[pixels].sum()

        sums, fallen, of_images = drops(explained, self.reading, perturbed)
        reasons = [_undefined(*of_image) for of_image in zip(sums, fallen, of_images.abs().amax(1), strict=True)]
        return Scores({"faithfulness_correlation": Score.of(pearson(sums, fallen), reasons)}, passes_of(of_images))

    def pixels(self, key: int, draw: int, count: int) -> Tensor:
        """The subset of a draw, ascending indices."""
        numbers = counter_hash(self.seed, key, Purpose.FAITHFULNESS_CORRELATION + draw, np.arange(count))
        return torch.from_numpy(np.sort(np.argpartition(numbers, self.subset)[: self.subset]))


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of each row, (B,); NaN where a row does not vary."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def _undefined(map_sums: Tensor, drops: Tensor, size: Tensor) -> str:
    """size: the largest answer, of which the network's rounding is a share."""
    # scipy's threshold for a correlation that means anything
    if map_sums.std(correction=0) <= 1e-13 * map_sums.abs().mean():
        return "all sums of the map are equal"
    return "the logit drops alike for all subsets" if drops.std(correction=0) <= ROUNDING * size else ""
