import hashlib
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from harmonia.report.page.collection import SeenFile
from harmonia.report.page.write import THUMBNAIL_SIDE, make_thumbnails
from harmonia.results.tracking import evenly_spaced


def test_spread_takes_all_or_both_ends_and_even_steps_between():
    assert evenly_spaced(5, 9) == [0, 1, 2, 3, 4]
    assert evenly_spaced(101, 5) == [0, 25, 50, 75, 100]
    assert evenly_spaced(10, 0) == []
    assert evenly_spaced(0, 10) == []
    assert len(evenly_spaced(10000, 5000)) == 5000


def seen(path) -> SeenFile:
    """The file as it is now; one that is not there with some digest."""
    try:
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except (OSError, ValueError):
        digest = "0" * 64
    return SeenFile(str(path), digest)


def test_thumbnails_fit_keep_the_aspect_and_are_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (800, 400), "red").save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", (40, 20)).save(tmp_path / "small.png")
    names, missing = make_thumbnails(
        {3: seen(tmp_path / "a.jpg"), 7: seen(tmp_path / "small.png")}, tmp_path / "out", tmp_path
    )
    assert missing == {}
    assert Image.open(tmp_path / "out" / names[3]).size == (THUMBNAIL_SIDE // 2, THUMBNAIL_SIDE)
    assert Image.open(tmp_path / "out" / names[7]).size == (40, 20)


def test_a_second_report_makes_none_again_and_takes_over_what_is_still_shown(tmp_path):
    for number in range(2):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    paths = {number: seen(tmp_path / f"{number}.png") for number in range(2)}
    names, _ = make_thumbnails(paths, tmp_path / "out", tmp_path)
    (tmp_path / "out" / names[0]).write_bytes(b"as it was")
    again, _ = make_thumbnails({0: paths[0]}, tmp_path / "new", tmp_path / "out")
    assert again == {0: names[0]}
    assert [path.read_bytes() for path in (tmp_path / "new").iterdir()] == [b"as it was"]


def test_an_image_of_two_data_sets_has_one_thumbnail(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    names, _ = make_thumbnails(dict.fromkeys(range(5), seen(tmp_path / "a.png")), tmp_path / "out", tmp_path)
    assert list(names) == list(range(5))
    assert len(set(names.values())) == len(list((tmp_path / "out").iterdir())) == 1


def test_an_image_that_changed_gets_another_thumbnail(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    before, _ = make_thumbnails({0: seen(tmp_path / "a.png")}, tmp_path / "out", tmp_path)
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    after, _ = make_thumbnails({0: seen(tmp_path / "a.png")}, tmp_path / "new", tmp_path / "out")
    assert before != after


def test_what_cannot_be_read_has_a_reason_and_costs_no_other_its_thumbnail(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "good.png")
    (tmp_path / "empty.png").touch()
    paths = ["good.png", "empty.png", "gone.png", "nul\0.png", "dog\udcff.png"]
    names, missing = make_thumbnails(
        {n: seen(tmp_path / name) for n, name in enumerate(paths)}, tmp_path / "out", tmp_path
    )
    assert list(names) == [0]
    assert list(missing) == [1, 2, 3, 4]
    assert "empty" in missing[1]
    assert "No such file" in missing[2]
    assert all(missing.values())


@pytest.mark.parametrize("earlier", [False, True])
def test_a_disk_that_is_full_ends_the_report_and_is_no_images_fault(tmp_path, monkeypatch, earlier):
    def full(*given, **options):
        raise OSError(28, "No space left on device")

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    files = {0: seen(tmp_path / "a.png")}
    if earlier:
        make_thumbnails(files, tmp_path / "earlier", tmp_path)
    monkeypatch.setattr(Image.Image, "save", full)
    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(OSError, match="No space left"):
        make_thumbnails(files, tmp_path / "out", tmp_path / "earlier")


def test_only_the_file_that_the_jobs_saw_is_ever_shown(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "private.png")
    known = seen(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    files = [
        SeenFile(known.path, ""),
        SeenFile(str(tmp_path / "private.png"), known.digest),  # rows of a foreign job name it
        SeenFile(str(tmp_path / "pipe.png"), known.digest),
        SeenFile("/dev/zero", known.digest),
        known,
    ]
    names, missing = make_thumbnails(dict(enumerate(files)), tmp_path / "out", tmp_path)
    assert list(names) == [4]
    for reason, part in zip(missing.values(), ["no digest", "replaced", "it is no file", "it is no file"], strict=True):
        assert part in reason
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    names, missing = make_thumbnails({0: known}, tmp_path / "new", tmp_path / "out")
    assert names == {}
    assert missing[0].startswith("the image was replaced since a job saw it")
    assert not list((tmp_path / "new").iterdir())
