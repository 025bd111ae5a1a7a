"""Complexity and sparseness: over how many cells an attribution is spread; without a network pass.

U. Bhatt, A. Weller, J. M. F. Moura, "Evaluating and Aggregating Feature-based Model Explanations", IJCAI 2020,
https://arxiv.org/abs/2005.00631, definition 3: the entropy of the shares that cells have of the absolute attribution.
P. Chalasani, J. Chen, A. R. Chowdhury, X. Wu, S. Jha, "Concise Explanations of Neural Networks using Adversarial
Training", ICML 2020, section 5: the Gini index (N. Hurley, S. Rickard, "Comparing Measures of Sparsity", IEEE
Transactions on Information Theory 55, 2009, equation 7) of the absolute attributions.
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
    """Entropy of each raw map, cell by cell.

    complexity: in nats, between 0 (one cell) and ln(cells). complexity_relative: over ln(cells), so that maps of other
    resolutions compare; undefined for a single cell.
    """

    version: ClassVar[int] = 1
    better: ClassVar[Mapping[str, str]] = {"complexity": "", "complexity_relative": ""}  # simple is not better

    def __call__(self, explained: ExplainedImages) -> Scores:
        nats, cells = map_entropy(explained.maps), explained.maps[0].numel()
        explained.on_progress(len(nats))
        relative = Score.of(nats / math.log(cells), ["a single cell"] * len(nats) if cells == 1 else ())
        return Scores({"complexity": Score.of(nats), "complexity_relative": relative})


@dataclass(frozen=True, kw_only=True)
class Sparseness:
    """Gini index of each raw map, cell by cell."""

    version: ClassVar[int] = 1
    better: ClassVar[Mapping[str, str]] = {"sparseness": ""}  # sparse is not better

    def __call__(self, explained: ExplainedImages) -> Scores:
        explained.on_progress(len(explained.maps))
        return Scores({"sparseness": Score.of(gini(explained.maps))})


def map_entropy(maps: Maps) -> Tensor:
    """Entropy in nats of each map's absolute values over their sum, float64."""
    absolute = maps.double().abs().flatten(1)
    return torch.special.entr(absolute / absolute.sum(1, keepdim=True)).sum(1)


def gini(maps: Maps) -> Tensor:
    """Gini index of each map's absolute values in [0, 1 - 1/cells], float64: 0 of a uniform map, most of a single cell.

    Sorted ascending, 1 - 2 sum_k a_k / |a|_1 (n - k + 1/2) / n.
    """
    ascending = maps.double().abs().flatten(1).sort(1).values
    n = ascending.shape[1]
    weights = (n - torch.arange(1, n + 1, dtype=torch.float64, device=maps.device) + 0.5) / n
    return 1 - 2 * (ascending / ascending.sum(1, keepdim=True) * weights).sum(1)
