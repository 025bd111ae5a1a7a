"""IROF: iterative removal of features, superpixel after superpixel.

L. Rieger, L. K. Hansen, "IROF: a low resource evaluation metric for explanation methods", ICLR 2020 workshop,
https://arxiv.org/abs/2003.08747. Superpixels are scikit-image's SLIC (R. Achanta et al. 2012).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from harmonia.errors import Within
from harmonia.evaluation.metrics.contract import ExplainedImages, Score, Scores
from harmonia.evaluation.metrics.curve import area_under
from harmonia.evaluation.metrics.perturbation import Baseline, Reading, baseline_of, passes_of, read_answers, reader_of
from harmonia.features.areas import descending
from harmonia.features.superpixels import superpixels

ONE_SEGMENT = "SLIC finds one superpixel only"
NOT_POSITIVE = "the class's {reading} is not above 0 on the whole image"


@dataclass(frozen=True, kw_only=True)
class IROF:
    """Area over the curve of p / p0 while superpixels go, those of the highest mean attribution first: at most 1.

    Below 0 where the probability rises. Trapezoidal rule from the whole image to none of it. Undefined where p0 is not
    above 0: divided by a negative logit, a fall would count as a rise.
    """

    version: ClassVar[int] = 2
    better: ClassVar[Mapping[str, str]] = {"irof": "higher"}

    segments: Annotated[int, Within(2, 10**5)] = 100  # about as many superpixels, each a pass; Quantus's
    compactness: Annotated[float, Within(1e-6, 10**6)] = 10  # of SLIC
    baseline: Baseline = "mean"  # what removed superpixels become
    reading: Reading = "probability"

    def __call__(self, explained: ExplainedImages) -> Scores:
        baseline = baseline_of(self.baseline, explained)

        def inputs(row: int, image: Tensor) -> Iterator[Tensor]:
            yield image
            segments = self.superpixels(image)
            removed, left = baseline(image), image.clone()
            for segment in by_relevance(explained.map_in_view(row).cpu(), segments).tolist() if segments.max() else ():
                left = torch.where((segments == segment).to(image.device), removed, left)
                yield left

        of_images = read_answers(explained, inputs, reader_of(self.reading))
        values = torch.stack([1 - area_under(of_image / of_image[0]) for of_image in of_images])
        reasons = [self._undefined(of_image) for of_image in of_images]
        return Scores({"irof": Score.of(values, reasons)}, passes_of(of_images))

    def _undefined(self, of_image: Tensor) -> str:
        if len(of_image) == 1:
            return ONE_SEGMENT
        return NOT_POSITIVE.format(reading=self.reading) if of_image[0] <= 0 else ""

    def superpixels(self, image: Tensor) -> Tensor:
        """(H, W), numbered from 0, of an image (3, H, W)."""
        return superpixels(image, self.segments, self.compactness)


def by_relevance(phi: Tensor, segments: Tensor) -> Tensor:
    """Superpixels by their mean of the map (H, W), the highest first."""
    sums = torch.zeros(int(segments.max()) + 1, dtype=torch.float64)
    sums.index_add_(0, segments.flatten(), phi.double().flatten())
    return descending((sums / segments.flatten().bincount())[None, None])[0]
