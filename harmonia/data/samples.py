"""Twenty labelled ImageNet images that come with the PyPI package foolbox: data without a network."""

import importlib.util
from pathlib import Path

from harmonia.data import imagenet
from harmonia.data.folder import absolute, find_pool
from harmonia.data.manifest import ImageRecord, ImageSet, Limit, Place, PoolSize, image_set
from harmonia.errors import InputError, Seed


def samples(
    limit: Limit = None, pool_size: PoolSize = 20, seed: Seed = 0, pool: Place = None, boxes: Place = None
) -> ImageSet:
    """The sample images; replacement images come from them too unless pool names a folder."""
    # found, not imported: foolbox drags in frameworks of its own
    spec = importlib.util.find_spec("foolbox")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "data=samples needs the images of the package foolbox, which is not installed; "
            "run pip install foolbox, or install harmonia with its quickstart extra"
        )
    root = Path(next(iter(spec.submodule_search_locations))) / "data"
    listed = [  # imagenet_NN_LABEL.jpg: LABEL is the index among the 1,000 classes
        ImageRecord(path.name, path, imagenet.class_name(path.stem.split("_")[-1]), digest="")
        for path in sorted(root.glob("imagenet_*_*.jpg"))
    ]
    if len(listed) != 20:
        raise InputError(
            f"{root} must hold 20 sample images, got {len(listed)}; run pip install --force-reinstall foolbox"
        )
    candidates = listed if pool is None else find_pool(absolute(pool), root)
    return image_set("samples", listed, candidates, None, limit, pool_size, seed, boxes)
