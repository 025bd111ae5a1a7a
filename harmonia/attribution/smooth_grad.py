"""SmoothGrad.

D. Smilkov, N. Thorat, B. Kim, F. Viégas, M. Wattenberg, "SmoothGrad: removing noise by adding noise", 2017,
https://arxiv.org/abs/1706.03825. The signed gradient is averaged, then its absolute value summed over channels.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from harmonia.attribution.head import FromHead, Head, HeadBatch
from harmonia.draws import Purpose, normal
from harmonia.errors import Seed, Within
from harmonia.shapes import Maps


@dataclass(frozen=True, kw_only=True)
class SmoothGrad(FromHead, version=3, normalise="percentile", auto="input"):
    """Mean gradient over noisy copies of the features, in absolute value, summed over channels.

    The noise is a hash of (seed, image, draw, feature).
    """

    draws: Annotated[int, Within(1, 10**6)] = 15
    noise: Annotated[float, Within(0, 1000)] = 0.15  # standard deviation over the range of an image's features
    seed: Seed = 0

    def passes(self, head: Head) -> int:
        return head.own_passes + self.draws

    def maps(self, part: HeadBatch) -> Maps:
        features = part.head.features
        spread = self.noise * (features.amax((1, 2, 3)) - features.amin((1, 2, 3)))[:, None, None, None]
        cells = np.arange(features[0].numel(), dtype=np.uint64)
        total = torch.zeros_like(features)
        for draw in range(self.draws):
            white = normal(self.seed, part.request.image_keys[:, None], Purpose.SMOOTH_GRAD + draw, cells)
            noise = torch.from_numpy(white).to(features).view_as(features)
            total += part.gradient(features + spread * noise)
        return (total / self.draws).abs().sum(1)
