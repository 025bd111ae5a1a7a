"""Boxes from CSV files, and their way into a model's view."""

import numpy as np
import pytest
import torch
from PIL import Image

from harmonia.data.boxes import LabelledBox, read_boxes
from harmonia.data.folder import folder
from harmonia.data.view import View
from harmonia.errors import InputError

HEADER = "path,class_index,x0,y0,x1,y1\n"
DOG = "n02102040"


def view(size=8, crop_pct=1.0, crop_mode="center"):
    flat = (0.5, 0.5, 0.5)
    return View(size=size, crop_pct=crop_pct, crop_mode=crop_mode, interpolation="nearest", mean=flat, std=flat)


def written(tmp_path, text, images=("a.png",)):
    path = tmp_path / "boxes.csv"
    path.write_text(text, encoding="utf-8")
    return read_boxes(path, {name: tmp_path / "data" / name for name in images})


def test_classes_are_indices_wordnet_ids_or_names_of_ones_own(tmp_path):
    boxes = written(tmp_path, HEADER + f"a.png,217,0,0,1,1\na.png,{DOG},1,1,2,2\na.png,my dog,2,2,3.5,3\n")
    expected = (LabelledBox(DOG, 0, 0, 1, 1), LabelledBox(DOG, 1, 1, 2, 2), LabelledBox("my dog", 2, 2, 3.5, 3))
    assert boxes.of_images == {"a.png": expected}


def test_images_go_by_their_id_or_by_their_place_beside_the_file(tmp_path):
    boxes = written(tmp_path, HEADER + "b/a.png,0,0,0,1,1\ndata/c.png,0,0,0,2,2\n", ("b/a.png", "c.png", "d.png"))
    assert sorted(boxes.of_images) == ["b/a.png", "c.png"]


def test_other_columns_rows_of_other_images_and_a_byte_order_mark_do_not_matter(tmp_path):
    text = "\ufeffnote,y1,path,class_index,x0,y0,x1\nx,4,a.png,0,1,2,3\nx,4,z.png,0,1,2,3\n"
    assert written(tmp_path, text).of_images == {"a.png": (LabelledBox("n01440764", 1, 2, 3, 4),)}


def test_the_digest_is_of_the_images_boxes_alone(tmp_path):
    rows = ["a.png,0,0,0,1,1\n", "b.png,0,0,0,1,1\n", "a.png,0,1,1,3,3\n", "z.png,0,0,0,1,1\n"]
    images = ("a.png", "b.png")
    first = written(tmp_path, HEADER + "".join(rows), images)
    assert written(tmp_path, HEADER + "".join(reversed(rows[:3])), images).digest == first.digest
    assert written(tmp_path, HEADER + "".join(rows[1:]), images).digest != first.digest
    assert first.of(["b.png"]).digest == written(tmp_path, HEADER + rows[1], images).digest


def test_a_box_takes_the_images_way_through_resizing_and_cropping(tmp_path):
    # 40 x 20: the shorter side becomes 10, of 20 x 10 the middle 8 x 8 is seen: x from 6, y from 1
    boxes = written(tmp_path, HEADER + f"a.png,{DOG},16,4,24,12\na.png,{DOG},0,0,14,20\na.png,{DOG},0,0,12,20\n")
    found = boxes.in_view("a.png", DOG, (40, 20), view(crop_pct=0.8))
    torch.testing.assert_close(found, torch.tensor([[2, 1, 6, 5], [0, 0, 1, 8]]).double())


@pytest.mark.parametrize("size", [(32, 24), (24, 32), (40, 40), (64, 20)])
@pytest.mark.parametrize(
    ("crop_pct", "crop_mode"), [(1.0, "center"), (0.5, "center"), (1.0, "squash"), (1.0, "border")]
)
def test_a_box_lies_where_the_views_pixels_show_its_object(tmp_path, size, crop_pct, crop_mode):
    width, height = size
    box = (width // 4, height // 4, width // 4 + 12, height // 4 + 8)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    seen = view(size=64, crop_pct=crop_pct, crop_mode=crop_mode)
    shown = seen.look(Image.fromarray(pixels)).float().mean(0) > 200
    boxes = written(tmp_path, HEADER + f"a.png,{DOG},{','.join(map(str, box))}\n")
    (corners,) = boxes.in_view("a.png", DOG, size, seen).tolist() or [[0, 0, 0, 0]]
    rows, columns = shown.any(1).nonzero()[:, 0], shown.any(0).nonzero()[:, 0]
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else [0, 0, 0, 0]
    assert corners == pytest.approx([float(edge) for edge in edges], abs=1.01)


def test_only_boxes_of_the_class_are_given(tmp_path):
    boxes = written(tmp_path, HEADER + f"a.png,{DOG},0,0,4,4\na.png,0,4,4,8,8\n")
    assert boxes.in_view("a.png", "n01440764", (8, 8), view()).tolist() == [[4, 4, 8, 8]]
    assert boxes.in_view("a.png", "n09999999", (8, 8), view()).shape == (0, 4)
    assert boxes.in_view("b.png", DOG, (8, 8), view()).shape == (0, 4)


def test_a_box_beyond_its_image_is_refused_since_it_was_measured_on_another_file(tmp_path):
    boxes = written(tmp_path, HEADER + f"a.png,{DOG},0,0,8.9,8\n")
    assert boxes.in_view("a.png", DOG, (8, 8), view()).tolist() == [[0, 0, 8, 8]]
    with pytest.raises(InputError, match=r"pixels of the stored file"):
        boxes.in_view("a.png", DOG, (7, 7), view())


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("path,class,x0,y0,x1,y1\na.png,0,0,0,1,1\n", "lacks class_index"),
        ("", "lacks path"),
        (HEADER, "names none of them"),
        (HEADER + "z.png,0,0,0,1,1\n", "'z.png'"),
        (HEADER + "a.png,0,0,0,1\n", "line 2 must have a value for y1"),
        (HEADER + "a.png,0,0,0,1,1\na.png,0,0,0,one,1\n", "line 3 must have numbers"),
        (HEADER + "a.png,0,3,0,1,1\n", "x0 < x1"),
        (HEADER + "a.png,0,0,0,inf,1\n", "line 2 must have numbers"),
        (HEADER + 'a.png,0,0,0,1,"1\n', "readable CSV"),
        ("path,path,class_index,x0,y0,x1,y1\na.png,b.png,0,0,0,1,1\n", "each column once, got path twice"),
        (HEADER + "a.png,0,0,0,1,1,\na.png,0,0,0,1,1,b.png\n", "line 3 must have 6 values, got 'b.png' too"),
        (HEADER + "a.png,0,0,0,1_0,1\n", "line 2 must have numbers"),
        (HEADER + "a.png,0,0,0,٣,1\n", "line 2 must have numbers"),
        (HEADER + f"a.png,{'9' * 5000},0,0,inf,1\n", "line 2 must have numbers"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path, text, part):
    with pytest.raises(InputError, match=r"data\.boxes") as raised:
        written(tmp_path, text)
    assert part in str(raised.value)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_boxes(tmp_path / "none.csv", {})
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read_boxes(tmp_path / "bad.csv", {})


def test_a_data_set_on_a_part_of_the_images_keeps_the_boxes_of_that_part(tmp_path):
    for name in ("dog/0.png", "dog/1.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    file = tmp_path / "boxes.csv"
    file.write_text(HEADER + "dog/0.png,dog,0,0,1,1\ndog/1.png,dog,0,0,1,1\n")
    whole, part = (folder(tmp_path / "images", limit=limit, boxes=file).boxes for limit in (None, 1))
    assert whole is not None
    assert part is not None
    assert (sorted(whole.of_images), sorted(part.of_images)) == (["dog/0.png", "dog/1.png"], ["dog/0.png"])
    assert folder(tmp_path / "images").boxes is None


def test_the_boxed_images_of_the_trial_data_all_have_boxes(shared_data):
    root = shared_data / "imagenette"
    images = folder(root, split="boxed", boxes=root / "boxes.csv")
    assert images.boxes is not None
    assert len(images.boxes.of_images) == len(images.records) == 250
    for record in images.records:
        assert {box.class_name for box in images.boxes.of_images[record.image_id]} == {record.class_name}
