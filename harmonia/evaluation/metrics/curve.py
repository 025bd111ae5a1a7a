"""Insertion and deletion: curves of a class's probability while pixels are exchanged in the order of a map.

V. Petsiuk, A. Das, K. Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018,
section 4.2, https://arxiv.org/abs/1806.07421, and the authors' evaluation.py.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from harmonia.errors import InputError, Within
from harmonia.evaluation.metrics.contract import ExplainedImages, Score, Scores
from harmonia.evaluation.metrics.perturbation import Baseline, Reading, baseline_of, passes_of, read_answers, reader_of
from harmonia.features.areas import descending
from harmonia.shapes import Labels, Logits

Steps = Annotated[int, Within(1, 10**6)]


@dataclass(frozen=True, kw_only=True)
class Insertion:
    """Area under the class's probability against the share of pixels put into the baseline, best first; in [0, 1]."""

    version: ClassVar[int] = 1
    better: ClassVar[Mapping[str, str]] = {"insertion": "higher"}

    steps: Steps = 28  # of equal size; RISE takes 224 at 224 x 224 pixels
    baseline: Baseline = "blur"
    reading: Reading = "probability"

    def ends(self, image: Tensor, baseline: Tensor) -> tuple[Tensor, Tensor]:
        """What is shown first and last."""
        return baseline, image

    def __call__(self, explained: ExplainedImages) -> Scores:
        baseline = baseline_of(self.baseline, explained)
        of_images = curves(
            explained,
            step_counts(explained, self.steps),
            lambda image: self.ends(image, baseline(image)),
            reader_of(self.reading),
        )
        areas = torch.stack([area_under(curve) for curve in of_images])
        return Scores({name: Score.of(areas) for name in self.better}, passes_of(of_images))


@dataclass(frozen=True, kw_only=True)
class Deletion(Insertion):
    """The same against the share of pixels that have become the baseline: how soon the class is lost."""

    version: ClassVar[int] = 1
    better: ClassVar[Mapping[str, str]] = {"deletion": "lower"}

    baseline: Baseline = "zero"

    def ends(self, image: Tensor, baseline: Tensor) -> tuple[Tensor, Tensor]:
        return image, baseline


def exchanged(start: Tensor, end: Tensor, order: Tensor, counts: Sequence[int]) -> Iterator[Tensor]:
    """start (3, H, W) with the first counts[0], counts[1], ... pixels of the order as end has them; counts ascend."""
    shown, source = start.flatten(1).clone(), end.flatten(1)
    done = 0
    for count in counts:
        new = order[done:count]
        shown[:, new] = source[:, new]
        done = count
        yield shown.clone().view_as(start)


def pixel_order(explained: ExplainedImages, row: int) -> Tensor:
    """Pixels of an image's view from the most relevant to the least, (H * W,) indices.

    The map is enlarged bilinearly. Ties come in one random order, fixed for all maps: plateaus are not read row by row.
    """
    return descending(explained.map_in_view(row)[None])[0]


def step_counts(explained: ExplainedImages, steps: int) -> list[int]:
    """Pixels that are exchanged after 0, 1, ..., steps steps of equal size: none at first, all at last."""
    pixels = math.prod(explained.size)
    if steps > pixels:
        raise InputError(f"evaluation.metric.steps must be at most the view's {pixels} pixels, got {steps}; take fewer")
    return [round(pixels * step / steps) for step in range(steps + 1)]


def curves(
    explained: ExplainedImages,
    counts: Sequence[int],
    ends: Callable[[Tensor], tuple[Tensor, Tensor]],
    read: Callable[[Logits, Labels], Tensor],
) -> list[Tensor]:
    """What is read of each image after each count, (counts, ...). ends: what is shown of an image first and last."""

    def inputs(row: int, image: Tensor) -> Iterator[Tensor]:
        return exchanged(*ends(image), pixel_order(explained, row), counts)

    return read_answers(explained, inputs, read)


def area_under(curve: Tensor) -> Tensor:
    """By the trapezoidal rule over [0, 1]; the points are equally far apart."""
    return ((curve[:-1] + curve[1:]) / 2).mean(0)
