"""Model parameter randomisation test: does a map change when the network's parameters do?

J. Adebayo, J. Gilmer, M. Muelly, I. Goodfellow, M. Hardt, B. Kim, "Sanity Checks for Saliency Maps", NeurIPS 2018,
section 3.1 (cascading) and 3.2 (independent), https://arxiv.org/abs/1810.03292; SSIM: Z. Wang, A. Bovik, H. Sheikh,
E. Simoncelli, IEEE TIP 13, 2004.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from harmonia.evaluation.metrics.contract import Explained, Score, Scores
from harmonia.evaluation.metrics.randomisation import Granularity, randomised
from harmonia.evaluation.metrics.reexplained import counted, explain_again, flags, in_the_view, passes_of
from harmonia.shapes import Maps

MEASURES = ("spearman", "ssim")


@dataclass(frozen=True, kw_only=True)
class Mprt:
    """Similarity in [-1, 1] of each map to the maps of the network with randomised layers; low is good.

    A score NAME/LAYER for each layer, and their mean without the unchanged network, which Quantus counts in. Undefined
    where one of the randomised networks gives a zero, constant or non-finite map. looks_at_model: 0 where every one of
    them gives the same map bit for bit, else 1.

    The map of the trained network is computed again: a stored one is rounded to float16.
    """

    version: ClassVar[int] = 1

    cascading: bool = True  # layers stay randomised from the logits down; False: one at a time
    granularity: Granularity = "block"
    absolute: bool = True  # compare magnitudes, as Quantus; False: signed
    seed: int = 0

    @property
    def name(self) -> str:
        return "mprt" if self.cascading else "mprt_independent"

    @property
    def better(self) -> Mapping[str, str]:
        """A map is to change."""
        return {f"{self.name}_{measure}": "lower" for measure in MEASURES} | {f"{self.name}_looks_at_model": ""}

    def __call__(self, explained: Explained) -> Scores:
        size, count = explained.pixels.shape[-1], len(explained.pixels)
        with counted(explained) as inputs, randomised(explained.model, self.granularity, self.seed) as layers:
            share = count / (len(layers.names) + 1)
            original = explain_again(explained)
            explained.on_progress(share)
            own = Reading(original, size, self.absolute)
            changed = torch.zeros(count, dtype=torch.bool)
            of_layers: dict[str, dict[str, Score]] = {measure: {} for measure in MEASURES}
            for layer in layers.names:
                layers.randomise(layer)
                maps = explain_again(explained)
                if not self.cascading:
                    layers.restore(layer)
                changed |= (maps != original).flatten(1).any(1)  # NaN differs from anything
                for measure, score in own.compare(Reading(maps, size, self.absolute), layer).items():
                    of_layers[measure][layer] = score
                explained.on_progress(share)
        scores = {f"{self.name}_looks_at_model": Score(changed.double(), ("",) * count)}
        for measure, found in of_layers.items():
            scores[f"{self.name}_{measure}"] = mean_score(list(found.values()))
            scores |= {f"{self.name}_{measure}/{layer}": score for layer, score in found.items()}
        return Scores(scores, passes_of(inputs, count))


class Reading:
    """Maps as they are compared: enlarged to the view, their magnitudes if asked for, scaled to at most 1."""

    def __init__(self, maps: Maps, size: int, absolute: bool):
        maps = maps.abs() if absolute else maps
        self.flags = flags(maps)
        large = in_the_view(maps.nan_to_num(0, 0, 0), size)
        largest = large.abs().amax((1, 2), keepdim=True)
        self.maps = large / torch.where(largest > 0, largest, 1)
        self.range = 1.0 if absolute else 2.0  # of what a map may hold, for SSIM

    def compare(self, other: "Reading", layer: str) -> dict[str, Score]:
        """Similarity to the maps of the network whose randomised layer this is; undefined where one is flagged."""
        reasons = tuple(
            f"{own} absolute map" if own else f"{flag} map with {layer} randomised" if flag else ""
            for own, flag in zip(self.flags, other.flags, strict=True)
        )
        undefined = torch.tensor([bool(reason) for reason in reasons])
        similar = structural_similarity_index_measure(
            other.maps[:, None], self.maps[:, None], data_range=self.range, reduction="none"
        )
        assert isinstance(similar, Tensor)
        found = {"spearman": spearman(self.maps, other.maps), "ssim": similar.reshape(-1)}
        return {name: Score(torch.where(undefined, torch.nan, values), reasons) for name, values in found.items()}


def spearman(first: Maps, second: Maps) -> Tensor:
    """Spearman's rho of each pair of maps (B,), float64, ties by their mean rank; NaN where one does not vary."""
    one, other = (rankdata(maps.flatten(1).numpy(), axis=1) for maps in (first, second))
    one, other = (ranks - ranks.mean(1, keepdims=True) for ranks in (one, other))
    scale = np.sqrt((one**2).sum(1) * (other**2).sum(1))
    found = np.divide((one * other).sum(1), scale, out=np.full(len(one), np.nan), where=scale > 0)
    return torch.from_numpy(found)


def mean_score(scores: list[Score]) -> Score:
    """Mean of several scores of each image, undefined where one of them is."""
    values = torch.stack([score.values for score in scores]).mean(0)
    reasons = []
    for of_image in zip(*(score.reasons for score in scores), strict=True):
        missing = [reason for reason in of_image if reason]
        reasons.append(f"{missing[0]}; in all {len(missing)} of {len(scores)} layers" if missing else "")
    return Score(values, tuple(reasons))
