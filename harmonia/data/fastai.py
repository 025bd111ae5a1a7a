"""Imagenette and Imagewoof (Howard 2019, https://github.com/fastai/imagenette): ten ImageNet classes each.

Their validation splits mix 50 or fewer true ILSVRC validation images a class with ImageNet training
images, which the networks have seen; `clean500` keeps the former.
"""

import logging
from pathlib import Path

from harmonia.data.download import archive_path, fetch_folder
from harmonia.data.folder import absolute, find_pool, folder
from harmonia.data.manifest import ImageRecord, ImageSet, Limit, Place, PoolSize, find_images, image_set, subfolders
from harmonia.errors import InputError, Seed

HOME = "https://s3.amazonaws.com/fast-ai-imageclas"
VARIANTS = {"full": "", "320px": "-320", "160px": "-160"}
# MD5 of the archives, as torchvision.datasets.Imagenette has them; nobody publishes Imagewoof's
PUBLISHED = {
    "imagenette2": "fe2fc210e6bb7c5664d602c3cd71e612",
    "imagenette2-320": "3df6f0d01a2c9592104656642f5e78a3",
    "imagenette2-160": "e793b78cc4c9e9a4ccc0c1155377a412",
}
VAL_SIZES = {"imagenette": 3925, "imagewoof": 3929}  # images of the second edition's validation split, in any variant
CLEAN_SIZE = 500  # ILSVRC validation has 50 images a class, all of them here, in train or val

logger = logging.getLogger(__name__)


def imagenette(
    dataset: str,
    root: Place = None,
    variant: str = "full",
    cache: Place = None,
    download: bool = True,
    url: str | None = None,
    per_class: Limit = None,
    limit: Limit = None,
    pool: Place = None,
    pool_size: PoolSize = 200,
    seed: Seed = 0,
    boxes: Place = None,
    unseen: bool = False,
) -> ImageSet:
    """The validation split of `imagenette` or `imagewoof`; replacement images come from the training split.

    root is a local copy, used as it is. Without it cache holds the official archive's content,
    which is downloaded when missing; url says where from instead. unseen: the images of both splits
    that no ImageNet network was trained on, by file name (clean500); the pool is train's others.
    """
    source = _local_root(dataset, root, variant, cache, download, url)
    if not unseen:
        amounts = {"per_class": per_class, "limit": limit, "pool_size": pool_size, "seed": seed}
        return folder(source, pool=pool, boxes=boxes, name=dataset, **amounts)
    splits = {split: _split(source, split) for split in ("train", "val")}
    clean = [record for records in splits.values() for record in records if _is_clean(record)]
    if not clean:
        raise InputError(f"data=clean500 needs files named ILSVRC2012_val_*, {source} has none; set data.root=PATH")
    if root is None and len(clean) != CLEAN_SIZE:
        raise _incomplete(source, CLEAN_SIZE, "files named ILSVRC2012_val_*", len(clean))
    logger.info("clean500: %d of %d images named ILSVRC2012_val_* in %s", len(clean), CLEAN_SIZE, source)
    rest = [record for record in splits["train"] if not _is_clean(record)]
    candidates = (rest or clean) if pool is None else find_pool(absolute(pool), source)
    return image_set("clean500", clean, candidates, per_class, limit, pool_size, seed, boxes)


def _local_root(dataset: str, root: Place, variant: str, cache: Place, download: bool, url: str | None) -> Path:
    """The folder with train/ and val/."""
    if dataset not in VAL_SIZES:
        raise InputError(f"data.dataset must be one of {', '.join(VAL_SIZES)}, got {dataset!r}; set data.dataset")
    if root is not None:
        return absolute(root)
    if variant not in VARIANTS:
        raise InputError(f"data.variant must be one of {', '.join(VARIANTS)}, got {variant!r}; set data.variant")
    if cache is None:
        raise InputError(f"{dataset} needs a folder to download to, got none; set paths.cache=PATH or data.root=PATH")
    copy = absolute(cache) / f"{dataset}2{VARIANTS[variant]}"
    url = url or f"{HOME}/{copy.name}.tgz"
    archive = archive_path(url, copy)
    if not download and not copy.is_dir() and not archive.is_file():
        raise InputError(
            f"{dataset} is not in {copy} and data.download=false; "
            f"set data.download=true, set data.root=PATH, or put {url} at {archive}"
        )
    fetch_folder(url, copy, PUBLISHED.get(copy.name, ""))
    count = len(_split(copy, "val"))
    if count != VAL_SIZES[dataset]:
        raise _incomplete(copy / "val", VAL_SIZES[dataset], "images", count)
    return copy


def _split(root: Path, split: str) -> tuple[ImageRecord, ...]:
    """Not hashed; empty where a partial copy lacks the split."""
    return find_images(root / split, str, f"{split}/") if subfolders(root / split) else ()


def _is_clean(record: ImageRecord) -> bool:
    return record.path.name.startswith("ILSVRC2012_val_")


def _incomplete(where: Path, expected: int, what: str, count: int) -> InputError:
    return InputError(f"{where} must hold {expected:,} {what}, got {count:,}; delete the folder and run again")
