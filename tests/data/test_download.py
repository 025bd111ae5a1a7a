import gzip
import hashlib
import http.server
import io
import logging
import shutil
import socket
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harmonia.data import download
from harmonia.data.download import extract, fetch, fetch_folder
from harmonia.errors import InputError

CONTENT = bytes(range(256)) * 4000


class Server(http.server.ThreadingHTTPServer):
    """Serves content under /file and archives; behaviour is set by attributes."""

    daemon_threads = True
    content = CONTENT
    ranges = True
    shift = 0  # continues so many bytes past what was asked for
    cut_after: int | None = None  # bytes sent before hanging up, once
    extra_length = 0  # promised beyond what is sent
    broken_answers = 0  # 503s before the first good one
    redirect = ""  # where every request is sent

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str | None] = []
        self.sent_bytes = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.tgz"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append(wanted)
        if server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path != "/file.tgz":
            self.send_error(404)
            return
        if server.broken_answers:
            server.broken_answers -= 1
            self.send_error(503)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) + server.shift if wanted and server.ranges else 0
        if wanted and start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.content[start:]
        self.send_response(206 if wanted and server.ranges else 200)
        if wanted and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(body) + server.extra_length))
        self.end_headers()
        if server.cut_after is not None:
            body, server.cut_after = body[: server.cut_after], None
        self.wfile.write(body)
        server.sent_bytes += len(body)

    def log_message(self, *args: object) -> None:
        """Tests read requests instead."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "RETRY_WAITS_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(download, "SCHEMES", ("https://", "http://127.0.0.1:"))
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def tgz(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def refusal(url: str, destination: Path) -> str:
    with pytest.raises(InputError) as caught:
        fetch(url, destination)
    message = str(caught.value)
    assert "\n" not in message
    assert not destination.exists()
    return message


def test_a_file_arrives_whole_and_is_not_fetched_twice(server, tmp_path):
    fetch(server.url, tmp_path / "file.tgz")
    fetch(server.url, tmp_path / "file.tgz")
    assert (tmp_path / "file.tgz").read_bytes() == CONTENT
    assert server.requests == [None]
    assert not list(tmp_path.rglob("*.part"))


def test_a_cut_download_goes_on_where_it_stopped(server, tmp_path):
    server.cut_after = 300_000
    fetch(server.url, tmp_path / "file.tgz")
    assert (tmp_path / "file.tgz").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=300000-"]
    assert server.sent_bytes == len(CONTENT)


def test_the_next_run_continues_a_part(server, tmp_path):
    (tmp_path / "file.tgz.part").write_bytes(CONTENT[:1000])
    fetch(server.url, tmp_path / "file.tgz")
    assert (tmp_path / "file.tgz").read_bytes() == CONTENT
    assert server.sent_bytes == len(CONTENT) - 1000


def test_a_server_that_ignores_ranges_sends_all_again(server, tmp_path):
    server.ranges = False
    (tmp_path / "file.tgz.part").write_bytes(b"x" * 1000)
    fetch(server.url, tmp_path / "file.tgz")
    assert (tmp_path / "file.tgz").read_bytes() == CONTENT


def test_a_server_that_continues_elsewhere_is_asked_for_all(server, tmp_path):
    server.shift = 5
    (tmp_path / "file.tgz.part").write_bytes(CONTENT[:1000])
    fetch(server.url, tmp_path / "file.tgz")
    assert (tmp_path / "file.tgz").read_bytes() == CONTENT
    assert server.requests == ["bytes=1000-", None]


@pytest.mark.parametrize("part", [CONTENT, CONTENT + b"x"])
def test_a_part_that_reaches_the_end_is_kept_only_if_it_has_the_length(server, tmp_path, part):
    (tmp_path / "file.tgz.part").write_bytes(part)
    fetch(server.url, tmp_path / "file.tgz")
    assert (tmp_path / "file.tgz").read_bytes() == CONTENT
    assert server.sent_bytes == (0 if part == CONTENT else len(CONTENT))


def test_a_short_file_is_refused(server, tmp_path):
    server.extra_length, server.ranges = 10, False
    message = refusal(server.url, tmp_path / "file.tgz")
    assert "1,024,000 of 1,024,010 bytes" in message


def test_a_passing_failure_is_tried_again_three_times(server, tmp_path):
    server.broken_answers = 3
    fetch(server.url, tmp_path / "file.tgz")
    assert len(server.requests) == 4


def test_a_lasting_failure_gives_up(server, tmp_path):
    server.broken_answers = 9
    assert "503" in refusal(server.url, tmp_path / "file.tgz")
    assert len(server.requests) == 4


def test_a_wrong_address_is_not_tried_again(server, tmp_path):
    url = server.url.replace("file", "absent")
    message = refusal(url, tmp_path / "file.tgz")
    assert url in message
    assert "404" in message
    assert len(server.requests) == 1


def test_without_a_network_the_error_names_url_reason_and_both_remedies(server, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file.tgz"
        message = refusal(url, tmp_path / "file.tgz")
    for part in (url, "refused", "data.root=PATH", str(tmp_path / "file.tgz")):
        assert part in message


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "x.tgz", "http://127.0.0.1/x"])
def test_only_https_is_spoken(tmp_path, url):
    assert "must begin with https://" in refusal(url, tmp_path / "file.tgz")


@pytest.mark.parametrize("url", ["http://localhost/file.tgz", "ftp://127.0.0.1/file.tgz"])
def test_a_redirect_to_anything_but_https_is_not_followed(server, tmp_path, url):
    server.redirect = url
    assert f"after redirects too, got {url}" in refusal(server.url, tmp_path / "file.tgz")
    assert len(server.requests) == 1


@pytest.mark.parametrize("url", [f"https://{'a' * 99}.com/x.tgz", "https://127.0.0.1:1/ü.tgz"])
def test_an_address_that_cannot_be_asked_is_one_line_at_once(tmp_path, url):
    assert "cannot be downloaded" in refusal(url, tmp_path / "file.tgz")


@pytest.mark.parametrize("url", ["https://127.0.0.1/", "https://[::1", "https://127.0.0.1/a/.."])
def test_an_address_without_a_file_is_refused_before_anything_is_asked(tmp_path, url):
    with pytest.raises(InputError, match="must end in an archive's name"):
        fetch_folder(url, tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def test_a_file_that_does_not_end_is_cut_off(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MOST_BYTES", 1000)
    assert "at most 1,000 bytes" in refusal(server.url, tmp_path / "file.tgz")


def test_a_folder_that_cannot_be_written_is_an_error_in_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"paths\.cache=PATH"):
        fetch_folder("https://127.0.0.1/x", tmp_path / "file" / "folder")


def test_a_disk_that_refuses_bytes_is_not_blamed_on_the_network(server, tmp_path):
    (tmp_path / "file.tgz.part").mkdir()
    message = refusal(server.url, tmp_path / "file.tgz")
    assert "cannot be written" in message
    assert len(server.requests) == 1


def test_a_folder_is_downloaded_once_by_many_at_once(server, tmp_path):
    server.content = tgz(**{"top/val/a.txt": b"a", "._top": b"macOS"})
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: fetch_folder(server.url, tmp_path / "top-2"), range(4)))
    assert (tmp_path / "top-2" / "val" / "a.txt").read_bytes() == b"a"
    assert len(server.requests) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"top-2", "top-2.lock", "file.tgz.sha256"}


def test_an_archive_put_there_by_hand_is_used(server, tmp_path):
    (tmp_path / "file.tgz").write_bytes(tgz(**{"top/a.txt": b"a"}))
    fetch_folder(server.url, tmp_path / "folder")
    assert (tmp_path / "folder" / "a.txt").read_bytes() == b"a"
    assert server.requests == []


def test_an_archive_must_be_the_published_one(tmp_path):
    content = tgz(**{"top/a.txt": b"a"})
    archive = tmp_path / "file.tgz"
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"must have the digest published, 0123, got .*delete it and run again"):
        fetch_folder("https://127.0.0.1/file.tgz", tmp_path / "folder", md5="0123")
    assert archive.read_bytes() == content
    fetch_folder("https://127.0.0.1/file.tgz", tmp_path / "folder", md5=hashlib.md5(content).hexdigest())
    assert (tmp_path / "folder" / "a.txt").read_bytes() == b"a"
    assert not (tmp_path / "file.tgz.sha256").exists()


def test_a_digest_that_nobody_publishes_is_recorded_said_and_held_to(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    content = tgz(**{"top/a.txt": b"a"})
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / "file.tgz").write_bytes(content)
    fetch_folder("https://127.0.0.1/file.tgz", tmp_path / "first")
    assert (tmp_path / "file.tgz.sha256").read_text() == f"{digest}  file.tgz\n"
    assert f"SHA-256 {digest} is recorded" in caplog.text
    (tmp_path / "file.tgz").write_bytes(content + b"more")
    with pytest.raises(InputError, match=f"recorded in .*, {digest}, got"):
        fetch_folder("https://127.0.0.1/file.tgz", tmp_path / "second")
    assert not (tmp_path / "second").exists()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0, content: bytes = b"", **facts: str):
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size, member.pax_headers = kind, link, size or len(content), facts
    return member.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % 512)


def tar_of(*entries: bytes) -> bytes:
    return gzip.compress(b"".join(entries) + bytes(1024), 1)


OUT = "../" * 3
HOSTILE = {
    "a name beyond the folder": tar_of(entry("top/a", content=b"a"), entry("../evil", content=b"x")),
    "an absolute name": tar_of(entry("/evil", content=b"x")),
    "a name beyond the folder in a long header": tar_of(entry("a", content=b"x", path=f"top/{OUT}evil")),
    "a link out of the folder": tar_of(entry("top/way", tarfile.SYMTYPE, OUT), entry("top/way/evil", content=b"x")),
    "a link inside the folder": tar_of(entry("top/a", content=b"a"), entry("top/b", tarfile.LNKTYPE, "top/a")),
    "a deep way that is cut short": tar_of(  # CVE-2025-4517
        *(entry("d" * 247 + "/" + "/".join(["d" * 247] * depth), tarfile.DIRTYPE) for depth in range(16)),
        entry("way", tarfile.SYMTYPE, "/".join(["d" * 247] * 16) + "/" + "../" * 16),
        entry("way/evil", content=b"x"),
    ),
    "a pipe": tar_of(entry("top/pipe", tarfile.FIFOTYPE)),
    "a device": tar_of(entry("top/zero", tarfile.CHRTYPE)),
    "a sparse file": tar_of(entry("top/sparse", tarfile.GNUTYPE_SPARSE)),
    "a kind that nobody knows": tar_of(entry("top/a", b"Z", content=b"x")),
    "a header of a gigabyte": tar_of(entry("x", tarfile.XHDTYPE, size=1 << 30), bytes(1 << 20)),
    "a long name of a gigabyte": tar_of(entry("x", tarfile.GNUTYPE_LONGNAME, size=1 << 30), bytes(1 << 20)),
    "headers without an end": tar_of(*[entry("x", tarfile.XHDTYPE, content=b"12 path=abc\n")] * 2000),
    "a file of a terabyte": tar_of(entry("top/big", size=1 << 40), bytes(1 << 20)),
    "a size of a sparse file that is no number": tar_of(entry("top/a", content=b"x", **{"GNU.sparse.size": "x"})),
    "a size that is no number": tar_of(entry("top/a", content=b"x", **{"GNU.sparse.map": "a,b"})),
    "one name twice": tar_of(*[entry("top/a", content=b"x")] * 2),
    "a file for a folder": tar_of(entry("top", content=b"x"), entry("top/a", content=b"x")),
    "NUL in a name": tar_of(entry("a", content=b"x", path="top/a\0b")),
    "more entries than anybody needs": tar_of(*(entry(f"top/{number}") for number in range(30))),
    "no archive": b"no archive",
    "nothing": b"",
    "a broken xz": b"\xfd7zXZ\x00\x00\x04" + b"x" * 99,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_or_broken_archive_leaves_nothing(tmp_path, monkeypatch, content):
    monkeypatch.setattr(download, "MOST_ENTRIES", 25)
    archive = tmp_path / "in" / "file.tgz"
    archive.parent.mkdir()
    archive.write_bytes(content)
    with pytest.raises(InputError, match="delete it") as caught:
        extract(archive, tmp_path / "in" / "folder")
    assert str(archive) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "file.tgz"]


def test_long_names_and_plain_tar_files_are_taken(tmp_path):
    long = "/".join(["d" * 90] * 3)
    (tmp_path / "a.tar").write_bytes(gzip.decompress(tar_of(entry(f"top/{long}/ü", content=b"a"))))
    extract(tmp_path / "a.tar", tmp_path / "folder")
    assert (tmp_path / "folder" / long / "ü").read_bytes() == b"a"
    with tarfile.open(tmp_path / "b.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(tmp_path / "folder", "top")
    extract(tmp_path / "b.tar", tmp_path / "again")
    assert (tmp_path / "again" / long / "ü").read_bytes() == b"a"


def test_a_truncated_archive_is_refused(tmp_path):
    archive = tmp_path / "file.tgz"
    archive.write_bytes(tgz(**{"top/a": bytes(range(256)) * 999})[:-100])
    with pytest.raises(InputError, match="delete it"):
        extract(archive, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_an_interrupted_extraction_never_looks_complete(tmp_path, monkeypatch):
    archive = tmp_path / "file.tgz"
    archive.write_bytes(tgz(**{"top/a": b"a"}))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", interrupt)
        with pytest.raises(KeyboardInterrupt):
            extract(archive, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    # a killed process leaves its unfinished folder behind
    (tmp_path / "folder.extracting" / "top" / "stale").mkdir(parents=True)
    extract(archive, tmp_path / "folder")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["a"]
