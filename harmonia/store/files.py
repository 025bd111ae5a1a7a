"""Files that are written whole or not at all, and locks that the operating system frees when their process dies."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from harmonia.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place only if the block succeeds."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """The text in the file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def utf8(name: str) -> str:
    """The name as text that every file takes: bytes of a file name that are not UTF-8 are escaped (`\\udcff`)."""
    # Python holds such bytes as lone surrogates, which Parquet refuses
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[bool]:
    lock = FileLock(path, timeout=-1 if wait else 0, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError) as error:
        raise InputError(
            f"{path.parent}: a job's folder needs a writable disk with file locks, got "
            f"{getattr(error, 'strerror', None) or error}; choose another with hydra.run.dir= or hydra.sweep.dir="
        ) from error
    try:
        yield True
    finally:
        lock.release()


def write_atomically(path: Path, content: bytes) -> None:
    """All of the file or nothing, also after a crash or a full disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with storage_errors(path):
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Operating system errors as one line that says what to do."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: the map store must be readable, writable and have space, got "
            f"{error.strerror or error}; free space, rerun, or choose another folder with paths.cache=PATH"
        ) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks cannot sync a folder
            raise
    finally:
        os.close(handle)


def try_lock(path: Path, timeout_s: float = 0) -> FileLock | None:
    """The lock, held; None when another holder keeps it. A negative timeout waits as long as it takes."""
    # thread_local=False: a generator may be closed by another thread than the one that ran it
    lock = FileLock(path, timeout=timeout_s, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    except (OSError, NotImplementedError) as error:
        raise InputError(
            f"{path}: the map store needs a writable disk with file locks, got "
            f"{getattr(error, 'strerror', None) or error}; choose another folder with paths.cache=PATH"
        ) from error
    return lock
