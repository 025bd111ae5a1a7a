"""Archives from the web: resumed when cut, complete or absent, never half there."""

import contextlib
import http.client
import logging
import shutil
import ssl
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from harmonia.errors import InputError, one_line
from harmonia.store.files import Disk, disk_errors, locked, move_into_place

RETRY_WAITS_S = (1.0, 2.0, 4.0)
TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 20
_DOWNLOADS = Disk("the folder of downloads", "paths.cache=PATH")

logger = logging.getLogger(__name__)


class _Cut(Exception):
    """The connection ended before the file did."""


# opening a connection raises URLError, or the others when the peer hangs up before its answer
_OF_THE_NETWORK = (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException, _Cut)


def fetch_folder(url: str, folder: Path) -> None:
    """The only folder in the tar archive at url, as folder; nothing happens when it is there already.

    An archive put beside folder by hand, under its name in the url, is used instead of the network.
    """
    if folder.is_dir():
        return
    archive = archive_path(url, folder)
    with _locked(folder):
        # another process may have done it while this one waited
        if not folder.is_dir():
            fetch(url, archive)
            extract(archive, folder)


def archive_path(url: str, folder: Path) -> Path:
    """Where the archive lies until it is extracted."""
    return folder.parent / Path(urlsplit(url).path).name


def extract(archive: Path, folder: Path) -> None:
    """The archive's only folder, or all of it if it has several entries, as folder; the archive goes.

    The folder appears by one rename, after the last file.
    """
    unfinished = folder.with_name(f"{folder.name}.extracting")
    logger.info("extracting %s", archive)
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        with tarfile.open(archive) as tar:
            tar.extractall(unfinished, filter="data")
        # hidden entries are what macOS adds to archives
        entries = [path for path in unfinished.iterdir() if not path.name.startswith(".")]
        content = entries[0] if len(entries) == 1 and entries[0].is_dir() else unfinished
        move_into_place(content, folder, lasting=False)
        archive.unlink()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(
            f"archive {archive} must be a sound tar file, got {one_line(error)}; delete it and run again"
        ) from error
    except OSError as error:
        raise InputError(
            f"archive {archive} cannot be extracted to {folder}: {one_line(error)}; "
            "delete it if it is broken, free space, or set paths.cache=PATH"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time."""
    with disk_errors(path.parent, _DOWNLOADS):
        path.parent.mkdir(parents=True, exist_ok=True)
    on_wait = partial(logger.info, "waiting for another process to download %s", path)
    with locked(path.with_name(f"{path.name}.lock"), _DOWNLOADS, wait=True, on_wait=on_wait):
        yield


def fetch(url: str, destination: Path) -> None:
    """The file at url, whole, at destination; nothing happens when it is there already.

    Bytes gather in <destination>.part, which the next call continues.
    """
    if destination.exists():
        return
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(
            f"data.url must begin with http:// or https://, got {url}; set data.root=PATH for a local copy"
        )
    part = destination.with_name(f"{destination.name}.part")
    with _progress(destination.name) as progress:
        for wait_s in (*RETRY_WAITS_S, None):
            try:
                _continue(url, part, progress)
                break
            except _OF_THE_NETWORK as error:
                if wait_s is None or not _may_pass(error):
                    raise InputError(
                        f"{url} cannot be downloaded: {one_line(error)}; "
                        f"set data.root=PATH to use a local copy, or download it by hand to {destination}"
                    ) from error
                logger.info("%s: %s; trying again in %g s", url, one_line(error), wait_s)
                time.sleep(wait_s)
            except OSError as error:
                raise InputError(
                    f"download {part} cannot be written: {error}; free space or set paths.cache=PATH"
                ) from error
    move_into_place(part, destination)


def _continue(url: str, part: Path, progress: Progress) -> None:
    """Appends what part lacks, or starts anew where the server cannot continue."""
    have = part.stat().st_size if part.exists() else 0
    try:
        response = _open(url, have)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not have:
            raise
        # nothing lies past what we have: either it is all there, or it belongs to another file
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return
        have, response = 0, _open(url, 0)
    continues = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    if have and not (response.status == 206 and continues):
        if response.status == 206:
            response.close()
            response = _open(url, 0)
        have = 0
    with response:
        length = response.headers.get("Content-Length")
        expected = None if length is None else have + int(length)
        (task,) = progress.task_ids
        progress.update(task, completed=have, total=expected)
        with part.open("ab" if have else "wb") as file:
            while chunk := _read(response):
                file.write(chunk)
                progress.advance(task, len(chunk))
    size = part.stat().st_size
    if expected is not None and size != expected:
        raise _Cut(f"the connection ended after {size:,} of {expected:,} bytes")


def _open(url: str, start: int) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "harmonia"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    return urllib.request.urlopen(request, timeout=TIMEOUT_S)


def _read(response: http.client.HTTPResponse) -> bytes:
    """A chunk; what goes wrong here is the network's fault, while writing may fail with OSError too."""
    try:
        return response.read(_CHUNK_BYTES)
    except OSError as error:
        raise urllib.error.URLError(error) from error


def _may_pass(error: Exception) -> bool:
    """Whether a later attempt may do better."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in (408, 429)
    reason = getattr(error, "reason", None)
    return not isinstance(reason, ssl.SSLCertVerificationError)


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Progress]:
    """Bytes, rate and time left, on stderr: stdout belongs to results."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        progress.add_task(name, total=None)
        yield progress
