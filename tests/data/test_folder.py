import errno
import logging
import os
import shutil
from collections import Counter
from pathlib import Path
from unicodedata import normalize

import pytest

from harmonia.data.decode import IMAGE_SUFFIXES
from harmonia.data.folder import folder, read_class_map
from harmonia.data.imagenet import own_class_name
from harmonia.data.manifest import ImageSet, find_images
from harmonia.errors import InputError


def ids(records) -> list[str]:
    return [record.image_id for record in records]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def warnings_of(caplog) -> list[str]:
    """Whatever level an earlier test has left."""
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_folder_names_are_wordnet_ids_indices_or_own_classes(tmp_path, tree):
    images = folder(tree(tmp_path, {"n02086240": 1, "007": 1, "my cat": 1}))
    assert {record.image_id: record.class_name for record in images.records} == {
        "n02086240/0.png": "n02086240",
        "007/0.png": "n01514668",
        "my cat/0.png": "my cat",
    }
    assert all(len(record.digest) == 64 for record in (*images.records, *images.pool))


def test_missing_root_is_an_error_that_says_data_root(tmp_path):
    for root in (None, tmp_path / "absent"):
        with pytest.raises(InputError, match=r"data\.root=PATH") as caught:
            folder(root)
        assert "\n" not in str(caught.value)


def test_val_is_the_default_split_and_train_its_pool(tmp_path, tree):
    tree(tmp_path, {"val/a": 2, "train/a": 3, "extra/a": 1, "test": 1})
    images = folder(tmp_path)
    assert ids(images.records) == ["val/a/0.png", "val/a/1.png"]
    assert ids(images.pool) == ["train/a/0.png", "train/a/1.png", "train/a/2.png"]


def test_another_split_can_be_named_and_train_is_its_own_pool(tmp_path, tree):
    tree(tmp_path, {"val/a": 2, "train/a": 3, "extra/b": 1})
    assert ids(folder(tmp_path, split="extra").records) == ["extra/b/0.png"]
    train = folder(tmp_path, split="train")
    assert ids(train.records) == ids(train.pool) == ["train/a/0.png", "train/a/1.png", "train/a/2.png"]
    with pytest.raises(InputError, match=r"data\.split"):
        folder(tmp_path, split="absent")


def test_class_folders_of_its_own_win_over_val(tmp_path, tree):
    tree(tmp_path, {"a": 1, "val": 1, "val/deep": 1})
    assert ids(folder(tmp_path).records) == ["a/0.png", "val/0.png", "val/deep/0.png"]


def test_unsorted_val_is_not_taken_for_a_class(tmp_path, tree):
    tree(tmp_path, {"val": 3, "train/a": 1})
    with pytest.raises(InputError, match=r"data\.split=train"):
        folder(tmp_path)


def test_pool_without_train_comes_from_all_images_of_the_split(tmp_path, tree):
    tree(tmp_path, {"a": 4, "b": 4})
    images = folder(tmp_path, limit=2, pool_size=6)
    assert len(images.records) == 2
    assert Counter(record.class_name for record in images.pool) == {"a": 3, "b": 3}


@pytest.mark.parametrize("classes", [{"x": 2, "y": 1}, {".": 3}, {"train/x": 2, "val/x": 9, "train/y": 1}])
def test_pool_may_be_class_folders_flat_or_splits(tmp_path, tree, classes):
    root = tree(tmp_path / "root", {"a": 1})
    pool = tmp_path / "other"
    if "." in classes:
        shutil.move(tree(tmp_path / "flat", {"x": 3}) / "x", pool)
    else:
        tree(pool, classes)
    records = folder(root, pool=pool).pool
    assert len(records) == 3
    assert {record.class_name for record in records} == ({None} if "." in classes else {"x", "y"})
    assert all(record.image_id.startswith("pool:") for record in records)


def test_an_image_in_data_and_pool_has_one_id(tmp_path, tree):
    tree(tmp_path, {"a": 2, "b": 2})
    found = folder(tmp_path, pool=tmp_path / "a" / ".." / "a")
    assert set(ids(found.pool)) == {"a/0.png", "a/1.png"} < set(ids(found.records))


@pytest.mark.parametrize("prepare", [lambda pool: None, lambda pool: pool.mkdir()])
def test_pool_without_images_is_an_error(tmp_path, tree, prepare):
    prepare(tmp_path / "other")
    with pytest.raises(InputError, match=r"data\.pool"):
        folder(tree(tmp_path / "root", {"a": 1}), pool=tmp_path / "other")


@pytest.mark.parametrize("separator", [",", "\t", " ", " , "])
def test_class_map_resolves_ids_indices_and_own_names(tmp_path, tree, separator):
    rows = [("shi", "n02086240"), ("hen", "7"), ("mog", "cat"), ("c#", "code"), ("unused", "8")]
    text = "# folders of ours\n\n" + "".join(f"{separator.join(row)}  # remark\n" for row in rows)
    images = folder(
        tree(tmp_path / "root", {"shi": 1, "hen": 1, "mog": 1, "c#": 1}),
        class_map=write(tmp_path / "map", text),
    )
    assert images.class_names == ("cat", "code", "n01514668", "n02086240")


def test_folder_missing_from_the_class_map_is_named_with_the_map(tmp_path, tree):
    class_map = write(tmp_path / "map.csv", "a,b\n")
    with pytest.raises(InputError, match=r"'n02086240'.*map\.csv"):
        folder(tree(tmp_path / "root", {"a": 1, "n02086240": 1}), class_map=class_map)


@pytest.mark.parametrize("line", ["alone", "a,b,c", "a b c", "a,", "a\tb\tc"])
def test_malformed_class_map_line_is_named_by_number(tmp_path, line):
    with pytest.raises(InputError, match="line 2 "):
        read_class_map(write(tmp_path / "map", f"x,y\n{line}\n"))


def test_class_map_lines_may_repeat_but_not_disagree(tmp_path):
    assert read_class_map(write(tmp_path / "map", "a,155\na,n02086240\n")) == {"a": "155"}
    with pytest.raises(InputError, match=r"line 2 .*'a'.*'dog'.*'cat'"):
        read_class_map(write(tmp_path / "map", "a,cat\na,dog\n"))


def test_missing_or_binary_class_map_is_an_error(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("absent", "binary"):
        with pytest.raises(InputError, match=r"data\.class_map"):
            read_class_map(tmp_path / name)


def test_boxed_split_of_real_images_has_the_ids_of_its_box_table(shared_data):
    images: ImageSet = folder(shared_data / "imagenette", split="boxed", per_class=2)
    listed = {line.split(",")[0] for line in (shared_data / "imagenette" / "boxes.csv").read_text().splitlines()}
    assert len(images.records) == 20
    assert set(ids(images.records)) < listed
    assert {image_id.split("/")[0] for image_id in ids(images.pool)} == {"train"}


def test_links_and_unreadable_folders_are_counted_in_a_line_each(tmp_path, tree, monkeypatch, caplog):
    root = tree(tmp_path / "root", {"a": 2, "b": 1, "b/shut": 1})
    tree(tmp_path / "elsewhere", {"c": 1})
    for link, place in (("c", "elsewhere/c"), ("gone", "nowhere"), ("a/below", "elsewhere")):
        (root / link).symlink_to(tmp_path / place)
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("shut"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    records = find_images(root, own_class_name, "")
    assert [record.image_id for record in records] == ["a/0.png", "a/1.png", "b/0.png", "c/0.png"]
    assert warnings_of(caplog) == [
        f"{root}: 1 class folders are links, which are followed, first {root}/c",
        f"{root}: 2 links lead nowhere or to folders below a class folder, and are not followed, first {root}/gone",
        f"{root}: 1 folders cannot be read, first {root}/b/shut",
    ]


def test_a_folder_that_cannot_be_listed_is_one_line(tmp_path, tree, monkeypatch):
    root = tree(tmp_path / "root", {"a": 1})
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match=f"image folder {root} cannot be read; set data.root"):
        folder(root)


def test_the_same_bytes_in_two_classes_are_counted_in_one_line(tmp_path, tree, caplog):
    root = tree(tmp_path, {"a": 2, "b": 1, "c": 1})
    shutil.copy(root / "a/1.png", root / "b/copy.png")
    shutil.copy(root / "a/0.png", root / "a/copy.png")
    folder(root)
    assert [line for line in caplog.messages if "several" in line] == [
        "folder: 2 images lie in several classes, the same bytes, first a/1.png"
    ]


def test_a_pipe_that_is_named_as_an_image_is_an_unreadable_image(tmp_path, tree):
    root = tree(tmp_path, {"a": 1})
    os.mkfifo(root / "a/pipe.png")
    assert [record.digest == "" for record in folder(root).records] == [False, True]


@pytest.mark.parametrize(
    ("train", "val"),
    [("train", "valid"), ("train", "validation"), ("Train", "Val"), ("TRAIN", "VALID"), ("Training", "Testing")],
)
def test_other_words_for_the_splits_are_understood(tmp_path, tree, train, val):
    tree(tmp_path, {f"{val}/a": 2, f"{train}/a": 3, "extra/a": 1})
    images = folder(tmp_path)
    assert ids(images.records) == [f"{val}/a/0.png", f"{val}/a/1.png"]
    assert {image_id.split("/")[0] for image_id in ids(images.pool)} == {train}
    assert {record.class_name for record in images.records} == {"a"}
    of_train = folder(tmp_path, split="train")
    assert ids(of_train.records) == ids(of_train.pool) == [f"{train}/a/{number}.png" for number in range(3)]
    assert ids(folder(tmp_path / "extra", pool=tmp_path).pool)[0].startswith("pool:a/")


def test_test_is_taken_where_there_is_no_val(tmp_path, tree, caplog):
    caplog.set_level(logging.INFO)
    tree(tmp_path, {"test/a": 1, "train/a": 1})
    assert ids(folder(tmp_path).records) == ["test/a/0.png"]
    assert caplog.messages[0] == f"{tmp_path} has no val split with class folders; taken is test"
    tree(tmp_path, {"valid/a": 1})
    assert ids(folder(tmp_path).records) == ["valid/a/0.png"]
    assert ids(folder(tmp_path, split="test").records) == ["test/a/0.png"]


def test_of_two_folders_for_a_split_the_exact_name_is_taken_or_none(tmp_path, tree, caplog):
    tree(tmp_path, {"valid/a": 1, "validation/a": 1})
    with pytest.raises(
        InputError, match=r"must have one folder for val, got valid, validation; name one in data\.split"
    ):
        folder(tmp_path)
    assert ids(folder(tmp_path, split="validation").records) == ["validation/a/0.png"]
    caplog.clear()
    tree(tmp_path, {"val/a": 1})
    assert ids(folder(tmp_path).records) == ["val/a/0.png"]
    assert warnings_of(caplog) == [f"{tmp_path}: of val, valid, validation, which all mean val, val is taken"]


def test_class_folders_beside_folders_named_as_splits_win(tmp_path, tree):
    tree(tmp_path, {"valid": 1, "invalid": 1})
    assert folder(tmp_path).class_names == ("invalid", "valid")


def test_names_of_classes_are_composed_wherever_they_come_from(tmp_path, tree):
    decomposed = normalize("NFD", "Müsli")
    root = tree(tmp_path / "root", {decomposed: 1, "bread": 1})
    assert folder(root).class_names == ("Müsli", "bread")
    for written, target in (("Müsli", "Pão"), (decomposed, normalize("NFD", "Pão"))):
        class_map = write(tmp_path / "map.csv", f"{written},{target}\nbread,bread\n")
        assert folder(root, class_map=class_map).class_names == ("Pão", "bread")
    boxes = write(tmp_path / "boxes.csv", "path,class_index,x0,y0,x1,y1\nMüsli/0.png,Müsli,0,0,1,1\n")
    images = folder(root, boxes=boxes)
    assert images.boxes is not None
    ((image_id, (box,)),) = images.boxes.of_images.items()
    assert (image_id, box.class_name) == (f"{decomposed}/0.png", "Müsli")


def test_files_that_are_passed_over_are_counted_in_one_line(tmp_path, tree, caplog):
    root = tree(tmp_path / "root", {"a": 2, "a/deep": 1, "b": 1})
    for name in ("a/notes.txt", "a/deep/x.npy", "b/Thumbs.db", "b/desktop.ini", "a/.DS_Store", "b/._0.png", "list.txt"):
        write(root / name, "")
    shutil.copy(root / "a/0.png", root / "beside.png")
    assert len(folder(root).records) == 4
    known = " ".join(sorted(IMAGE_SUFFIXES))
    assert warnings_of(caplog) == [
        f"{root}: 1 images lie beside the class folders and are passed over, first {root}/beside.png",
        f"{root}: 2 files are passed over, they end in none of {known}, first {root}/a/notes.txt",
    ]
