"""Laws of prune: what it did not write stays, and so does what lies behind a link."""

import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planted_sets import fill, items_of, open_set, reseal
from safetensors.numpy import save

from harmonia.errors import InputError
from harmonia.store.__main__ import main
from harmonia.store.mark import TAG


def prune(store, *words):
    return main(["prune", "--cache", str(store), *words])


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


@pytest.fixture
def stored(tmp_path):
    """A complete set in a store of its own."""
    stored = open_set(tmp_path / "store")
    fill(stored)
    return stored


@pytest.fixture
def store(stored):
    """That set's store."""
    return stored.folder.parents[1]


def test_a_store_is_marked_when_it_is_made_as_tools_for_backups_expect(store):
    assert (store / TAG).read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")


def test_a_folder_that_was_never_a_store_is_left_as_it_is_and_not_marked(tmp_path, capsys):
    folder = tmp_path / "backups" / "photos-0123456789abcdef"
    folder.mkdir(parents=True)
    for name in ("manifest.json", "shard-00000.safetensors", "photo.jpg"):
        (folder / name).write_text("mine")
        os.utime(folder / name, (1e9, 1e9))
    before = contents(tmp_path)
    assert prune(tmp_path, "--older-than", "0") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"> {tmp_path / TAG}" in error
    assert contents(tmp_path) == before


def test_another_programs_tag_is_no_mark_and_stays(tmp_path):
    (tmp_path / TAG).write_text("Signature: 8a477f597d28d172789f06886806bc55\n# of a browser\n")
    before = (tmp_path / TAG).read_bytes()
    fill(open_set(tmp_path))
    assert (tmp_path / TAG).read_bytes() == before
    assert prune(tmp_path) == 2


def test_a_store_in_a_folder_of_other_things_is_not_marked_unless_the_user_does(tmp_path, capsys):
    (tmp_path / "letter.txt").touch()
    stored = open_set(tmp_path)
    fill(stored)
    assert prune(tmp_path, "--set", "vit-ig") == 2
    command = capsys.readouterr().err.partition("yourself: ")[2]
    assert os.system(command) == 0
    assert prune(tmp_path, "--set", "vit-ig") == 0
    assert not stored.folder.exists()
    assert (tmp_path / "letter.txt").exists()


@pytest.mark.parametrize("words", [(), ("--older-than", "0"), ("--set", "vit-ig")])
@pytest.mark.parametrize("damage", ["none", "torn", "another", "fifo"])
def test_a_folder_without_its_own_manifest_is_kept_with_all_in_it(stored, store, capsys, words, damage):
    path = stored.folder / "manifest.json"
    if damage == "another":
        reseal(stored.folder, key="0" * 64, schema=1)
    else:
        path.unlink()
    if damage == "torn":
        path.write_text("{")
    if damage == "fifo":
        os.mkfifo(path)
    before = contents(store)
    assert prune(store, *words) == 0
    assert capsys.readouterr().out.startswith(
        f"kept {stored.folder}: manifest.json is missing, damaged or another set's; "
    )
    assert contents(store) == before


def test_foreign_files_in_a_set_stay_with_their_folder_and_are_named(stored, store, capsys):
    foreign = [stored.folder / name for name in ("notes.txt", ".notes.tmp", "shard-00003.safetensors", "sub")]
    foreign[2].unlink()
    for path in foreign[:3]:
        path.write_text("mine")
    (foreign[3] / "below").mkdir(parents=True)
    os.mkfifo(stored.folder / "locks" / "pipe")
    for dry in (["--dry-run"], []):
        assert prune(store, "--older-than", "0", *dry) == 0
        printed = capsys.readouterr().out
        for path in (*foreign, stored.folder / "locks" / "pipe"):
            assert f"left alone {path}: " in printed
        assert stored.shard_path(0).exists() is bool(dry)
    assert sorted(stored.folder.iterdir()) == sorted([*foreign, stored.folder / "locks"])
    assert [path.read_text() for path in foreign[:3]] == ["mine"] * 3


@pytest.mark.parametrize("imitation", ["beginning", "metadata", "another set's", "another shard's", "torn"])
def test_a_shard_is_known_by_its_own_seal_and_nothing_less(stored, store, tmp_path, capsys, imitation):
    path = stored.shard_path(1)
    content = path.read_bytes()
    another = open_set(tmp_path / "other", identity={"n": 2})
    fill(another)
    begun = {"facts": "[]", "digest": "0" * 64, "shard_size": "3"}
    contents = {"beginning": content[:100] + b"mine", "torn": content[:-1], "another shard's": stored.shard_path(2)}
    contents |= {"metadata": save({"mine": np.ones(2)}, begun), "another set's": another.shard_path(1)}
    mine = contents[imitation]
    path.write_bytes(mine if isinstance(mine, bytes) else mine.read_bytes())
    before = path.read_bytes()
    for words in ([], ["--older-than", "0"]):
        assert prune(store, *words) == 0
        assert f"left alone {path}: harmonia did not write it, or it is damaged" in capsys.readouterr().out
        assert path.read_bytes() == before
    assert not stored.shard_path(2).exists()


def test_a_job_replaces_a_damaged_shard_that_prune_left(stored, store):
    stored.shard_path(1).write_bytes(stored.shard_path(1).read_bytes()[:-1])
    assert prune(store) == 0
    assert fill(open_set(store)) == [1]
    assert open_set(store).missing() == []


def test_an_index_that_has_not_our_seal_is_not_ours(stored, store, capsys):
    foreign = stored.folder / "index.parquet"
    pq.write_table(pa.table({"mine": [1]}), foreign)
    assert prune(store, "--older-than", "0") == 0
    assert f"left alone {foreign}: " in capsys.readouterr().out
    assert pq.read_table(foreign).to_pydict() == {"mine": [1]}
    stored = open_set(store, name="b")
    fill(stored)
    stored.finish()
    assert prune(store, "--older-than", "0") == 0
    assert not stored.folder.exists()


@pytest.mark.parametrize("what", ["set", "kind", "locks", "lock", "shard"])
def test_a_link_is_left_alone_and_what_lies_behind_it_too(stored, store, tmp_path, capsys, what):
    places = {"set": stored.folder, "kind": stored.folder.parent, "locks": stored.folder / "locks"}
    places |= {"lock": stored.folder / "locks" / "set.lock", "shard": stored.shard_path(1)}
    link, behind = places[what], tmp_path / "behind"
    shutil.move(link, behind)
    link.symlink_to(behind)
    if what == "shard":
        behind.write_bytes(behind.read_bytes()[:-1])
    before = contents(behind) if behind.is_dir() else behind.read_bytes()
    assert prune(store, "--older-than", "0") == 0
    printed = capsys.readouterr().out
    assert link.is_symlink()
    assert (contents(behind) if behind.is_dir() else behind.read_bytes()) == before
    assert f"left alone {link}" in printed or f"kept {stored.folder}: {link.name} is a link" in printed


def test_a_store_that_the_user_names_by_a_link_is_pruned(stored, store, tmp_path):
    (tmp_path / "link").symlink_to(store)
    assert prune(tmp_path / "link", "--set", "vit-ig") == 0
    assert not stored.folder.exists()


def test_no_age_removes_a_set_that_a_job_is_writing(tmp_path, capsys):
    stored = open_set(tmp_path)
    for shard in stored.claims():
        assert prune(tmp_path, "--older-than", "0") == 0
        stored.write(shard, *items_of(stored, shard))
        assert prune(tmp_path, "--older-than", "0") == 0
    assert capsys.readouterr().out.count(f"kept {stored.folder}: a process works on it") == 8
    assert stored.missing() == []


def test_a_job_takes_no_locks_through_a_link(tmp_path):
    stored = open_set(tmp_path / "store")
    shutil.move(stored.folder / "locks", tmp_path / "others")
    (stored.folder / "locks").symlink_to(tmp_path / "others")
    before = list((tmp_path / "others").iterdir())
    with pytest.raises(InputError, match="got a link to elsewhere; remove it"):
        fill(stored)
    assert list((tmp_path / "others").iterdir()) == before


def test_a_set_that_cannot_be_pruned_costs_no_other(tmp_path, capsys):
    stuck, sound = (open_set(tmp_path, name=name, identity={"n": name}) for name in ("a", "b"))
    shutil.rmtree(stuck.folder / "locks")
    (stuck.folder / "locks").write_text("no folder")
    assert prune(tmp_path, "--older-than", "0") == 1
    assert f"{stuck.folder / 'locks'}: " in capsys.readouterr().out
    assert stuck.folder.exists()
    assert not sound.folder.exists()


def test_a_pipe_in_place_of_a_shard_ends_no_job(stored):
    stored.shard_path(2).unlink()
    os.mkfifo(stored.shard_path(2))
    assert stored.missing() == [2]
    assert main(["verify", "--cache", str(stored.folder.parents[1])]) == 1
    assert fill(stored) == [2]


@pytest.mark.parametrize("days", ["-1", "nan", "inf"])
def test_an_age_that_is_none_is_refused(store, capsys, days):
    assert prune(store, f"--older-than={days}") == 2
    assert "--older-than must be" in capsys.readouterr().err
