"""Model parameter randomisation tests: does a map change, or become more complex, when the network's parameters do?

J. Adebayo, J. Gilmer, M. Muelly, I. Goodfellow, M. Hardt, B. Kim, "Sanity Checks for Saliency Maps", NeurIPS 2018,
section 3.1 (cascading) and 3.2 (independent), https://arxiv.org/abs/1810.03292; SSIM: Z. Wang, A. Bovik, H. Sheikh,
E. Simoncelli, IEEE TIP 13, 2004. Efficient: A. Hedström, L. Weber, S. Lapuschkin, M. Höhne, "Sanity Checks Revisited:
An Exploration to Repair the Model Parameter Randomisation Test", 2024, https://arxiv.org/abs/2401.06465.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from scipy.stats import entropy
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from harmonia.errors import Seed, Within
from harmonia.evaluation.metrics.contract import ExplainedImages, Score, Scores
from harmonia.evaluation.metrics.randomisation import MICRO_BATCH, Granularity, explain_again, randomised, why_undefined
from harmonia.shapes import Maps, Size, sides
from harmonia.statistics.ranks import spearman

SIMILARITIES = ("spearman", "ssim")


@dataclass(frozen=True, kw_only=True)
class Mprt:
    """Similarity in [-1, 1] of each map to the maps of the network with randomised layers; low is good.

    A score NAME/LAYER for each layer, and their mean without the unchanged network, which Quantus counts in. Undefined
    where one of the randomised networks gives a zero, constant or non-finite map. looks_at_model: 0 where every one of
    them gives the same map bit for bit, else 1.

    The map of the trained network is computed again: a stored one is rounded to float16.
    """

    version: ClassVar[int] = 2
    explains_anew: ClassVar[bool] = True

    cascading: bool = True  # layers stay randomised from the logits down; False: one at a time
    granularity: Granularity = "block"
    absolute: bool = True  # compare magnitudes, as Quantus; False: signed
    seed: Seed = 0

    @property
    def name(self) -> str:
        return "mprt" if self.cascading else "mprt_independent"

    @property
    def better(self) -> Mapping[str, str]:
        """A map is to change."""
        return {f"{self.name}_{measure}": "lower" for measure in SIMILARITIES} | {f"{self.name}_looks_at_model": ""}

    def __call__(self, explained: ExplainedImages) -> Scores:
        size, count = explained.size, len(explained.pixels)
        with randomised(explained.model, self.granularity, self.seed) as layers:
            share = count / (len(layers.names) + 1)
            original = explain_again(explained)
            explained.on_progress(share)
            changed = torch.zeros(count, dtype=torch.bool)
            of_layers: dict[str, dict[str, Score]] = {measure: {} for measure in SIMILARITIES}
            for layer in layers.names:
                layers.randomise(layer)
                maps = explain_again(explained)
                if not self.cascading:
                    layers.restore(layer)
                changed |= (maps != original).flatten(1).any(1)  # NaN differs from anything
                for measure, score in similarity(original, maps, size, self.absolute, layer).items():
                    of_layers[measure][layer] = score
                explained.on_progress(share)
        scores = {f"{self.name}_looks_at_model": Score.of(changed)}
        for measure, by_layer in of_layers.items():
            scores[f"{self.name}_{measure}"] = mean_score(list(by_layer.values()))
            scores |= {f"{self.name}_{measure}/{layer}": score for layer, score in by_layer.items()}
        return Scores(scores)


@dataclass(frozen=True, kw_only=True)
class EfficientMprt:
    """Relative rise of the entropy of each map's histogram, (H_random - H) / H; 0 where the map does not change.

    Undefined where the random network gives a zero, constant or non-finite map. efficient_mprt_looks_at_model: 0 where
    it gives the same map bit for bit, else 1. The whole network is drawn anew at once; layers between play no part.
    """

    version: ClassVar[int] = 1
    explains_anew: ClassVar[bool] = True
    better: ClassVar[Mapping[str, str]] = {"efficient_mprt": "higher", "efficient_mprt_looks_at_model": ""}

    bins: Annotated[int, Within(2, 10**6)] = 100  # of equal width from a map's least to its largest value, as Quantus
    seed: Seed = 0

    def __call__(self, explained: ExplainedImages) -> Scores:
        size, count = explained.size, len(explained.pixels)
        with randomised(explained.model, "layer", self.seed) as layers:
            original = explain_again(explained)
            explained.on_progress(count / 2)
            for layer in layers.names:
                layers.randomise(layer)
            maps = explain_again(explained)
            explained.on_progress(count / 2)
        reasons = why_undefined(original, maps, "", "of the random network")
        defined = torch.tensor([not reason for reason in reasons])
        before, after = (histogram_entropy(_in_the_view(part[defined], size), self.bins) for part in (original, maps))
        rise = torch.full((count,), torch.nan, dtype=torch.float64)
        rise[defined] = (after - before) / before
        changed = (maps != original).flatten(1).any(1)  # NaN differs from anything
        return Scores({"efficient_mprt": Score.of(rise, reasons), "efficient_mprt_looks_at_model": Score.of(changed)})


def histogram_entropy(maps: Maps, bins: int) -> Tensor:
    """Shannon entropy in nats of each map's histogram, (B,); a map that varies fills at least two bins."""
    entropies = [entropy(np.histogram(map_.numpy(), bins)[0]) for map_ in maps]
    return torch.tensor(entropies, dtype=torch.float64)


def similarity(original: Maps, maps: Maps, size: Size, absolute: bool, layer: str) -> dict[str, Score]:
    """Spearman's rho and SSIM of each pair of maps, enlarged to the view; undefined where a map is flagged.

    layer: whose randomised parameters gave ``maps``, for the reasons. SSIM takes maps scaled to a largest magnitude of
    1, in a Gaussian window of 11 pixels (sigma 1.5), mirrored at the border (torchmetrics; scikit-image leaves it out).
    Both are 1, and not nearly 1, where the two maps are equal.
    """
    if absolute:
        original, maps = original.abs(), maps.abs()
    reasons = why_undefined(original, maps, "absolute ", f"with {layer} randomised")
    parts: list[tuple[Tensor, Tensor]] = []
    for rows in torch.arange(len(maps)).split(MICRO_BATCH):
        first, second = (_scaled(_in_the_view(of_all[rows], size)) for of_all in (original, maps))
        # float32: on a CPU a convolution in float64 costs more than a network pass
        alike = structural_similarity_index_measure(
            first.float()[:, None], second.float()[:, None], data_range=1.0 if absolute else 2.0, reduction="none"
        )
        assert isinstance(alike, Tensor)
        # float32's rounding would tell methods that never look at the model apart, and rank them
        equal = (first == second).flatten(1).all(1)
        rho = torch.from_numpy(spearman(first.flatten(1).numpy(), second.flatten(1).numpy()))
        parts.append((rho, alike.double().reshape(-1).masked_fill(equal, 1)))
    of_measures = (torch.cat(values) for values in zip(*parts, strict=True))
    return {measure: Score.of(values, reasons) for measure, values in zip(SIMILARITIES, of_measures, strict=True)}


def _in_the_view(maps: Maps, size: Size) -> Tensor:
    """Maps enlarged bilinearly to the view's pixels; float64, so that equal cells stay tied in rank."""
    return torch.nn.functional.interpolate(maps.double()[:, None], size=sides(size), mode="bilinear")[:, 0]


def _scaled(maps: Maps) -> Maps:
    """Largest magnitude 1; a zero map stays, a non-finite one is scaled to nothing that counts."""
    maps = maps.nan_to_num(0, 0, 0)
    largest = maps.abs().amax((1, 2), keepdim=True)
    return maps / torch.where(largest > 0, largest, 1)


def mean_score(scores: list[Score]) -> Score:
    """Mean of several scores of each image, undefined where one of them is."""
    values = torch.stack([score.values for score in scores]).mean(0)
    reasons = []
    for of_image in zip(*(score.reasons for score in scores), strict=True):
        missing = [reason for reason in of_image if reason]
        reasons.append(f"{missing[0]}; in all {len(missing)} of {len(scores)} layers" if missing else "")
    return Score(values, tuple(reasons))
