"""Max-sensitivity: how much a map changes when the image hardly does.

C.-K. Yeh, C.-Y. Hsieh, A. Suggala, D. Inouye, P. Ravikumar, "On the (In)fidelity and Sensitivity of Explanations",
NeurIPS 2019, https://arxiv.org/abs/1901.09392, definition 3.1; radius and number of draws as Captum's sensitivity_max.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from harmonia.draws import Purpose, uniform
from harmonia.errors import Seed, Within
from harmonia.evaluation.metrics.contract import ExplainedImages, Score, Scores
from harmonia.shapes import Images

ZERO = "the map that is made anew of the image is zero"
MAP_NOT_FINITE = "a map of a perturbed image is not finite"


@dataclass(frozen=True, kw_only=True)
class MaxSensitivity:
    """Largest |Phi(x + d) - Phi(x)| / |Phi(x)| over the draws, Euclidean norms of the raw maps: 0 or more.

    d is uniform in [-radius, radius] for every pixel and channel; x + d is not clipped. Phi(x) is made anew: the stored
    map is rounded, which would pass for sensitivity. A draw costs as much as the map did.
    """

    version: ClassVar[int] = 1
    explains_anew: ClassVar[bool] = True
    better: ClassVar[Mapping[str, str]] = {"max_sensitivity": "lower"}

    radius: Annotated[float, Within(1e-6, 1000)] = 0.02  # intensities in [0, 1]
    draws: Annotated[int, Within(1, 10**6)] = 10
    seed: Seed = 0

    def __call__(self, explained: ExplainedImages) -> Scores:
        # the same few images at a time whatever the batch size, as far as memory goes
        rows = torch.arange(len(explained.labels))
        pieces = rows.split(explained.batch_size.pass_size(explained.batch_size.size, explained.device))
        worst = [self._worst(explained, piece) for piece in pieces]
        values, norms = (torch.cat(parts) for parts in zip(*worst, strict=True))
        reasons = [
            ZERO if norm == 0 else "" if finite else MAP_NOT_FINITE
            for norm, finite in zip(norms.tolist(), values.isfinite().tolist(), strict=True)
        ]
        return Scores({"max_sensitivity": Score.of(values, reasons)})

    def _worst(self, explained: ExplainedImages, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Of some images the largest change and the norm of the map."""
        images = explained.pixels[rows].float() / 255

        def explain(shown: Images) -> Tensor:
            maps = explained.explain(explained.model, shown.to(explained.device), rows)
            return maps.double().cpu().flatten(1)

        whole = explain(images)
        norms = whole.norm(dim=1)
        worst = torch.zeros_like(norms)
        for draw in range(self.draws):
            image_keys, cells = explained.image_keys[rows.numpy()][:, None], np.arange(images[0].numel())
            numbers = uniform(self.seed, image_keys, Purpose.MAX_SENSITIVITY + draw, cells)
            shift = torch.from_numpy(self.radius * (2 * numbers - 1)).float().view_as(images)
            worst = torch.maximum(worst, (explain(images + shift) - whole).norm(dim=1) / norms)
            explained.on_progress(len(rows) / self.draws)
        return worst, norms
