"""Complexity: over how many cells an attribution is spread.

U. Bhatt, A. Weller, J. M. F. Moura, "Evaluating and Aggregating Feature-based Model Explanations", IJCAI 2020,
https://arxiv.org/abs/2005.00631, definition 3: the entropy of the shares that cells have of the absolute attribution.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harmonia.evaluation.metrics.contract import ExplainedImages, Score, Scores
from harmonia.shapes import Maps


@dataclass(frozen=True, kw_only=True)
class Complexity:
    """Entropy of each raw map, cell by cell, without a network pass.

    complexity: in nats, between 0 (one cell) and ln(cells). complexity_relative: over ln(cells), so that maps of other
    resolutions compare; undefined for a single cell.
    """

    version: ClassVar[int] = 1

    @property
    def better(self) -> Mapping[str, str]:
        """A simple map is not a better one."""
        return {"complexity": "", "complexity_relative": ""}

    def __call__(self, explained: ExplainedImages) -> Scores:
        nats, count = entropy(explained.maps), len(explained.maps)
        most = math.log(explained.maps[0].numel())
        explained.on_progress(count)
        relative = Score.defined(nats / most) if most else Score(nats * torch.nan, ("a single cell",) * count)
        scores = {"complexity": Score.defined(nats), "complexity_relative": relative}
        return Scores(scores, torch.zeros(count, dtype=torch.long))


def entropy(maps: Maps) -> Tensor:
    """Entropy in nats of each map's absolute values over their sum, float64."""
    absolute = maps.double().abs().flatten(1)
    return torch.special.entr(absolute / absolute.sum(1, keepdim=True)).sum(1)
