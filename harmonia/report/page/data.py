"""What the pages load: small scripts of data, for a page opened from a folder may load a script but fetch nothing."""

import base64
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from harmonia.arms import AREA, IMAGE_ARM, SOFT_ARM, arm_of
from harmonia.media import visible
from harmonia.report.page.collection import PROBABILITIES, Block, Collection, Explainer, ImageList

IMAGES_PER_FILE = 48


def script(name: str, value: Any) -> str:
    """A call that hands the value to the page: JSON in ASCII, arrays as base64 of deflated little-endian numbers."""
    text = json.dumps(value, default=_array, allow_nan=False, separators=(",", ":"))
    # also as text inside a page nothing here could end a script or open an element
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f"harmonia.receive({json.dumps(name)},{text});\n"


def _array(value: Any) -> dict[str, Any]:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"page data must be JSON or numpy arrays, got {type(value).__name__}; convert it first")
    little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
    return {
        "array": f"{value.dtype.kind}{value.dtype.itemsize}",
        "shape": value.shape,
        "data": base64.b64encode(zlib.compress(little.tobytes())).decode("ascii"),
    }


def data_files(
    collection: Collection, arm: str, thumbnails: Mapping[int, str], missing: Mapping[int, str]
) -> Iterator[tuple[str, Any]]:
    """Names and contents of the data files. thumbnails: files by image; missing: why those asked for have none."""
    # of class codes; its largest value stands for none, as any code beyond the classes does
    code = np.dtype(np.uint16 if len(collection.classes) < 2**16 - 1 else np.uint32)
    sets: list[dict[str, Any]] = []
    map_files: dict[int, list[int]] = {}
    first = file = 0
    for images in collection.sets.values():
        count = len(images.ids)
        sets.append({"name": images.name, "first": first, "count": count, "file": file})
        explainers = [pair for pair in enumerate(collection.explainers) if pair[1].key["data"] == images.name]
        for number, explainer in explainers:
            for position, block in enumerate(explainer.blocks.values()):
                yield f"numbers-{number}-{position}", _numbers(explainer, block, images, code)
        for start in range(0, count, IMAGES_PER_FILE):
            part = slice(start, min(start + IMAGES_PER_FILE, count))
            yield f"details-{file}", {str(number): _details(explainer, part, code) for number, explainer in explainers}
            places = range(first + part.start, first + part.stop)
            shown = np.array([place in thumbnails or place in missing for place in places])
            for number, explainer in explainers:
                if maps := _maps(explainer, part, shown):
                    map_files.setdefault(number, []).append(file)
                    yield f"maps-{number}-{file}", maps
            file += 1
        first += count
    asked = len(thumbnails) + len(missing)
    beyond = f"this report has thumbnails of {asked:,} of {first:,} images; thumbnails=all makes all"
    labels = [np.zeros(0), *(images.labels for images in collection.sets.values())]
    index = {
        "arm": arm,
        "imageArm": IMAGE_ARM,
        **_index(collection, sets, map_files),
        "labels": np.concatenate(labels).astype(code),
        "thumbnails": [thumbnails.get(image, "") for image in range(first)],
        "missing": missing,
        "beyond": beyond if asked < first else "",
    }
    yield "index", _visible(index)


def _visible(value: Any) -> Any:
    if isinstance(value, dict):
        return {visible(str(key)): _visible(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_visible(part) for part in value]
    return visible(value) if isinstance(value, str) else value


def _index(collection: Collection, sets: list[dict[str, Any]], map_files: Mapping[int, list[int]]) -> dict[str, Any]:
    from harmonia.data.imagenet import readable

    position = {name: number for number, name in enumerate(collection.sets)}
    return {
        "imagesPerFile": IMAGES_PER_FILE,
        "sets": sets,
        "classes": [[name, readable(name)] for name in collection.classes],
        "flags": collection.flags,
        "cells": [
            {
                **explainer.key,
                "set": position[explainer.key["data"]],
                "name": explainer.name,
                "sourceName": explainer.source,
                "targets": [{"name": block.target, "arms": block.arms} for block in explainer.blocks.values()],
                "mapFiles": map_files.get(number, []),  # asking for a file that is not there is an error in the console
                "noMaps": explainer.no_maps,
            }
            for number, explainer in enumerate(collection.explainers)
        ],
        "ids": [image_id for images in collection.sets.values() for image_id in images.ids],
    }


def _numbers(explainer: Explainer, block: Block, images: ImageList, code: np.dtype) -> dict[str, Any]:
    """What the gallery filters and sorts by, arms outermost."""
    return {
        "right": (block.predicted == images.labels[:, None]).T.astype(np.uint8),  # means nothing without a label
        "predicted": block.predicted.T.astype(code),
        "p": block.numbers["p_explained"].T,
        "sourceRight": (explainer.source_predicted == images.labels).astype(np.uint8),
        **_map_facts(explainer, slice(None), code),
    }


def _details(explainer: Explainer, part: slice, code: np.dtype) -> dict[str, Any]:
    """What the page of an image shows, by target in the explainer's order; arms innermost but for the ranks."""
    targets = [
        {"top5": block.top5[part].astype(code), **{name: block.numbers[name][part] for name in PROBABILITIES}}
        for block in explainer.blocks.values()
    ]
    return {**_map_facts(explainer, part, code), "targets": targets}


def _map_facts(explainer: Explainer, part: slice, code: np.dtype) -> dict[str, Any]:
    return {"explained": explainer.explained[part].astype(code), "flags": explainer.flags[part].astype(np.uint8)}


def _maps(explainer: Explainer, part: slice, shown: np.ndarray) -> dict[str, Any] | None:
    """The part's maps, those of images that are not shown left out; rows says which map is an image's, -1 none."""
    of_image = np.where(shown, explainer.map_of[part] if explainer.maps else -1, -1)
    has_map = of_image >= 0
    if explainer.maps is None or not has_map.any():
        return None
    chosen = of_image[has_map]
    return {
        "rows": np.where(has_map, np.cumsum(has_map) - 1, -1).astype(np.int16),
        "soft": explainer.maps.soft[chosen],
        "smallestAreas": explainer.maps.smallest_areas[chosen],
        "arms": {SOFT_ARM: None} | {arm_of(AREA, area / 100): area for area in explainer.maps.areas},
        "boxes": explainer.maps.boxes[chosen].astype(np.float32),
    }
