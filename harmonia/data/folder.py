"""Images in the user's own folders, one folder per class."""

import logging
import os
import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path

from harmonia.data import manifest
from harmonia.data.imagenet import own_class_name
from harmonia.data.manifest import ImageRecord, ImageSet, Limit, Place, PoolSize
from harmonia.data.text import composed, read_rows, read_text, spellings
from harmonia.errors import InputError, Seed, home

_SPLITS = (("train", "training"), ("val", "valid", "validation"), ("test", "testing"))
_LABELS = ("path", "label")

logger = logging.getLogger(__name__)


def folder(
    root: Place = None,
    split: str | None = None,
    per_class: Limit = None,
    limit: Limit = None,
    class_map: Place = None,
    pool: Place = None,
    pool_size: PoolSize = 200,
    seed: Seed = 0,
    boxes: Place = None,
    labels: Place = None,
    name: str = "folder",
) -> ImageSet:
    """The images below root, or below its split where root holds splits, or those that labels names.

    A class folder is named by WordNet id, by ImageNet index, or as class_map says; any other name is
    a class of the user's own. split defaults to val, without one to test. labels is a CSV file of path,label: its paths
    are seen from root, which may be left out, or from the file; its labels are as folders' names. pool is a folder of
    replacement images, with class folders or flat; without it they come from the train split, else from the images
    themselves.
    """
    if root is None and labels is None:
        raise InputError(f"data={name} needs a folder of class folders, got none; set data.root=PATH")
    root = absolute(root or absolute(labels or "").parent)
    mapping = {} if class_map is None else read_class_map(absolute(class_map))
    class_names = str if class_map is None else strict_class_names(mapping, class_map)
    if labels is None:
        images = _split_folder(root, split)
        listed = manifest.find_images(images, class_names, prefix_of(images, root))
        if pool is None and images.parent == root and (train := find_split(root, "train")) != images:
            pool = train
    elif split is None:
        images = absolute(labels)
        listed = read_labels(images, root, class_names)
    else:
        raise InputError(f"data.split names a folder of class folders, data.labels={labels} all images; leave out one")
    candidates = listed if pool is None else find_pool(absolute(pool), root, mapping)
    chosen = manifest.image_set(name, listed, candidates, per_class, limit, pool_size, seed, boxes)
    logger.info("%s: %d of %d images in %s", name, len(chosen.records), len(listed), images)
    return chosen


def find_pool(pool: Path, root: Path, mapping: dict[str, str] | None = None) -> tuple[ImageRecord, ...]:
    """The replacement images in a folder; those inside root keep the ids they have there, and mapping may lack some."""
    if not os.path.isdir(pool):
        lacks = "is no folder" if os.path.exists(pool) else "does not exist"
        raise InputError(f"pool folder {pool} {lacks}; set data.pool=PATH to a folder of images")
    if not _own_class_folders(pool):
        pool = find_split(pool, "train") or pool
    if manifest.subfolders(pool):
        known = mapping or {}
        return manifest.find_images(pool, lambda name: known.get(name, name), prefix_of(pool, root))
    flat = manifest.find_flat_images(pool, prefix_of(pool, root))
    if not flat:
        raise InputError(f"pool folder {pool} holds no image; set data.pool=PATH to a folder of images")
    return flat


def read_class_map(path: Path) -> dict[str, str]:
    """Folder names to class names, from two columns parted by a tab, a comma or else by blanks."""
    mapping: dict[str, str] = {}
    for number, line in enumerate(read_text(path, "class map", "data.class_map").splitlines(), start=1):
        # a name may hold a '#', a comment stands apart
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if not text:
            continue
        separator = "\t" if "\t" in text else "," if "," in text else None
        columns = [composed(column.strip()) for column in text.split(separator)]
        line = f"class map {path} line {number}"
        if len(columns) != 2 or not all(columns):
            remedy = "part them by one tab or comma"
            raise InputError(f"{line} must hold a folder name and a class, got {text!r}; {remedy}")
        folder_name, target = columns
        if own_class_name(mapping.setdefault(folder_name, target)) != own_class_name(target):
            gives = f"gives folder {folder_name!r} the class {target!r} after {mapping[folder_name]!r}"
            raise InputError(f"{line} {gives}; keep one of the lines")
    return mapping


def read_labels(path: Path, root: Path, class_names: Callable[[str], str]) -> tuple[ImageRecord, ...]:
    """The images that a CSV file of path,label names, not hashed yet; one that is not there counts as unreadable."""
    records: dict[str, ImageRecord] = {}
    for line, row in read_rows(path, _LABELS, "data.labels"):
        folders = root, path.parent
        places = [Path(os.path.abspath(folder / name)) for folder in folders for name in spellings(row["path"])]
        place = next((place for place in places if os.path.lexists(place)), places[0])
        if place.is_relative_to(root):
            image_id = place.relative_to(root).as_posix()
        elif place.is_relative_to(path.parent):
            image_id = f"labels:{place.relative_to(path.parent).as_posix()}"
        else:
            remedy = "give paths as seen from data.root or from the file"
            raise InputError(f"data.labels: {path} line {line} must name a file in {root}, got {row['path']}; {remedy}")
        if image_id in records:
            raise InputError(
                f"data.labels: {path} line {line} must not name {row['path']} again; keep one of the lines"
            )
        given = class_names(composed(row["label"]))
        records[image_id] = ImageRecord(image_id, place, own_class_name(given), digest="", given=given)
    if not records:
        raise InputError(f"data.labels must name images, {path} has no row; add lines of path,label")
    return tuple(records[image_id] for image_id in sorted(records))


def absolute(path: str | Path) -> Path:
    """Without `~` and `..`; links are kept, ids follow the names the user sees."""
    return Path(os.path.abspath(home(path)))


def strict_class_names(mapping: dict[str, str], class_map: str | Path) -> Callable[[str], str]:
    def class_names(folder_name: str) -> str:
        if folder_name not in mapping:
            raise InputError(
                f"class folder {folder_name!r} must be in the class map {class_map}, which lacks it; "
                "add a line or move the folder away"
            )
        return mapping[folder_name]

    return class_names


def _split_folder(root: Path, split: str | None) -> Path:
    """The folder that holds the class folders."""
    if split is not None:
        if images := find_split(root, split):
            return images
        raise InputError(f"split folder {root / split} must hold class folders, got none; set data.split or data.root")
    if _own_class_folders(root):
        return root
    if images := find_split(root, "val"):
        return images
    if images := find_split(root, "test"):
        logger.info("%s has no val split with class folders; taken is %s", root, images.name)
        return images
    if train := find_split(root, "train"):
        raise InputError(
            f"image folder {root} has a train split and no val split with class folders; "
            f"set data.split={train.name} or sort the val images into class folders"
        )
    return root


def find_split(root: Path, split: str) -> Path | None:
    """The folder of class folders that has the split's name, or another word for it; of several the exact name."""
    words = next((words for words in _SPLITS if split.lower() in words), (split.lower(),))
    alike = [child for child in manifest.subfolders(root) if child.name.lower() in words and manifest.subfolders(child)]
    names = ", ".join(child.name for child in alike)
    if manifest.subfolders(exact := root / split):
        if len(alike) > 1:
            logger.warning("%s: of %s, which all mean %s, %s is taken", root, names, split, exact.name)
        return exact
    if len(alike) > 1:
        remedy = "name one in data.split, or in data.pool that of the replacement images"
        raise InputError(f"image folder {root} must have one folder for {split}, got {names}; {remedy}")
    return alike[0] if alike else None


def _own_class_folders(root: Path) -> bool:
    """Whether root holds class folders beside its splits: folders with images directly in them."""
    candidates = [child for child in manifest.subfolders(root) if child.name.lower() not in chain(*_SPLITS)]
    return any(manifest.is_image_file(path) for child in candidates for path in manifest.entries(child))


def prefix_of(images: Path, root: Path) -> str:
    """What leads an image_id: the path from root, or a mark no folder below root can be taken for."""
    if not images.is_relative_to(root):
        return "pool:"
    return "" if images == root else f"{images.relative_to(root).as_posix()}/"
