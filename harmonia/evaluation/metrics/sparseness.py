"""Sparseness: how few cells carry an attribution.

P. Chalasani, J. Chen, A. R. Chowdhury, X. Wu, S. Jha, "Concise Explanations of Neural Networks using Adversarial
Training", ICML 2020, section 5: the Gini index (N. Hurley, S. Rickard, "Comparing Measures of Sparsity", IEEE
Transactions on Information Theory 55, 2009, equation 7) of the absolute attributions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harmonia.evaluation.metrics.contract import ExplainedImages, Score, Scores
from harmonia.shapes import Maps


@dataclass(frozen=True, kw_only=True)
class Sparseness:
    """Gini index of each raw map, cell by cell, without a network pass."""

    version: ClassVar[int] = 1

    @property
    def better(self) -> Mapping[str, str]:
        """A sparse map is not a better one."""
        return {"sparseness": ""}

    def __call__(self, explained: ExplainedImages) -> Scores:
        passes = torch.zeros(len(explained.maps), dtype=torch.long)
        explained.on_progress(len(explained.maps))
        return Scores({"sparseness": Score.defined(gini(explained.maps))}, passes)


def gini(maps: Maps) -> Tensor:
    """Gini index of each map's absolute values in [0, 1 - 1/cells], float64: 0 of a uniform map, most of a single cell.

    Sorted ascending, 1 - 2 sum_k a_k / |a|_1 (n - k + 1/2) / n.
    """
    ascending = maps.double().abs().flatten(1).sort(1).values
    n = ascending.shape[1]
    weights = (n - torch.arange(1, n + 1, dtype=torch.float64, device=maps.device) + 0.5) / n
    return 1 - 2 * (ascending / ascending.sum(1, keepdim=True) * weights).sum(1)
