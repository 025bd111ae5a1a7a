"""Deletion: how soon a class is lost while the most relevant pixels are taken away.

V. Petsiuk, A. Das, K. Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018,
section 4.2, https://arxiv.org/abs/1806.07421, and the authors' evaluation.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from harmonia.evaluation.metrics.baselines import Baseline, baseline_of
from harmonia.evaluation.metrics.contract import ExplainedImages, Scores
from harmonia.evaluation.metrics.curve import area_under, curves, step_counts
from harmonia.evaluation.metrics.perturbation import Reading, at_least, of_explained, passes_of, score


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """Area under the class's probability against the share of pixels deleted, in [0, 1]."""

    version: ClassVar[int] = 1

    steps: int = 28  # of equal size; RISE takes 224 at 224 x 224 pixels
    baseline: Baseline = "zero"  # what deleted pixels become
    reading: Reading = "probability"

    def __post_init__(self):
        at_least(1, steps=self.steps)

    @property
    def better(self) -> Mapping[str, str]:
        return {"deletion": "lower"}

    def __call__(self, explained: ExplainedImages) -> Scores:
        baseline = baseline_of(self.baseline, explained)
        of_images = curves(
            explained,
            step_counts(explained, self.steps),
            lambda image: (image, baseline(image)),
            of_explained(self.reading),
        )
        return Scores(
            {"deletion": score(torch.stack([area_under(curve) for curve in of_images]))}, passes_of(of_images)
        )
