"""A report's folder: its mark, and how a new report takes an earlier one's place, whole.

Of a folder NAME, the new report is written into .NAME.new beside it. Then NAME becomes .NAME.old, and .NAME.new becomes
NAME: between these two no report is there. What others have put into the folder moves on into the new one; .NAME.old
goes. All this under the lock .NAME.lock, and the next report ends what a killed one has begun.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path

from harmonia.errors import InputError
from harmonia.store.files import TEMPORARY, Disk, disk_errors, locked, move_into_place, write_text
from harmonia.store.guarded import read_json

MARK = ".harmonia-report"
_move = partial(move_into_place, lasting=False)
_DISK = Disk("a report's folder", "out=FOLDER")


def own_names(folder: Path) -> set[str] | None:
    """What a report has written below its folder, files and folders; None of a folder that is no report's."""
    try:
        names = read_json(folder, MARK)["names"] if is_file(folder / MARK) else None
        return set(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
    except (InputError, OSError, LookupError, TypeError):
        return None


def report_lock(folder: Path) -> AbstractContextManager[bool]:
    """Held by whoever writes or reads all of the report in the folder; others wait."""
    path = Path(os.path.abspath(folder))
    return locked(path.with_name(f".{path.name}.lock"), _DISK, wait=True)


@contextmanager
def in_place_of(folder: Path) -> Iterator[Path]:
    """A new folder that takes the named one's place when the block has succeeded; that must be empty or a report's."""
    folder = Path(os.path.abspath(folder))
    if os.path.ismount(folder):  # it cannot be renamed
        raise InputError(f"out must be no disk's mount point, got {str(folder)!r}; name a folder in it with out=FOLDER")
    new, old = (folder.with_name(f".{folder.name}.{state}") for state in ("new", "old"))
    with disk_errors(folder, _DISK):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with report_lock(folder):
            _refuse_foreign(folder)
            _end_what_was_begun(folder, new, old)
            try:
                new.mkdir()
                _write_mark(new, [])
                yield new
                _write_mark(new, sorted(path.relative_to(new).as_posix() for path in new.rglob("*")))
                _swap(folder, new, old)
            except BaseException:
                with suppress(OSError, InputError):
                    _end_what_was_begun(folder, new, old)
                raise


def _end_what_was_begun(folder: Path, new: Path, old: Path) -> None:
    for left in filter(os.path.lexists, (new, old)):
        if not _is_folder(left) or (own_names(left) is None and not all(map(_is_mark, left.iterdir()))):
            raise InputError(f"{left} must be what a killed report has left, got something else; move it away")
    if old.exists() and own_names(old) is not None and _is_empty(folder):
        _move(old, folder)
    elif old.exists():
        _carry(old, folder)
    if new.exists():
        _carry(new, folder) if own_names(new) else _remove(new)  # of a half-written one nobody knows more


def _refuse_foreign(folder: Path) -> None:
    if os.path.lexists(folder) and not _is_folder(folder):
        what = "a link" if folder.is_symlink() else "a file"
        raise InputError(f"out must be a folder, got {what}, {str(folder)!r}; name another with out=FOLDER")
    if not _is_empty(folder) and own_names(folder) is None:
        raise InputError(
            f"out must be a new folder, an empty one or a report's, got {str(folder)!r}, in which is "
            f"{min(os.listdir(folder))!r}; name another with out=FOLDER, or move it away"
        )


def _swap(folder: Path, new: Path, old: Path) -> None:
    if folder.exists():
        shutil.copymode(folder, new)
    own = own_names(folder)
    if own is None:  # it is empty
        _move(new, folder)
        return
    for name in _foreign(folder, own):
        if os.path.lexists(new / name):
            raise InputError(f"out must leave the report its names, got a foreign {name!r} in {folder}; move it away")
    _move(folder, old)
    _move(new, folder)
    _carry(old, folder)


def _carry(old: Path, folder: Path) -> None:
    """What others put into the old report moves into the folder, and the old report goes."""
    for name in list(_foreign(old, own_names(old) or {MARK})):
        if os.path.lexists(place := folder / name):
            raise InputError(f"{place} must make place for {old / name}, which is not a report's; move one away")
        place.parent.mkdir(parents=True, exist_ok=True)
        _move(old / name, place)
    _remove(old)


def _foreign(folder: Path, own: set[str], below: str = "") -> Iterator[str]:
    """What is not the report's own: files, links, and folders as a whole."""
    for entry in os.scandir(folder / below):
        name = below + entry.name
        if name in own and entry.is_dir(follow_symlinks=False):
            yield from _foreign(folder, own, f"{name}/")
        elif not (name in own and entry.is_file(follow_symlinks=False)):
            yield name


def _remove(folder: Path) -> None:
    # the mark goes last: what a kill leaves is still known to be a report's
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name == MARK):
        shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
    folder.rmdir()


def _write_mark(folder: Path, names: list[str]) -> None:
    write_text(folder / MARK, json.dumps({"names": names}, indent=1) + "\n")


def _is_mark(path: Path) -> bool:
    return is_file(path) and bool(re.fullmatch(rf"{re.escape(MARK)}|{TEMPORARY.format(re.escape(MARK))}", path.name))


def _is_empty(folder: Path) -> bool:
    """Also if it is not there."""
    return not os.path.lexists(folder) or not os.listdir(folder)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def is_file(path: Path) -> bool:
    """And no link to one."""
    return path.is_file() and not path.is_symlink()
