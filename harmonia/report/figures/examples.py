"""Fig. 1 of Kadir, Addluri, Sonntag 2023 (arXiv 2307.02150): image, map and feature, for every source and method.

Which images: those named, else the typical ones. An image's drop is the mean, over explainers and targets, of
p_explained on the image less that on the feature; typical are the images whose drop lies nearest to the median,
the nearest of each class first, ties in the order of the images. Nobody picks them.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from PIL import Image

from harmonia.arms import SOFT_ARM
from harmonia.errors import InputError
from harmonia.report.figures.style import TEXT_WIDTH, CaptionedFigure, short
from harmonia.report.page.collection import Collection, Explainer, ImageList
from harmonia.report.tables.columns import RANDOM
from harmonia.results.gathered import SETTING
from harmonia.results.maps import REGION_SIDE, SmallMaps

PANEL_SIDE = 224  # pixels
TYPICAL_IMAGES = 4


def example_figures(
    collection: Collection, setting: Sequence[str], arm: str, ids: Sequence[str]
) -> Iterator[CaptionedFigure]:
    """Fig. 1 of one setting, of the images with these ids or, without any, of the typical ones.

    None where an earlier setting has the same maps under another fill: its Fig. 1 is the same.
    """
    explainers = [each for each in collection.explainers if [each.key[name] for name in SETTING] == list(setting)]
    if _fills_of_same_maps(collection, explainers[0])[0] != explainers[0].key["fill"]:
        return
    images = collection.sets[explainers[0].key["data"]]
    if ids:
        at = images.places.get_indexer(list(ids))
        places, rule = at[at >= 0].tolist(), "named by the user"
    else:
        places = typical_images(collection, images, arm, TYPICAL_IMAGES)
        rule = "those nearest to the median drop of p_explained, one a class"
    if not places or all(explainer.maps is None for explainer in explainers):
        return
    from harmonia.data.imagenet import readable

    classes = {code: readable(name) for code, name in enumerate(collection.classes)}
    shown = ", ".join(images.ids[place] for place in places)
    yield CaptionedFigure(
        "fig1",
        "Figure 1.",
        f"Images ({rule}), maps and features (arm {arm}, dropped parts black, whatever the fill): {shown}.",
        draw_examples(explainers, images, places, classes, arm),
    )


def _fills_of_same_maps(collection: Collection, explainer: Explainer) -> list[str]:
    """Fills under which the same sources, methods and maps ran as under the explainer's, in the collection's order."""
    shown: dict[str, set[tuple]] = {}
    for each in collection.explainers:
        if all(each.key[name] == explainer.key[name] for name in SETTING if name != "fill"):
            key = each.key["source"], each.key["method"], each.key["variant"], each.maps is None
            shown.setdefault(each.key["fill"], set()).add(key)
    return [fill for fill, keys in shown.items() if keys == shown[explainer.key["fill"]]]


def typical_images(collection: Collection, images: ImageList, arm: str, count: int) -> list[int]:
    """Places of the most typical images of a data set, most typical first; images without a number never."""
    explainers = [explainer for explainer in collection.explainers if explainer.key["data"] == images.name]
    drops = np.array([block.drop(arm) for explainer in explainers for block in explainer.blocks.values()])
    known = np.isfinite(drops)
    shows = known.sum(0)
    drop = np.where(known, drops, 0).sum(0) / np.maximum(shows, 1)
    usable = np.flatnonzero((shows > 0) & (shows == shows.max(initial=0)))  # a method may have run on a part of them
    if not len(usable):
        return []
    distance = np.abs(drop[usable] - np.median(drop[usable]))
    nearest = usable[np.argsort(distance, kind="stable")]
    turns = pd.Series(nearest).groupby(images.labels[nearest]).cumcount()  # among those of the same class
    return nearest[np.argsort(turns, kind="stable")][:count].tolist()


def draw_examples(
    explainers: Sequence[Explainer], images: ImageList, places: Sequence[int], names: dict[int, str], arm: str
) -> Figure:
    """A row per source and method, a pair of panels (map, feature) per image, the images above.

    Panels show what the source sees; dropped parts are black. names: class names by code.
    """
    side = TEXT_WIDTH / (2 * max(len(places), 2) + 0.5)
    heights = [2 * side, *([side] * len(explainers))]
    figure = Figure(figsize=(side * (2 * len(places) + 0.5), sum(heights) + 0.45 + 0.04 * len(explainers)))
    slots = figure.add_gridspec(
        1 + len(explainers), 2 * len(places), height_ratios=heights,
        left=0.5 / (2 * len(places) + 0.5), right=1, bottom=0, top=1 - 0.36 / figure.get_figheight(),
        wspace=0.05, hspace=0.05,
    )  # fmt: skip
    for column, place in enumerate(places):
        picture = None
        with suppress(InputError):  # it is not at hand
            picture = images.file(place).open()
        panel = _blank(figure, slots[0, 2 * column : 2 * column + 2])
        panel.set_title(short(names.get(int(images.labels[place]), images.ids[place])), fontsize=8, pad=3)
        if picture is None:
            panel.text(0.5, 0.5, "image not at hand", ha="center", va="center", fontsize=7)
        else:
            panel.imshow(_square(picture, None))
        for row, explainer in enumerate(explainers, start=1):
            heat, feature = (_blank(figure, slots[row, 2 * column + right]) for right in (0, 1))
            if column == 0:
                parts = [explainer.key["source"], RANDOM.strip() if explainer.random_weights else "", explainer.method]
                heat.set_ylabel("\n".join(short(part, 16) for part in parts if part), fontsize=7, labelpad=2)
            _pair(heat, feature, explainer, place, picture, arm)
    return figure


def _pair(heat: Axes, feature: Axes, explainer: Explainer, place: int, picture: Image.Image | None, arm: str) -> None:
    at = int(explainer.map_of[place]) if len(explainer.map_of) else -1
    if explainer.maps is None or at < 0:
        heat.text(0.5, 0.5, "no map\nkept", ha="center", va="center", fontsize=7)
        return
    heat.imshow(_upsampled(explainer.maps.soft[at]), cmap="viridis", vmin=0, vmax=1)
    keep = keep_weights(explainer.maps, at, arm)
    with suppress(ValueError, MemoryError, Image.DecompressionBombError):  # a box that no view is
        if picture is not None and keep is not None:
            feature.imshow(_square(picture, explainer.maps.boxes[at]) * keep[..., None])
            return
    feature.text(0.5, 0.5, "not drawn", ha="center", va="center", fontsize=7)


def keep_weights(maps: SmallMaps, row: int, arm: str) -> np.ndarray | None:
    """Keep weights (224, 224) of the arm over the source's view; None for an arm whose region was not kept."""
    if arm == SOFT_ARM:
        return _upsampled(maps.soft[row])
    region = maps.region(row, arm)
    return None if region is None else np.kron(region, np.ones([PANEL_SIDE // REGION_SIDE] * 2))


def _upsampled(cells: np.ndarray) -> np.ndarray:
    small = Image.fromarray(cells.astype(np.float32) / 255)
    return np.asarray(small.resize((PANEL_SIDE, PANEL_SIDE), Image.Resampling.BILINEAR))


def _square(picture: Image.Image, box: np.ndarray | None) -> np.ndarray:
    """What lies in the box, or in the largest central square, as intensities (224, 224, 3); black beyond the image."""
    size = np.array(picture.size)
    margins = (size - size.min()) / 2
    edges = np.concatenate([margins, size - margins] if box is None else [box[:2] * size, box[2:] * size])
    part = picture.crop(tuple(np.rint(edges).astype(int).tolist()))
    return np.asarray(part.resize((PANEL_SIDE, PANEL_SIDE), Image.Resampling.BICUBIC)) / 255


def _blank(figure: Figure, slot: SubplotSpec) -> Axes:
    panel = figure.add_subplot(slot, xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
    return panel
