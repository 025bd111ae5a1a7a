"""Laws of shared work: every shard is computed once, whoever dies, and half of it is never seen."""

import errno
import os
import signal
import subprocess
from contextlib import closing
from unittest.mock import Mock

import pyarrow.parquet as pq
import pytest
from planted_sets import child, fill, finish, items_of, leftovers, one_line, open_set

from harmonia.errors import InputError
from harmonia.store import claims
from harmonia.store.__main__ import main
from harmonia.store.sets import ShardSet


@pytest.mark.slow
@pytest.mark.parametrize(
    "death",
    [
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)",  # between temporary file and rename
        "stored.write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)",  # while only holding the claim
    ],
)
def test_a_killed_writer_leaves_nothing_visible_and_is_replaced(tmp_path, death):
    script = f"""
    stored = open_set()
    {death}
    for shard in stored.claims(): stored.write(shard, *items_of(stored, shard))
    """
    finish(child(script, tmp_path), -signal.SIGKILL)
    stored = open_set(tmp_path)
    assert stored.missing() == [0, 1, 2, 3]
    assert not list(stored.folder.glob("shard-*"))
    assert bool(leftovers(stored.folder)) == ("replace" in death)
    assert fill(stored) == [0, 1, 2, 3]
    assert main(["prune", "--cache", str(tmp_path)]) == 0
    assert not leftovers(stored.folder)
    assert not list(stored.folder.glob("locks/worker-*"))
    assert open_set(tmp_path).missing() == []


@pytest.mark.slow
def test_a_waiting_process_takes_over_from_one_that_dies(tmp_path, monkeypatch):
    script = """
    stored = open_set()
    for shard in stored.claims():
        if shard == 2: print("holding", flush=True); sys.stdin.read(); os.kill(os.getpid(), signal.SIGKILL)
        stored.write(shard, *items_of(stored, shard))
    """
    holder = child(script, tmp_path, stdin=subprocess.PIPE)
    assert holder.stdout.readline() == "holding\n"
    stored, computed = open_set(tmp_path), []
    monkeypatch.setattr(claims, "POLL_S", 0.01)
    monkeypatch.setattr(claims, "log", Mock(warning=Mock(side_effect=lambda *_: holder.stdin.close())))
    for shard in stored.claims():
        stored.write(shard, *items_of(stored, shard))
        computed.append(shard)
    holder.wait(60)
    holder.stdout.close(), holder.stderr.close()
    ((text, *said),) = (call.args for call in claims.log.warning.call_args_list)
    assert f"for 1 shards that others compute: process {holder.pid} on " in text % tuple(said)
    assert computed == [3, 2]
    assert stored.missing() == []


@pytest.mark.slow
def test_processes_on_one_set_compute_every_shard_once(tmp_path):
    script = """
    stored = ShardSet.open(root, "maps", "many", {"a": 1}, 60, int(sys.argv[2]))
    print("ready", flush=True); sys.stdin.readline()
    for shard in stored.claims():
        with open(root / f"log-{shard}", "a") as file: file.write(f"{os.getpid()}\\n")
        time.sleep(0.002)
        stored.write(shard, *items_of(stored, shard))
    stored.finish()
    """
    # different shard sizes race too: the first manifest decides for all
    workers = [child(script, tmp_path, 2 + i, stdin=subprocess.PIPE) for i in range(3)]
    assert all(worker.stdout.readline() == "ready\n" for worker in workers)
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        finish(worker)
    stored = ShardSet.open(tmp_path, "maps", "many", {"a": 1}, 60, 1)
    logs = {path.name: len(path.read_text().split()) for path in tmp_path.glob("log-*")}
    assert logs == {f"log-{shard}": 1 for shard in range(stored.num_shards)}
    assert pq.read_table(stored.finish())["image_id"].to_pylist() == [f"n{i:04d}" for i in range(60)]


def test_a_claim_ends_with_the_loop_that_made_it(tmp_path):
    def fail() -> None:
        with closing(open_set(tmp_path).claims()) as own:
            for shard in own:
                raise KeyError(shard)

    with pytest.raises(KeyError):
        fail()
    own = open_set(tmp_path).claims()
    next(own)
    own.close()
    assert fill(open_set(tmp_path)) == [0, 1, 2, 3]


def test_a_claim_that_was_not_written_is_an_error_and_no_endless_loop(tmp_path):
    own = open_set(tmp_path).claims()
    next(own)
    with pytest.raises(RuntimeError, match=r"shard 0 .* not written"):
        next(own)
    assert fill(open_set(tmp_path)) == [0, 1, 2, 3]


def test_claims_resume_where_the_set_stands(tmp_path):
    stored = open_set(tmp_path)
    stored.write(1, *items_of(stored, 1))
    assert fill(open_set(tmp_path)) == [0, 2, 3]
    assert fill(open_set(tmp_path)) == []


def test_a_disk_without_locks_fails_at_once(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(InputError, match=r"paths\.cache=PATH") as error:
        open_set(tmp_path)
    assert one_line(error.value)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_leaves_no_file(tmp_path):
    script = """
    import resource
    from harmonia.errors import InputError
    stored = open_set()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    try: stored.write(0, *items_of(stored, 0))
    except InputError as error: print(error)
    """
    out = finish(child(script, tmp_path))
    stored = open_set(tmp_path)
    assert out.count("\n") == 1
    assert "paths.cache=PATH" in out
    assert str(stored.folder) in out
    assert not leftovers(stored.folder)
    assert stored.missing() == [0, 1, 2, 3]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_error_at_any_step_of_writing_leaves_no_file(tmp_path, monkeypatch, step):
    stored = open_set(tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        with pytest.raises(InputError, match="No space left") as error:
            stored.write(0, *items_of(stored, 0))
    assert one_line(error.value)
    assert not leftovers(stored.folder)
    assert 0 in stored.missing()
