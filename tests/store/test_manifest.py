"""Laws of a set's manifest and key."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from planted_sets import COUNT, IDENTITY, SHARD_SIZE, fill, one_line, open_set, reseal

from harmonia.errors import InputError
from harmonia.store.manifest import Manifest, set_key


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


def test_the_manifest_tells_people_what_the_numbers_are(tmp_path):
    manifest = json.loads((open_set(tmp_path).folder / "manifest.json").read_text())
    assert manifest["identity"] == IDENTITY
    assert manifest["key"] == set_key(IDENTITY)
    assert {"kind", "count", "shard_size", "schema", "created", "harmonia"} <= manifest.keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", -10),
        ("count", 10.5),
        ("count", 10**13),
        ("shard_size", 0),
        ("shard_size", "3"),
        ("identity", ["vit"]),
        ("kind", None),
        ("key", 5),
        ("key", "0" * 64),
        ("colour", "red"),
    ],
)
def test_a_sealed_manifest_with_a_senseless_value_is_refused_by_name(tmp_path, name, value):
    folder = open_set(tmp_path).folder
    reseal(folder, **{name: value})
    with pytest.raises(InputError, match=rf"manifest\.json: {name} is no manifest's .*remove the folder") as error:
        open_set(tmp_path)
    assert one_line(error.value)


def test_a_sealed_manifest_that_lacks_a_value_is_refused_by_name(tmp_path):
    folder = open_set(tmp_path).folder
    reseal(folder, without="count")
    with pytest.raises(InputError, match=r"manifest\.json: count is no manifest's") as error:
        open_set(tmp_path)
    assert one_line(error.value)


def deep(path: Path) -> None:
    path.write_text('{"identity": ' + "[" * 100_000)


def endless(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10 * 2**30)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [deep, endless, pipe])
def test_what_is_no_file_of_a_manifests_size_and_shape_counts_as_damaged(tmp_path, damage):
    stored = open_set(tmp_path)
    damage(stored.folder / "manifest.json")
    assert Manifest.read(stored.folder) is None
    assert open_set(tmp_path).manifest.key == stored.key
