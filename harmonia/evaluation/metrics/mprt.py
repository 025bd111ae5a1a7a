"""Model parameter randomisation test: does a map change when the network's parameters do?

J. Adebayo, J. Gilmer, M. Muelly, I. Goodfellow, M. Hardt, B. Kim, "Sanity Checks for Saliency Maps", NeurIPS 2018,
section 3.1 (cascading) and 3.2 (independent), https://arxiv.org/abs/1810.03292; SSIM: Z. Wang, A. Bovik, H. Sheikh,
E. Simoncelli, IEEE TIP 13, 2004.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from harmonia.evaluation.metrics.contract import ExplainedImages, Score, Scores
from harmonia.evaluation.metrics.randomisation import Granularity, randomised
from harmonia.evaluation.metrics.reexplained import IMAGES_AT_ONCE, explain_again, flags, in_the_view
from harmonia.shapes import Maps
from harmonia.statistics.ranks import spearman

MEASURES = ("spearman", "ssim")


@dataclass(frozen=True, kw_only=True)
class Mprt:
    """Similarity in [-1, 1] of each map to the maps of the network with randomised layers; low is good.

    A score NAME/LAYER for each layer, and their mean without the unchanged network, which Quantus counts in. Undefined
    where one of the randomised networks gives a zero, constant or non-finite map. looks_at_model: 0 where every one of
    them gives the same map bit for bit, else 1.

    The map of the trained network is computed again: a stored one is rounded to float16.
    """

    version: ClassVar[int] = 2

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

    def __call__(self, explained: ExplainedImages) -> Scores:
        size, count = explained.pixels.shape[-1], len(explained.pixels)
        with randomised(explained.model, self.granularity, self.seed) as layers:
            share = count / (len(layers.names) + 1)
            original = explain_again(explained)
            explained.on_progress(share)
            changed = torch.zeros(count, dtype=torch.bool)
            of_layers: dict[str, dict[str, Score]] = {measure: {} for measure in MEASURES}
            for layer in layers.names:
                layers.randomise(layer)
                maps = explain_again(explained)
                if not self.cascading:
                    layers.restore(layer)
                changed |= (maps != original).flatten(1).any(1)  # NaN differs from anything
                for measure, score in similarity(original, maps, size, self.absolute, layer).items():
                    of_layers[measure][layer] = score
                explained.on_progress(share)
        scores = {f"{self.name}_looks_at_model": Score(changed.double(), ("",) * count)}
        for measure, by_layer in of_layers.items():
            scores[f"{self.name}_{measure}"] = mean_score(list(by_layer.values()))
            scores |= {f"{self.name}_{measure}/{layer}": score for layer, score in by_layer.items()}
        return Scores(scores, torch.zeros(count, dtype=torch.long))


def similarity(original: Maps, maps: Maps, size: int, absolute: bool, layer: str) -> dict[str, Score]:
    """Spearman's rho and SSIM of each pair of maps, enlarged to the view; undefined where a map is flagged.

    layer: whose randomised parameters gave ``maps``, for the reasons. SSIM takes maps scaled to a largest magnitude of
    1, in a Gaussian window of 11 pixels (sigma 1.5), mirrored at the border (torchmetrics; scikit-image leaves it out).
    Both are 1, and not nearly 1, where the two maps are equal.
    """
    if absolute:
        original, maps = original.abs(), maps.abs()
    reasons = tuple(
        f"{own} absolute map" if own else f"{flag} map with {layer} randomised" if flag else ""
        for own, flag in zip(flags(original), flags(maps), strict=True)
    )
    parts: list[tuple[Tensor, Tensor]] = []
    for rows in torch.arange(len(maps)).split(IMAGES_AT_ONCE):
        first, second = (_scaled(in_the_view(of_all[rows], size)) for of_all in (original, maps))
        # float32: on a CPU a convolution in float64 costs more than a network pass
        alike = structural_similarity_index_measure(
            first.float()[:, None], second.float()[:, None], data_range=1.0 if absolute else 2.0, reduction="none"
        )
        assert isinstance(alike, Tensor)
        # float32's rounding would tell methods that never look at the model apart, and rank them
        equal = (first == second).flatten(1).all(1)
        rho = torch.from_numpy(spearman(first.flatten(1).numpy(), second.flatten(1).numpy()))
        parts.append((rho, alike.double().reshape(-1).masked_fill(equal, 1)))
    undefined = torch.tensor([bool(reason) for reason in reasons])
    of_measures = (torch.cat(values).masked_fill(undefined, torch.nan) for values in zip(*parts, strict=True))
    return {measure: Score(values, reasons) for measure, values in zip(MEASURES, of_measures, strict=True)}


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
