"""What a set is: manifest.json, written once beside its shards."""

import hashlib
import json
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from harmonia.errors import InputError
from harmonia.store import claims
from harmonia.store.files import disk_errors, write_stored
from harmonia.store.mark import mark
from harmonia.store.shards import SHARD, CorruptShard, read_shard

FILE = "manifest.json"
SCHEMA_VERSION = 2  # 1: keys held the modules of classes (ADR 11)
_MOST_BYTES = 2**24  # what describes a set has some thousand
_Items = Annotated[int, Field(ge=1, le=10**9)]


def version_of(package: str) -> str | None:
    """None where it is not installed."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)


_VERSION = version_of("harmonia") or "not installed"  # now: later the disk may not be readable


def set_key(identity: Mapping) -> str:
    """64 hex digits that change with every value of the identity, not with the order of its names."""
    try:
        return _digest({"identity": identity, "schema": SCHEMA_VERSION})
    except (TypeError, ValueError) as error:
        raise ValueError(f"an identity is finite JSON, got {identity!r} ({error}); convert its values") from error


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Manifest:
    """What manifest.json holds beside its seal."""

    identity: dict[str, Any]  # what made the numbers, in words
    key: str  # set_key of the identity
    kind: str
    name: str
    count: _Items
    shard_size: _Items  # items of a shard; the last may have fewer
    schema: int
    created: str
    harmonia: str  # its version

    @classmethod
    def read(cls, folder: Path) -> "Manifest | None":
        """None when it is missing, damaged (open writes it again) or of another schema; InputError if it is sealed and
        yet no manifest.
        """
        if (content := sealed(folder)) is None or content.get("schema") != SCHEMA_VERSION:
            return None
        try:
            manifest = cls(**content)
        except TypeError as error:  # of __dataclass_self__, which the call has itself
            name, rule = "a key", str(error)
        except ValidationError as error:
            first = error.errors()[0]
            name, rule = ".".join(map(str, first["loc"]))[:80], f"{first['msg']}, got {first['input']!r:.80}"
        else:
            if manifest.key == set_key(manifest.identity):
                return manifest
            name, rule = "key", f"it must be its identity's, got {manifest.key[:24]!r}"
        remedy = "remove the folder or choose another with paths.cache=PATH"
        raise InputError(f"{folder / FILE}: {name} is no manifest's ({rule}); {remedy}")


def new_manifest(kind: str, name: str, identity: Mapping, count: int, shard_size: int) -> Manifest:
    return Manifest(
        identity=dict(identity),
        key=set_key(identity),
        kind=kind,
        name=name,
        count=int(count),
        shard_size=int(shard_size),
        schema=SCHEMA_VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        harmonia=_VERSION,
    )


def write_manifest(folder: Path, wanted: Manifest) -> Manifest:
    """The manifest that the folder has from now on: another process's, or the wanted with the size of its shards."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    mark(folder.parents[1])
    with claims.gate(folder / "locks"):  # two first runs must agree on one shard_size
        if manifest := Manifest.read(folder):
            return manifest
        manifest = replace(wanted, shard_size=_surviving_shard_size(folder, wanted.key) or wanted.shard_size)
        content = {**vars(manifest), "digest": _digest(vars(manifest))}
        write_stored(folder / FILE, json.dumps(content, indent=1).encode())
        return manifest


def _surviving_shard_size(folder: Path, key: str) -> int | None:
    """The shard_size of shards whose manifest was lost, so that they need not be computed again."""
    for path in sorted(folder.iterdir()):
        if match := SHARD.fullmatch(path.name):
            with suppress(CorruptShard):
                return read_shard(path, key=key, shard=int(match[1])).shard_size
    return None


def sealed(folder: Path) -> dict | None:
    """The manifest of any schema without its digest; None when they do not match."""
    path = folder / FILE
    with disk_errors(path):
        try:
            seen = path.stat()
            # a pipe would be read for ever
            small = stat.S_ISREG(seen.st_mode) and seen.st_size <= _MOST_BYTES
            written = path.read_bytes() if small else b""
        except FileNotFoundError:
            return None
    try:
        content = json.loads(written)
        return content if content.pop("digest") == _digest(content) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _digest(content: Mapping) -> str:
    plain = json.loads(json.dumps(content, allow_nan=False))  # numbers as names become text before sorting
    canonical = json.dumps(plain, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
