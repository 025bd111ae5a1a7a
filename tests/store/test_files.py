"""Laws of files that are written whole or not at all, and of locks; and that nobody else writes or locks them."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from unittest.mock import Mock

import pytest
from paths import REPOSITORY

from harmonia.errors import InputError
from harmonia.results.jobs import find_jobs
from harmonia.store import files
from harmonia.store.__main__ import _files
from harmonia.store.files import JOBS, TEMPORARY, disk_errors, locked, replacing, walk, write_text
from harmonia.store.whole import _foreign


@pytest.mark.parametrize("lasting", [True, False])
def test_a_file_is_replaced_whole_and_what_fails_leaves_the_old_one(tmp_path, lasting):
    path = tmp_path / "file"
    write_text(path, "old\n")
    with replacing(path, lasting) as temporary:
        temporary.write_text("new")
        assert re.fullmatch(TEMPORARY.format("file"), temporary.name)
        assert path.read_text() == "old\n"
    assert path.read_text() == "new"
    with pytest.raises(UnicodeEncodeError), replacing(path, lasting) as temporary:
        temporary.write_text("half" * 9999 + "\udcff", encoding="utf-8")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_in_one_process_do_not_mix(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the block that ended last
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_a_lock_has_one_holder_and_is_free_after_the_block_or_death(tmp_path):
    with locked(tmp_path / "lock") as held, locked(tmp_path / "lock") as held_twice:
        assert (held, held_twice) == (True, False)
    script = "import os, sys; from pathlib import Path; from harmonia.store.files import locked\n"
    script += "with locked(Path(sys.argv[1])) as held: assert held; os._exit(9)"
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "lock")], cwd=REPOSITORY).returncode == 9
    with locked(tmp_path / "lock") as held:
        assert held


def test_who_waits_for_a_lock_says_for_whom_again_and_again_and_gets_it(tmp_path, monkeypatch):
    lines, release, held_elsewhere = [], threading.Event(), threading.Event()

    def hold():
        with locked(tmp_path / "lock"):
            held_elsewhere.set()
            release.wait(60)

    def say(text, *words):
        lines.append(text % words)
        if len(lines) == 3:
            release.set()

    monkeypatch.setattr(files, "PATIENCE_S", 0)
    monkeypatch.setattr(files, "SAY_AGAIN_S", 0)
    monkeypatch.setattr(files, "log", Mock(warning=say))
    thread = threading.Thread(target=hold)
    thread.start()
    assert held_elsewhere.wait(60)
    with locked(tmp_path / "lock", wait=True) as held:
        assert held
    thread.join()
    own = rf"waiting for process {os.getpid()} on \S+ since \d{{4}}-\S+, which holds {tmp_path}/lock"
    assert all(re.fullmatch(own, line) for line in lines)
    lines.clear()
    with locked(tmp_path / "lock", wait=True):
        assert lines == []


def test_a_stopped_holder_is_told_apart_from_one_at_work(tmp_path):
    lock = tmp_path / "lock"
    process = subprocess.Popen(["sleep", "60"])
    try:
        name = f"process {process.pid} on {socket.gethostname()} since 2026-01-01T00:00:00+00:00"
        lock.write_text(name)
        assert files.holder(lock) == name
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        stopped = files.holder(lock)
        lock.write_text(name.replace(socket.gethostname(), "elsewhere"))
        assert files.holder(lock) == name.replace(socket.gethostname(), "elsewhere")  # of which nothing is known
    finally:
        process.kill()
        process.wait()
    assert stopped.startswith(f"{name} (it is stopped: `kill -CONT {process.pid}` lets it go on")


@pytest.mark.parametrize("content", [b"", b"\xff", b"process 1 on \x1b[2J since 2026", b"process " + b"1" * 999])
def test_a_lock_that_bears_no_name_is_another_process(tmp_path, content):
    (tmp_path / "lock").write_bytes(content)
    assert files.holder(tmp_path / "lock") == "another process"


def test_an_error_names_what_lies_on_the_disk_and_the_option_that_moves_it(tmp_path):
    (tmp_path / "file").touch()
    for refused in (locked(tmp_path / "file" / "lock", JOBS), disk_errors(tmp_path, JOBS)):
        with pytest.raises(InputError, match=r"a job's folder .*; .*hydra\.run\.dir=") as error, refused:
            (tmp_path / "absent").rmdir()
        assert "\n" not in str(error.value)


PARQUET = r"ParquetWriter\(|pq\.write_table|ParquetFile\(|read_parquet|to_parquet|pq\.read_table"
OWNERS = {
    r"os\.replace|\.rename\((?!columns|{)|fsync|\.write_text\(|\.write_bytes\(": "store/files.py",
    r"\bFileLock\b|import fcntl": "store/files.py",
    PARQUET: "store/parquet.py",
}


@pytest.mark.parametrize(("calls", "owners"), OWNERS.items())
def test_whole_files_locks_and_parquet_have_one_owner(calls, owners):
    package = REPOSITORY / "harmonia"
    users = [str(path.relative_to(package)) for path in package.rglob("*.py") if re.search(calls, path.read_text())]
    assert set(users) == set(owners.split())


def test_a_walk_calls_itself_for_no_more_than_fifty_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(1100):
        os.mkdir("a")
        os.chdir("a")
    os.chdir(tmp_path)
    try:
        failed = []
        assert len(list(walk(tmp_path, failed.append))) == 51
        assert [error.filename for error in failed] == [str(tmp_path / "/".join("a" * 51))]
        own = {"/".join("a" * depth) for depth in range(1, 1101)}
        assert list(_foreign(tmp_path, own)) == ["/".join("a" * 51)]
        assert list(_files(tmp_path)) == []
        assert [job.folder for job in find_jobs(tmp_path)] == [tmp_path / "/".join("a" * 51)]
    finally:  # pytest's own removal would call itself, too
        subprocess.run(["rm", "-rf", tmp_path / "a"], check=True)


def test_a_lock_that_can_never_be_made_is_refused_and_not_waited_for(monkeypatch):
    monkeypatch.setattr(files, "PATIENCE_S", 0.01)
    rule = r"/proc/x.lock: the map store needs a writable disk with file locks, got: No such file"
    with pytest.raises(InputError, match=rule), locked(Path("/proc/x.lock"), wait=True):
        pass
