"""Deletion, insertion and ROAD beside Quantus' in batches: seconds over the bare forwards that ours take.

Quantus' PixelFlipping is deletion without its first point; of the negative map it is insertion into the baseline,
read backwards. Its ROAD counts right answers where ours measures the class's probability, and fails on coloured
images: it takes a map's values for those of single channels. Here it is told the whole pixels, in both orders as ours.
"""

from collections.abc import Callable, Iterator

import numpy as np
import quantus
import torch
from peer_maps import MOST_APART
from side_by_side import alternate, bare, both, median, ratio
from torch import Tensor

from harmonia.attribution.passes import BatchSize
from harmonia.evaluation.metrics.contract import ExplainedImages
from harmonia.evaluation.metrics.curve import Deletion, Insertion, area_under
from harmonia.evaluation.metrics.perturbation import reader_of
from harmonia.evaluation.metrics.road import ROAD
from harmonia.features.imputation import impute
from harmonia.models.classifier import Classifier

OPTIONS = {"disable_warnings": True, "normalise": False, "abs": False, "return_aggregate": False}


class PixelFlipping(quantus.PixelFlipping):
    def custom_preprocess(self, **_) -> None:
        """Takes steps of whole pixels, too, of which no number divides a square of 224."""


def rows(classifier: Classifier, images: int, steps: int, shares: tuple[int, ...], turns: int) -> Iterator[list[str]]:
    """Metric, forwards an image, their seconds, ratios of both libraries to them, how far the numbers are apart."""
    explained = smooth_maps(classifier, images)
    whole = of_whole_images(explained)
    ours = {
        "deletion": Deletion(steps=steps, baseline="zero"),
        "insertion": Insertion(steps=steps, baseline="zero"),
        "road": ROAD(percentiles=shares),
    }
    flipping = PixelFlipping(
        features_in_step=3 * explained.size[0] * explained.size[1] // steps, perturb_baseline=0.0, **OPTIONS
    )
    removal = quantus.ROAD(percentages=[3 * share for share in shares], perturb_func=of_pixels, **OPTIONS)
    theirs: dict[str, Callable[[], object]] = {
        "deletion": lambda: asked(flipping, explained, explained.maps),
        "insertion": lambda: asked(flipping, explained, -explained.maps),
        "road": lambda: [asked(removal, explained, maps) for maps in (explained.maps, -explained.maps)],
    }
    apart = {"road": imputed_apart(explained, shares)}
    for name in ("deletion", "insertion"):
        curves = torch.cat([whole[:, None], torch.tensor(theirs[name]())], 1).double()
        areas = torch.stack([area_under(curve) for curve in curves])
        apart[name] = float((ours[name](explained).scores[name].values - areas).abs().max())
    if max(apart.values()) > MOST_APART:
        raise SystemExit(f"scores and imputed pixels must be equal to {MOST_APART}, got {apart}")
    for name, metric in ours.items():
        forwards = int(metric(explained).passes[0])
        programs = {
            "bare": lambda count=forwards * images: bare(classifier, count),
            "harmonia": lambda metric=metric: metric(explained),
            "Quantus": theirs[name]
            if name == "road"
            else lambda name=name: (of_whole_images(explained), theirs[name]()),
        }
        seconds = alternate(programs, 1 if name == "road" else turns)  # Quantus' ROAD takes as long as all else
        ratios = [ratio(seconds[library], seconds["bare"]) for library in ("harmonia", "Quantus")]
        passes = f"{median(seconds['bare']).cpu / images:.2f} s"
        yield [name, str(forwards), passes, *map(both, ratios), f"{apart[name]:.0e}"]


def smooth_maps(classifier: Classifier, count: int) -> ExplainedImages:
    """Noise under maps of one hill each, every pixel of its own height: ties are broken in no library's way."""
    generator, side = torch.Generator().manual_seed(0), classifier.view.size
    across = torch.arange(side) - side / 2
    hills = -(across[:, None] + 9 * torch.arange(count)[:, None, None]).square() - across.square()
    noise = torch.rand(count, side, side, generator=generator, dtype=torch.float64)
    ranks = (hills + noise).flatten(1).argsort(1).argsort(1)
    return ExplainedImages(
        model=classifier,
        pixels=torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator),
        maps=ranks.view(count, side, side).float() / side**2,
        labels=torch.arange(count) % len(classifier.classes),
        boxes=(torch.zeros(0, 4),) * count,
        image_keys=np.arange(count, dtype=np.uint64),
        device=torch.device("cpu"),
        batch_size=BatchSize(8),
        explain=lambda model, images, rows: torch.zeros(0),
        on_progress=lambda images: None,
    )


@torch.no_grad()
def of_whole_images(explained: ExplainedImages) -> Tensor:
    """The curves' first point, which Quantus omits."""
    return reader_of("probability")(explained.model(explained.pixels.float() / 255), explained.labels)


def asked(metric: quantus.Metric, explained: ExplainedImages, maps: Tensor) -> object:
    model = explained.model
    return metric(
        model=model.network,
        x_batch=((explained.pixels / 255 - model.mean) / model.std).numpy(),
        y_batch=explained.labels.numpy(),
        a_batch=maps[:, None].numpy(),
        channel_first=True,
        device="cpu",
    )


def of_pixels(arr: np.ndarray, indices: np.ndarray, noise: float = 0.01, **kwargs) -> np.ndarray:
    """Quantus' imputation of all channels of the pixels of which it names channels."""
    pixels = np.unique(indices % arr[0].size)
    return quantus.functions.perturb_func.noisy_linear_imputation(arr, pixels, noise)


def imputed_apart(explained: ExplainedImages, shares: tuple[int, ...]) -> float:
    """The greatest difference between imputed pixels, intensities in [0, 1]."""
    image, relevance = explained.pixels[0].double().numpy() / 255, explained.maps[0].numpy()
    apart = []
    for share in shares:
        dropped = relevance >= 1 - share / 100
        theirs = of_pixels(image, np.flatnonzero(dropped), noise=0)
        apart.append(np.abs(theirs - impute(image, dropped)).max())
    return float(max(apart))
