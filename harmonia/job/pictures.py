"""Pictures of a few images: the image, its map and its feature, side by side, as in the paper's Fig. 1."""

import numpy as np
import torch
from matplotlib import colormaps

from harmonia.arms import percent
from harmonia.data.imagenet import readable
from harmonia.features.areas import smallest_areas
from harmonia.features.arms import KeepArms, finite
from harmonia.features.fill import compose
from harmonia.features.maps import unpack
from harmonia.features.resample import enlarged
from harmonia.job.contract import Job
from harmonia.results.maps import BATCH_IMAGES, REGION_SIDE, SIDE, SmallMaps
from harmonia.results.tracking import evenly_spaced
from harmonia.shapes import Images, in_rgb


def sample_panel(job: Job, arms: KeepArms, count: int) -> list[tuple[str, np.ndarray]]:
    """Titles and pictures (H, 3 W, 3) uint8 of at most ``count`` readable images, evenly spread over the data set."""
    if not count:
        return []
    viewed, view = job.viewed, job.source.view
    batch = viewed.batch(evenly_spaced(len(viewed), count), view)
    indices = batch.indices[batch.readable].tolist()
    if not indices:
        return []
    arrays, facts = job.maps.read_items(indices)
    boxes = batch.boxes[batch.readable]
    images = batch.pixels[batch.readable].float() / 255
    soft = arms.soft(torch.from_numpy(unpack(arrays)), boxes, boxes, view.size)[:, None]

    def another() -> Images:
        explained = [fact["explained"] for fact in facts]
        return job.pool(view, False).stand_ins(job.images, indices, explained, images.device)

    features = compose(images, soft, job.fill(images, soft, another))
    heat = torch.from_numpy(colormaps["viridis"](soft[:, 0].numpy())[..., :3]).permute(0, 3, 1, 2).float()
    pictures = (
        torch.cat([in_rgb(images), heat, in_rgb(features)], 3).permute(0, 2, 3, 1).mul(255).round().byte().numpy()
    )
    titles = [f"{fact['image_id']}: {readable(fact['explained'])} ({fact['p_source']:.2f})" for fact in facts]
    return list(zip(titles, pictures, strict=True))


def small_maps(job: Job, arms: KeepArms) -> SmallMaps:
    """Of every readable image the soft arm's weights and the equal-area regions as they were evaluated."""
    size = job.source.view.size
    readable = job.viewed.readable
    soft, smallest = [np.zeros((0, 1, 1), np.uint8)], np.empty((len(readable), REGION_SIDE, REGION_SIDE), np.uint8)
    for start in range(0, len(readable), BATCH_IMAGES):
        part = slice(start, start + BATCH_IMAGES)
        arrays, _ = job.maps.read_items(readable[part])
        raw = finite(torch.from_numpy(unpack(arrays)))
        keep = arms.normalise(raw)
        keep = enlarged(keep, SIDE) if max(keep.shape[1:]) > SIDE else keep
        soft.append(keep.mul(255).round().clamp(0, 255).byte().numpy())
        smallest[part] = smallest_areas(raw, arms.areas, size, REGION_SIDE).numpy()
    return SmallMaps(
        [job.images.records[index].image_id for index in readable],
        np.concatenate(soft[1:] or soft),
        smallest,
        tuple(percent(area) for area in arms.areas),
        job.viewed.boxes(readable, job.source.view).numpy(),
        [job.images.records[index].digest for index in readable],
    )
