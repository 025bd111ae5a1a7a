"""A batch's maps computed again, by the same method for the same classes, on a network that may have changed."""

import numpy as np
import torch
from torch import Tensor

from harmonia.evaluation.metrics.contract import ExplainedImages
from harmonia.features.maps import flag_of
from harmonia.shapes import Maps

IMAGES_AT_ONCE = 16  # bounds the memory of images as floats, whatever the shard


def explain_again(explained: ExplainedImages) -> Maps:
    """Raw maps (B, h, w) of the batch's images, on the CPU."""
    parts = []
    for rows in torch.arange(len(explained.pixels)).split(IMAGES_AT_ONCE):
        images = explained.pixels[rows].to(explained.device).float() / 255
        parts.append(explained.explain(explained.model, images, rows).float().cpu())
    return torch.cat(parts)


def in_the_view(maps: Maps, size: int) -> Tensor:
    """Maps enlarged bilinearly to the view's size x size pixels, float64."""
    # in float64, so that equal cells stay equal and are tied in rank
    large = torch.nn.functional.interpolate(maps.double()[:, None], size=(size, size), mode="bilinear")
    return large[:, 0]


def flags(maps: Maps) -> list[str]:
    """Of each map why it cannot be compared: "zero", "constant", "non-finite", or ""."""
    return [flag_of(np.asarray(map_)) for map_ in maps]
