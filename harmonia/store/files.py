"""Files that are written whole or not at all, and locks that the operating system frees when their process dies."""

import errno
import logging
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from harmonia.errors import InputError, refused

TEMPORARY = r"\.({})\.\d+-[0-9a-f]{{8}}\.tmp"  # what a killed process leaves of `replacing`: format and re
PATIENCE_S = 1.0  # most locks are held for an instant: who waits for longer says so
SAY_AGAIN_S = 30.0
DEEPEST_FOLDER = 50  # folders inside one another
_SIGNATURE = re.compile(r"process (\d{1,10}) on ([\w.-]{1,64}) since [\d:T+-]{1,32}", re.ASCII)

log = logging.getLogger(__name__)


class Disk(NamedTuple):
    """What is kept on a disk, and the option that puts it on another."""

    use: str
    option: str


STORE = Disk("the map store", "paths.cache=PATH")
JOBS = Disk("a job's folder", "hydra.run.dir= or hydra.sweep.dir=")


@contextmanager
def replacing(path: Path, lasting: bool = True) -> Iterator[Path]:
    """A temporary path that takes path's place if the block succeeds; lasting: also after a crash, which costs time."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        move_into_place(temporary, path, lasting)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def move_into_place(temporary: Path, path: Path, lasting: bool = True) -> None:
    """The finished file under its name, in the place of what had it."""
    if lasting:
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
    os.replace(temporary, path)
    if lasting:
        _sync_folder(path.parent)


def write_text(path: Path, text: str, lasting: bool = True) -> None:
    """The text in the file, whole or not at all; lasting as in replacing."""
    with replacing(path, lasting) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_stored(path: Path, content: bytes) -> None:
    """The same for bytes in the map store."""
    with disk_errors(path), replacing(path) as temporary:
        temporary.write_bytes(content)


def walk(folder: Path | str, fail: Callable[[OSError], object]) -> Iterator[tuple[str, list[str], list[str]]]:
    """os.walk, which calls itself for every level: below DEEPEST_FOLDER a folder fails as one that cannot be read."""
    top = os.fspath(folder).rstrip(os.sep).count(os.sep)
    for path, folders, names in os.walk(folder, onerror=fail):
        if path.count(os.sep) - top >= DEEPEST_FOLDER:
            for name in folders:
                fail(
                    OSError(
                        errno.ELOOP, f"more than {DEEPEST_FOLDER} folders inside one another", os.path.join(path, name)
                    )
                )
            folders.clear()
        yield path, folders, names


def utf8(name: str) -> str:
    """The name as text that every file takes: bytes of a file name that are not UTF-8 are escaped (`\\udcff`)."""
    # Python holds such bytes as lone surrogates, which Parquet refuses
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def disk_errors(path: Path, disk: Disk = STORE) -> AbstractContextManager[None]:
    """Operating system errors as one line that says what to do."""
    remedy = f"free space, rerun, or choose another folder with {disk.option}"
    return refused(f"{path}: {disk.use} must be readable, writable and have space, got", remedy, OSError)


@contextmanager
def locked(path: Path, disk: Disk = STORE, wait: bool = False) -> Iterator[bool]:
    """Whether this process holds the lock during the block; wait: until it does, saying for whom every half minute."""
    if path.is_symlink():
        raise InputError(f"{path}: a lock must be no link, got one; remove it and rerun")
    # thread_local=False: a generator may be closed by another thread than the one that ran it
    lock = FileLock(path, thread_local=False, fallback_to_soft=False, on_acquired=_sign)
    rule = f"{path}: {disk.use} needs a writable disk with file locks, got"
    with refused(rule, f"choose another folder with {disk.option}", OSError, NotImplementedError):
        with suppress(Timeout):
            lock.acquire(timeout=PATIENCE_S if wait else 0)
        while wait and not lock.is_locked:
            if not path.exists():  # as in /proc: it can never be made
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            log.warning("waiting for %s, which holds %s", holder(path), path)  # outside of Hydra, no info is heard
            with suppress(Timeout):
                lock.acquire(timeout=SAY_AGAIN_S)
    try:
        yield lock.is_locked
    finally:
        lock.release()


def _sign(lock: int) -> None:
    """The holder's name in the lock, an open file, for who waits; a file that is none of ours stays as it is."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    with suppress(OSError):  # a full disk: nothing but the name lacks
        earlier = os.pread(lock, 200, 0).decode("utf-8", "replace")
        if not _SIGNATURE.fullmatch(earlier) and not re.fullmatch("[0-9]*", earlier):  # an early version's number
            return
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()} since {now}".encode(), 0)


def signature(lock: Path) -> re.Match[str] | None:
    """What its last holder has signed; None of a file that is not harmonia's lock, or not yet signed."""
    try:
        with lock.open("rb") as file:
            return _SIGNATURE.fullmatch(file.read(200).decode("utf-8", "replace"))
    except OSError:
        return None


def holder(path: Path) -> str:
    """Who holds a lock that is held, in words; what to do where that process is stopped."""
    if not (signed := signature(path)):
        return "another process"
    process, host = signed.groups()
    remedy = ""
    with suppress(OSError, IndexError):  # a system without /proc does not tell who is stopped
        state = Path("/proc", process, "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
        if state in ("T", "t") and host == socket.gethostname():  # by SIGSTOP, Ctrl-Z or a debugger
            remedy = f" (it is stopped: `kill -CONT {process}` lets it go on, `kill -9 {process}` takes it over)"
    return signed[0] + remedy


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks cannot sync a folder
            raise
    finally:
        os.close(handle)
