"""A job's maps as its report shows them: brought into bytes and to at most 32 cells a side."""

import numpy as np
import torch

from harmonia.evaluation.contract import Job
from harmonia.geometry import WHOLE_IMAGE, resample
from harmonia.keep import minmax
from harmonia.maps import unpack
from harmonia.shapes import Keep
from harmonia.small_maps import SIDE, SmallMaps

BATCH_IMAGES = 256


def small_maps(job: Job) -> SmallMaps:
    """Of every readable image the soft arm's weights as evaluated, and the raw map that the equal areas rank."""
    normalise = job.evaluation.arms(job).normalise
    soft, ranked = [], []
    readable = job.viewed.readable
    for start in range(0, len(readable), BATCH_IMAGES):
        arrays, _ = job.maps.read_items(readable[start : start + BATCH_IMAGES])
        raw = torch.from_numpy(unpack(arrays)).nan_to_num(0.0, 0.0, 0.0)  # as keep.KeepArms reads them
        soft.append(_to_bytes(normalise(raw)))
        ranked.append(_to_bytes(minmax(raw)))
    return SmallMaps(
        [job.images.records[index].image_id for index in readable],
        np.concatenate(soft) if soft else np.zeros((0, 1, 1), np.uint8),
        np.concatenate(ranked) if ranked else np.zeros((0, 1, 1), np.uint8),
        job.viewed.boxes(readable, job.source.view).numpy(),
    )


def _to_bytes(keep: Keep) -> np.ndarray:
    if max(keep.shape[1:]) > SIDE:
        whole = torch.tensor([WHOLE_IMAGE]).expand(len(keep), 4)
        keep = resample(keep, whole, whole, SIDE)
    return keep.mul(255).round().clamp(0, 255).byte().numpy()
