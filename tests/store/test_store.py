"""Laws of the map store. Other processes run the scripts below, so that they can be killed."""

import errno
import inspect
import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from paths import REPOSITORY

from harmonia.errors import InputError
from harmonia.store import shards as shard_files
from harmonia.store.__main__ import main
from harmonia.store.claims import shard_lock
from harmonia.store.manifest import Manifest, set_key
from harmonia.store.sets import ShardSet, default_cache
from harmonia.store.shards import CorruptShard

IDENTITY = {"source": "vit", "method": {"name": "ig", "steps": 8}, "weights": "ab12"}
COUNT, SHARD_SIZE, NUM_SHARDS = 10, 3, 4


def items_of(stored, shard):
    items = np.array(stored.shard_items(shard))
    maps = items[:, None, None] * np.ones((1, 2, 3), np.float16)
    facts = [{"image_id": f"n{i:04d}", "p_source": i / 7, "flag": ""} for i in items.tolist()]
    return {"maps": maps, "scale": items.astype(np.float32)}, facts


PRELUDE = f"""
import os, signal, sys, time
from pathlib import Path
import numpy as np
from harmonia.store.sets import ShardSet
root = Path(sys.argv[1])
{inspect.getsource(items_of)}
def open_set():
    return ShardSet.open(root, "maps", "vit-ig", {IDENTITY!r}, {COUNT}, {SHARD_SIZE})
"""


def child(script: str, *arguments: object, **options) -> subprocess.Popen:
    code = PRELUDE + textwrap.dedent(script)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process: subprocess.Popen, code: int = 0) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    return out


def open_set(root: Path, **changes) -> ShardSet:
    given = dict(kind="maps", name="vit-ig", identity=IDENTITY, count=COUNT, shard_size=SHARD_SIZE)
    return ShardSet.open(root, **(given | changes))


def fill(stored: ShardSet) -> list[int]:
    computed = []
    for shard in stored.claims():
        stored.write(shard, *items_of(stored, shard))
        computed.append(shard)
    return computed


def store(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "harmonia.store", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


def one_line(error: object) -> bool:
    return "\n" not in str(error)


# --- what goes in comes out ---------------------------------------------------------------------


def test_a_shard_comes_back_bit_equal(tmp_path):
    stored = open_set(tmp_path)
    numbers = np.random.default_rng(0)
    arrays = {
        "maps": numbers.normal(size=(3, 4, 5)).astype(np.float16),
        "scale": np.array([0, np.nan, -np.inf], np.float32),
        "turned": numbers.normal(size=(5, 4, 3)).T,
        "swapped": np.arange(3, dtype=">i4"),
        "yes": np.array([True, False, True]),
        "empty": np.zeros((3, 0), np.int64),
    }
    facts = [{"image_id": "ü\udcff\n", "p_source": np.float32(0.1), "seconds": float("nan")}, {}, {"b": None}]
    stored.write(0, arrays, facts)
    read, read_facts = open_set(tmp_path).read(0)
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(read[name], array)
        assert read[name].tobytes() == array.astype(read[name].dtype).tobytes()
    assert read_facts[0]["image_id"] == "ü\udcff\n"
    assert np.isnan(read_facts[0]["seconds"])
    assert read_facts[0]["p_source"] == float(np.float32(0.1))
    assert read_facts[1:] == [{}, {"b": None}]


def test_shards_partition_the_items_in_order(tmp_path):
    stored = open_set(tmp_path)
    assert stored.num_shards == NUM_SHARDS
    assert [i for shard in range(NUM_SHARDS) for i in stored.shard_items(shard)] == list(range(COUNT))
    assert all(stored.shard_of(i) == shard for shard in range(NUM_SHARDS) for i in stored.shard_items(shard))


@pytest.mark.parametrize(
    ("arrays", "facts", "rule"),
    [
        ({"maps": np.zeros((2, 1))}, [{}] * 3, "holds 3 items"),
        ({"maps": np.zeros(())}, [{}] * 3, "holds 3 items"),
        ({"maps": np.zeros((3, 1))}, [{}] * 2, "got 2 facts"),
        ({"names": np.array(["a", "b", "c"])}, [{}] * 3, "dtype <U1"),
        ({"maps": np.zeros((3, 1))}, [{"shard": 1}] * 3, "index columns"),
        ({"maps": np.zeros((3, 1))}, [{"path": Path("a")}] * 3, "JSON"),
    ],
)
def test_a_shard_that_does_not_fit_is_refused_and_leaves_nothing(tmp_path, arrays, facts, rule):
    stored = open_set(tmp_path)
    with pytest.raises(ValueError, match=rule):
        stored.write(0, arrays, facts)
    assert stored.missing() == [0, 1, 2, 3]
    assert not leftovers(stored.folder)


def test_random_access_gives_the_items_in_the_order_asked_for(tmp_path):
    stored = open_set(tmp_path)
    fill(stored)
    wanted = [9, 0, 4, 4, 8, 1]
    arrays, facts = stored.read_items(wanted)
    assert arrays["scale"].tolist() == wanted
    assert arrays["maps"][:, 1, 2].tolist() == wanted
    assert [row["image_id"] for row in facts] == [f"n{i:04d}" for i in wanted]
    nothing, no_facts = stored.read_items([])
    assert nothing["maps"].shape == (0, 2, 3)
    assert no_facts == []
    for outside in (-1, COUNT):
        with pytest.raises(IndexError):
            stored.read_items([outside])


def test_changing_what_was_read_does_not_change_what_is_read_next(tmp_path):
    stored = open_set(tmp_path)
    fill(stored)
    arrays, facts = stored.read_items([1])
    arrays["scale"][:], facts[0]["flag"] = 5, "zero"
    again, facts_again = stored.read_items([1])
    assert again["scale"].tolist() == [1]
    assert facts_again[0]["flag"] == ""


def test_reading_in_small_batches_loads_every_shard_once(tmp_path, monkeypatch):
    stored = open_set(tmp_path)
    fill(stored)
    loads, read = [], ShardSet.read
    monkeypatch.setattr(ShardSet, "read", lambda self, shard: (loads.append(shard), read(self, shard))[1])
    for start in range(0, COUNT, 2):
        stored.read_items(range(start, start + 2))
    assert loads == [0, 1, 2, 3]


# --- identity -----------------------------------------------------------------------------------


def test_the_key_changes_with_every_value_and_not_with_the_order():
    assert set_key({"a": 1, "b": {"c": 2, "d": 3}}) == set_key({"b": {"d": 3, "c": 2}, "a": 1})
    values = [1, 1.0, True, "1", None, [1], {"a": 1}, 1 + 1e-15, "", "é", "e\u0301"]
    keys = {set_key({"a": value}) for value in values} | {
        set_key({"b": 1}),
        set_key({}),
        set_key({"a": {"b": 1}}),
    }
    assert len(keys) == len(values) + 3
    assert all(len(key) == 64 for key in keys)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1}, np.float32(1)])
def test_an_identity_that_is_not_finite_json_is_refused(value):
    with pytest.raises(ValueError, match="identity"):
        set_key({"a": value})


def test_sets_of_different_identity_or_kind_share_nothing(tmp_path):
    fill(open_set(tmp_path))
    assert len(open_set(tmp_path, identity=IDENTITY | {"weights": "cd"}).missing()) == NUM_SHARDS
    assert len(open_set(tmp_path, kind="predictions").missing()) == NUM_SHARDS
    assert open_set(tmp_path).missing() == []


def test_a_shard_copied_from_another_set_or_place_is_corrupt(tmp_path):
    one, other = open_set(tmp_path), open_set(tmp_path, identity={"other": 1})
    fill(one)
    shutil.copy(one.shard_path(0), other.shard_path(0))
    shutil.copy(one.shard_path(0), one.shard_path(1))
    for stored, shard in ((other, 0), (one, 1)):
        with pytest.raises(CorruptShard, match="digest"):
            stored.read(shard)


@pytest.mark.parametrize("name", ["../../etc", "a/b c", "", "...", "x" * 500, "ü"])
def test_any_name_makes_one_safe_folder(tmp_path, name):
    stored = open_set(tmp_path, name=name)
    assert stored.folder.parent == tmp_path / "maps"
    assert stored.folder.name.isascii()
    assert len(stored.folder.name) < 120
    assert open_set(tmp_path, name=name).folder == stored.folder


def test_another_shard_size_uses_the_stored_one(tmp_path, caplog):
    fill(open_set(tmp_path))
    with caplog.at_level(logging.INFO, "harmonia"):
        again = open_set(tmp_path, shard_size=7)
    assert again.shard_size == SHARD_SIZE
    assert again.missing() == []
    assert "keeps its shard_size" in caplog.text


def test_two_first_runs_agree_on_one_shard_size(tmp_path, monkeypatch):
    open_set(tmp_path)
    looks, read = [], Manifest.read

    def late(folder: Path) -> Manifest | None:
        looks.append(folder)
        return read(folder) if len(looks) > 1 else None  # the first look came before the other run wrote

    monkeypatch.setattr(Manifest, "read", late)
    assert open_set(tmp_path, shard_size=7).shard_size == SHARD_SIZE


def test_names_that_are_numbers_do_not_damage_the_manifest(tmp_path):
    identity = {"rank": {2: "b", 10: "a"}}
    created = open_set(tmp_path, identity=identity).manifest
    assert open_set(tmp_path, identity=identity, shard_size=9).shard_size == created.shard_size


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b'{"key": 1}', b"\xff\xfe"])
def test_a_damaged_manifest_is_written_again_and_the_shards_stay(tmp_path, damage):
    stored = open_set(tmp_path)
    fill(stored)
    (stored.folder / "manifest.json").write_bytes(damage)
    again = open_set(tmp_path, shard_size=5)
    assert again.shard_size == SHARD_SIZE
    assert again.missing() == []
    assert open_set(tmp_path).manifest == again.manifest


def test_an_edited_manifest_is_not_believed(tmp_path):
    stored = open_set(tmp_path)
    fill(stored)
    path = stored.folder / "manifest.json"
    path.write_text(path.read_text().replace('"shard_size": 3', '"shard_size": 4'))
    assert open_set(tmp_path).missing() == []


def test_a_set_with_another_key_or_count_is_refused_with_the_remedy(tmp_path):
    stored = open_set(tmp_path)
    with pytest.raises(InputError, match="remove the folder") as other_count:
        open_set(tmp_path, count=COUNT + 1)
    other = open_set(tmp_path, identity={"other": 1})
    shutil.copy(other.folder / "manifest.json", stored.folder / "manifest.json")
    with pytest.raises(InputError, match="remove the folder") as other_key:
        open_set(tmp_path)
    assert one_line(other_count.value)
    assert one_line(other_key.value)


# --- damage -------------------------------------------------------------------------------------


def test_any_flipped_byte_is_detected_or_harmless(tmp_path):
    stored = open_set(tmp_path)
    fill(stored)
    path = stored.shard_path(0)
    sound, (arrays, facts) = path.read_bytes(), stored.read(0)
    detected = 0
    for position in range(len(sound)):
        for bits in (1 << position % 8, 0x20, 0xFF):
            path.write_bytes(sound[:position] + bytes([sound[position] ^ bits]) + sound[position + 1 :])
            try:
                read, read_facts = stored.read(0)
            except CorruptShard:
                detected += 1
                continue
            assert read_facts == facts
            assert read.keys() == arrays.keys()
            assert all(read[name].tobytes() == arrays[name].tobytes() for name in arrays)
            assert all(read[name].dtype == arrays[name].dtype for name in arrays)
    assert detected > 2.9 * len(sound)


def test_any_truncation_is_detected(tmp_path):
    stored = open_set(tmp_path)
    fill(stored)
    path = stored.shard_path(3)
    sound = path.read_bytes()
    for length in range(len(sound)):
        path.write_bytes(sound[:length])
        with pytest.raises(CorruptShard):
            stored.read(3)


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damage_is_found_by_verify_and_computed_again(tmp_path, caplog, damage):
    stored = open_set(tmp_path)
    fill(stored)
    path = stored.shard_path(2)
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]) if damage == "flip" else sound[: len(sound) // 2])
    os.utime(path, ns=(1, 1))  # a changed file has another time, whatever the resolution of the disk
    found = store("verify", "--cache", tmp_path)
    assert found.returncode == 1
    assert str(path) in found.stdout
    assert found.stdout.count("\n") == 2
    assert fill(stored) == [2]
    assert str(path) in caplog.text
    assert path.read_bytes()
    assert stored.read(2)[0]["scale"].tolist() == [6, 7, 8]
    assert main(["verify", "--cache", str(tmp_path)]) == 0


def test_a_pickle_is_refused_without_running_it(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "trapped",))

    stored = open_set(tmp_path)
    for content in (pickle.dumps(Trap()), pickle.dumps({"maps": Trap()}, protocol=0)):
        stored.shard_path(0).write_bytes(content)
        with pytest.raises(CorruptShard):
            stored.read(0)
        assert 0 in stored.missing()
        assert not (tmp_path / "trapped").exists()


def test_a_corrupt_shard_error_survives_the_way_between_processes():
    error = CorruptShard(Path("a/b"), "reason")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_reading_a_missing_shard_says_to_compute_it(tmp_path):
    with pytest.raises(InputError, match="rerun") as error:
        open_set(tmp_path).read(1)
    assert not isinstance(error.value, CorruptShard)


def test_a_sound_shard_is_hashed_once(tmp_path, monkeypatch):
    fill(open_set(tmp_path))
    stored, reads = open_set(tmp_path), []
    real = shard_files.read_shard
    monkeypatch.setattr(
        "harmonia.store.sets.read_shard", lambda path, **given: (reads.append(path), real(path, **given))[1]
    )
    for _ in range(3):
        assert stored.missing() == []
    assert len(reads) == NUM_SHARDS


# --- killed processes, full disks ---------------------------------------------------------------


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


def test_a_waiting_process_takes_over_from_one_that_dies(tmp_path):
    script = """
    stored = open_set()
    for shard in stored.claims():
        if shard == 2: print("holding", flush=True); sys.stdin.read(); os.kill(os.getpid(), signal.SIGKILL)
        stored.write(shard, *items_of(stored, shard))
    """
    holder = child(script, tmp_path, stdin=subprocess.PIPE)
    assert holder.stdout.readline() == "holding\n"
    stored, waits, computed = open_set(tmp_path), [], []

    def on_wait(shards: int) -> None:
        waits.append(shards)
        holder.stdin.close()

    for shard in stored.claims(poll_s=0.01, on_wait=on_wait):
        stored.write(shard, *items_of(stored, shard))
        computed.append(shard)
    holder.wait(60)
    holder.stdout.close(), holder.stderr.close()
    assert waits == [1]
    assert computed == [3, 2]
    assert stored.missing() == []


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_on_one_set_compute_every_shard_once(tmp_path, processes):
    script = """
    stored = ShardSet.open(root, "maps", "many", {"a": 1}, 60, int(sys.argv[2]))
    print("ready", flush=True); sys.stdin.readline()
    for shard in stored.claims(poll_s=0.01):
        with open(root / f"log-{shard}", "a") as file: file.write(f"{os.getpid()}\\n")
        time.sleep(0.002)
        stored.write(shard, *items_of(stored, shard))
    stored.finish()
    """
    # different shard sizes race too: the first manifest decides for all
    workers = [child(script, tmp_path, 2 + i, stdin=subprocess.PIPE) for i in range(processes)]
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
        with closing(open_set(tmp_path).claims()) as claims:
            for shard in claims:
                raise KeyError(shard)

    with pytest.raises(KeyError):
        fail()
    claims = open_set(tmp_path).claims()
    next(claims)
    claims.close()
    assert fill(open_set(tmp_path)) == [0, 1, 2, 3]


def test_a_claim_that_was_not_written_is_an_error_and_no_endless_loop(tmp_path):
    claims = open_set(tmp_path).claims()
    next(claims)
    with pytest.raises(RuntimeError, match=r"shard 0 .* not written"):
        next(claims)
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


def test_a_cache_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"paths\.cache=PATH") as error:
        open_set(tmp_path / "file" / "cache")
    assert one_line(error.value)


def test_a_read_only_cache_serves_what_it_has_and_refuses_the_rest():
    script = """
    from harmonia.errors import InputError
    import pyarrow.parquet  # before the interpreter loses the right to read its own files
    if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)
    stored = open_set()
    assert stored.missing() == [] and list(stored.claims()) == [] and len(stored.facts()) == stored.count
    stored.read_items([0, 9]); stored.finish()
    for refused in (
        lambda: ShardSet.open(root, "maps", "other", {"a": 1}, 4, 2),
        lambda: stored.write(0, *items_of(stored, 0)),
        lambda: next(ShardSet.open(root, "maps", "begun", {"b": 1}, 4, 2).claims()),
    ):
        try: refused(); print("allowed")
        except InputError as error: print(error)
    """
    root = Path(tempfile.mkdtemp(dir="/tmp", prefix="harmonia-store-"))  # pytest's folders are closed to others
    try:
        stored = open_set(root)
        fill(stored)
        stored.finish()
        ShardSet.open(root, "maps", "begun", {"b": 1}, 4, 2)
        for path in (*root.rglob("*"), root):
            path.chmod(0o555 if path.is_dir() else 0o444)
        out = finish(child(script, root))
        assert out.count("paths.cache=PATH") == out.count("\n") == 3
    finally:
        for path in (root, *(p for p in root.rglob("*") if p.is_dir())):
            path.chmod(0o755)
        shutil.rmtree(root)


# --- index --------------------------------------------------------------------------------------


def test_finish_writes_one_row_for_each_item_in_order(tmp_path):
    stored = open_set(tmp_path)
    fill(stored)
    table = pq.read_table(stored.finish()).to_pylist()
    assert [row["image_id"] for row in table] == [f"n{i:04d}" for i in range(COUNT)]
    assert [(row["shard"], row["position"]) for row in table] == [divmod(i, SHARD_SIZE) for i in range(COUNT)]
    assert [{k: row[k] for k in ("image_id", "p_source", "flag")} for row in table] == stored.facts()


def test_finish_repeats_itself_and_follows_changed_shards(tmp_path):
    stored = open_set(tmp_path)
    fill(stored)
    index = stored.finish()
    before = index.stat().st_ino, index.stat().st_mtime_ns
    assert open_set(tmp_path).finish() == index
    assert (index.stat().st_ino, index.stat().st_mtime_ns) == before
    stored.write(3, {"scale": np.zeros(1)}, [{"image_id": "\udcff", "late": 1}])
    open_set(tmp_path).finish()
    index.write_bytes(index.read_bytes()[:-3])
    last = pq.read_table(open_set(tmp_path).finish()).to_pylist()[-1]
    assert last["late"] == 1
    assert last["p_source"] is None
    assert last["image_id"] == "\\udcff"


def test_a_flipped_bit_anywhere_in_the_index_is_noticed_and_the_index_made_again(tmp_path):
    stored = open_set(tmp_path)
    for shard in range(stored.num_shards):
        stored.write(shard, *items_of(stored, shard))
    path = stored.finish()
    sound = path.read_bytes()
    reading = pq.read_table(path).to_pylist()
    for position in range(0, len(sound), 7):
        path.write_bytes(sound[:position] + bytes([sound[position] ^ 1 << position % 8]) + sound[position + 1 :])
        stored.finish()
        assert pq.read_table(path).to_pylist() == reading, position
    stamp = path.stat().st_mtime_ns
    stored.finish()
    assert path.stat().st_mtime_ns == stamp  # what is sound is left alone


def test_a_shard_that_another_process_has_made_anew_is_not_discarded(tmp_path):
    """Both have seen a bad shard 0; the slower one must not take away what the faster one has put there."""

    def bad(facts):
        return any(fact["flag"] == "unreadable" for fact in facts)

    fast, slow = open_set(tmp_path), open_set(tmp_path)
    arrays, facts = items_of(fast, 0)
    fast.write(0, arrays, [{**fact, "flag": "unreadable"} for fact in facts])
    assert bad(slow.shard_facts(0))
    assert bad(fast.shard_facts(0))
    assert fast.discard_if(0, bad)
    fast.write(0, arrays, [{**fact, "flag": ""} for fact in facts])
    assert not slow.discard_if(0, bad)
    assert not bad(open_set(tmp_path).shard_facts(0))
    with closing(fast.claims()) as claimed:
        taken = next(claimed)
        assert not slow.discard_if(taken, lambda facts: True)


def test_an_incomplete_set_has_no_index(tmp_path):
    stored = open_set(tmp_path)
    stored.write(0, *items_of(stored, 0))
    with pytest.raises(InputError, match="shard 1"):
        stored.finish()
    assert not (stored.folder / "index.parquet").exists()


def test_facts_of_mixed_type_are_named(tmp_path):
    stored = open_set(tmp_path, count=2)
    stored.write(0, {}, [{"label": 1}, {"label": "one"}])
    with pytest.raises(ValueError, match="label"):
        stored.finish()


# --- command line -------------------------------------------------------------------------------


def test_the_default_cache_follows_the_environment(monkeypatch):
    monkeypatch.setenv("HARMONIA_CACHE", "/a/b")
    assert default_cache() == Path("/a/b")
    monkeypatch.setenv("HARMONIA_CACHE", "")
    assert default_cache() == Path.home() / ".cache/harmonia"


def test_list_shows_every_set_with_its_progress(tmp_path):
    fill(open_set(tmp_path))
    part = open_set(tmp_path, kind="predictions", name="b7", identity={"source": {"arch": "tf_b7"}})
    part.write(0, *items_of(part, 0))
    broken = open_set(tmp_path, name="broken", identity={"c": 1})
    broken.write(0, *items_of(broken, 0))
    (broken.folder / "manifest.json").write_text("{")
    out = store("list", "--cache", tmp_path).stdout
    rows = {line.split()[3]: line for line in out.splitlines() if "│" in line}
    assert "4/4" in rows["vit-ig"]
    assert "ig" in rows["vit-ig"]
    assert set_key(IDENTITY)[:16] in rows["vit-ig"]
    assert "1/4" in rows["b7"]
    assert "tf_b7" in rows["b7"]
    assert "predictions" in rows["b7"]
    assert "damaged" in rows["broken"]


def test_list_names_the_method_of_maps_and_the_model_of_predictions(tmp_path):
    method = {"class": "GradCAM", "version": 1, "layer": "auto"}
    open_set(tmp_path, identity={"source": {"arch": "tf_b7"}, "method": method})
    open_set(tmp_path, kind="predictions", name="e6", identity={"model": {"arch": "tf_b6"}})
    lines = store("list", "--cache", tmp_path).stdout.splitlines()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    rows = {row[1]: row[-2:] for row in cells}
    assert rows["vit-ig"] == ["tf_b7", "GradCAM"]
    assert rows["e6"] == ["tf_b6", ""]


@pytest.mark.parametrize("command", ["list", "verify", "prune"])
def test_a_missing_cache_is_one_line_and_code_2(tmp_path, command):
    result = store(command, "--cache", tmp_path / "absent")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1


def test_the_command_line_does_not_import_torch(tmp_path):
    fill(open_set(tmp_path))
    script = """
    from harmonia.store.__main__ import main
    for command in ("list", "verify", "prune"): assert main([command, "--cache", str(root)]) == 0
    open_set().finish()
    assert "torch" not in sys.modules
    """
    finish(child(script, tmp_path))


def test_prune_removes_what_is_useless_and_keeps_the_rest(tmp_path, capsys):
    complete, damaged = open_set(tmp_path), open_set(tmp_path, identity={"other": 1})
    for stored in (complete, damaged):
        fill(stored)
        stored.finish()
    damaged.shard_path(1).write_bytes(b"rubbish")
    (damaged.folder / ".shard-00001.safetensors.1-ab.tmp").touch()
    (tmp_path / "maps" / "notes.txt").touch()
    (tmp_path / "maps" / "folder").mkdir()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert main(["prune", "--cache", str(tmp_path), "--dry-run"]) == 0
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before
    proposed = capsys.readouterr().out.replace("would remove", "removed")
    assert store("prune", "--cache", tmp_path).stdout == proposed
    gone = {path for path in before if not path.exists()}
    assert {path.name for path in gone} == {
        "shard-00001.safetensors",
        ".shard-00001.safetensors.1-ab.tmp",
        "index.parquet",
    }
    assert {path.parent for path in gone} == {damaged.folder}
    assert proposed.count("\n") == 3


def test_prune_removes_sets_by_name_age_and_schema_only(tmp_path, monkeypatch, capsys):
    keep, named, old = (open_set(tmp_path, name=name, identity={"n": name}) for name in ("keep", "named", "old"))
    with monkeypatch.context() as patch:
        patch.setattr("harmonia.store.manifest.SCHEMA", 0)
        ancient = open_set(tmp_path, name="ancient")
    for stored in (keep, named, old, ancient):
        fill(stored)
    for path in old.folder.rglob("*"):
        os.utime(path, (1e9, 1e9))
    cache = ["--cache", str(tmp_path)]
    assert main(["verify", *cache]) == 0
    assert "schema 0" in capsys.readouterr().out
    main(["prune", *cache])
    assert not ancient.folder.exists()
    assert old.folder.exists()
    main(["prune", *cache, "--set", "old", "--older-than", "99999"])
    main(["prune", *cache, "--set", "keep", "--older-than", "1"])
    assert old.folder.exists()
    assert keep.folder.exists()
    main(["prune", *cache, "--older-than", "1"])
    assert not old.folder.exists()
    assert named.folder.exists()
    main(["prune", *cache, "--set", "named"])
    assert not named.folder.exists()
    assert keep.missing() == []
    assert main(["prune", *cache, "--set", "nmaed"]) == 2


def test_prune_removes_an_empty_set_once_it_is_old_and_nobody_works_on_it(tmp_path, capsys):
    empty, begun, fresh, claimed = (open_set(tmp_path, name=name, identity={"n": name}) for name in "abcd")
    begun.write(0, *items_of(begun, 0))
    claims = claimed.claims()
    next(claims)
    for stored in (empty, begun, claimed):
        for path in stored.folder.rglob("*"):
            os.utime(path, (1e9, 1e9))
    main(["prune", "--cache", str(tmp_path), "--dry-run"])
    assert empty.folder.exists()
    main(["prune", "--cache", str(tmp_path)])
    assert capsys.readouterr().out.count(f"{empty.folder}: it holds no shard") == 2
    assert [stored.folder.exists() for stored in (empty, begun, fresh, claimed)] == [False, True, True, True]
    claims.close()


def test_prune_leaves_a_set_alone_while_a_process_works_on_it(tmp_path):
    script = """
    stored = open_set()
    claims = stored.claims()
    shard = next(claims)
    (stored.folder / ".x.tmp").touch()
    print("claimed", flush=True); sys.stdin.readline()
    stored.write(shard, *items_of(stored, shard))
    print("written", flush=True); sys.stdin.readline()
    """
    worker = child(script, tmp_path, stdin=subprocess.PIPE)
    prune = ["prune", "--cache", tmp_path, "--set", "vit-ig"]
    folder = open_set(tmp_path).folder
    for state in ("claimed\n", "written\n"):
        assert worker.stdout.readline() == state
        assert store(*prune).stdout == f"kept {folder}: a process works on it\n"
        assert leftovers(folder) == [".x.tmp"]
        worker.stdin.write("\n")
        worker.stdin.flush()
    finish(worker)
    store(*prune)
    assert not folder.exists()


def test_prune_sees_a_worker_that_holds_no_shard_just_now(tmp_path, capsys):
    stored, others = open_set(tmp_path), []

    def on_wait(_: int) -> None:
        others.pop().close()
        main(["prune", "--cache", str(tmp_path), "--set", "vit-ig"])

    for shard in stored.claims(poll_s=0, on_wait=on_wait):
        if shard == 2:
            others.append(ExitStack())
            assert others[0].enter_context(shard_lock(stored.folder / "locks", 3))
        stored.write(shard, *items_of(stored, shard))
    assert "kept" in capsys.readouterr().out
    assert stored.missing() == []


def test_a_set_pruned_meanwhile_is_one_line_for_who_claims_it(tmp_path):
    stored = open_set(tmp_path)
    assert main(["prune", "--cache", str(tmp_path), "--set", "vit-ig"]) == 0
    with pytest.raises(InputError) as error:
        next(stored.claims())
    assert one_line(error.value)
    assert fill(open_set(tmp_path)) == [0, 1, 2, 3]


def test_the_manifest_tells_people_what_the_numbers_are(tmp_path):
    manifest = json.loads((open_set(tmp_path).folder / "manifest.json").read_text())
    assert manifest["identity"] == IDENTITY
    assert manifest["key"] == set_key(IDENTITY)
    assert {"kind", "count", "shard_size", "schema", "created", "harmonia"} <= manifest.keys()


# --- properties ---------------------------------------------------------------------------------

SCALARS = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text(max_size=20))
NUMBERS = npst.arrays(
    st.sampled_from(["float16", "float32", "float64", "int8", "int32", "uint8", "bool"]),
    st.tuples(st.just(3), st.integers(0, 4), st.integers(0, 4)),
)


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(st.text("abc_", min_size=1, max_size=9), NUMBERS, min_size=1, max_size=3),
    st.lists(SCALARS, min_size=3, max_size=3),
)
def test_any_arrays_and_facts_come_back_bit_equal(arrays, values):
    with tempfile.TemporaryDirectory() as folder:
        stored = open_set(Path(folder), count=3, shard_size=3)
        facts = [{"image_id": f"{value!r}", "value": value} for value in values]
        stored.write(0, arrays, facts)
        found, found_facts = open_set(Path(folder), count=3, shard_size=3).read(0)
        assert found_facts == facts
        assert set(found) == set(arrays)
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            assert found[name].tobytes() == array.tobytes()


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=200), st.integers(0, 2**16), st.sampled_from(["instead", "into", "behind"]))
def test_no_bytes_but_those_written_pass_for_a_shard(junk, place, how):
    with tempfile.TemporaryDirectory() as folder:
        stored = open_set(Path(folder))
        stored.write(0, *items_of(stored, 0))
        path = stored.shard_path(0)
        written = path.read_bytes()
        place %= len(written)
        content = {
            "instead": junk,
            "into": written[:place] + junk + written[place + len(junk) :],
            "behind": written + junk,
        }[how]
        path.write_bytes(content)
        expected = items_of(stored, 0)
        try:
            arrays, facts = open_set(Path(folder)).read(0)
        except CorruptShard:
            assert content != written
        else:  # bytes that mean the same
            assert facts == expected[1]
            assert all(np.array_equal(arrays[name], expected[0][name], equal_nan=True) for name in arrays)


@settings(deadline=None, max_examples=30)
@given(st.text(max_size=300))
def test_a_set_of_any_name_lies_in_one_folder_of_its_kind(name):
    with tempfile.TemporaryDirectory() as folder:
        stored = open_set(Path(folder), name=name)
        assert stored.folder.parent == Path(folder, "maps")
        assert len(os.fsencode(stored.folder.name)) <= 255
        assert [path.name for path in Path(folder).iterdir()] == ["maps"]
