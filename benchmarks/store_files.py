"""Writing and reading a shard of maps in the store beside numpy's .npy of the same maps.

A shard also holds facts of each image and a digest, is flushed to the disk before it appears, and is verified
whenever it is read.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from side_by_side import alternate, both, median, ratio

from harmonia.store.sets import ShardSet

MAPS = 128  # of a shard


def rows(repeats: int) -> Iterator[list[str]]:
    """What is done, milliseconds a shard of the store and of .npy, their ratio; CPU and wall each."""
    for side in (7, 224):
        with tempfile.TemporaryDirectory() as folder:
            for verb, programs in of_both(Path(folder), side).items():
                seconds = alternate(programs, repeats)
                spent = [median(seconds[name]) for name in ("store", ".npy")]
                cells = [f"{1000 * each.cpu:.2f} ({1000 * each.wall:.2f}) ms" for each in spent]
                yield [f"{verb} {MAPS} maps of {side} x {side}", *cells, both(ratio(seconds["store"], seconds[".npy"]))]


def of_both(folder: Path, side: int) -> dict[str, dict[str, Callable[[], object]]]:
    maps = np.random.default_rng(0).random((MAPS, side, side)).astype(np.float16)
    facts = [{"image_id": f"val/{number:05}.jpg", "p_source": 0.5, "passes": 1} for number in range(MAPS)]
    stored = ShardSet.open(folder, "maps", "bench", {"side": side}, MAPS, MAPS)
    path = folder / "maps.npy"
    return {
        "write": {".npy": lambda: np.save(path, maps), "store": lambda: stored.write(0, {"maps": maps}, facts)},
        "read": {".npy": lambda: np.load(path), "store": lambda: stored.read(0)},
    }
