"""Archives from the web: resumed when cut, complete or absent, never half there."""

import hashlib
import http.client
import logging
import lzma
import shutil
import ssl
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from harmonia.errors import InputError, one_line, refused
from harmonia.media import visible
from harmonia.progress import progress_of
from harmonia.store.files import Disk, disk_errors, locked, move_into_place, write_text

SCHEMES = ("https://",)
MOST_BYTES = 10 << 30  # of an archive and of what is in it; fast.ai's largest have 1.6 GB
MOST_ENTRIES = 200_000  # in an archive; theirs have 13,500
_HEADER_BYTES = 1 << 16  # of a name or of facts about a file; Python reads them whole
RETRY_WAITS_S = (1.0, 2.0, 4.0)
TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 20
_LOCAL = "set data.root=PATH for a local copy"
_DOWNLOADS = Disk("the folder of downloads", "paths.cache=PATH")

logger = logging.getLogger(__name__)


class _Cut(Exception):
    """The connection ended before the file did."""


# opening a connection raises URLError, or the others when the peer hangs up before its answer
_OF_THE_NETWORK = (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException, UnicodeError, _Cut)


def fetch_folder(url: str, folder: Path, md5: str = "") -> None:
    """The only folder in the tar archive at url, as folder; nothing happens when it is there already.

    An archive put beside folder by hand, under its name in the url, is used instead of the network. md5: of the
    archive, where it is published; without it the SHA-256 of the first one is recorded, and later ones must have it.
    """
    if folder.is_dir():
        return
    archive = archive_path(url, folder)
    with disk_errors(folder.parent, _DOWNLOADS):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f"{folder.name}.lock"), _DOWNLOADS, wait=True):
        # another process may have done it while this one waited
        if not folder.is_dir():
            fetch(url, archive)
            _check_digest(archive, md5)
            extract(archive, folder)


def archive_path(url: str, folder: Path) -> Path:
    """Where the archive lies until it is extracted."""
    try:
        name = Path(urlsplit(url).path).name
    except ValueError:
        name = ""
    if name in ("", ".."):
        raise InputError(f"data.url must end in an archive's name, got {url}; {_LOCAL}")
    return folder.parent / name


def _check_digest(archive: Path, md5: str) -> None:
    record = archive.with_name(f"{archive.name}.sha256")
    with disk_errors(archive, _DOWNLOADS), archive.open("rb") as file:
        digest = hashlib.file_digest(file, "md5" if md5 else "sha256").hexdigest()
        recorded = record.read_text(encoding="utf-8", errors="replace") if record.exists() and not md5 else ""
    if not (expected := md5 or recorded.partition(" ")[0]):
        write_text(record, f"{digest}  {archive.name}\n")  # as sha256sum -c reads it
        logger.info("%s: nobody publishes its digest; SHA-256 %s is recorded in %s", archive.name, digest, record)
    elif digest != expected:
        source = "published" if md5 else f"recorded in {record}"
        remedy = f"delete it and run again, or {_LOCAL}"
        raise InputError(f"archive {archive} must have the digest {source}, {expected}, got {digest}; {remedy}")


class _Member(tarfile.TarInfo):
    """What an archive holds: files and folders, and headers that name them; a link or a device ends its reading."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Member":
        member = super().frombuf(buf, encoding, errors)
        if member.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            if not 0 <= member.size <= _HEADER_BYTES:
                raise tarfile.ReadError(f"a header of {member.size:,} bytes")
        elif member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
            raise tarfile.ReadError(f"{member.name!r}, which is neither a file nor a folder")
        return member


def _unpack(archive: Path, folder: Path) -> None:
    """Python's own extraction is not used: what it lets through differs between versions (CVE-2025-4517)."""
    size = 0
    with tarfile.open(archive, tarinfo=_Member) as tar:
        for number, member in enumerate(tar):
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts:
                raise tarfile.ReadError(f"{member.name!r}, which leads out of its folder")
            size += max(0, member.size)
            if number >= MOST_ENTRIES or size > MOST_BYTES:
                raise tarfile.ReadError(f"more than {MOST_ENTRIES:,} entries or {MOST_BYTES:,} bytes")
            inside = folder / path
            (inside if member.isdir() else inside.parent).mkdir(parents=True, exist_ok=True)
            if content := tar.extractfile(member):  # of a folder there is none
                with content, inside.open("xb") as file:
                    shutil.copyfileobj(content, file, _CHUNK_BYTES)


def extract(archive: Path, folder: Path) -> None:
    """The archive's only folder, or all of it if it has several entries, as folder; the archive goes.

    The folder appears by one rename, after the last file. Files and folders alone are taken, inside the folder.
    """
    unfinished = folder.with_name(f"{folder.name}.extracting")
    logger.info("extracting %s", archive)
    # a crafted header may show as anything
    damage = tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, LookupError, RecursionError
    sound = f"archive {archive} must be a sound tar file of files and folders, got"
    no_place = f"archive {archive} cannot be extracted to {folder}"
    remedy = "delete it if it is broken, free space, or set paths.cache=PATH"
    try:
        with refused(sound, "delete it and run again", *damage), refused(no_place, remedy, OSError):
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            _unpack(archive, unfinished)
            # hidden entries are what macOS adds to archives
            entries = [path for path in unfinished.iterdir() if not path.name.startswith(".")]
            content = entries[0] if len(entries) == 1 and entries[0].is_dir() else unfinished
            move_into_place(content, folder, lasting=False)
            archive.unlink()
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def fetch(url: str, destination: Path) -> None:
    """The file at url, whole, at destination, if none is there; bytes gather in <destination>.part, to be continued."""
    if destination.exists():
        return
    part = destination.with_name(f"{destination.name}.part")
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with progress_of(*columns, TimeRemainingColumn()) as progress:
        progress.add_task(visible(destination.name), total=None)
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
        expected = None if response.length is None else have + response.length
        (task,) = progress.task_ids
        progress.update(task, completed=have, total=expected)
        with part.open("ab" if have else "wb") as file:
            while chunk := _read(response):
                if file.tell() + len(chunk) > MOST_BYTES:
                    raise InputError(f"{url} must have at most {MOST_BYTES:,} bytes, got more; {_LOCAL}")
                file.write(chunk)
                progress.advance(task, len(chunk))
    size = part.stat().st_size
    if expected is not None and size != expected:
        raise _Cut(f"the connection ended after {size:,} of {expected:,} bytes")


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):
        return super().redirect_request(req, fp, code, msg, headers, _secure(newurl))


def _secure(url: str) -> str:
    """The url itself; nothing else is ever asked."""
    if not url.lower().startswith(SCHEMES):
        raise InputError(f"data.url must begin with https://, after redirects too, got {url}; {_LOCAL}")
    return url


def _open(url: str, start: int) -> http.client.HTTPResponse:
    request = urllib.request.Request(_secure(url), headers={"User-Agent": "harmonia"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    return urllib.request.build_opener(_SecureRedirects).open(request, timeout=TIMEOUT_S)


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
    return not isinstance(error, UnicodeError) and not isinstance(reason, ssl.SSLCertVerificationError)
