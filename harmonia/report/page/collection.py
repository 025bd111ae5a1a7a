"""Everything that finished jobs say of every image, in dense arrays: what the page and Fig. 1 are made from.

A cell is a source and a method under one setting. A block is what one target made of a cell's images. Images
are numbered through; those of one data set follow one another.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from harmonia.arms import IMAGE_ARM
from harmonia.errors import InputError
from harmonia.results.gathered import Rows
from harmonia.results.maps import SmallMaps, read_small_maps
from harmonia.results.rows import read_tables

NONE = np.uint32(2**32 - 1)  # no class: no label, or no row
KEY = ["source", "method", "label_policy", "fill", "data", "variant"]
PROBABILITIES = ("p_label", "p_explained", "p_predicted", "kept_area")

_TEXT = ("image_id", "path", "target", "arm", "label", "predicted", "explained", "source_predicted", "flag")


@dataclass
class Block:
    """What a target made of a cell's images under every arm; axes n (images of the data set), a (arms)."""

    target: str
    arms: list[str]
    predicted: np.ndarray  # n a, class codes
    top5: np.ndarray  # n a 5, class codes
    numbers: dict[str, np.ndarray]  # n a float32 by PROBABILITIES, NaN where there is no row


@dataclass
class Cell:
    """A source and a method under one setting."""

    key: dict[str, str]  # by KEY
    explained: np.ndarray  # n, class codes
    source_predicted: np.ndarray  # n, class codes
    flags: np.ndarray  # n, numbers of Collection.flags
    blocks: dict[str, Block] = field(default_factory=dict)
    maps: SmallMaps | None = None
    map_of: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # n, rows of maps, -1 for none
    no_maps: str = ""  # why there are none
    random_weights: bool = False  # of the source

    @property
    def source(self) -> str:
        """The source's name and, where it has random weights, a word of that."""
        return self.key["source"] + (" (random weights)" if self.random_weights else "")

    @property
    def name(self) -> str:
        variant = f" ({self.key['variant']})" if self.key["variant"] else ""
        return f"{self.source} · {self.key['method'].upper()}{variant}"


@dataclass
class ImageList:
    """The images of one data set, sorted by image_id."""

    name: str
    ids: list[str]
    labels: np.ndarray  # n, class codes
    paths: list[str]

    @cached_property
    def places(self) -> pd.Index:
        return pd.Index(self.ids)


@dataclass
class Collection:
    sets: dict[str, ImageList]
    cells: list[Cell]
    classes: list[str]  # by code
    flags: list[str]

    @property
    def num_images(self) -> int:
        return sum(len(images.ids) for images in self.sets.values())


class _Codes(dict):
    """A number for every name, in the order of their first appearance."""

    def __missing__(self, name: str) -> int:
        self[name] = len(self)
        return self[name]


def collect(rows: Rows) -> Collection:
    """The finished jobs' images for rows that are gathered; what a job no longer shows is left out."""
    shown = rows.cells[[*KEY, "job", "target", "arm", "random_weights"]]
    ids: dict[str, set[str]] = {}
    for name, job in shown[["data", "job"]].drop_duplicates().itertuples(index=False):
        ids.setdefault(name, set()).update(rows.image_ids[job])
    sets = {name: _image_list(name, sorted(found)) for name, found in ids.items()}
    classes, flags = _Codes(), _Codes()
    cells: dict[tuple, Cell] = {}
    for key, of_cell in shown.groupby(KEY, sort=False):
        images = sets[key[KEY.index("data")]]
        cell = cells[key] = _cell(dict(zip(KEY, key, strict=True)), len(images.ids))
        cell.random_weights = bool(of_cell["random_weights"].any())
        for target, of_target in of_cell.groupby("target", sort=False):
            arms = list(dict.fromkeys(of_target["arm"]))
            cell.blocks[str(target)] = _block(str(target), arms, len(images.ids))
    for folder, of_job in shown.groupby("job", sort=False):
        of_cells = [
            (cells[key], sets[key[KEY.index("data")]], of_cell) for key, of_cell in of_job.groupby(KEY, sort=False)
        ]
        for piece in read_tables(Path(str(folder)), [*_TEXT, "top5", *PROBABILITIES]):
            part = _JobTable(piece, classes, flags)
            for cell, images, of_cell in of_cells:
                part.fill(cell, images, of_cell)
        for cell, images, _ in of_cells:
            _take_maps(cell, images, Path(str(folder)))
    return Collection(sets, list(cells.values()), list(classes), list(flags))


def _image_list(name: str, ids: list[str]) -> ImageList:
    return ImageList(name, ids, np.full(len(ids), NONE), [""] * len(ids))


def _cell(key: Mapping[str, str], images: int) -> Cell:
    return Cell(dict(key), np.full(images, NONE), np.full(images, NONE), np.zeros(images, np.uint32))


def _block(target: str, arms: list[str], images: int) -> Block:
    numbers = {name: np.full((images, len(arms)), np.nan, np.float32) for name in PROBABILITIES}
    return Block(target, arms, np.full((images, len(arms)), NONE), np.full((images, len(arms), 5), NONE), numbers)


class _JobTable:
    """Some of a job's rows with names as codes, copied from here into cells."""

    def __init__(self, table: pa.Table, classes: _Codes, flags: _Codes):
        self._text = {name: _encoded(table[name]) for name in _TEXT}
        self._class = {
            name: _codes(self._text[name], classes) for name in ("label", "predicted", "explained", "source_predicted")
        }
        self._flag = _codes(self._text["flag"], flags)
        self._top5 = _top5(table["top5"], classes)
        self._numbers = {name: table[name].to_numpy() for name in PROBABILITIES}

    def fill(self, cell: Cell, images: ImageList, shown: pd.DataFrame) -> None:
        """The rows of the targets and arms that are shown, put into the cell's place for them."""
        image_of_row = _mapped(self._text["image_id"], images.places.get_indexer)
        for target, of_target in shown.groupby("target", sort=False):
            block = cell.blocks[str(target)]
            here = _mapped(self._text["target"], pd.Index([target]).get_indexer) == 0
            arm_of_row = _mapped(self._text["arm"], pd.Index(block.arms).get_indexer)
            wanted = _mapped(self._text["arm"], pd.Index(of_target["arm"]).get_indexer) >= 0
            rows = np.flatnonzero(here & wanted & (image_of_row >= 0))
            image, arm = image_of_row[rows], arm_of_row[rows]
            block.predicted[image, arm] = self._class["predicted"][rows]
            block.top5[image, arm] = self._top5[rows]
            for name, values in self._numbers.items():
                block.numbers[name][image, arm] = values[rows]
            cell.explained[image] = self._class["explained"][rows]
            cell.source_predicted[image] = self._class["source_predicted"][rows]
            cell.flags[image] = self._flag[rows]
            images.labels[image] = self._class["label"][rows]
            self._copy_paths(images, image, rows)

    def _copy_paths(self, images: ImageList, image: np.ndarray, rows: np.ndarray) -> None:
        paths = self._text["path"].dictionary.to_pylist()
        codes = self._text["path"].indices.to_numpy()
        for place, row in zip(*(part.tolist() for part in _first_of_each(image, rows)), strict=True):
            images.paths[place] = paths[codes[row]]


def _take_maps(cell: Cell, images: ImageList, job_folder: Path) -> None:
    """The job's, where no other of the cell's jobs has those of more images, or of more areas."""
    try:
        maps = read_small_maps(job_folder)
    except InputError as error:
        cell.no_maps = str(error)
        return
    if cell.maps is None or (len(cell.maps.image_ids), len(cell.maps.areas)) <= (len(maps.image_ids), len(maps.areas)):
        cell.maps, cell.map_of = maps, pd.Index(maps.image_ids).get_indexer(images.places)


def _first_of_each(image: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, at = np.unique(image, return_index=True)
    return first, rows[at]


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    return column.unify_dictionaries().combine_chunks() if column.num_chunks else pa.array([], column.type)


def _mapped(column: pa.DictionaryArray, positions: Any) -> np.ndarray:
    """For each row what ``positions`` makes of its name; -1 stays -1."""
    of_name = np.asarray(positions(pd.Index(column.dictionary.to_pylist())), dtype=np.int64)
    return np.append(of_name, -1)[column.indices.fill_null(len(of_name)).to_numpy()]


def _codes(column: pa.DictionaryArray, codes: _Codes) -> np.ndarray:
    of_name = np.array([*(codes[name] for name in column.dictionary.to_pylist()), NONE], np.uint32)
    return of_name[column.indices.fill_null(len(of_name) - 1).to_numpy()]


def _top5(column: pa.ChunkedArray, classes: _Codes) -> np.ndarray:
    """Class codes (rows, 5); a target of fewer classes leaves the rest empty."""
    lists = column.combine_chunks()
    lengths = lists.value_lengths().fill_null(0).to_numpy()
    flat = _codes(_encoded(pa.chunked_array([lists.flatten()])), classes)
    top5 = np.full((len(lengths), 5), NONE)
    row = np.repeat(np.arange(len(lengths)), lengths)
    rank = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    top5[row[rank < 5], rank[rank < 5]] = flat[rank < 5]
    return top5


def probability_drop(block: Block, arm: str) -> np.ndarray:
    """Per image p_explained on the image less that on the arm; NaN where one is missing."""
    if IMAGE_ARM not in block.arms or arm not in block.arms:
        return np.full(len(block.predicted), np.nan, np.float32)
    values = block.numbers["p_explained"]
    return values[:, block.arms.index(IMAGE_ARM)] - values[:, block.arms.index(arm)]
