"""Maps from elsewhere: every format, matching by name, and what is refused."""

import io
import logging
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from harmonia.data.given_maps import given_maps
from harmonia.errors import InputError

IDS = ("cat/a.JPEG", "cat/b.jpg", "dog/a.png")
WHOLE = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(3, 4)


def numbers(side=3):
    return np.random.default_rng(0).normal(size=(len(IDS), side, side)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """folder({name: array or bytes}): a folder of such files."""

    def write(files, name="maps"):
        for place, content in files.items():
            path = tmp_path / name / place
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif path.suffix == ".npy":
                np.save(path, content)
            else:
                Image.fromarray(content).save(path)
        return tmp_path / name

    return write


def npy_of(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def header_of(text, version=1):
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text.encode()


def taken(given, size=8, boxes=WHOLE):
    return given.take(IDS, boxes, size).numpy()


def refused(path, *words, over="view", ids=IDS):
    with pytest.raises(InputError) as refusal:
        given_maps(path, over, ids)
    line = str(refusal.value)
    assert "\n" not in line
    assert "; " in line
    assert line.count("run the job again") == 0
    for word in words:
        assert word in line


def test_every_format_holds_the_same_maps_under_the_same_digest_wherever_it_lies(folder, tmp_path):
    maps = numbers()
    by_stem = {"cat/a": maps[0], "cat/b": maps[1], "dog/a": maps[2]}
    by_id = dict(zip(IDS, maps, strict=True))
    np.savez(tmp_path / "one.npz", **by_id)
    np.savez_compressed(tmp_path / "two.NPZ", **by_stem)
    os.rename(tmp_path / "two.NPZ.npz", tmp_path / "two.NPZ")
    save_file({name: torch.from_numpy(map_)[None] for name, map_ in by_id.items()}, tmp_path / "one.safetensors")
    (tmp_path / "link.npz").symlink_to(tmp_path / "one.npz")
    places = [
        folder({f"{name}.npy": map_ for name, map_ in by_stem.items()}, "stems"),
        folder({f"{name}.NPY": npy_of(map_[None].astype(">f8")) for name, map_ in by_id.items()}, "ids"),
        *(tmp_path / name for name in ("one.npz", "two.NPZ", "one.safetensors", "link.npz")),
    ]
    digests = set()
    for place in places:
        given = given_maps(place, "view", IDS)
        assert np.array_equal(taken(given), maps)
        digests.add(given.digest)
    assert len(digests) == 1


def test_the_digest_changes_with_any_number_shape_or_image_and_with_no_map_of_another(folder):
    def digest(files, ids=IDS):
        names = len(list(folder({}, "x").parent.iterdir()))
        return given_maps(folder(files, f"maps{names}"), "image", ids).digest

    maps = numbers()
    files = {"cat/a.npy": maps[0], "cat/b.npy": maps[1], "dog/a.npy": maps[2]}
    nudged = maps[0].copy()
    nudged[2, 2] = np.nextafter(nudged[2, 2], 9)
    original = digest(files)
    assert digest({**files, "cat/other.npy": maps[0]}) == original
    changes = [
        {**files, "cat/a.npy": nudged},
        {**files, "cat/a.npy": maps[0].reshape(1, 9)},
        {**files, "cat/a.npy": maps[1], "cat/b.npy": maps[0]},
        {name: files[name] for name in ("cat/a.npy", "cat/b.npy")},
    ]
    assert len({original, *map(digest, changes)}) == 5


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64, np.uint16, np.float16, np.float64])
def test_numbers_of_any_kind_are_taken_as_they_are(folder, kind):
    map_ = np.arange(9).reshape(3, 3).astype(kind)
    assert np.array_equal(taken(given_maps(folder({"cat/a.npy": map_}), "view", IDS))[0], map_.astype(np.float32))
    assert np.array_equal(taken(given_maps(folder({"cat/a.npy": map_.T}), "view", IDS))[0], map_.T)  # Fortran's order


def test_bfloat16_and_the_whole_range_of_grey(folder, tmp_path):
    save_file({IDS[0]: torch.tensor([[0.5, -2.0], [3.0, 1.0]], dtype=torch.bfloat16)}, tmp_path / "maps.safetensors")
    given = given_maps(tmp_path / "maps.safetensors", "view", IDS)
    assert taken(given)[0].tolist() == [[0.5, -2.0], [3.0, 1.0]]
    grey = np.array([[0, 51], [102, 255]], np.uint8)
    given = given_maps(folder({"cat/a.png": grey, "dog/a.png.PNG": grey.astype(np.uint16) * 257}), "view", IDS)
    maps = taken(given)
    np.testing.assert_array_equal(maps[0], np.array([[0, 0.2], [0.4, 1]], np.float32))
    np.testing.assert_array_equal(maps[2], maps[0])


def test_an_image_without_a_map_has_nan_and_one_line_counts_them_and_maps_of_no_image(folder, caplog):
    caplog.set_level(logging.INFO)
    path = folder({"cat/b.npy": numbers()[1], "cat/c.npy": numbers(9)[0], "notes.txt": b"x", ".hidden/a.npy": b"x"})
    maps = taken(given_maps(path, "view", IDS))
    assert np.isnan(maps[[0, 2]]).all()
    assert np.array_equal(maps[1], numbers()[1])
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: 2 of 3 images have no map, first cat/a.JPEG (expected cat/a.npy)",
        f"{path}: 1 maps are of none of these images",
    ]


def test_without_any_map_an_expected_name_is_said(folder, tmp_path):
    refused(folder({"cat/c.npy": numbers()[0]}), "1 maps and none of these 3 images", "that of cat/a.JPEG cat/a.npy")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "has 0 maps")
    np.savez(tmp_path / "maps.npz", a=numbers()[0])
    refused(tmp_path / "maps.npz", "that of cat/a.JPEG cat/a.JPEG")


def test_names_are_compared_in_composed_form(folder):
    map_ = numbers()[0]
    given = given_maps(folder({"Mu\u0308sli/a.npy": map_}), "view", ["M\u00fcsli/a.jpg"])
    assert np.array_equal(given.take(["M\u00fcsli/a.jpg"], WHOLE[:1], 8)[0].numpy(), map_)


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("cat/a.npy", "cat/a.png"), IDS),
        (("cat/a.npy", "cat/a.JPEG.npy"), IDS),
        (("cat/a.npy",), ("cat/a.jpg", "cat/a.png")),
        (("M\u00fc.npy", "Mu\u0308.npy"), ("M\u00fc.jpg",)),
    ],
)
def test_a_map_is_of_one_image_and_an_image_has_one_map(folder, names, ids):
    grey = np.zeros((3, 3), np.uint8)
    refused(folder(dict.fromkeys(names, grey)), "must", "one", ids=ids)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_holds_a_name_once(tmp_path):
    with zipfile.ZipFile(tmp_path / "maps.npz", "w") as archive:
        for _ in range(2):
            archive.writestr("cat/a.npy", npy_of(numbers()[0]))
    refused(tmp_path / "maps.npz", "one map of a name, got two 'cat/a'")


WORDY = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 3), }" + " " * 20_000 + "\n"
HUGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (8000, 8000), }\n"
VAST = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }\n"
BELOW = "{'descr': '<f4', 'fortran_order': False, 'shape': (-3, -3), }\n"
FAULTS = {
    "torn": (npy_of(numbers()[0])[:-1], "35 bytes of numbers where its header says 36"),
    "longer": (npy_of(numbers()[0]) + b"x", "37 bytes"),
    "empty": (b"", "must be a map, got none"),
    "a pickle": (pickle.dumps([[1.0]]), "magic"),
    "pickled": (npy_of(np.array([[{}]]), allow_pickle=True), "floats or integers, they are object"),
    "bool": (npy_of(np.eye(3) > 0), "floats or integers, they are bool"),
    "complex": (npy_of(np.eye(3) * 1j), "complex128"),
    "text": (npy_of(np.array([["a"]])), "<U1"),
    "records": (npy_of(np.zeros((3, 3), [("x", "f4")])), "floats or integers"),
    "a vector": (npy_of(np.zeros(9)), "(h, w) or (1, h, w), it is (9,)"),
    "channels": (npy_of(np.zeros((3, 4, 4))), "it is (3, 4, 4)"),
    "nothing": (npy_of(np.zeros((0, 0))), "it is (0, 0)"),
    "long header": (header_of(WORDY), "Header info length"),
    "huge header": (header_of(HUGE, 2) + b"\0" * 36, "256,000,000"),
    "vast": (header_of(VAST) + b"\0" * 36, "1,000,000,000,000 cells"),
    "below 0": (header_of(BELOW) + b"\0" * 36, "(-3, -3)"),
    "version 3": (b"\x93NUMPY\x03\x00" + npy_of(numbers()[0])[8:], "version"),
    "an archive": (b"PK\x03\x04" + b"\0" * 99, "magic"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_map_is_refused_by_name_in_a_folder_and_in_an_archive(folder, tmp_path, fault):
    content, why = FAULTS[fault]
    refused(folder({"cat/a.npy": numbers()[0], "cat/b.npy": content}), "'cat/b' in", "must be a map, got none: ", why)
    with zipfile.ZipFile(tmp_path / "maps.npz", "w") as archive:
        archive.writestr("cat/b.jpg.npy", content)
    refused(tmp_path / "maps.npz", "'cat/b.jpg' in", why)


def test_pictures_that_are_no_grey_of_8_or_16_bits_are_refused(folder):
    good = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(good, "PNG")
    for content, why in (
        (np.zeros((4, 4, 3), np.uint8), "mode is RGB"),
        (np.zeros((4, 4)) > 0, "mode is 1"),
        (good.getvalue()[:50], "must be a map"),
        (b"\xff\xd8\xff\xe0 JPEG", "must be a map"),
    ):
        refused(folder({"cat/a.png": content}), why)


def test_maps_over_views_are_square_and_of_one_size(folder):
    path = folder({"cat/a.npy": np.zeros((3, 4))})
    refused(path, "square", "cat/a.JPEG", "3 x 4", "over=image")
    path = folder({"cat/a.npy": numbers()[0], "cat/b.npy": numbers(4)[0]})
    refused(path, "3 x 3, that of cat/b.jpg", "4 x 4")
    refused(folder({"cat/a.npy": np.zeros((4097, 1), np.uint8)}), "at most 4096", "cat/a.JPEG")


def test_files_beyond_the_folder_pipes_and_devices_are_refused(folder, tmp_path):
    np.save(tmp_path / "outside.npy", numbers()[0])
    path = folder({"cat/x.npy": numbers()[0]})
    (path / "cat/b.npy").symlink_to("x.npy")
    assert np.array_equal(taken(given_maps(path, "view", IDS))[1], numbers()[0])
    (path / "cat/a.npy").symlink_to(tmp_path / "outside.npy")
    refused(path, "regular file in that folder")
    (path / "cat/a.npy").unlink()
    os.mkfifo(path / "cat/a.npy")
    refused(path, "regular file in that folder")
    (path / "cat/a.npy").unlink()
    (path / "cat/a.npy").symlink_to("nowhere.npy")
    refused(path, "No such file")


@pytest.mark.parametrize("name", ["nowhere", "maps.txt", "maps.npz", "maps.safetensors", "pipe.npz"])
def test_a_place_that_holds_no_maps_is_refused(tmp_path, name):
    if name.startswith("maps"):
        (tmp_path / name).write_bytes(b"x")
    if name.startswith("pipe"):
        os.mkfifo(tmp_path / name)
    refused(tmp_path / name, "must be", name, "give method.maps=")


def test_a_map_that_changes_during_a_run_is_refused(folder):
    path = folder({"cat/a.npy": numbers()[0]})
    given = given_maps(path, "view", IDS)
    np.save(path / "cat/a.npy", numbers()[1])
    with pytest.raises(InputError, match="must not change during a run"):
        taken(given)


def test_maps_of_whole_images_are_read_in_the_views_box_at_its_size(folder):
    wide = np.tile(np.repeat(np.arange(6.0), 4), (12, 1))  # 12 rows, six bars of four cells each
    given = given_maps(folder({"cat/a.npy": wide, "dog/a.npy": numbers(8)[0]}), "image", IDS)
    boxes = torch.tensor([[1 / 6, 0.0, 4 / 6, 1.0], [0.0, 0, 1, 1], [0.0, 0, 1, 1]])
    maps = given.take(IDS, boxes, 12)
    assert maps.shape == (3, 12, 12)
    assert maps[0, 5].round(decimals=5).tolist() == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    assert maps[1].isnan().all()
    assert torch.equal(given.take(IDS[2:], boxes[2:], 8)[0], torch.from_numpy(numbers(8)[0]))
