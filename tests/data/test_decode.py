import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, features

from harmonia.data import decode
from harmonia.data.decode import IMAGE_SUFFIXES, UnreadableImage, open_rgb
from harmonia.data.manifest import ImageRecord, add_digests, find_images
from harmonia.errors import InputError


def pixel(path: Path) -> tuple[int, int, int]:
    image = open_rgb(path)
    assert image.mode == "RGB"
    return image.getpixel((0, 0))


def noise(mode: str, size: tuple[int, int] = (40, 30)) -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0], channels)
    return Image.frombytes(mode, size, np.random.default_rng(0).integers(0, 256, shape, np.uint8).tobytes())


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_ordinary_jpeg_is_bit_equal_to_plain_pil(tmp_path, mode):
    path = tmp_path / "x.JPEG"
    noise(mode).save(path, format="JPEG")
    with Image.open(path) as image:
        assert image.mode == mode
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(np.asarray(open_rgb(path)), expected)


def test_real_images_are_bit_equal_to_timm_reading(shared_data):
    for path in sorted((shared_data / "imagewoof" / "val").glob("*/*.JPEG"))[::100]:
        with Image.open(path) as image:
            np.testing.assert_array_equal(np.asarray(open_rgb(path)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("LA", (77, 0), (77, 77, 77)),
        ("RGBA", (10, 20, 30, 0), (10, 20, 30)),
    ],
)
def test_mode_decodes_to_its_colour_and_alpha_is_dropped(tmp_path, mode, value, expected):
    Image.new(mode, (3, 2), value).save(tmp_path / "x.png")
    assert pixel(tmp_path / "x.png") == expected


def test_palette_decodes_to_the_colours_it_lists(tmp_path):
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.save(tmp_path / "x.png", transparency=1)
    assert pixel(tmp_path / "x.png") == (200, 100, 50)


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (32768, 128), (65535, 255)])
@pytest.mark.parametrize("suffix", ["png", "tif", "ppm"])
def test_16_bit_gray_is_scaled_and_not_clipped(tmp_path, suffix, value, expected):
    Image.fromarray(np.full((2, 3), value, np.uint16)).save(tmp_path / f"x.{suffix}")
    assert pixel(tmp_path / f"x.{suffix}") == (expected,) * 3


def test_32_bit_gray_counts_to_65535(tmp_path):
    Image.fromarray(np.full((2, 3), 32768, np.int32)).save(tmp_path / "x.tif")
    assert pixel(tmp_path / "x.tif") == (128,) * 3


@pytest.mark.parametrize(("value", "expected"), [(0.5, 128), (1.0, 255), (200.0, 200)])
def test_float_gray_counts_to_1_or_else_to_255(tmp_path, value, expected):
    Image.fromarray(np.full((2, 3), value, np.float32)).save(tmp_path / "x.tif")
    assert pixel(tmp_path / "x.tif") == (expected,) * 3


@pytest.mark.parametrize("value", [-1.0, 256.0, float("nan")])
def test_float_gray_of_unknown_scale_is_refused(tmp_path, value):
    Image.fromarray(np.full((2, 3), value, np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(UnreadableImage, match=r"outside 0\.\."):
        open_rgb(tmp_path / "x.tif")


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, (0, 0)), (2, (3, 0)), (3, (3, 2)), (4, (0, 2)), (5, (0, 0)), (6, (2, 0)), (7, (2, 3)), (8, (0, 3))],
)
def test_exif_orientation_moves_the_marked_corner(tmp_path, suffix, orientation, corner):
    path = tmp_path / f"x.{suffix}"
    image = Image.new("RGB", (4, 3))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    upright = open_rgb(path)
    assert upright.size == ((4, 3) if orientation < 5 else (3, 4))
    assert upright.getpixel(corner) == (255, 255, 255)
    assert np.asarray(upright).sum() == 3 * 255


def test_corrupt_exif_does_not_cost_a_sound_picture(tmp_path):
    Image.new("RGB", (2, 2), (1, 2, 3)).save(tmp_path / "x.png", exif=b"Exif\x00\x00garbage, not TIFF")
    assert pixel(tmp_path / "x.png") == (1, 2, 3)


def test_one_pixel_is_enough(tmp_path):
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "x.bmp")
    assert pixel(tmp_path / "x.bmp") == (1, 2, 3)


def _no_width(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[18:22] = bytes(4)
    path.write_bytes(content)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[60:80] = bytes(20)
    path.write_bytes(content)


BROKEN = {
    "empty": ("x.jpg", lambda path: path.write_bytes(b""), "it is empty"),
    "text": ("x.jpg", lambda path: path.write_text("not a picture"), "none of JPEG"),
    "postscript": ("x.jpg", lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n"), "none of JPEG"),
    "truncated jpeg": ("x.jpg", _truncate, "truncated"),
    "truncated png": ("x.png", _truncate, "truncated"),
    "damaged png": ("x.png", _flip, "broken"),
    "zero width": ("x.bmp", _no_width, "none of JPEG"),
    "zero size": ("x.ppm", lambda path: path.write_bytes(b"P6 0 0 255\n"), "none of JPEG"),
    "missing": ("x.jpg", Path.unlink, "No such file"),
    "folder": ("x.jpg", lambda path: (path.unlink(), path.mkdir()), "directory"),
}


@pytest.mark.parametrize(("name", "damage", "reason"), BROKEN.values(), ids=BROKEN)
def test_broken_file_is_reported_in_one_line_with_path_and_reason(tmp_path, name, damage, reason):
    path = tmp_path / name
    noise("RGB").save(path)
    damage(path)
    with pytest.raises(UnreadableImage, match=reason) as caught:
        open_rgb(path)
    assert isinstance(caught.value, InputError)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_decompression_bomb_is_refused(tmp_path, monkeypatch):
    Image.new("RGB", (100, 100)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UnreadableImage, match="10000 pixels"):
        open_rgb(tmp_path / "x.png")


def strip(path: Path) -> None:
    Image.new("L", (25_000, 1)).save(path)


def ppm_of_comments(path: Path) -> None:
    path.write_bytes(b"P3\n4 4\n255\n" + b"#\n" * 2**20)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10 * 2**30)


def scans(number: int) -> bytes:
    """A progressive JPEG whose last scan stands there again and again."""
    buffer = io.BytesIO()
    noise("L").save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    begin, last = content[: content.rindex(b"\xff\xda")], content[content.rindex(b"\xff\xda") : -2]
    return begin + last * (number - begin.count(b"\xff\xda")) + b"\xff\xd9"


def test_a_jpeg_of_many_scans_is_not_decoded(tmp_path, monkeypatch):
    path = tmp_path / "x.jpg"
    comment, after = b"\xff\xfe\x02\x02" + b"\xff\xda" * 256, b"\xff\xda" * 200
    path.write_bytes(scans(100)[:2] + comment + scans(100)[2:] + after)  # other bytes look alike
    assert open_rgb(path).size == (40, 30)
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    monkeypatch.setattr("harmonia.data.decode._MOST_SCANNED", 100_000)
    path.write_bytes(scans(90))
    with pytest.raises(UnreadableImage, match="it has 90 scans of 1,200 pixels"):
        open_rgb(path)
    path.write_bytes(scans(101))
    with pytest.raises(UnreadableImage, match="it has 101 scans of 1,200 pixels; at most 100"):
        open_rgb(path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (strip, "it is 25000 x 1, more than 100 times as long as wide"),
        (sparse, "it has 10737418240 bytes, more than 536870912"),
        (os.mkfifo, "it is no file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is no file"),
        (lambda path: path.symlink_to("/proc/kmsg"), "it is empty"),
        (ppm_of_comments, "it is PPM as text of more than 1048576 bytes"),
    ],
)
def test_what_would_take_all_memory_or_time_is_unreadable(tmp_path, make, reason):
    make(tmp_path / "x.png")
    with pytest.raises(UnreadableImage, match=f"x.png cannot be read: {reason}; replace the file or remove it"):
        open_rgb(tmp_path / "x.png")
    (record,) = add_digests([ImageRecord("x", tmp_path / "x.png", "a", "")])
    assert bool(record.digest) == (make in (strip, ppm_of_comments))


def test_a_picture_just_long_enough_is_read(tmp_path):
    for size in ((100, 1), (3, 300)):
        Image.new("L", size, 9).save(tmp_path / "x.png")
        assert open_rgb(tmp_path / "x.png").size == size


@pytest.mark.slow
def test_oddities_that_change_no_pixel_print_nothing(tmp_path):
    palette = Image.new("P", (3, 2), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.save(tmp_path / "palette.png", transparency=b"\x00\xff")
    noise("RGB").save(tmp_path / "exif.jpg", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x09\x00\x12\x01")
    program = f"import sys; from {decode.__name__} import open_rgb; [open_rgb(path) for path in sys.argv[1:]]"
    paths = [tmp_path / "palette.png", tmp_path / "exif.jpg"]
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_suffix_that_is_taken_is_decoded(tmp_path, suffix):
    mode = {".pgm": "L", ".pbm": "1"}.get(suffix, "RGB")
    format_of = {".pnm": "PPM", ".jfif": "JPEG", ".jpe": "JPEG"}.get(suffix)
    path = tmp_path / "a" / f"x{suffix.upper()}"
    path.parent.mkdir()
    Image.new(mode, (8, 6), "white").save(path, format_of)
    (record,) = find_images(tmp_path, str, "")
    assert open_rgb(record.path).size == (8, 6)
    assert min(pixel(record.path)) > 250


def test_avif_is_taken_where_pillow_decodes_it():
    assert (".avif" in IMAGE_SUFFIXES) == ("avif" in features.modules and bool(features.check("avif")))


@pytest.mark.parametrize(("most", "value"), [(4095, 2048), (65535, 32768), (255, 128)])
def test_a_portable_graymap_counts_to_its_own_maximum(tmp_path, most, value):
    depth = ">u2" if most > 255 else "u1"
    (tmp_path / "x.pgm").write_bytes(f"P5 1 1 {most}\n".encode() + np.array([value], depth).tobytes())
    assert pixel(tmp_path / "x.pgm") == (128,) * 3
