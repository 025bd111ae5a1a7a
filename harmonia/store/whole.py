"""The folder of a report or an export: its mark, and how a new one takes an earlier one's place, whole.

Of a folder NAME, the new one is written into .NAME.new beside it. Then NAME becomes .NAME.old, and .NAME.new becomes
NAME: between these two none is there. What others have put into the folder moves on into the new one; .NAME.old
goes. All this under the lock .NAME.lock, and the next command ends what a killed one has begun.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from harmonia.errors import InputError
from harmonia.store.files import DEEPEST_FOLDER, TEMPORARY, Disk, disk_errors, locked, move_into_place, walk, write_text
from harmonia.store.guarded import read_json

_move = partial(move_into_place, lasting=False)


@dataclass(frozen=True)
class WholeFolder:
    """What one command writes, by its name; the folders of any other are foreign to it."""

    name: str

    @property
    def mark(self) -> str:
        """The file that names all others which the command wrote."""
        return f".harmonia-{self.name}"

    @property
    def _disk(self) -> Disk:
        return Disk(f"the {self.name}'s folder", "out=FOLDER")

    def own_names(self, folder: Path) -> set[str] | None:
        """What the command has written below its folder, files and folders; None of a folder that is none of its."""
        try:
            names = read_json(folder, self.mark)["names"] if is_file(folder / self.mark) else None
            return set(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
        except (InputError, OSError, LookupError, TypeError):
            return None

    def lock(self, folder: Path) -> AbstractContextManager[bool]:
        """Held by whoever writes or reads all that is in the folder; others wait."""
        path = Path(os.path.abspath(folder))
        return locked(path.with_name(f".{path.name}.lock"), self._disk, wait=True)

    @contextmanager
    def in_place_of(self, folder: Path) -> Iterator[Path]:
        """A new folder that takes the named one's place when the block has succeeded; that is empty or of this kind."""
        folder = Path(os.path.abspath(folder))
        if os.path.ismount(folder):  # it cannot be renamed
            remedy = "name a folder in it with out=FOLDER"
            raise InputError(f"out must be no disk's mount point, got {str(folder)!r}; {remedy}")
        new, old = (folder.with_name(f".{folder.name}.{state}") for state in ("new", "old"))
        with disk_errors(folder, self._disk):
            self._refuse_foreign(folder)  # a lock would stay beside what is not ours
            folder.parent.mkdir(parents=True, exist_ok=True)
            with self.lock(folder):
                self._refuse_foreign(folder)
                self._end_what_was_begun(folder, new, old)
                try:
                    new.mkdir()
                    self._write_mark(new, [])
                    yield new
                    self._write_mark(new, sorted(path.relative_to(new).as_posix() for path in new.rglob("*")))
                    self._swap(folder, new, old)
                except BaseException:
                    with suppress(OSError, InputError):
                        self._end_what_was_begun(folder, new, old)
                    raise

    def _end_what_was_begun(self, folder: Path, new: Path, old: Path) -> None:
        for left in filter(os.path.lexists, (new, old)):
            if not _is_folder(left) or (self.own_names(left) is None and not all(map(self._is_mark, left.iterdir()))):
                raise InputError(f"{left} must be what a killed {self.name} has left, got something else; move it away")
        if old.exists() and self.own_names(old) is not None and _is_empty(folder):
            _move(old, folder)
        elif old.exists():
            self._carry(old, folder)
        if new.exists():
            # of a half-written one nobody knows more
            self._carry(new, folder) if self.own_names(new) else self._remove(new)

    def _refuse_foreign(self, folder: Path) -> None:
        if os.path.lexists(folder) and not _is_folder(folder):
            what = "a link" if folder.is_symlink() else "a file"
            raise InputError(f"out must be a folder, got {what}, {str(folder)!r}; name another with out=FOLDER")
        if not _is_empty(folder) and self.own_names(folder) is None:
            raise InputError(
                f"out must be a new folder, an empty one or that of an earlier {self.name}, got {str(folder)!r}, in "
                f"which is {min(os.listdir(folder))!r}; name another with out=FOLDER, or move it away"
            )

    def _swap(self, folder: Path, new: Path, old: Path) -> None:
        if folder.exists():
            shutil.copymode(folder, new)
        own = self.own_names(folder)
        if own is None:  # it is empty
            _move(new, folder)
            return
        for name in _foreign(folder, own | {self.mark}):
            if os.path.lexists(new / name):
                taken = f"got a foreign {name!r} in {folder}"
                raise InputError(f"out must leave the {self.name} its names, {taken}; move it away")
        _move(folder, old)
        _move(new, folder)
        self._carry(old, folder)

    def _carry(self, old: Path, folder: Path) -> None:
        """What others put into the old folder moves into the new one, and the old one goes."""
        for name in list(_foreign(old, {self.mark, *(self.own_names(old) or ())})):
            if os.path.lexists(place := folder / name):
                raise InputError(f"{place} must make place for {old / name}, which is not harmonia's; move one away")
            place.parent.mkdir(parents=True, exist_ok=True)
            _move(old / name, place)
        self._remove(old)

    def _remove(self, folder: Path) -> None:
        for _ in walk(folder, _refuse_unwalkable):
            pass
        # the mark goes last: what a kill leaves is still known to be harmonia's
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name == self.mark):
            shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
        folder.rmdir()

    def _write_mark(self, folder: Path, names: list[str]) -> None:
        write_text(folder / self.mark, json.dumps({"names": names}, indent=1) + "\n")

    def _is_mark(self, path: Path) -> bool:
        name = re.escape(self.mark)
        return is_file(path) and bool(re.fullmatch(rf"{name}|{TEMPORARY.format(name)}", path.name))


def _refuse_unwalkable(error: OSError) -> NoReturn:
    """A deep folder that others have put there: to remove it would take a call for every level."""
    raise InputError(f"{error.filename} must be readable, got {error.strerror}; move it away")


REPORT, EXPORT = WholeFolder("report"), WholeFolder("export")


def _foreign(folder: Path, own: set[str], below: str = "") -> Iterator[str]:
    """What is not the command's own: files, links, and folders as a whole."""
    for entry in os.scandir(folder / below):
        name = below + entry.name
        if name in own and entry.is_dir(follow_symlinks=False) and name.count("/") < DEEPEST_FOLDER:
            yield from _foreign(folder, own, f"{name}/")
        elif not (name in own and entry.is_file(follow_symlinks=False)):
            yield name


def _is_empty(folder: Path) -> bool:
    """Also if it is not there."""
    return not os.path.lexists(folder) or not os.listdir(folder)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def is_file(path: Path) -> bool:
    """And no link to one."""
    return path.is_file() and not path.is_symlink()
