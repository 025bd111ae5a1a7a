"""A set: a fixed sequence of items in shards, in a folder named after what made its numbers.

<cache>/<kind>/<name>-<key>/manifest.json            identity, count, shard_size
                            shard-00000.safetensors  see shards.py
                            locks/                   see claims.py
                            index.parquet            facts of all items, once all are there
"""

import hashlib
import json
import logging
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from harmonia.errors import InputError, home
from harmonia.store import claims, shards
from harmonia.store.files import disk_errors, utf8, write_stored
from harmonia.store.manifest import Manifest, new_manifest, write_manifest
from harmonia.store.parquet import reading, write_table
from harmonia.store.shards import CorruptShard, Facts, Shard, read_shard

log = logging.getLogger(__name__)
INDEX = "index.parquet"
_LOADED = 4  # shards kept in memory by read_items


def default_cache() -> Path:
    return home(os.environ.get("HARMONIA_CACHE") or "~/.cache/harmonia")


@dataclass
class ShardSet:
    """Items 0..count-1 in shards; open() makes one.

    Every process may read and, under a claim, write at any time: files appear whole or not at all.
    A corrupt shard counts as missing. Not for use from several threads.
    """

    folder: Path
    manifest: Manifest
    _checked: dict[int, tuple] = field(default_factory=dict, init=False, repr=False)
    _loaded: OrderedDict = field(default_factory=OrderedDict, init=False, repr=False)

    @classmethod
    def open(cls, root: Path, kind: str, name: str, identity: Mapping, count: int, shard_size: int) -> "ShardSet":
        """The set with this identity, made if absent. An existing set keeps its shard_size."""
        return cls._of(write_manifest, root, new_manifest(kind, name, identity, count, shard_size))

    @classmethod
    def peek(cls, root: Path, kind: str, name: str, identity: Mapping, count: int, shard_size: int) -> "ShardSet":
        """The set that open would give, to be looked at: nothing is written, and an absent one lacks every shard."""
        return cls._of(lambda _, wanted: wanted, root, new_manifest(kind, name, identity, count, shard_size))

    @classmethod
    def _of(cls, absent: Callable[[Path, Manifest], Manifest], root: Path, wanted: Manifest) -> "ShardSet":
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", wanted.name).strip("-.")[:80] or "set"
        folder = Path(root) / wanted.kind / f"{safe}-{wanted.key[:16]}"
        manifest = Manifest.read(folder) or absent(folder, wanted)
        if (manifest.key, manifest.count) != (wanted.key, wanted.count):
            raise InputError(
                f"{folder}: the set in a folder must have its key and count, got {manifest.key[:24]} of "
                f"{manifest.count} items for {wanted.key[:24]} of {wanted.count}; remove the folder or choose another "
                "with paths.cache=PATH"
            )
        return cls(folder, manifest)

    @property
    def key(self) -> str:
        return self.manifest.key

    @property
    def count(self) -> int:
        return self.manifest.count

    @property
    def shard_size(self) -> int:
        return self.manifest.shard_size

    @property
    def num_shards(self) -> int:
        return -(-self.count // self.shard_size)

    def shard_items(self, shard: int) -> range:
        if not 0 <= shard < self.num_shards:
            raise IndexError(f"{self.folder} has shards 0..{self.num_shards - 1}, got {shard}")
        start = shard * self.shard_size
        return range(start, min(start + self.shard_size, self.count))

    def shard_of(self, item: int) -> int:
        if not 0 <= item < self.count:
            raise IndexError(f"{self.folder} has items 0..{self.count - 1}, got {item}")
        return item // self.shard_size

    def shard_path(self, shard: int) -> Path:
        return self.folder / f"shard-{shard:05d}.safetensors"

    def write(self, shard: int, arrays: Mapping[str, np.ndarray], facts: Sequence[Mapping]) -> None:
        """Make the shard visible. Do so under a claim: prune removes what nobody works on."""
        n = len(self.shard_items(shard))
        content, facts_json, digest = shards.encode(
            arrays, facts, key=self.key, shard=shard, shard_size=self.shard_size, n=n
        )
        path = self.shard_path(shard)
        write_stored(path, content)
        self._checked[shard] = (_stamp(path), (digest, facts_json))
        self._loaded.pop(shard, None)

    def read(self, shard: int) -> tuple[dict[str, np.ndarray], list[Facts]]:
        """Arrays and facts, verified on every call; CorruptShard if they are not what was written."""
        content = self._read(shard)
        return content.arrays, json.loads(content.facts_json)

    def read_items(self, indices: Sequence[int]) -> tuple[dict[str, np.ndarray], list[Facts]]:
        """Items in the order asked for. Small batches in sequence load every shard once."""
        places: dict[int, list[int]] = {}
        for place, index in enumerate(indices):
            places.setdefault(self.shard_of(int(index)), []).append(place)
        arrays: dict[str, np.ndarray] = {}
        facts: list[Facts] = [{} for _ in indices]
        for shard, of_shard in (places or {0: []}).items():
            stored, stored_facts = self._load(shard)
            rows = [int(indices[place]) - shard * self.shard_size for place in of_shard]
            for name, array in stored.items():
                if name not in arrays:
                    arrays[name] = np.empty((len(indices), *array.shape[1:]), array.dtype)
                arrays[name][of_shard] = array[rows]
            for place, row in zip(of_shard, rows, strict=True):
                facts[place] = dict(stored_facts[row])
        return arrays, facts

    def is_done(self, shard: int) -> bool:
        return self._sound(shard) is not None

    def missing(self) -> list[int]:
        # Listed first: a network disk remembers that a name is absent until its folder is read again
        if not self.folder.exists():  # peeked at
            return list(range(self.num_shards))
        with disk_errors(self.folder):
            names = {entry.name for entry in os.scandir(self.folder)}
        return [n for n in range(self.num_shards) if self.shard_path(n).name not in names or not self.is_done(n)]

    def claims(self) -> Generator[int]:
        """Shards that this process must write; exhausted when every shard is there.

        Each comes with a lock that ends when the next is asked for. While others hold all that are
        missing this waits, and takes over from holders that die. Wrap it in contextlib.closing where
        an exception is caught by a caller that goes on, or the lock lives as long as the traceback.
        """
        return claims.claim(self.folder / "locks", self.missing, self.is_done)

    def facts(self) -> list[Facts]:
        """One dict for each item, in order."""
        return [row for shard in range(self.num_shards) for row in json.loads(self._complete(shard)[1])]

    def shard_facts(self, shard: int) -> list[Facts] | None:
        """Of one shard; None while it is missing."""
        sound = self._sound(shard)
        return None if sound is None else json.loads(sound[1])

    def discard_if(self, shard: int, unwanted: Callable[[list[Facts]], object]) -> bool:
        """Make the shard missing if its facts, as they are now, are unwanted; not while somebody computes it."""
        with claims.shard_lock(self.folder / "locks", shard) as held:
            facts = self.shard_facts(shard) if held else None
            if facts is None or not unwanted(facts):
                return False
            path = self.shard_path(shard)
            with disk_errors(path):
                path.unlink(missing_ok=True)
            self._loaded.pop(shard, None)
            return True

    def finish(self) -> Path:
        """index.parquet with one row for each item: its facts, shard and position. An equal one is left alone."""
        digests = [self._complete(shard)[0] for shard in range(self.num_shards)]
        seal = hashlib.sha256("".join(digests).encode()).hexdigest()
        path, facts, columns = self.folder / INDEX, self.facts(), {}
        for name in dict.fromkeys(name for row in facts for name in row):
            values = (row.get(name) for row in facts)
            try:
                columns[name] = pa.array([utf8(value) if isinstance(value, str) else value for value in values])
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise ValueError(f"fact {name} must have one type in all items ({error}); convert it") from error
        columns["shard"], columns["position"] = map(pa.array, divmod(np.arange(self.count), self.shard_size))
        table = pa.table(columns).replace_schema_metadata({"harmonia.seal": seal})
        if not _holds(path, table):
            with disk_errors(path):
                write_table(path, table, compression="snappy")
        return path

    def _complete(self, shard: int) -> tuple[str, str]:
        sound = self._sound(shard)
        if sound is None:
            raise InputError(
                f"{self.folder}: all {self.num_shards} shards must be there, shard {shard} is not; rerun it"
            )
        return sound

    def _sound(self, shard: int) -> tuple[str, str] | None:
        """Digest and facts of a shard; the file is read again only after it changed."""
        path = self.shard_path(shard)
        with disk_errors(path):
            try:
                stamp = _stamp(path)
            except FileNotFoundError:
                return None
        if self._checked.get(shard, (None,))[0] != stamp:
            try:
                content = self._read(shard)
                self._checked[shard] = (stamp, (content.digest, content.facts_json))
            except CorruptShard as error:
                log.warning("%s", error)
                self._checked[shard] = (stamp, None)
        return self._checked[shard][1]

    def _read(self, shard: int) -> Shard:
        return read_shard(self.shard_path(shard), key=self.key, shard=shard, n=len(self.shard_items(shard)))

    def _load(self, shard: int) -> tuple[dict[str, np.ndarray], list[Facts]]:
        if shard not in self._loaded:
            self._loaded[shard] = self.read(shard)
            if len(self._loaded) > _LOADED:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(shard)
        return self._loaded[shard]


def _holds(path: Path, table: pa.Table) -> bool:
    with suppress(InputError), reading(path) as file:
        stored = file.read()
        # as text NaN is NaN
        same = str(stored.to_pydict()) == str(table.to_pydict())
        return same and stored.schema.equals(table.schema, check_metadata=True)
    return False


def is_index(path: Path) -> bool:
    """Whether a file is one that finish makes."""
    with suppress(InputError), reading(path) as file:
        return b"harmonia.seal" in (file.schema_arrow.metadata or {})
    return False


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size
