"""Completeness and soundness of a map as a certificate for a label.

A. Gupta, N. Saunshi, D. Yu, K. Lyu, S. Arora, "New Definitions and Evaluations for Saliency Methods: Staying Intrinsic,
Complete and Sound", NeurIPS 2022, https://arxiv.org/abs/2211.02912, as the authors' code has it (the paper was not at
hand): AUC_a is the mean of f_a over the top pixels inserted into the neutral colour.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from harmonia.errors import Within
from harmonia.evaluation.metrics.contract import ExplainedImages, Score, Scores
from harmonia.evaluation.metrics.curve import Steps, curves, step_counts
from harmonia.evaluation.metrics.perturbation import Baseline, baseline_of, passes_of


@dataclass(frozen=True, kw_only=True)
class CompletenessSoundness:
    """How much of its label's probability a map brings back, and how little more than the image has; each in [0, 1].

    completeness_a = min(1, max(floor, AUC_a) / f_a), soundness_a = min(1, max(floor, f_a) / AUC_a). The plain ones
    are of a = the class that the map explains: its soundness is near 1 for nearly every map, since less of an image
    hardly makes its class more probable. _least is the least over all classes, which the authors' code prints;
    /predicted, /runner_up and /wrong_mean (all but the predicted) are its other label choices. All are read off the
    insertions of one map; the authors make one a label: that is label=predicted, runner_up, random.
    """

    version: ClassVar[int] = 2
    better: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("completeness_auc", "completeness_auc_least", "soundness_auc", "soundness_auc_least"), "higher"
    )

    steps: Steps = 28  # the authors'
    baseline: Baseline = "zero"
    # the authors' epsilon: what is less probable than that counts as this
    floor: Annotated[float, Within(1e-6, 1 - 1e-6)] = 0.1

    def __call__(self, explained: ExplainedImages) -> Scores:
        baseline = baseline_of(self.baseline, explained)
        of_images = curves(
            explained,
            step_counts(explained, self.steps)[1:],  # the last one shows the image itself
            lambda image: (baseline(image), image),
            lambda logits, labels: logits.softmax(1),
        )
        parts = [self._parts(curve, label) for curve, label in zip(of_images, explained.labels.tolist(), strict=True)]
        scores = {name: Score.of(torch.stack([of_image[name] for of_image in parts])) for name in parts[0]}
        return Scores(scores, passes_of(of_images))

    def _parts(self, curve_SK: Tensor, label: int) -> dict[str, Tensor]:
        """Every score of one image from the probabilities of all classes at each step."""
        area_K, image_K = curve_SK.mean(0), curve_SK[-1]
        predicted, runner_up = image_K.topk(2).indices.tolist()
        wrong = torch.arange(len(image_K)) != predicted
        parts = {}
        for name, value_K in (
            ("completeness_auc", (area_K.clamp(min=self.floor) / image_K).clamp(max=1)),
            ("soundness_auc", (image_K.clamp(min=self.floor) / area_K).clamp(max=1)),
        ):
            parts |= {
                name: value_K[label],
                f"{name}_least": value_K.min(),
                f"{name}/predicted": value_K[predicted],
                f"{name}/runner_up": value_K[runner_up],
                f"{name}/wrong_mean": value_K[wrong].mean(),
            }
        return parts
