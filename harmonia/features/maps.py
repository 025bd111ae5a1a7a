"""Raw attribution maps in half the space: float16 with one float32 scale for each image."""

from collections.abc import Mapping

import numpy as np

UNREADABLE = "unreadable"  # the flag of an image that could not be decoded


def pack(maps: np.ndarray) -> dict[str, np.ndarray]:
    """Maps [n, h, w] as float16 in -1..1, and scale [n], the largest finite magnitude of each.

    The error is below 1e-3 of the scale, whatever its size: gradients of 1e-12 keep their digits.
    Infinities become NaN.
    """
    if maps.ndim != 3:
        raise ValueError(f"maps must have axes [n, h, w], got shape {maps.shape}; sum over channels first")
    maps = maps.astype(np.float32)
    finite = np.isfinite(maps)
    scale = np.where(finite, np.abs(maps), 0).max(axis=(1, 2), initial=0)
    divisor = np.where(scale > 0, scale, 1).astype(np.float64)[:, None, None]
    return {"maps": (np.where(finite, maps, np.nan) / divisor).astype(np.float16), "scale": scale}


def unpack(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The float32 maps [n, h, w] that were packed."""
    return arrays["maps"].astype(np.float32) * arrays["scale"].astype(np.float32)[:, None, None]


def flag_of(map_: np.ndarray) -> str:
    """What makes a map carry no ranking: "zero", "constant", "non-finite"; "" for none of them."""
    if not np.isfinite(map_).all():
        return "non-finite"
    if not map_.any():
        return "zero"
    return "constant" if map_.min() == map_.max() else ""
