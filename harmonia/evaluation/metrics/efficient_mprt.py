"""Efficient model parameter randomisation test: does a map become more complex once the whole network is random?

A. Hedström, L. Weber, S. Lapuschkin, M. Höhne, "Sanity Checks Revisited: An Exploration to Repair the Model Parameter
Randomisation Test", 2024, https://arxiv.org/abs/2401.06465.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.stats import entropy
from torch import Tensor

from harmonia.errors import InputError
from harmonia.evaluation.metrics.contract import ExplainedImages, Score, Scores
from harmonia.evaluation.metrics.randomisation import randomised
from harmonia.evaluation.metrics.reexplained import explain_again, flags, in_the_view
from harmonia.shapes import Maps


@dataclass(frozen=True, kw_only=True)
class EfficientMprt:
    """Relative rise of the entropy of each map's histogram, (H_random - H) / H; 0 where the map does not change.

    Undefined where the random network gives a zero, constant or non-finite map. efficient_mprt_looks_at_model: 0 where
    it gives the same map bit for bit, else 1. The whole network is drawn anew at once; layers between play no part.
    """

    version: ClassVar[int] = 1

    bins: int = 100  # of equal width between a map's least and largest value, as in Quantus
    seed: int = 0

    def __post_init__(self):
        if self.bins < 2:
            raise InputError(f"evaluation.metric.bins must be at least 2, got {self.bins}; 100 is usual")

    @property
    def better(self) -> Mapping[str, str]:
        return {"efficient_mprt": "higher", "efficient_mprt_looks_at_model": ""}

    def __call__(self, explained: ExplainedImages) -> Scores:
        size, count = explained.pixels.shape[-1], len(explained.pixels)
        with randomised(explained.model, "layer", self.seed) as layers:
            original = explain_again(explained)
            explained.on_progress(count / 2)
            for layer in layers.names:
                layers.randomise(layer)
            maps = explain_again(explained)
            explained.on_progress(count / 2)
        reasons = tuple(
            f"{own} map" if own else f"{flag} map of the random network" if flag else ""
            for own, flag in zip(flags(original), flags(maps), strict=True)
        )
        defined = torch.tensor([not reason for reason in reasons])
        before, after = (histogram_entropy(in_the_view(part[defined], size), self.bins) for part in (original, maps))
        rise = torch.full((count,), torch.nan, dtype=torch.float64)
        rise[defined] = (after - before) / before
        changed = (maps != original).flatten(1).any(1).double()  # NaN differs from anything
        scores = {"efficient_mprt": Score(rise, reasons)}
        scores["efficient_mprt_looks_at_model"] = Score(changed, ("",) * count)
        return Scores(scores, torch.zeros(count, dtype=torch.long))


def histogram_entropy(maps: Maps, bins: int) -> Tensor:
    """Shannon entropy in nats of each map's histogram of so many bins, (B,); at least two are filled by a map that
    varies.
    """
    entropies = [entropy(np.histogram(map_.numpy(), bins)[0]) for map_ in maps]
    return torch.tensor(entropies, dtype=torch.float64)
