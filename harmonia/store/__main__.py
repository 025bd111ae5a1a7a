"""python -m harmonia.store list|verify|prune: look after the map store."""

if __name__ == "__main__":
    from harmonia.cli.early import answer_signals

    answer_signals()

import argparse
import math
import os
import re
import shlex
import stat
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from rich.filesize import decimal

from harmonia.cli.entry import Parser, exit_code, input_error
from harmonia.errors import InputError, home
from harmonia.media import say, visible
from harmonia.store import claims
from harmonia.store.files import TEMPORARY, disk_errors, walk
from harmonia.store.manifest import FILE, SCHEMA_VERSION, Manifest, sealed
from harmonia.store.mark import OWNER, SET_FOLDER, SIGNATURE, TAG, is_marked
from harmonia.store.sets import INDEX, ShardSet, default_cache, is_index
from harmonia.store.shards import SHARD, is_shard

_TEMPORARY = re.compile(TEMPORARY.format(r"manifest\.json|index\.parquet|shard-\d{5,}\.safetensors"))
_FILE = re.compile(rf"manifest\.json|index\.parquet|{SHARD.pattern}|{_TEMPORARY.pattern}")
_LOCK = re.compile(r"(set|shard-\d{5,}|worker-.+)\.lock")
_EMPTY_S = 3600  # between opening a set and claiming its first shard a job holds no lock on it, for far less than this


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return exit_code(lambda: _command(argv), input_error)


def _command(argv: Sequence[str] | None) -> int:
    options = _parser().parse_args(argv)
    if options.cache == "":
        raise InputError("--cache must be a folder's path, got none; name one with --cache PATH")
    options.cache = home(options.cache) if options.cache else default_cache()
    if not options.cache.is_dir():
        raise InputError(f"the map store must be a folder, got {options.cache}; name another with --cache PATH")
    return options.run(options)


def list_sets(options: argparse.Namespace) -> int:
    """One row for each set; a shard counts as done when its file is there."""
    table = [["kind", "name", "key", "items", "shards", "size", "created", "source", "method"]]
    for folder in _set_folders(options.cache):
        size = decimal(sum(facts.st_size for _, facts in _files(folder)))
        stored, damage, _ = _stored(folder)
        if stored is None:
            table.append([folder.parent.name, folder.name[:-17], folder.name[-16:], "?", "?", size, damage, "", ""])
            continue
        manifest, shards = stored.manifest, f"{len(_shards_on_disk(stored))}/{stored.num_shards}"
        row = [manifest.kind, manifest.name, manifest.key[:16], str(manifest.count), shards, size, manifest.created]
        model = manifest.identity.get("source", manifest.identity.get("model"))
        table.append([*row, _label(model), _label(manifest.identity.get("method"))])
    table = [list(map(visible, row)) for row in table]
    # by hand: rich takes seconds for thousands of rows
    widths = [min(max(map(len, column)), 80) for column in zip(*table, strict=True)]
    for row in table:
        print("", *(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), "", sep=" │ ")
    return 0


def verify(options: argparse.Namespace) -> int:
    """One line for each bad file; the exit code is 1 if there is any."""
    bad = sound = 0
    for folder in _set_folders(options.cache):
        stored, damage, key = _stored(folder)
        if stored is None:
            say(f"{folder}: {damage}")
            bad += not key
            continue
        for shard in _shards_on_disk(stored):
            try:
                stored.read(shard)
                sound += 1
            except InputError as error:
                say(error)
                bad += 1
    say(f"{sound} shards are sound, {bad} files are not")
    return 1 if bad else 0


def prune(options: argparse.Namespace) -> int:
    """Remove what nobody can use, and whole sets on demand; never while a process works on the set.

    Only in a store that is marked, only what harmonia wrote there, and nothing through a link. A shard must fit
    its seal, its number and its set: a damaged one stays, and the next job that needs it replaces it.
    """
    if not 0 <= (options.older_than or 0) < math.inf:
        raise InputError(f"--older-than must be 0 or more days, got {options.older_than}; write --older-than 30")
    tag = options.cache / TAG
    if not is_marked(options.cache):
        raise InputError(
            f"a map store must have harmonia's mark to be pruned, got no such {tag}; a job that writes there marks it "
            "where nothing else lies there; to mark it yourself: "
            f"printf '{SIGNATURE}\\n{OWNER}\\n' > {shlex.quote(str(tag))}"
        )
    folders = list(_set_folders(options.cache))
    if options.set and not any(options.set in _names(folder) for folder in folders):
        raise InputError(f"--set must name a set in {options.cache}, got {options.set}; see `list` for the names")
    code = 0
    for folder in folders:
        locks = folder / "locks"
        if link := next((path for path in (folder.parent, folder, locks, *locks.glob("*")) if path.is_symlink()), None):
            say(f"kept {folder}: {link.name} is a link, which is not followed")
            continue
        try:
            # to look at a set makes no folder
            unseen = options.dry_run and not locks.is_dir()
            with nullcontext(True) if unseen else claims.gate(locks, wait=False) as alone:
                if alone and not claims.in_use(locks):
                    _prune_set(folder, options)
                else:
                    say(f"kept {folder}: a process works on it")
        except InputError as error:  # one set's disk, and no other's
            say(error)
            code = 1
    return code


def _prune_set(folder: Path, options: argparse.Namespace) -> None:
    def remove(path: Path, reason: str, *parts: Path) -> None:
        say(f"{'would remove' if options.dry_run else 'removed'} {path}: {reason}")
        for part in () if options.dry_run else parts or (path,):
            with disk_errors(part):
                (part.rmdir if part.is_dir() else part.unlink)()

    stored, damage, key = _stored(folder)
    if not key:
        say(f"kept {folder}: {damage}")
        return
    own, foreign = _contents(folder, key)
    for path in foreign:
        damaged = ", or it is damaged" if SHARD.fullmatch(path.name) else ""
        say(f"left alone {path}: harmonia did not write it{damaged}")
    reason = _unwanted(folder, options) or damage
    if not reason and not any(SHARD.fullmatch(path.name) for path in own) and _idle_s(folder) > _EMPTY_S:
        reason = "it holds no shard, and no process works on it"
    if stored is None or reason:
        remove(folder, reason, *own, *([] if foreign else [folder / "locks", folder]))
        return
    for path in own:
        if _TEMPORARY.fullmatch(path.name) or path.match("locks/worker-*"):
            remove(path, "left by a process that died")
    sound = {stored.shard_path(shard) for shard in _shards_on_disk(stored)} & set(own)
    if len(sound) < stored.num_shards and folder / INDEX in own:
        remove(folder / INDEX, "its set is incomplete")


def _contents(folder: Path, key: str) -> tuple[list[Path], list[Path]]:
    """What lies in a set's folder: harmonia's files, the manifest last, and what is not harmonia's."""
    own, foreign = [], []
    for path in sorted((*folder.iterdir(), *(folder / "locks").glob("*"))):
        if path == folder / "locks" and path.is_dir():
            continue
        known = (_LOCK if path.parent != folder else _FILE).fullmatch(path.name) and path.is_file()
        known = known and not path.is_symlink() and (path.name != INDEX or is_index(path))
        if shard := SHARD.fullmatch(path.name):
            known = known and is_shard(path, key, int(shard[1]))
        (own if known else foreign).append(path)
    return sorted(own, key=lambda path: path.name == FILE), foreign


def _unwanted(folder: Path, options: argparse.Namespace) -> str:
    """Why the options ask for the whole set to go; empty if they do not. Two conditions must both hold."""
    met = {}  # conditions, by reason
    if options.set is not None:
        met[f"--set {options.set}"] = options.set in _names(folder)
    if options.older_than is not None:
        met[f"nothing written for {options.older_than:g} days"] = _idle_s(folder) >= options.older_than * 86400
    return ", ".join(met) if all(met.values()) else ""


def _idle_s(folder: Path) -> float:
    """Seconds since anything but a lock was written."""
    newest = max((facts.st_mtime for name, facts in _files(folder) if not name.endswith(".lock")), default=0)
    return time.time() - newest


def _set_folders(cache: Path) -> Iterator[Path]:
    with disk_errors(cache):
        for folder in sorted(cache.glob("*/*")):
            ours = os.path.lexists(folder / FILE) or any(folder.glob("shard-*.safetensors"))
            if SET_FOLDER.fullmatch(folder.name) and (ours or (folder.is_dir() and not os.access(folder, os.R_OK))):
                yield folder


def _shards_on_disk(stored: ShardSet) -> list[int]:
    names = (SHARD.fullmatch(name) for name in os.listdir(stored.folder))
    return sorted(shard for name in names if name and (shard := int(name[1])) < stored.num_shards)


def _files(folder: Path | str) -> Iterator[tuple[str, os.stat_result]]:
    """Names and facts of those in the folder and in the folders in it; what is behind a link is not."""
    for path, _, names in walk(folder, lambda error: None):  # an unreadable one holds nothing that can be counted
        for name in names:
            with suppress(FileNotFoundError):  # a temporary file that has just become a shard
                facts = os.lstat(os.path.join(path, name))
                if stat.S_ISREG(facts.st_mode):
                    yield name, facts


def _names(folder: Path) -> tuple[str, str]:
    return folder.name, folder.name[:-17]


def _stored(folder: Path) -> tuple[ShardSet | None, str, str]:
    """The set, or why there is none; the key in its own undamaged manifest, also of a version that prune removes."""
    try:
        with disk_errors(folder):
            os.listdir(folder)
        manifest, content = Manifest.read(folder), sealed(folder) or {}
    except InputError as error:
        return None, str(error).removeprefix(f"{folder}/"), ""
    kind, key, schema = map(content.get, ("kind", "key", "schema"))
    if kind == folder.parent.name and isinstance(key, str) and key[:16] == folder.name[-16:]:
        if manifest:
            return ShardSet(folder, manifest), "", key
        if type(schema) is int and schema != SCHEMA_VERSION:
            return None, f"schema {schema}, this version reads {SCHEMA_VERSION}; prune removes it", key
    return None, f"{FILE} is missing, damaged or another set's; rerun to write it again", ""


def _label(part: object) -> str:
    """A short name for a piece of the identity, which may be text or a resolved configuration."""
    if isinstance(part, Mapping):
        part = part.get("name") or part.get("arch") or part.get("class")
    return "" if part is None else str(part)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m harmonia.store", description="Look after the map store.")
    commands = parser.add_subparsers(required=True, metavar="list|verify|prune")
    for name, run in (("list", list_sets), ("verify", verify), ("prune", prune)):
        command = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        command.add_argument("--cache", help="default: HARMONIA_CACHE or ~/.cache/harmonia")
        command.set_defaults(run=run)
        if run is prune:
            command.add_argument("--older-than", type=float, metavar="DAYS", help="sets nothing was written to since")
            command.add_argument("--set", metavar="NAME", help="the sets of this name; with or without the key")
            command.add_argument("--dry-run", action="store_true", help="say what would go")
    return parser


if __name__ == "__main__":
    sys.exit(main())
