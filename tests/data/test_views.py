"""Laws of viewed images: the pixels of a fresh decode, decoded once, whatever is unreadable or full on the way."""

import errno
import logging
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harmonia.data import views
from harmonia.data.decode import UnreadableImage, open_channels, open_rgb
from harmonia.data.manifest import ImageRecord, add_digests
from harmonia.data.view import View
from harmonia.data.views import ViewedImages
from harmonia.errors import InputError

SIZES = [(20, 31), (40, 17), (24, 24), (9, 50), (33, 20), (16, 16)]


def view_of(size: int, crop_pct: float = 0.875) -> View:
    given = dict(crop_mode="center", interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)
    return View(size=size, crop_pct=crop_pct, **given)


SMALL, LARGE, CROPPED = view_of(8), view_of(12, 1.0), view_of(8, 0.5)


@pytest.fixture
def records(tmp_path) -> list[ImageRecord]:
    records = []
    for number, (width, height) in enumerate(SIZES):
        path = tmp_path / f"{number}.png"
        values = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(values).save(path)
        records.append(ImageRecord(path.name, path, "a", ""))
    return records


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The names of the files that were decoded."""
    names: list[str] = []

    def counting(path, *rest):
        names.append(Path(path).name)
        return open_channels(path, *rest)

    monkeypatch.setattr(views, "open_channels", counting)
    return names


def viewed_by(records, *of, tmp_path, limit=2**20, **options) -> ViewedImages:
    return ViewedImages(records, of, spool_folder=tmp_path / "spool", spool_limit_bytes=limit, **options)


def fresh(records, indices, view: View) -> torch.Tensor:
    return torch.stack([view.look(open_rgb(records[index].path)) for index in indices])


ASKED = [([0, 1], SMALL), ([1, 0, 2], LARGE), ([5, 4, 3], CROPPED), (list(range(6)), SMALL), (list(range(6)), LARGE)]


def test_each_image_is_decoded_once_for_all_views_and_stages(records, opened, tmp_path):
    viewed = viewed_by(records, SMALL, LARGE, CROPPED, SMALL, tmp_path=tmp_path)
    for indices, view in ASKED:
        assert torch.equal(viewed.batch(indices, view).pixels, fresh(records, indices, view))
    assert sorted(opened) == [record.image_id for record in records]
    assert viewed.decoded == 6
    assert not list((tmp_path / "spool").iterdir())  # unnamed: the system frees it with the process


@pytest.mark.parametrize("limit", [0, 6 * 3 * (64 + 144) - 1])
def test_beyond_the_limit_nothing_is_spooled_and_the_pixels_are_the_same(records, opened, tmp_path, limit):
    viewed = viewed_by(records, SMALL, LARGE, tmp_path=tmp_path, limit=limit)
    for _ in range(2):
        for view in (SMALL, LARGE):
            assert torch.equal(viewed.batch(range(6), view).pixels, fresh(records, range(6), view))
    assert viewed.decoded == len(opened) == 4 * 6


def test_the_limit_is_what_all_views_of_all_images_take(records, opened, tmp_path):
    viewed = viewed_by(records, SMALL, LARGE, tmp_path=tmp_path, limit=6 * 3 * (64 + 144))
    viewed.batch(range(6), SMALL)
    viewed.batch(range(6), LARGE)
    assert viewed.decoded == len(opened) == 6


def test_positions_sizes_and_boxes_belong_to_the_images_asked_for(records, tmp_path):
    viewed = viewed_by(records, SMALL, CROPPED, tmp_path=tmp_path)
    batch = viewed.batch([3, 0, 5], CROPPED)
    assert batch.indices.tolist() == [3, 0, 5]
    assert batch.sizes.tolist() == [list(SIZES[3]), list(SIZES[0]), list(SIZES[5])]
    torch.testing.assert_close(batch.boxes, torch.tensor([CROPPED.box(*SIZES[index]) for index in (3, 0, 5)]))
    assert torch.equal(viewed.batch([0], CROPPED).boxes, batch.boxes[[1]])  # from the spool too


def test_a_loader_gives_the_batches_in_order_and_asks_for_one_at_a_time(records, tmp_path):
    viewed = viewed_by(records, SMALL, tmp_path=tmp_path)
    asked = []

    def claims():
        for indices in ([4, 5], [0], [1, 2, 3]):
            asked.append(indices)
            yield indices

    loader = viewed.loader(claims(), 3, SMALL)
    assert len(loader) == 3
    for number, batch in enumerate(loader, 1):
        assert len(asked) == number
        assert batch.indices.tolist() == asked[-1]
        assert torch.equal(batch.pixels, fresh(records, asked[-1], SMALL))


# --- unreadable ---------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 2**20])
def test_an_unreadable_image_is_black_and_marked_and_shifts_no_other(records, tmp_path, limit, caplog):
    records[2].path.write_bytes(b"no image")
    viewed = viewed_by(records, SMALL, LARGE, tmp_path=tmp_path, limit=limit)
    others = [0, 1, 3, 4, 5]
    with caplog.at_level(logging.WARNING):
        for view in (SMALL, LARGE, SMALL):
            batch = viewed.batch(range(6), view)
            assert batch.readable.tolist() == [True, True, False, True, True, True]
            assert not batch.pixels[2].any()
            assert torch.equal(batch.pixels[others], fresh(records, others, view))
            assert torch.equal(batch.boxes[others], torch.tensor([view.box(*SIZES[index]) for index in others]))
    assert viewed.unreadable == [records[2]]
    assert [record.getMessage().count("2.png") for record in caplog.records] == [1]  # said once


@pytest.mark.parametrize("limit", [0, 2**20])
def test_an_image_that_a_view_would_make_too_large_is_unreadable_by_name(records, tmp_path, limit, caplog):
    Image.new("L", (4000, 40)).save(records[0].path)
    viewed = viewed_by(records, SMALL, view_of(2048, 0.5), tmp_path=tmp_path, limit=limit)
    assert viewed.batch([0, 1], SMALL).readable.tolist() == [False, True]
    assert f"image {records[0].path} cannot be read: it is 4000 x 40, and to resize it takes" in caplog.text


def test_where_unreadable_images_are_fatal_the_error_names_the_file(records, tmp_path):
    records[2].path.write_bytes(b"no image")
    viewed = viewed_by(records, SMALL, tmp_path=tmp_path, unreadable="fail")
    viewed.batch([0, 1], SMALL)
    with pytest.raises(UnreadableImage, match=r"2\.png cannot be read"):
        viewed.batch([1, 2, 3], SMALL)


@pytest.mark.parametrize("policy", ["skip", "fail"])
def test_an_image_that_changed_since_it_was_listed_is_an_error_whatever_the_policy(records, tmp_path, policy):
    records = add_digests(records)
    Image.new("RGB", (9, 9)).save(records[1].path)
    with pytest.raises(InputError, match=r"1\.png must not change during a run") as error:
        viewed_by(records, SMALL, tmp_path=tmp_path, unreadable=policy).batch([0, 1], SMALL)
    assert not isinstance(error.value, UnreadableImage)


def test_a_folder_that_takes_no_spool_costs_time_and_not_pixels(records, opened, tmp_path, caplog):
    (tmp_path / "spool").write_bytes(b"in the way")
    viewed = viewed_by(records, SMALL, tmp_path=tmp_path)
    for _ in range(2):
        assert torch.equal(viewed.batch([0, 1], SMALL).pixels, fresh(records, [0, 1], SMALL))
    assert opened.count("0.png") == 2
    assert "no spool" in caplog.text


# --- a full disk --------------------------------------------------------------------------------


def refusing(_descriptor, _data, _offset):
    raise OSError(errno.ENOSPC, "No space left on device")


def taking_half(descriptor, data, offset, pwrite=os.pwrite):
    return pwrite(descriptor, data[: len(data) // 2], offset)


@pytest.mark.parametrize("full", [refusing, taking_half])
def test_a_full_disk_costs_time_and_not_pixels(records, tmp_path, monkeypatch, caplog, full):
    viewed = viewed_by(records, SMALL, LARGE, tmp_path=tmp_path)
    viewed.batch([0, 1], SMALL)
    monkeypatch.setattr(os, "pwrite", full)
    with caplog.at_level(logging.WARNING):
        for indices, view in ((range(2, 6), SMALL), (range(6), LARGE)):
            assert torch.equal(viewed.batch(indices, view).pixels, fresh(records, indices, view))
    assert "no spool for decoded images (No space left on device)" in caplog.text
    assert viewed.decoded == 2 + 4 + 6


def test_a_disk_that_fills_while_several_threads_decode_stops_none(records, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    viewed = viewed_by(records, SMALL, tmp_path=tmp_path)
    together = threading.Barrier(2)

    def late(*given):
        image = open_channels(*given)
        together.wait(timeout=10)  # both are past the question whether there is a spool
        return image

    monkeypatch.setattr(views, "open_channels", late)
    monkeypatch.setattr(os, "pwrite", refusing)
    assert torch.equal(viewed.batch([0, 1], SMALL).pixels, fresh(records, [0, 1], SMALL))


@pytest.mark.parametrize(
    ("values", "dim"), [((4095, 4095), True), ((4095, 5000), False), ((0, 0), True), ((65535, 4095), False)]
)
@pytest.mark.parametrize("limit", [0, 2**20])
def test_a_set_is_dim_where_no_image_uses_more_than_a_sixteenth(tmp_path, values, dim, limit):
    records = []
    for number, value in enumerate(values):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((8, 8), value, np.uint16)).save(path)
        records.append(ImageRecord(path.name, path, "a", ""))
    viewed = viewed_by(records, SMALL, tmp_path=tmp_path, limit=limit)
    assert not viewed.dim  # nothing is known yet
    viewed.batch([0, 1], SMALL)
    assert viewed.dim is dim
    viewed.batch([1], SMALL)
    assert viewed.dim is dim


def test_images_whose_orientation_cannot_be_read_are_counted_in_one_line(records, tmp_path, caplog):
    for number, exif in ((1, b"Exif\0\0garbage, not TIFF"), (3, b"Exif\0\0garbage, not TIFF"), (4, Image.Exif())):
        with Image.open(records[number].path) as image:
            image.save(records[number].path, exif=exif)
    viewed = viewed_by(records, SMALL, LARGE, tmp_path=tmp_path)
    viewed.say_what_was_not_turned()
    assert not caplog.messages
    for view in (SMALL, LARGE):
        viewed.batch(range(6), view)
    viewed.say_what_was_not_turned()
    assert caplog.messages == [
        f"2 images have EXIF that cannot be read and are taken as they lie, first {records[1].path}"
    ]
