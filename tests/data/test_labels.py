"""A CSV file of path,label as a data set."""

import os
import shutil
from pathlib import Path
from unicodedata import normalize

import pytest

from harmonia.data.decode import UnreadableImage, open_rgb
from harmonia.data.folder import folder
from harmonia.errors import InputError


def table(path: Path, *rows: str, header: str = "path,label") -> Path:
    path.write_text("\n".join((header, *rows, "")), encoding="utf-8")
    return path


@pytest.fixture
def flat(tmp_path, tree) -> Path:
    """Four images beside each other."""
    return tree(tmp_path / "root", {"flat": 4}) / "flat"


def test_labels_are_read_as_folder_names_are(tmp_path, flat):
    labels = table(tmp_path / "labels.csv", "0.png,n02086240", "1.png,007", "2.png,my cat", f"3.png,{'u' + chr(776)}")
    images = folder(flat, labels=labels)
    assert {record.image_id: record.class_name for record in images.records} == {
        "0.png": "n02086240",
        "1.png": "n01514668",
        "2.png": "my cat",
        "3.png": "ü",
    }
    assert images.pool == images.records
    assert all(record.digest for record in images.records)


def test_the_data_set_is_that_of_class_folders_where_the_labels_are_theirs(tmp_path, tree):
    root = tree(tmp_path / "root", {"a": 2, "b": 3})
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.rglob("*.png"), reverse=True)]
    by_folder, by_label = folder(root), folder(root, labels=table(tmp_path / "labels.csv", *rows))
    assert by_label.digest == by_folder.digest
    assert by_label.pool_digest == by_folder.pool_digest


def test_paths_are_seen_from_the_root_or_from_the_file(tmp_path, flat):
    beside = table(flat / "labels.csv", "0.png,a", f"{flat}/1.png,b")
    assert [record.image_id for record in folder(labels=beside).records] == ["0.png", "1.png"]
    assert [record.image_id for record in folder(flat.parent, labels=beside).records] == ["flat/0.png", "flat/1.png"]
    (tmp_path / "other").mkdir()
    outside = folder(tmp_path / "other", labels=beside, pool=flat)
    assert outside.records[0].image_id == "labels:0.png"
    with pytest.raises(InputError, match=r"line 2 must name a file in .*, got \.\./\.\./secret"):
        folder(flat, labels=table(flat / "labels.csv", "../../secret,a"))


def test_a_missing_file_is_an_unreadable_image_with_its_name(tmp_path, flat):
    images = folder(flat, labels=table(tmp_path / "labels.csv", "0.png,a", "gone.png,b"))
    assert [record.digest == "" for record in images.records] == [False, True]
    with pytest.raises(UnreadableImage, match=rf"{flat}/gone\.png cannot be read: No such file"):
        open_rgb(images.records[1].path)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_path_is_found_in_either_form_of_unicode(tmp_path, tree, form):
    root = tree(tmp_path / "root", {normalize(form, "Müsli"): 1})
    for other in ("NFC", "NFD"):
        (record,) = folder(root, labels=table(tmp_path / "l.csv", normalize(other, "Müsli/0.png,Müsli"))).records
        assert os.path.exists(record.path)
        assert (record.image_id, record.class_name) == (normalize(form, "Müsli/0.png"), "Müsli")


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        (["0.png,a", "1.png,a", "./0.png,b"], "line 4 must not name ./0.png again"),
        (["0.png,"], "line 2 must have a value for label"),
        ([], "has no row"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, flat, rows, part):
    with pytest.raises(InputError, match=r"^data\.labels") as raised:
        folder(flat, labels=table(tmp_path / "labels.csv", *rows))
    assert part in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_header_is_needed_and_a_split_is_not_taken_beside_labels(tmp_path, flat):
    with pytest.raises(InputError, match="lacks path, label; add them to its first line"):
        folder(flat, labels=table(tmp_path / "labels.csv", "1.png,a", header="0.png,a"))
    with pytest.raises(InputError, match="leave out one"):
        folder(flat, labels=table(tmp_path / "labels.csv", "1.png,a"), split="val")


def test_class_map_limits_pool_and_boxes_go_with_labels(tmp_path, flat):
    labels = table(tmp_path / "labels.csv", "0.png,x", "1.png,x", "2.png,y")
    class_map = table(tmp_path / "map.csv", "y,7", header="x,cat")
    boxes = table(tmp_path / "boxes.csv", "0.png,cat,0,0,1,1", header="path,class_index,x0,y0,x1,y1")
    shutil.copytree(flat, tmp_path / "pool")
    images = folder(
        flat, labels=labels, class_map=class_map, boxes=boxes, pool=tmp_path / "pool", pool_size=2, per_class=1
    )
    assert [(record.image_id, record.class_name) for record in images.records] == [
        ("0.png", "cat"),
        ("2.png", "n01514668"),
    ]
    assert [record.image_id.split(":")[0] for record in images.pool] == ["pool", "pool"]
    assert images.boxes is not None
    assert list(images.boxes.of_images) == ["0.png"]
    with pytest.raises(InputError, match="'y' must be in the class map"):
        folder(flat, labels=labels, class_map=table(tmp_path / "map.csv", header="x,cat"))
