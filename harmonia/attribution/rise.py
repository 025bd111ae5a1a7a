"""RISE: randomised input sampling.

V. Petsiuk, A. Das, K. Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018,
https://arxiv.org/abs/1806.07421, eq. 6; parameters as in Rao, Böhle, Schiele 2022.
"""

from dataclasses import dataclass
from math import ceil
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from harmonia.attribution.head import FromHead, Head, HeadBatch
from harmonia.draws import Purpose, uniform
from harmonia.errors import Seed, Within
from harmonia.shapes import Maps, Size, sides


@dataclass(frozen=True, kw_only=True)
class RISE(FromHead, version=2, normalise="minmax", auto="input"):
    """Mean of random smooth masks, weighted by the class's probability behind them, over keep (eq. 6).

    0 or more. Masks are a hash of (seed, image, draw) and of the layer's resolution.
    """

    masks: Annotated[int, Within(1, 10**6)] = 1000
    grid: Annotated[int, Within(1, 1024)] = 6  # cells a side of a mask, before it is enlarged and shifted
    keep: Annotated[float, Within(1e-6, 1 - 1e-6)] = 0.1  # probability that a cell is kept
    seed: Seed = 0

    def passes(self, head: Head) -> int:
        return head.own_passes + self.masks

    def maps(self, part: HeadBatch) -> Maps:
        features = part.head.features
        total = torch.zeros_like(features[:, 0])
        for draw in range(self.masks):
            masks = self.mask(part.request.image_keys, draw, (features.shape[2], features.shape[3])).to(features)
            p = part.head(features * masks[:, None], part.rows).softmax(1).gather(1, part.labels[:, None])
            total += p[:, :, None] * masks
        return total / (self.masks * self.keep)

    def mask(self, image_keys: np.ndarray, draw: int, size: Size) -> Tensor:
        """The draw's mask of every image, (B, h, w) of the size: cells kept or not, enlarged, cut out at random."""
        h, w = sides(size)
        numbers = uniform(self.seed, image_keys[:, None], Purpose.RISE + draw, h, np.arange(self.grid**2 + 2))
        cells = torch.from_numpy(numbers[:, 2:] < self.keep).double().view(-1, 1, self.grid, self.grid)
        cell = ceil(h / self.grid), ceil(w / self.grid)
        whole = [(self.grid + 1) * length for length in cell]
        large = interpolate(cells, size=whole, mode="bilinear", align_corners=False)[:, 0]
        corners = (numbers[:, :2] * cell).astype(int).tolist()
        return torch.stack([mask[y : y + h, x : x + w] for mask, (y, x) in zip(large, corners, strict=True)])
