"""Everything that finished jobs say of every image, in dense arrays: what the page and Fig. 1 are made from.

An explainer is a source with a method under one setting. A block is what one target made of its images. Images
are numbered through; those of one data set follow one another.
"""

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from harmonia.arms import IMAGE_ARM
from harmonia.data.decode import UnreadableImage, open_rgb
from harmonia.errors import InputError, refused
from harmonia.report.tables.columns import RANDOM_WEIGHTS, method_label
from harmonia.results.gathered import Rows
from harmonia.results.maps import SmallMaps, read_small_maps
from harmonia.results.rows import codes_of, read_tables

NONE = np.uint32(2**32 - 1)  # no class: no label, or no row; -1 as a code
KEY = ["source", "method", "label_policy", "fill", "data", "variant"]
PROBABILITIES = ("p_label", "p_explained", "p_predicted", "kept_area")

_CLASSES = ("label", "predicted", "explained", "source_predicted")
_READ = ("image_id", "path", "target", "arm", *_CLASSES, "flag", *PROBABILITIES)


@dataclass
class Block:
    """What a target made of an explainer's images under every arm; axes n (images of the data set), a (arms)."""

    target: str
    arms: list[str]
    predicted: np.ndarray  # n a, class codes
    top5: np.ndarray  # n a 5, class codes
    numbers: dict[str, np.ndarray]  # n a float32 by PROBABILITIES, NaN where there is no row

    def drop(self, arm: str) -> np.ndarray:
        """Per image p_explained on the image less that on the arm; NaN where one is missing."""
        if IMAGE_ARM not in self.arms or arm not in self.arms:
            return np.full(len(self.predicted), np.nan, np.float32)
        whole, shown = (self.numbers["p_explained"][:, self.arms.index(name)] for name in (IMAGE_ARM, arm))
        return whole - shown


@dataclass
class Explainer:
    """A source with a method under one setting."""

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
        return self.key["source"] + (RANDOM_WEIGHTS if self.random_weights else "")

    @property
    def method(self) -> str:
        return method_label(self.key["method"], self.key["variant"])

    @property
    def name(self) -> str:
        return f"{self.source} · {self.method}"


class SeenFile(NamedTuple):
    """An image's file as the jobs saw it; rows may name any file of this disk, and only that one is ever shown."""

    path: str
    digest: str  # SHA-256; "" where no job kept it

    def facts(self) -> str:
        """Text that changes with the file; InputError where it cannot be the one."""
        if not self.digest:
            raise InputError("the job kept no digest of its images; run it again, its maps are in the store")
        with refused("the image is not here: its file cannot be read", "put it back", OSError, ValueError):
            status = os.stat(self.path)
        return f"{self.path}\0{self.digest}\0{status.st_mtime_ns}\0{status.st_size}"

    def open(self) -> Image.Image:
        """InputError says why it is not shown."""
        self.facts()
        try:
            return open_rgb(self.path, self.digest)
        except UnreadableImage:
            raise
        except InputError as error:
            remedy = "put the earlier one back, or run again"
            raise InputError(f"the image was replaced since a job saw it; {remedy}") from error


@dataclass
class ImageList:
    """The images of one data set, sorted by image_id."""

    name: str
    ids: list[str]
    labels: np.ndarray  # n, class codes
    paths: np.ndarray  # n, text
    digests: dict[str, str] = field(default_factory=dict)  # by id, of its file as the jobs saw it

    def file(self, place: int) -> SeenFile:
        return SeenFile(self.paths[place], self.digests.get(self.ids[place], ""))

    @cached_property
    def places(self) -> pd.Index:
        return pd.Index(self.ids)


@dataclass
class Collection:
    sets: dict[str, ImageList]
    explainers: list[Explainer]
    classes: list[str]  # by code
    flags: list[str]

    def refuse_unknown(self, ids: Iterable[str]) -> None:
        known = {image_id for images in self.sets.values() for image_id in images.ids}
        for image_id in ids:
            if image_id not in known:
                close = difflib.get_close_matches(image_id, known, n=1) or sorted(known)[:1] or ["none"]
                raise InputError(f"images must be ids of images in the rows, got {image_id!r}; there is {close[0]!r}")


def collect(rows: Rows) -> Collection:
    """The finished jobs' images for rows that are gathered; what a job no longer shows is left out."""
    ids: dict[str, set[str]] = {}
    for data, job in rows.cells[["data", "job"]].drop_duplicates().itertuples(index=False):
        ids.setdefault(data, set()).update(rows.image_ids[job])
    sets = {
        data: ImageList(data, sorted(of_data), np.full(len(of_data), NONE), np.full(len(of_data), "", object))
        for data, of_data in ids.items()
    }
    explainers: dict[tuple, Explainer] = {}
    for key, of_cell in rows.cells.groupby(KEY, sort=False):
        count = len(sets[key[KEY.index("data")]].ids)
        explained, predicted = np.full((2, count), NONE)
        named = dict(zip(KEY, key, strict=True))
        explainer = explainers[key] = Explainer(named, explained, predicted, np.zeros(count, np.uint32))
        explainer.random_weights = bool(of_cell["random_weights"].any())
        for target, arms in of_cell.groupby("target", sort=False)["arm"]:
            names, shape = list(arms.unique()), (count, arms.nunique())
            numbers = {name: np.full(shape, np.nan, np.float32) for name in PROBABILITIES}
            predicted, top5 = np.full(shape, NONE), np.full((*shape, 5), NONE)
            explainer.blocks[str(target)] = Block(str(target), names, predicted, top5, numbers)
    classes, flags = {}, {}  # codes by name, in the order of their first appearance
    for folder, of_job in rows.cells.groupby("job", sort=False):
        of_cells = [(explainers[key], of_cell) for key, of_cell in of_job.groupby(KEY, sort=False)]
        for table in read_tables(Path(str(folder)), [*_READ, "top5"]):
            part = _coded(table, classes, flags)
            for explainer, of_cell in of_cells:
                _fill(explainer, sets[explainer.key["data"]], part, of_cell)
        for explainer, _ in of_cells:
            _take_maps(explainer, sets[explainer.key["data"]], Path(str(folder)))
    return Collection(sets, list(explainers.values()), list(classes), list(flags))


def _coded(table: pa.Table, classes: dict[str, int], flags: dict[str, int]) -> dict[str, np.ndarray | pd.Series]:
    """Some of a job's rows by column; classes and flags as codes, top5 (rows, 5)."""
    rows = table.drop_columns(["top5"]).to_pandas()
    columns = {name: rows[name] for name in rows}
    columns |= {name: codes_of(rows[name], classes) for name in _CLASSES}
    return columns | {"flag": codes_of(rows["flag"], flags), "top5": _top5(table["top5"], classes)}


def _fill(explainer: Explainer, images: ImageList, rows: Mapping, shown: pd.DataFrame) -> None:
    """The rows of the targets and arms that are shown, put into the explainer's place for them."""
    image_of_row = images.places.get_indexer(rows["image_id"])
    for target, arms in shown.groupby("target", sort=False)["arm"]:
        block = explainer.blocks[str(target)]
        chosen = (rows["target"] == target) & rows["arm"].isin(arms) & (image_of_row >= 0)
        at = np.flatnonzero(chosen)
        image, arm = image_of_row[at], pd.Index(block.arms).get_indexer(rows["arm"].iloc[at])
        block.predicted[image, arm] = rows["predicted"][at]
        block.top5[image, arm] = rows["top5"][at]
        for name, values in block.numbers.items():
            values[image, arm] = rows[name].iloc[at]
        explainer.explained[image] = rows["explained"][at]
        explainer.source_predicted[image] = rows["source_predicted"][at]
        explainer.flags[image] = rows["flag"][at]
        images.labels[image] = rows["label"][at]
        images.paths[image] = rows["path"].iloc[at]


def _top5(column: pa.ChunkedArray, classes: dict[str, int]) -> np.ndarray:
    """Class codes (rows, 5); a target of fewer classes leaves the rest empty."""
    first_five = pc.ListSliceOptions(0, 5, return_fixed_size_list=True)
    five: Any = pc.call_function("list_slice", [column.combine_chunks()], first_five)
    return codes_of(five.values.dictionary_encode().to_pandas(), classes).reshape(-1, 5)


def _take_maps(explainer: Explainer, images: ImageList, job_folder: Path) -> None:
    """The job's, where no other of the explainer's jobs has those of more images, or of more areas."""
    try:
        maps = read_small_maps(job_folder)
    except InputError as error:
        explainer.no_maps = str(error).replace(f"{job_folder}{os.sep}", "")
        return
    for image_id, digest in zip(maps.image_ids, maps.digests, strict=False):
        if images.digests.setdefault(image_id, digest) != digest:
            images.digests[image_id] = "several"  # no file is the one that all jobs saw
    held = explainer.maps
    if held is None or (len(held.image_ids), len(held.areas)) <= (len(maps.image_ids), len(maps.areas)):
        explainer.maps, explainer.map_of = maps, pd.Index(maps.image_ids).get_indexer(images.places)
