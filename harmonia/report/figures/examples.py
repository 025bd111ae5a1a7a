"""Fig. 1 of Kadir, Addluri, Sonntag 2023 (arXiv 2307.02150): image, map and feature, for every source and method.

Which images: those named, else the typical ones. An image's drop is the mean, over cells and targets, of
p_explained on the image less that on the feature; typical are the images whose drop lies nearest to the median,
the nearest of each class first, ties in the order of the images. Nobody picks them.
"""

import difflib
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from harmonia.arms import SOFT_ARM
from harmonia.data.decode import open_rgb
from harmonia.errors import InputError
from harmonia.report.figures.style import TEXT_WIDTH, short, style
from harmonia.report.page.collection import Cell, Collection, ImageList, probability_drop
from harmonia.results.maps import REGION_SIDE, SmallMaps

SIDE = 224  # pixels of a panel


def typical_images(collection: Collection, images: ImageList, arm: str, count: int) -> list[int]:
    """Places of the most typical images of a data set, most typical first; images without a number never."""
    cells = [cell for cell in collection.cells if cell.key["data"] == images.name]
    drops = np.array([probability_drop(block, arm) for cell in cells for block in cell.blocks.values()])
    known = np.isfinite(drops)
    drop = np.where(known, drops, 0).sum(0) / np.maximum(known.sum(0), 1)
    shows = known.sum(0)
    usable = np.flatnonzero((shows > 0) & (shows == shows.max(initial=0)))  # a method may have run on a part of them
    if not len(usable):
        return []
    distance = np.abs(drop[usable] - np.median(drop[usable]))
    nearest = usable[np.argsort(distance, kind="stable")].tolist()
    seen: dict[int, int] = {}
    turns = []
    for image in nearest:
        label = int(images.labels[image])
        turns.append(seen.get(label, 0))
        seen[label] = turns[-1] + 1
    return [image for _, image in sorted(zip(turns, nearest, strict=True), key=lambda pair: pair[0])][:count]


def named_images(images: ImageList, ids: Sequence[str]) -> list[int]:
    """Places of the images with these ids in the data set; ids it lacks are passed over."""
    place = {image_id: number for number, image_id in enumerate(images.ids)}
    return [place[image_id] for image_id in ids if image_id in place]


def check_names(collection: Collection, ids: Sequence[str]) -> None:
    """Every id must be some data set's."""
    known = {image_id for images in collection.sets.values() for image_id in images.ids}
    for image_id in ids:
        if image_id not in known:
            close = difflib.get_close_matches(image_id, known, n=1) or sorted(known)[:1] or ["none"]
            raise InputError(f"images must be ids of images in the rows, got {image_id!r}; there is {close[0]!r}")


def draw_examples(
    cells: Sequence[Cell], images: ImageList, places: Sequence[int], names: dict[int, str], arm: str
) -> Figure:
    """A row per source and method, a pair of panels (map, feature) per image, the images above.

    Panels show what the source sees; dropped parts are black. names: class names by code.
    """
    pictures = [_open(images.paths[place]) for place in places]
    with style():
        side = TEXT_WIDTH / (2 * max(len(places), 2) + 0.5)
        heights = [2 * side, *([side] * len(cells))]
        figure = Figure(figsize=(side * (2 * len(places) + 0.5), sum(heights) + 0.45 + 0.04 * len(cells)))
        slots = figure.add_gridspec(
            1 + len(cells), 2 * len(places), height_ratios=heights,
            left=0.5 / (2 * len(places) + 0.5), right=1, bottom=0, top=1 - 0.36 / figure.get_figheight(),
            wspace=0.05, hspace=0.05,
        )  # fmt: skip
        for column, (place, picture) in enumerate(zip(places, pictures, strict=True)):
            panel = figure.add_subplot(slots[0, 2 * column : 2 * column + 2])
            _blank(panel)
            panel.set_title(short(names.get(int(images.labels[place]), images.ids[place])), fontsize=8, pad=3)
            if picture is None:
                panel.text(0.5, 0.5, "image not at hand", ha="center", va="center", fontsize=7)
            else:
                panel.imshow(_square(picture, None))
            for row, cell in enumerate(cells, start=1):
                _pair(figure, slots, row, column, cell, place, picture, arm)
        return figure


def _pair(figure, slots, row: int, column: int, cell: Cell, place: int, picture: Image.Image | None, arm: str) -> None:
    heat = figure.add_subplot(slots[row, 2 * column])
    feature = figure.add_subplot(slots[row, 2 * column + 1])
    for panel in (heat, feature):
        _blank(panel)
    if column == 0:
        method = cell.name.removeprefix(f"{cell.source} · ")
        parts = [cell.key["source"], "(random)" if cell.random_weights else "", method]
        heat.set_ylabel("\n".join(short(part, 16) for part in parts if part), fontsize=7, labelpad=2)
    at = int(cell.map_of[place]) if len(cell.map_of) else -1
    if cell.maps is None or at < 0:
        heat.text(0.5, 0.5, "no map\nkept", ha="center", va="center", fontsize=7)
        return
    heat.imshow(_upsampled(cell.maps.soft[at]), cmap="viridis", vmin=0, vmax=1)
    keep = keep_weights(cell.maps, at, arm)
    if picture is None or keep is None:
        feature.text(0.5, 0.5, "not drawn", ha="center", va="center", fontsize=7)
    else:
        feature.imshow(_square(picture, cell.maps.boxes[at]) * keep[..., None])


def keep_weights(maps: SmallMaps, row: int, arm: str) -> np.ndarray | None:
    """Keep weights (224, 224) of the arm over the source's view; None for an arm whose region was not kept."""
    if arm == SOFT_ARM:
        return _upsampled(maps.soft[row])
    region = maps.region(row, arm)
    return None if region is None else np.kron(region, np.ones([SIDE // REGION_SIDE] * 2))


def _upsampled(cells: np.ndarray) -> np.ndarray:
    small = Image.fromarray(cells.astype(np.float32) / 255)
    return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _square(picture: Image.Image, box: np.ndarray | None) -> np.ndarray:
    """What lies in the box, or in the largest central square, as intensities (224, 224, 3); black beyond the image."""
    width, height = picture.size
    if box is None:
        margin_x, margin_y = (width - min(width, height)) / 2, (height - min(width, height)) / 2
        edges = np.array([margin_x, margin_y, width - margin_x, height - margin_y])
    else:
        edges = box * [width, height, width, height]
    left, top, right, bottom = np.rint(edges).astype(int).tolist()
    return np.asarray(picture.crop((left, top, right, bottom)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) / 255


def _open(path: str) -> Image.Image | None:
    try:
        return open_rgb(path)
    except InputError:
        return None


def _blank(panel) -> None:
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(False)
