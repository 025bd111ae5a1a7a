"""The pages to browse: index, browse, image and those of sections (.html), and beside them in page/ all that they load.

Opened from a folder a page may load scripts and pictures but may fetch nothing, so data are scripts, in files small
enough to be loaded when they are looked at.
"""

import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from harmonia.report.contract import INDEX
from harmonia.report.page.collection import PROBABILITIES, Block, Cell, Collection, ImageList
from harmonia.report.page.script import script
from harmonia.report.page.thumbnails import make_thumbnails, missing_reason, spread
from harmonia.report.written import Report
from harmonia.store.files import write_text

PAGE = "page"  # the folder of everything but the pages
IMAGES_PER_FILE = 48

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("harmonia.report.page"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


def write_pages(report: Report, folder: Path, collection: Collection, thumbnails: int | None) -> None:
    """The pages of a report, over those of an earlier one.

    thumbnails: of how many images at most, None for all. Numbers and tables are there for every image.
    """
    page = folder / PAGE
    shutil.rmtree(page / "data", ignore_errors=True)
    shutil.rmtree(page / "assets", ignore_errors=True)
    (page / "data").mkdir(parents=True)
    shutil.copytree(str(resources.files("harmonia.report.page") / "assets"), page / "assets")
    paths = [path for images in collection.sets.values() for path in images.paths]
    chosen = spread(len(paths), len(paths) if thumbnails is None else thumbnails)
    names, missing = make_thumbnails({image: paths[image] for image in chosen}, page / "thumbnails")
    beyond = missing_reason(chosen, len(paths)) if len(chosen) < len(paths) else ""
    data = _data_files(collection, set(chosen), names, missing, beyond, report.arm)
    for name, value in data:
        (page / "data" / f"{name}.js").write_text(script(name, value), encoding="ascii")
    apart = {section.page: section for section in report.sections if section.page != INDEX}
    facts = {
        "run": report.run.resolve().name,
        "report": report,
        "index": INDEX,
        "together": [section for section in report.sections if section.page == INDEX],
        "apart": apart,
        "images": len(paths),
        "no_thumbnails": missing,
    }
    for name in (INDEX, "browse.html", "image.html", *apart):
        template = _TEMPLATES.get_template("section.html" if name in apart else name)
        write_text(folder / name, template.render(facts, page=name))


def _data_files(
    collection: Collection,
    chosen: set[int],
    names: dict[int, str],
    missing: dict[int, str],
    beyond: str,
    arm: str,
) -> Iterator[tuple[str, Any]]:
    """Names and contents of the data files; numbers of images run through all data sets."""
    sets, first, first_file = [], 0, 0
    map_files: dict[int, list[int]] = {}
    for images in collection.sets.values():
        sets.append({"name": images.name, "first": first, "count": len(images.ids), "file": first_file})
        cells = [(number, cell) for number, cell in enumerate(collection.cells) if cell.key["data"] == images.name]
        for number, cell in cells:
            for position, block in enumerate(cell.blocks.values()):
                yield f"numbers-{number}-{position}", _numbers(cell, block, images, _code_type(collection))
        for start in range(0, len(images.ids), IMAGES_PER_FILE):
            part = slice(start, min(start + IMAGES_PER_FILE, len(images.ids)))
            yield (
                f"details-{first_file}",
                {str(number): _details(cell, part, _code_type(collection)) for number, cell in cells},
            )
            shown = [first + image in chosen for image in range(part.start, part.stop)]
            for number, cell in cells:
                if (maps := _maps(cell, part, np.array(shown))) is not None:
                    map_files.setdefault(number, []).append(first_file)
                    yield f"maps-{number}-{first_file}", maps
            first_file += 1
        first += len(images.ids)
    yield "index", _index(collection, sets, map_files, names, missing, beyond, arm)


def _index(
    collection: Collection,
    sets: list[dict[str, Any]],
    map_files: dict[int, list[int]],
    names: dict[int, str],
    missing: dict[int, str],
    beyond: str,
    arm: str,
) -> dict[str, Any]:
    from harmonia.data.imagenet import readable

    lists = collection.sets.values()
    position = {name: number for number, name in enumerate(collection.sets)}
    return {
        "arm": arm,
        "imagesPerFile": IMAGES_PER_FILE,
        "sets": sets,
        "classes": [[name, readable(name)] for name in collection.classes],
        "flags": collection.flags,
        "cells": [
            {
                **cell.key,
                "set": position[cell.key["data"]],
                "name": cell.name,
                "sourceName": cell.source,
                "targets": [{"name": block.target, "arms": block.arms} for block in cell.blocks.values()],
                "mapFiles": map_files.get(number, []),  # asking for a file that is not there is an error in the console
                "noMaps": cell.no_maps,
            }
            for number, cell in enumerate(collection.cells)
        ],
        "ids": [image_id for images in lists for image_id in images.ids],
        "paths": [path for images in lists for path in images.paths],
        "labels": np.concatenate([np.zeros(0), *(images.labels for images in lists)]).astype(_code_type(collection)),
        "thumbnails": [names.get(image, "") for image in range(collection.num_images)],
        "missing": missing,
        "beyond": beyond,
    }


def _code_type(collection: Collection) -> np.dtype:
    """Of class codes; its largest value stands for none, as any code beyond the classes does."""
    return np.dtype(np.uint16 if len(collection.classes) < 2**16 - 1 else np.uint32)


def _numbers(cell: Cell, block: Block, images: ImageList, code: np.dtype) -> dict[str, Any]:
    """What the gallery filters and sorts by, arms outermost."""
    return {
        "right": (block.predicted == images.labels[:, None]).T.astype(np.uint8),  # means nothing without a label
        "predicted": block.predicted.T.astype(code),
        "p": block.numbers["p_explained"].T,
        "sourceRight": (cell.source_predicted == images.labels).astype(np.uint8),
        **_map_facts(cell, slice(None), code),
    }


def _details(cell: Cell, part: slice, code: np.dtype) -> dict[str, Any]:
    """What the page of an image shows, by target in the cell's order; arms innermost but for the ranks."""
    targets = [
        {"top5": block.top5[part].astype(code), **{name: block.numbers[name][part] for name in PROBABILITIES}}
        for block in cell.blocks.values()
    ]
    return {**_map_facts(cell, part, code), "targets": targets}


def _map_facts(cell: Cell, part: slice, code: np.dtype) -> dict[str, Any]:
    return {"explained": cell.explained[part].astype(code), "flags": cell.flags[part].astype(np.uint8)}


def _maps(cell: Cell, part: slice, shown: np.ndarray) -> dict[str, Any] | None:
    """The part's maps, those of images without a thumbnail left out; rows says which map is an image's, -1 none."""
    if cell.maps is None:
        return None
    of_image = np.where(shown, cell.map_of[part], -1)
    there = of_image[of_image >= 0]
    if not len(there):
        return None
    rows = np.full(len(of_image), -1, np.int16)
    rows[of_image >= 0] = np.arange(len(there))
    return {
        "rows": rows,
        "soft": cell.maps.soft[there],
        "smallestAreas": cell.maps.smallest_areas[there],
        "areas": cell.maps.areas,
        "boxes": cell.maps.boxes[there].astype(np.float32),
    }
