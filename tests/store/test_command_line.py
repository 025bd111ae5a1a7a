"""Laws of python -m harmonia.store."""

import errno
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from paths import REPOSITORY
from planted_sets import IDENTITY, NUM_SHARDS, child, fill, finish, items_of, leftovers, one_line, open_set, reseal

from harmonia.errors import InputError
from harmonia.store.__main__ import main
from harmonia.store.claims import shard_lock
from harmonia.store.manifest import set_key


@pytest.fixture
def store(capsys):
    """The command line in this process: exit code and what it printed."""

    def run(*words):
        code = main([str(word) for word in words])
        return subprocess.CompletedProcess(words, code, *capsys.readouterr())

    return run


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damage_is_found_by_verify_and_computed_again(tmp_path, caplog, damage, store):
    stored = open_set(tmp_path)
    fill(stored)
    path = stored.shard_path(2)
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]) if damage == "flip" else sound[: len(sound) // 2])
    os.utime(path, ns=(1, 1))  # a changed file has another time, whatever the resolution of the disk
    command = store("verify", "--cache", tmp_path)
    assert command.returncode == 1
    assert str(path) in command.stdout
    assert command.stdout.count("\n") == 2
    assert fill(stored) == [2]
    assert str(path) in caplog.text
    assert path.read_bytes()
    assert stored.read(2)[0]["scale"].tolist() == [6, 7, 8]
    assert main(["verify", "--cache", str(tmp_path)]) == 0


def test_list_shows_every_set_with_its_progress(tmp_path, store):
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


def test_list_names_the_method_of_maps_and_the_model_of_predictions(tmp_path, store):
    method = {"class": "GradCAM", "version": 1, "layer": "auto"}
    open_set(tmp_path, identity={"source": {"arch": "tf_b7"}, "method": method})
    open_set(tmp_path, kind="predictions", name="e6", identity={"model": {"arch": "tf_b6"}})
    lines = store("list", "--cache", tmp_path).stdout.splitlines()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    rows = {row[1]: row[-2:] for row in cells}
    assert rows["vit-ig"] == ["tf_b7", "GradCAM"]
    assert rows["e6"] == ["tf_b6", ""]


@pytest.mark.parametrize("command", ["list", "verify", "prune"])
def test_a_missing_cache_is_one_line_and_code_2(tmp_path, command, store):
    result = store(command, "--cache", tmp_path / "absent")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_command_line_does_not_import_torch(tmp_path):
    fill(open_set(tmp_path))
    script = """
    from harmonia.store.__main__ import main
    for command in ("list", "verify", "prune"): assert main([command, "--cache", str(root)]) == 0
    open_set().finish()
    assert "torch" not in sys.modules
    """
    finish(child(script, tmp_path))


@pytest.mark.slow
def test_prune_removes_what_is_useless_and_keeps_the_rest(tmp_path, capsys):
    complete, damaged = open_set(tmp_path), open_set(tmp_path, identity={"other": 1})
    for stored in (complete, damaged):
        fill(stored)
        stored.finish()
    damaged.shard_path(1).write_bytes(damaged.shard_path(1).read_bytes()[:-1])
    (damaged.folder / ".shard-00001.safetensors.1-abcdef01.tmp").touch()
    (tmp_path / "maps" / "notes.txt").touch()
    (tmp_path / "maps" / "folder").mkdir()

    def files():  # but locks, in which whoever holds them writes its name
        paths = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]
        return {path: path.stat().st_mtime_ns for path in paths}

    before = files()
    assert main(["prune", "--cache", str(tmp_path), "--dry-run"]) == 0
    assert files() == before
    proposed = capsys.readouterr().out.replace("would remove", "removed")
    command = [sys.executable, "-m", "harmonia.store", "prune", "--cache", str(tmp_path)]
    assert subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60).stdout == proposed
    gone = {path for path in before if not path.exists()}
    assert {path.name for path in gone} == {".shard-00001.safetensors.1-abcdef01.tmp", "index.parquet"}
    assert {path.parent for path in gone} == {damaged.folder}
    assert f"left alone {damaged.shard_path(1)}: harmonia did not write it, or it is damaged" in proposed
    assert proposed.count("\n") == 3


def test_prune_removes_sets_by_name_age_and_schema_only(tmp_path, monkeypatch, capsys):
    keep, named, old = (open_set(tmp_path, name=name, identity={"n": name}) for name in ("keep", "named", "old"))
    with monkeypatch.context() as patch:
        patch.setattr("harmonia.store.manifest.SCHEMA_VERSION", 0)
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


@pytest.mark.slow
def test_prune_leaves_a_set_alone_while_a_process_works_on_it(tmp_path, store):
    script = """
    stored = open_set()
    claims = stored.claims()
    shard = next(claims)
    (stored.folder / ".index.parquet.1-abcdef01.tmp").touch()
    print("claimed", flush=True); sys.stdin.readline()
    stored.write(shard, *items_of(stored, shard))
    print("written", flush=True); sys.stdin.readline()
    """
    worker = child(script, tmp_path, stdin=subprocess.PIPE)
    assert worker.stdin and worker.stdout  # noqa: PT018
    prune = ["prune", "--cache", tmp_path, "--set", "vit-ig"]
    folder = open_set(tmp_path).folder
    for state in ("claimed\n", "written\n"):
        assert worker.stdout.readline() == state
        assert store(*prune).stdout == f"kept {folder}: a process works on it\n"
        assert leftovers(folder) == [".index.parquet.1-abcdef01.tmp"]
        worker.stdin.write("\n")
        worker.stdin.flush()
    finish(worker)
    store(*prune)
    assert not folder.exists()


def test_prune_sees_a_worker_that_holds_no_shard_just_now(tmp_path, monkeypatch, capsys):
    stored, others = open_set(tmp_path), []

    def prune_while_it_waits(_: float) -> None:
        others.pop().close()
        main(["prune", "--cache", str(tmp_path), "--set", "vit-ig"])

    monkeypatch.setattr("harmonia.store.claims.time.sleep", prune_while_it_waits)
    for shard in stored.claims():
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


@pytest.mark.parametrize(("name", "value"), [("count", 10**13), ("shard_size", 0), ("colour", "red")])
def test_a_sealed_manifest_that_is_none_is_named_and_its_set_kept(tmp_path, store, name, value):
    folder = open_set(tmp_path).folder
    reseal(folder, **{name: value})
    listed, verified, pruned = (store(command, "--cache", tmp_path) for command in ("list", "verify", "prune"))
    assert f"{name} is no manifest's" in listed.stdout
    assert f"{name} is no manifest's" in verified.stdout
    assert verified.returncode == 1
    assert pruned.stdout.startswith(f"kept {folder}: manifest.json: {name} is no")
    assert folder.exists()


@pytest.mark.parametrize("damage", ["__dataclass_self__", "schema", "deep", "link", "denied"])
def test_a_manifest_of_any_content_or_none_costs_no_other_set(tmp_path, store, monkeypatch, damage):
    folder, other = open_set(tmp_path).folder, open_set(tmp_path, name="z")
    fill(other)
    path = folder / "manifest.json"
    if damage == "link":
        path.unlink()
        path.symlink_to(path)
    elif damage == "denied":
        opened = Path.read_bytes

        def refusing(given):
            if given == path:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(given))
            return opened(given)

        monkeypatch.setattr(Path, "read_bytes", refusing)
    else:
        deep = json.loads("[" * 300 + "]" * 300)
        reseal(folder, **{"deep": {"name": deep, "key": deep}, "schema": {"schema": [3]}}.get(damage, {damage: 1}))
    before = sorted(folder.iterdir())
    for command in ("list", "verify", "prune"):
        printed = store(command, "--cache", tmp_path)
        assert "manifest.json" in printed.stdout
        assert printed.stderr == ""
        assert max(map(len, printed.stdout.splitlines())) < 1000
        assert command != "list" or f"{NUM_SHARDS}/{NUM_SHARDS}" in printed.stdout
        assert printed.returncode == (command == "verify")
    assert sorted(folder.iterdir()) == before


def test_list_looks_at_the_shards_there_are_and_follows_no_link(tmp_path, store):
    stored = open_set(tmp_path, count=10**9, shard_size=1)
    (stored.folder / "away").symlink_to("/")
    (stored.folder / "shard-99999999999.safetensors").touch()
    assert "0/1000000000" in store("list", "--cache", tmp_path).stdout


def test_the_cache_may_lie_in_the_home_folder_and_must_have_a_name(tmp_path, store, monkeypatch):
    open_set(tmp_path / "cache")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "vit-ig" in store("list", "--cache", "~/cache").stdout
    nameless = store("list", "--cache", "")
    assert nameless.returncode == 2
    assert "must be a folder's path, got none" in nameless.stderr
