"""Which images a run uses, under names and in an order that do not depend on where they lie."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice, zip_longest
from pathlib import Path
from typing import Annotated

import numpy as np

from harmonia.data.boxes import Boxes, read_boxes
from harmonia.data.decode import IMAGE_SUFFIXES, open_file
from harmonia.data.imagenet import own_class_name
from harmonia.data.text import composed
from harmonia.draws import counter_hash, image_key
from harmonia.errors import InputError, Within
from harmonia.store.files import utf8, walk

UNLABELLED = ""  # the class of images whose class nobody asks for
Place = str | Path | None  # of a file or a folder
Limit = Annotated[int | None, Within(1, 10**9)]
PoolSize = Annotated[int, Within(0, 10**6)]
_NOT_COUNTED = ("thumbs.db", "desktop.ini")  # a file manager's

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageRecord:
    """One image file.

    image_id: its path relative to the data root, with forward slashes. class_name: a WordNet id or the user's own name.
    digest: SHA-256 of the file's bytes, empty when they could not be read: decoding says why.
    given: the name that the user gave the class, of which class_name is the meaning among ImageNet's.
    """

    image_id: str
    path: Path
    class_name: str | None
    digest: str
    given: str = field(default="", compare=False)


@dataclass(frozen=True)
class ImageSet:
    """The images to explain and classify, and a pool of replacement images; an image may be in both."""

    name: str
    records: tuple[ImageRecord, ...]
    pool: tuple[ImageRecord, ...]
    boxes: Boxes | None = None  # of objects in the images, where a file of them was given

    @cached_property
    def digest(self) -> str:
        """Changes with any id, label, byte or the order of the records, not with their folder."""
        return _digest(self.records)

    @cached_property
    def pool_digest(self) -> str:
        return _digest(self.pool)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        return tuple(sorted({record.class_name for record in self.records if record.class_name}))

    def in_words_of(self, names: Collection[str]) -> "ImageSet":
        """With classes as the user gave them where names has them: a model's class "0" goes before ImageNet's."""
        own = {
            record.class_name: record.given
            for record in (*self.records, *self.pool)
            if record.given in names and record.class_name not in (None, record.given)
        }
        given = set(own.values())
        records, pool = (
            tuple(replace(record, class_name=record.given) if record.given in given else record for record in part)
            for part in (self.records, self.pool)
        )
        boxes = self.boxes and self.boxes.renamed(own)
        return replace(self, records=records, pool=pool, boxes=boxes) if own else self

    def image_keys(self, positions: Iterable[int]) -> np.ndarray:
        """The numbers (B,), uint64, that stand for these records wherever something is drawn for them."""
        return np.array([image_key(self.records[position].image_id) for position in positions], np.uint64)


def image_set(
    name: str,
    listed: Sequence[ImageRecord],
    candidates: Sequence[ImageRecord],
    per_class: int | None,
    limit: int | None,
    pool_size: int,
    seed: int,
    boxes: str | Path | None,
) -> ImageSet:
    """The images selected of those listed and a pool chosen of the candidates, hashed; boxes: a CSV file."""
    records = add_digests(select(listed, per_class, limit))
    pool = add_digests(choose_pool(candidates, pool_size, seed))
    _warn_of_copies(name, records)
    if boxes is None:
        return ImageSet(name, records, pool)
    of_listed = read_boxes(boxes, {record.image_id: record.path for record in listed})
    return ImageSet(name, records, pool, of_listed.of(record.image_id for record in records))


def _warn_of_copies(name: str, records: Sequence[ImageRecord]) -> None:
    """Of images whose bytes another class has, too: one of the labels is wrong."""
    classes: dict[str, set[str | None]] = {}
    for record in records:
        classes.setdefault(record.digest, set()).add(record.class_name)
    copies = [record.image_id for record in records if record.digest and len(classes[record.digest]) > 1]
    if copies:
        logger.warning("%s: %d images lie in several classes, the same bytes, first %s", name, len(copies), copies[0])


def find_images(folder: Path, class_names: Callable[[str], str], prefix: str) -> tuple[ImageRecord, ...]:
    """Every image below every class folder, not hashed yet, sorted by image_id, which the prefix leads.

    class_names turns a folder's name into the class that the user gives it. Broken files are listed: others keep their
    places.
    """
    if not os.path.isdir(folder) or not os.access(folder, os.R_OK | os.X_OK):
        there = "cannot be read" if os.path.isdir(folder) else "is a file"
        lacks = there if os.path.exists(folder) else "does not exist"
        raise InputError(f"image folder {folder} {lacks}; set data.root=PATH to a folder of class folders")
    class_folders = subfolders(folder)
    if not class_folders:
        remedy = "move the images of each class into a folder of its own, or name them in data=folder data.labels=FILE"
        raise InputError(f"image folder {folder} must hold one folder per class, got none; {remedy}")
    records = []
    unreadable: list[str] = []
    others: list[str] = []
    links = [str(path) for path in entries(folder) if path.is_symlink() and not os.path.exists(path)]
    for class_folder in class_folders:
        given = class_names(composed(utf8(class_folder.name)))
        paths = _image_files(class_folder, unreadable, links, others)
        if not paths:
            logger.warning("class folder %s holds no image", class_folder)
        records += [_record(path, folder, prefix, given) for path in paths]
    known = " ".join(sorted(IMAGE_SUFFIXES))
    passed_over = {
        "class folders are links, which are followed": [path for path in class_folders if path.is_symlink()],
        "links lead nowhere or to folders below a class folder, and are not followed": links,
        "folders cannot be read": unreadable,
        "images lie beside the class folders and are passed over": [*filter(is_image_file, entries(folder))],
        f"files are passed over, they end in none of {known}": others,
    }
    for what, paths in passed_over.items():
        if paths:
            logger.warning("%s: %d %s, first %s", folder, len(paths), what, paths[0])
    if not records:
        remedy = f"the known suffixes are {known}"
        raise InputError(f"image folder {folder} must hold images in its class folders, got none; {remedy}")
    return _by_id(records)


def find_flat_images(folder: Path, prefix: str) -> tuple[ImageRecord, ...]:
    """The images lying directly in a folder, unlabelled and not hashed, sorted by image_id."""
    return _by_id(_record(path, folder, prefix, None) for path in entries(folder) if is_image_file(path))


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder that are not hidden, sorted by name; none where there is no folder."""
    return [child for child in entries(folder) if os.path.isdir(child) and not child.name.startswith(".")]


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted; nothing where there is none or it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def is_image_file(path: Path) -> bool:
    """Whether the name promises an image; a dangling link (git-annex, a moved disk) and a pipe are unreadable ones."""
    return not path.name.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES and not os.path.isdir(path)


def add_digests(records: Iterable[ImageRecord]) -> tuple[ImageRecord, ...]:
    records = tuple(records)
    with ThreadPoolExecutor(max_workers=min(16, 2 * (os.cpu_count() or 1))) as pool:
        digests = pool.map(_file_digest, [record.path for record in records])
        return tuple(replace(record, digest=digest) for record, digest in zip(records, digests, strict=True))


def select(
    records: Sequence[ImageRecord], per_class: int | None = None, limit: int | None = None
) -> tuple[ImageRecord, ...]:
    """The first per_class images of each class, then at most limit in all, classes in turn."""
    classes = [members[:per_class] for members in _classes(_by_id(records))]
    return _by_id(islice(_in_turn(classes), limit))


def choose_pool(records: Sequence[ImageRecord], size: int, seed: int) -> tuple[ImageRecord, ...]:
    """At most size images, even over the classes, by id; an image's rank depends on the seed and its id alone."""
    keys = np.array([image_key(record.image_id) for record in records], dtype=np.uint64)
    ranks = counter_hash(seed, keys).tolist()
    drawn = [record for _, record in sorted(zip(ranks, records, strict=True), key=lambda pair: pair[0])]
    # classes come in the order of their first image drawn, so that a size below
    # the number of classes does not favour the first of the alphabet
    return _by_id(islice(_in_turn(_classes(drawn)), size))


def _classes(records: Iterable[ImageRecord]) -> list[list[ImageRecord]]:
    """Classes and members keep the order they come in."""
    members: dict[str | None, list[ImageRecord]] = {}
    for record in records:
        members.setdefault(record.class_name, []).append(record)
    return list(members.values())


def _in_turn(classes: Sequence[Sequence[ImageRecord]]) -> Iterable[ImageRecord]:
    """One image of each class, then a second of each, until all are used."""
    for turn in zip_longest(*classes):
        yield from (record for record in turn if record is not None)


def _by_id(records: Iterable[ImageRecord]) -> tuple[ImageRecord, ...]:
    return tuple(sorted(records, key=lambda record: record.image_id))


def _record(path: Path, folder: Path, prefix: str, given: str | None) -> ImageRecord:
    class_name = None if given is None else own_class_name(given)
    return ImageRecord(prefix + path.relative_to(folder).as_posix(), path, class_name, digest="", given=given or "")


def _image_files(folder: Path, unreadable: list[str], links: list[str], others: list[str]) -> list[Path]:
    """Of the folder and those in it; folders that are not looked into and other files are added to the lists."""
    paths = []
    for parent, folders, names in walk(folder, lambda error: unreadable.append(error.filename)):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links += [path for name in folders if os.path.islink(path := os.path.join(parent, name))]
        for path in (Path(parent, name) for name in names if not name.startswith(".")):
            if is_image_file(path):
                paths.append(path)
            elif path.name.lower() not in _NOT_COUNTED:
                others.append(str(path))
    return paths


def _file_digest(path: Path) -> str:
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _digest(records: Iterable[ImageRecord]) -> str:
    """JSON frames the fields without ambiguity and escapes undecodable file names."""
    lines = [json.dumps([record.image_id, record.class_name, record.digest]) for record in records]
    return hashlib.sha256("\n".join(lines).encode("ascii")).hexdigest()
