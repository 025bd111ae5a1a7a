"""What a set is: manifest.json, written once beside its shards."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from harmonia.store import claims
from harmonia.store.files import disk_errors, write_stored
from harmonia.store.shards import SHARD, CorruptShard, read_shard

SCHEMA = 2  # 1: keys held the modules of classes (ADR 11)


def set_key(identity: Mapping) -> str:
    """64 hex digits that change with every value of the identity, not with the order of its names."""
    try:
        return _digest({"identity": identity, "schema": SCHEMA})
    except (TypeError, ValueError) as error:
        raise ValueError(f"an identity is finite JSON, got {identity!r} ({error}); convert its values") from error


@dataclass(frozen=True, kw_only=True)
class Manifest:
    identity: dict
    key: str
    kind: str
    name: str
    count: int
    shard_size: int
    schema: int
    created: str
    harmonia: str

    @classmethod
    def read(cls, folder: Path) -> "Manifest | None":
        """None when it is missing, damaged (open writes it again) or of another schema."""
        if (content := _sealed(folder)) is None or content.get("schema") != SCHEMA:
            return None
        return cls(**content)


def stored_schema(folder: Path) -> int | None:
    """The schema of an undamaged manifest, also of another version."""
    return (_sealed(folder) or {}).get("schema")


def new_manifest(kind: str, name: str, identity: Mapping, count: int, shard_size: int) -> Manifest:
    return Manifest(
        identity=dict(identity),
        key=set_key(identity),
        kind=kind,
        name=name,
        count=int(count),
        shard_size=int(shard_size),
        schema=SCHEMA,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        harmonia=_version(),
    )


def write_manifest(folder: Path, kind: str, name: str, identity: Mapping, count: int, shard_size: int) -> Manifest:
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with claims.gate(folder / "locks"):  # two first runs must agree on one shard_size
        if manifest := Manifest.read(folder):
            return manifest
        surviving = _surviving_shard_size(folder, set_key(identity))
        manifest = new_manifest(kind, name, identity, count, surviving or shard_size)
        content = {**vars(manifest), "digest": _digest(vars(manifest))}
        write_stored(folder / "manifest.json", json.dumps(content, indent=1).encode())
        return manifest


def _surviving_shard_size(folder: Path, key: str) -> int | None:
    """The shard_size of shards whose manifest was lost, so that they need not be computed again."""
    for path in sorted(folder.iterdir()):
        if match := SHARD.fullmatch(path.name):
            try:
                return read_shard(path, key=key, shard=int(match[1])).shard_size
            except CorruptShard:
                continue
    return None


def _sealed(folder: Path) -> dict | None:
    """The manifest of any schema without its digest; None when they do not match."""
    path = folder / "manifest.json"
    with disk_errors(path):
        try:
            written = path.read_bytes()
        except FileNotFoundError:
            return None
    try:
        content = json.loads(written)
        return content if content.pop("digest") == _digest(content) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _digest(content: Mapping) -> str:
    plain = json.loads(json.dumps(content, allow_nan=False))  # numbers as names become text before sorting
    canonical = json.dumps(plain, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _version() -> str:
    try:
        return metadata.version("harmonia")
    except metadata.PackageNotFoundError:
        return "not installed"
