"""Laws of a set: its items in order, its place on the disk, its index."""

import os
import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_sets import COUNT, IDENTITY, NUM_SHARDS, SHARD_SIZE, child, fill, finish, items_of, one_line, open_set

from harmonia.errors import InputError
from harmonia.store import shards as shard_files
from harmonia.store.sets import ShardSet, default_cache
from harmonia.store.shards import CorruptShard


def test_shards_partition_the_items_in_order(tmp_path):
    stored = open_set(tmp_path)
    assert stored.num_shards == NUM_SHARDS
    assert [i for shard in range(NUM_SHARDS) for i in stored.shard_items(shard)] == list(range(COUNT))
    assert all(stored.shard_of(i) == shard for shard in range(NUM_SHARDS) for i in stored.shard_items(shard))


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


def test_sets_of_different_identity_or_kind_share_nothing(tmp_path):
    fill(open_set(tmp_path))
    assert len(open_set(tmp_path, identity=IDENTITY | {"weights": "cd"}).missing()) == NUM_SHARDS
    assert len(open_set(tmp_path, kind="predictions").missing()) == NUM_SHARDS
    assert open_set(tmp_path).missing() == []


def test_a_shard_copied_from_another_set_or_place_is_corrupt(tmp_path):
    first, second = open_set(tmp_path), open_set(tmp_path, identity={"other": 1})
    fill(first)
    shutil.copy(first.shard_path(0), second.shard_path(0))
    shutil.copy(first.shard_path(0), first.shard_path(1))
    for stored, shard in ((second, 0), (first, 1)):
        with pytest.raises(CorruptShard, match="digest"):
            stored.read(shard)


@pytest.mark.parametrize("name", ["../../etc", "a/b c", "", "...", "x" * 500, "ü"])
def test_any_name_makes_one_safe_folder(tmp_path, name):
    stored = open_set(tmp_path, name=name)
    assert stored.folder.parent == tmp_path / "maps"
    assert stored.folder.name.isascii()
    assert len(stored.folder.name) < 120
    assert open_set(tmp_path, name=name).folder == stored.folder


def test_another_shard_size_uses_the_stored_one(tmp_path):
    fill(open_set(tmp_path))
    again = open_set(tmp_path, shard_size=7)
    assert again.shard_size == SHARD_SIZE
    assert again.missing() == []


@settings(deadline=None, max_examples=30)
@given(st.text(max_size=300))
@pytest.mark.slow
def test_a_set_of_any_name_lies_in_one_folder_of_its_kind(name):
    with tempfile.TemporaryDirectory() as folder:
        stored = open_set(Path(folder), name=name)
        assert stored.folder.parent == Path(folder, "maps")
        assert len(os.fsencode(stored.folder.name)) <= 255
        assert {path.name for path in Path(folder).iterdir()} == {"CACHEDIR.TAG", "maps"}


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


def test_a_cache_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"paths\.cache=PATH") as error:
        open_set(tmp_path / "file" / "cache")
    assert one_line(error.value)


@pytest.mark.slow
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


def test_the_default_cache_follows_the_environment(monkeypatch):
    monkeypatch.setenv("HARMONIA_CACHE", "/a/b")
    assert default_cache() == Path("/a/b")
    monkeypatch.setenv("HARMONIA_CACHE", "")
    assert default_cache() == Path.home() / ".cache/harmonia"


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


@pytest.mark.slow
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
