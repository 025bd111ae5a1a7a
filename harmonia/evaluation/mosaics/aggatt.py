"""AggAtt: mean maps of the first cell by rank of their localisation.

S. Rao, M. Böhle, B. Schiele, CVPR 2022, section 3.4: maps are sorted by localisation, ties by the positive attribution
inside the cell, cut into bins of ranks and averaged; what is shown as an example is the median of its bin.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import interpolate

from harmonia.results.localisation import AGGATT_BINS
from harmonia.shapes import Maps

BATCH_MAPS = 32  # maps that are read at once


def order(localisation: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Positions from the best localised to the worst, ties by mass."""
    return np.lexsort((-mass, -localisation))


def bins(count: int) -> list[range]:
    """Ranks of each bin; exact where count is divisible by 100."""
    return [range(*(round(edge * count / 100) for edge in edges)) for edges in AGGATT_BINS]


def medians(count: int) -> list[int]:
    """The median rank of each bin, -1 of an empty one."""
    return [ranks[(len(ranks) - 1) // 2] if ranks else -1 for ranks in bins(count)]


def mean_maps(ranked: np.ndarray, read: Callable[[list[int]], Maps], side: int) -> np.ndarray:
    """Mean of the positive maps of each bin, (6, side, side) float32; an empty bin is NaN.

    ranked: positions in the order of rank; read gives their maps at any resolution.
    """
    means = []
    for ranks in bins(len(ranked)):
        chosen = [int(ranked[rank]) for rank in ranks]
        total = torch.zeros(side, side, dtype=torch.float64)
        for start in range(0, len(chosen), BATCH_MAPS):
            total += positive(read(chosen[start : start + BATCH_MAPS]), side).sum(0)
        means.append(total / len(chosen) if chosen else torch.full_like(total, torch.nan))
    return torch.stack(means).float().numpy()


def positive(maps: Maps, side: int) -> Maps:
    """Maps over the mosaic enlarged bilinearly, then without their negative part; where they are finer than the side,
    without their negative part, then averaged.
    """
    finer = max(maps.shape[-2:]) > side
    maps = maps.double().nan_to_num(0.0, 0.0, 0.0)
    large = interpolate(
        (maps.clamp(min=0) if finer else maps)[:, None],
        size=(side, side),
        mode="area" if finer else "bilinear",
        align_corners=None if finer else False,
    )
    return large[:, 0].clamp(min=0)
