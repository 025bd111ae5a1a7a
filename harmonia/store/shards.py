"""One shard, one file: arrays and facts of n items as safetensors, sealed with a digest.

The header's metadata holds the facts as JSON and the SHA-256 of everything that is read back, so
neither a flipped bit nor a file copied from another set passes for a result.
"""

import hashlib
import json
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from harmonia.errors import InputError
from harmonia.store.files import disk_errors
from harmonia.store.guarded import MOST_ARRAYS

SHARD = re.compile(r"shard-(\d{5,})\.safetensors")
RESERVED = {"shard", "position"}  # columns that the index adds to the facts

Facts = dict[str, Any]


class CorruptShard(InputError):
    """A shard file that is there but cannot be trusted; its set computes it again."""

    def __init__(self, path: Path, reason: str):
        super().__init__(path, reason)  # both, so that the error survives pickling between processes
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return (
            f"{self.path}: a stored shard must match its digest, {self.reason}; rerun to compute it "
            "again, and find all damage with `python -m harmonia.store verify`"
        )


class Shard(NamedTuple):
    arrays: dict[str, np.ndarray]
    facts_json: str
    digest: str
    shard_size: int  # of the set that the shard was written for


def encode(
    arrays: Mapping[str, np.ndarray], facts: Sequence[Mapping], *, key: str, shard: int, shard_size: int, n: int
) -> tuple[bytes, str, str]:
    """File content, facts as JSON, digest. Facts are flat JSON values; numpy scalars are converted, NaN is kept."""
    if len(facts) != n:
        raise ValueError(f"shard {shard} holds {n} items, got {len(facts)} facts; pass one dict for each item")
    native = {}
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise ValueError(f"shard arrays hold numbers, {name} has dtype {array.dtype}; put text in the facts")
        if array.shape[:1] != (n,):
            raise ValueError(f"shard {shard} holds {n} items, {name} has shape {array.shape}; the first axis is n")
        native[name] = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    if taken := RESERVED.intersection(set().union(*facts)):
        raise ValueError(f"facts may not use the index columns {sorted(RESERVED)}, got {sorted(taken)}; rename them")
    facts_json = json.dumps([dict(row) for row in facts], default=_plain)
    digest = _digest(native, facts_json, key, shard, shard_size)
    metadata = {"facts": facts_json, "digest": digest, "shard_size": str(shard_size)}
    return save(native, metadata), facts_json, digest


def read_shard(path: Path, *, key: str, shard: int, n: int | None = None) -> Shard:
    """The shard in a file, verified; with n also that it holds n items."""
    with disk_errors(path):
        try:
            seen = path.stat()
            if not stat.S_ISREG(seen.st_mode) or seen.st_size > MOST_ARRAYS:
                raise CorruptShard(path, f"this is no file of at most {MOST_ARRAYS:,} bytes")
            content = path.read_bytes()  # once: a file replaced meanwhile must not mix with its successor
        except FileNotFoundError:
            raise InputError(f"{path}: a shard must be there to be read, got no file; rerun to compute it") from None
        except MemoryError:  # it may be sound: nothing removes it
            raise InputError(f"{path}: a shard must fit in memory, got {seen.st_size:,} bytes; remove it") from None
    try:
        arrays = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header["__metadata__"]
        facts_json, digest = metadata["facts"], metadata["digest"]
        shard_size = int(metadata["shard_size"])
        held = len(json.loads(facts_json))
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise CorruptShard(path, f"this file is truncated or not one of ours ({reason})") from None
    if digest != _digest(arrays, facts_json, key, shard, shard_size):
        raise CorruptShard(path, "this file differs from it (changed bytes, or another set's shard)")
    if n is not None and held != n:
        raise CorruptShard(path, f"this file holds {held} items instead of {n}")
    return Shard(arrays, facts_json, digest, shard_size)


def is_shard(path: Path, key: str, shard: int) -> bool:
    """Whether the file is this shard of the set with the key, by its own seal."""
    with suppress(CorruptShard):
        read_shard(path, key=key, shard=shard)
        return True
    return False


def _digest(arrays: Mapping[str, np.ndarray], facts_json: str, key: str, shard: int, shard_size: int) -> str:
    described = [[name, str(arrays[name].dtype), arrays[name].shape] for name in sorted(arrays)]
    seal = hashlib.sha256(json.dumps([key, shard, shard_size, described, facts_json]).encode())
    for name in sorted(arrays):
        seal.update(np.ascontiguousarray(arrays[name]).data)
    return seal.hexdigest()


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(f"facts hold JSON values, got {value!r} of {type(value).__name__}; convert it first")
