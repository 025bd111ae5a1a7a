"""From a raw map to a soft map: keep weights in [0, 1]."""

from collections.abc import Callable

import torch

from harmonia.errors import InputError
from harmonia.shapes import Keep, Maps


def positive_minmax(maps: Maps) -> Keep:
    """Negative evidence dropped, the rest scaled to [0, 1] per image; a map without any stays 0."""
    return minmax(maps.clamp(min=0))


def minmax(maps: Maps) -> Keep:
    """Scaled to [0, 1] per image; a constant map, which ranks nothing, becomes 0."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low), 0.0)


def percentile(maps: Maps) -> Keep:
    """Negative evidence dropped, scaled by its 99th percentile, clipped at 1: outliers do not dim the rest."""
    positive = maps.clamp(min=0)
    scale = positive.flatten(1).quantile(0.99, dim=1)[:, None, None]
    return torch.where(scale > 0, (positive / scale).clamp(max=1), (positive > 0).to(positive))


def sigmoid(maps: Maps) -> Keep:
    """For methods whose raw map is the logit of a mask."""
    return maps.sigmoid()


def clamp(maps: Maps) -> Keep:
    """For maps that are keep weights already."""
    return maps.clamp(0, 1)


NORMALISATIONS: dict[str, Callable[[Maps], Keep]] = {
    function.__name__: function for function in (positive_minmax, minmax, percentile, sigmoid, clamp)
}


def normalisation(name: str) -> Callable[[Maps], Keep]:
    if name not in NORMALISATIONS:
        known = ", ".join(NORMALISATIONS)
        raise InputError(f"evaluation.normalise must be auto or one of {known}, got {name!r}; auto is the method's own")
    return NORMALISATIONS[name]
