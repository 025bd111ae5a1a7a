"""ROAD: remove and debias.

Y. Rong, T. Leemann, V. Borisov, G. Kasneci, E. Kasneci, "A Consistent and Efficient Evaluation Strategy for Attribution
Methods", ICML 2022, https://arxiv.org/abs/2202.00449; scores as pytorch-grad-cam's ROADCombined.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from harmonia.errors import InputError, Seed, Within
from harmonia.evaluation.metrics.contract import ExplainedImages, Score, Scores
from harmonia.evaluation.metrics.curve import pixel_order
from harmonia.evaluation.metrics.perturbation import Reading, passes_of, read_answers, reader_of
from harmonia.features.fill import NoisyLinear


@dataclass(frozen=True, kw_only=True)
class ROAD:
    """What the class's probability changes by when pixels are replaced by what their neighbours say of them.

    road_morf: the most relevant are replaced, road_lerf: the least relevant; the mean over the percentiles, which name
    the share kept. road = (road_lerf - road_morf) / 2, in [-1, 1].
    """

    version: ClassVar[int] = 3  # 1 imputed by elimination, 2 by other steps
    better: ClassVar[Mapping[str, str]] = {"road": "higher", "road_morf": "lower", "road_lerf": "higher"}

    percentiles: tuple[float, ...] = (10, 20, 30, 40, 50, 60, 70, 80, 90)
    noise: Annotated[float, Within(0, 1000)] = 0.01  # standard deviation, intensities in [0, 1]
    reading: Reading = "probability"
    seed: Seed = 0  # of the noise

    def __post_init__(self):
        if not self.percentiles or not all(0 < share < 100 for share in self.percentiles):
            raise InputError(
                f"evaluation.metric.percentiles must lie between 0 and 100, got {list(self.percentiles)}; 80 keeps 80 %"
            )

    def __call__(self, explained: ExplainedImages) -> Scores:
        impute = NoisyLinear(self.noise, self.seed)

        def inputs(row: int, image: Tensor) -> Iterator[Tensor]:
            yield image
            best_first = pixel_order(explained, row)
            for order in (best_first, best_first.flip(0)):
                for share in self.percentiles:
                    # as many as numpy's percentile keeps of a map without ties
                    removed = len(order) - ceil(share / 100 * (len(order) - 1))
                    keep = torch.ones_like(image[0])
                    keep.view(-1)[order[:removed]] = 0
                    yield impute(image[None], keep[None, None], lambda: image[None])[0]

        of_images = read_answers(explained, inputs, reader_of(self.reading))
        changes = torch.stack([of_image[1:] - of_image[0] for of_image in of_images])
        morf, lerf = changes.unflatten(1, (2, -1)).mean(2).unbind(1)
        scores = {"road": (lerf - morf) / 2, "road_morf": morf, "road_lerf": lerf}
        return Scores({name: Score.of(values) for name, values in scores.items()}, passes_of(of_images))
