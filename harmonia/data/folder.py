"""Images in the user's own folders, one folder per class."""

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

from harmonia.data import imagenet, manifest
from harmonia.data.manifest import ImageRecord, ImageSet, Limit, Place, PoolSize
from harmonia.errors import InputError, Seed, home

_SPLITS = ("train", "val", "test")

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
    name: str = "folder",
) -> ImageSet:
    """The images below root, or below its split where root holds splits.

    A class folder is named by WordNet id, by ImageNet index, or as class_map says; any other name is
    a class of the user's own. split defaults to val. pool is a folder of replacement images, with
    class folders or flat; without it they come from the train split, else from the images themselves.
    """
    if root is None:
        raise InputError(f"data={name} needs a folder of class folders, got none; set data.root=PATH")
    root = absolute(root)
    mapping = {} if class_map is None else read_class_map(absolute(class_map))
    images = _split_folder(root, split)
    class_names = own_class_name if class_map is None else _strict(mapping, class_map)
    listed = manifest.find_images(images, class_names, _prefix(images, root))
    if pool is None and images.parent == root and images.name != "train" and manifest.subfolders(root / "train"):
        pool = root / "train"
    candidates = listed if pool is None else find_pool(absolute(pool), root, mapping)
    chosen = manifest.image_set(name, listed, candidates, per_class, limit, pool_size, seed, boxes)
    logger.info("%s: %d of %d images in %s", name, len(chosen.records), len(listed), images)
    return chosen


def find_pool(pool: Path, root: Path, mapping: dict[str, str] | None = None) -> tuple[ImageRecord, ...]:
    """The replacement images in a folder; those inside root keep the ids they have there, and mapping may lack some."""
    if not os.path.isdir(pool):
        raise InputError(f"pool folder {pool} does not exist; set data.pool=PATH to a folder of images")
    if not _own_class_folders(pool) and manifest.subfolders(pool / "train"):
        pool = pool / "train"
    if manifest.subfolders(pool):
        known = mapping or {}
        return manifest.find_images(pool, lambda name: known.get(name, own_class_name(name)), _prefix(pool, root))
    flat = manifest.find_flat_images(pool, _prefix(pool, root))
    if not flat:
        raise InputError(f"pool folder {pool} holds no image; set data.pool=PATH to a folder of images")
    return flat


def read_class_map(path: Path) -> dict[str, str]:
    """Folder names to class names, from two columns parted by a tab, a comma or else by blanks."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"class map {path} cannot be read as UTF-8 text: {error}; set data.class_map=FILE") from error
    mapping: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        # a name may hold a '#', a comment stands apart
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if not text:
            continue
        separator = "\t" if "\t" in text else "," if "," in text else None
        columns = [column.strip() for column in text.split(separator)]
        line = f"class map {path} line {number}"
        if len(columns) != 2 or not all(columns):
            remedy = "part them by one tab or comma"
            raise InputError(f"{line} must hold a folder name and a class, got {text!r}; {remedy}")
        folder_name, target = columns[0], own_class_name(columns[1])
        if mapping.setdefault(folder_name, target) != target:
            gives = f"gives folder {folder_name!r} the class {target!r} after {mapping[folder_name]!r}"
            raise InputError(f"{line} {gives}; keep one of the lines")
    return mapping


def own_class_name(name: str) -> str:
    """The WordNet id where the name means an ImageNet class, else the name."""
    return imagenet.class_name(name) or name


def absolute(path: str | Path) -> Path:
    """Without `~` and `..`; links are kept, ids follow the names the user sees."""
    return Path(os.path.abspath(home(path)))


def _strict(mapping: dict[str, str], class_map: str | Path) -> Callable[[str], str]:
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
        if not manifest.subfolders(images := root / split):
            raise InputError(f"split folder {images} must hold class folders, got none; set data.split or data.root")
        return images
    if _own_class_folders(root):
        return root
    if manifest.subfolders(root / "val"):
        return root / "val"
    if manifest.subfolders(root / "train"):
        raise InputError(
            f"image folder {root} has a train split and no val split with class folders; "
            "set data.split=train or sort the val images into class folders"
        )
    return root


def _own_class_folders(root: Path) -> bool:
    """Whether root holds class folders beside its splits: folders with images directly in them."""
    candidates = [child for child in manifest.subfolders(root) if child.name not in _SPLITS]
    return any(manifest.is_image_file(path) for child in candidates for path in manifest.entries(child))


def _prefix(images: Path, root: Path) -> str:
    """What leads an image_id: the path from root, or a mark no folder below root can be taken for."""
    if not images.is_relative_to(root):
        return "pool:"
    return "" if images == root else f"{images.relative_to(root).as_posix()}/"
