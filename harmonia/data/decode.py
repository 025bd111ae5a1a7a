"""Image files to RGB.

Ordinary files decode to the bytes timm gets from PIL's convert("RGB"). Two kinds differ on purpose:
a picture with an EXIF orientation is turned upright, and 16-bit or float grayscale is scaled where
PIL would clip it to white.

A file of more than 512 MiB, a picture of more than 179 million pixels (PIL's limit) and one more than 100 times as long
as it is wide count as unreadable: a strip would be resized to a hundred times what a network sees of it. So does one
that a view would resize to too many pixels, and a JPEG of more than 100 scans, each of which goes over all pixels,
or of 2,000 million pixels in all of them, and PPM as text of more than 1 MiB.
"""

import errno
import hashlib
import io
import os
import re
import stat
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError, features

from harmonia.errors import InputError, one_line

if TYPE_CHECKING:  # a report, which decodes images too, must not pay for torch
    from harmonia.data.view import View

# the listed suffixes only: others would hand a file to external programs (EPS to Ghostscript)
_AVIF = ("AVIF",) if "avif" in features.modules and features.check("avif") else ()
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", *_AVIF)
_SUFFIXES = "jpg jpeg jpe jfif png bmp webp tif tiff gif ppm pgm pbm pnm" + " avif" * len(_AVIF)
IMAGE_SUFFIXES = frozenset(f".{name}" for name in _SUFFIXES.split())

AS_IT_LIES = "as it lies"  # in an image's info: whether its orientation could not be read
MOST_IMAGE_BYTES = 2**29  # 8-bit RGB of as many pixels as PIL takes
MOST_RATIO = 100
_MOST_SCANS = 100  # a progressive file has about ten; of a JPEG in a TIFF libtiff takes as many
_MOST_SCANNED = 2 * 10**9  # pixels of all scans: ten of a picture as large as PIL takes, some seconds
_MOST_PLAIN = 2**20  # bytes of PPM as text, which PIL reads a letter at a time and its comments in quadratic time
_MARKER = re.compile(rb"\xff+([\x02-\xcf\xd8-\xfe])")  # others stand within a scan and have no length

# by EXIF orientation, from 2
_TURNS = ["FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"]
_UPRIGHT = {number: Image.Transpose[turn] for number, turn in enumerate(_TURNS, 2)}

# Corrupt EXIF and palette transparency change no pixel here, and ImageNet has hundreds of such files. For the whole
# process: catch_warnings is not thread-safe and makes every other warning repeat.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnreadableImage(InputError):
    """An image file that yields no pixels; the message names it and says why."""


def open_rgb(path: str | Path, digest: str = "", views: "tuple[View, ...]" = ()) -> Image.Image:
    """The picture upright, in RGB, fully loaded, of a size that the views can take; as of open_channels."""
    return open_channels(path, digest, views)[0]


def open_channels(
    path: str | Path, digest: str = "", views: "tuple[View, ...]" = (), count: int = 3
) -> list[Image.Image]:
    """The picture upright, fully loaded, of a size that the views can take: one in RGB, or of another count of channels
    one in grey for each. These are the channels of the file (RGBA, CMYK, LA) or its pages (a TIFF of grey ones).

    digest: the SHA-256 that its bytes must still have, where they had one when the data set was listed. Otherwise
    InputError, also where unreadable images are skipped: maps are kept under digests, and would be of another picture.
    """
    try:
        with open_file(path) as file:
            content = file.read()  # once: what is hashed is what is decoded
    except OSError as error:
        raise _unreadable(path, error) from error
    if digest and hashlib.sha256(content).hexdigest() != digest:
        raise InputError(
            f"image {path} must not change during a run, its bytes are not those listed at the start; rerun when the "
            "data set is complete, what is stored stays valid"
        )
    try:
        if content[:2] in (b"P1", b"P2", b"P3") and len(content) > _MOST_PLAIN:  # before its comments are read
            raise ValueError(f"it is PPM as text of more than {_MOST_PLAIN} bytes")
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if max(image.size) > MOST_RATIO * min(image.size):
                raise ValueError(f"it is {image.width} x {image.height}, more than {MOST_RATIO} times as long as wide")
            if image.format in ("JPEG", "MPO"):
                scans, pixels = _scans(content), image.width * image.height
                if scans > _MOST_SCANS or scans * pixels > _MOST_SCANNED:
                    raise ValueError(f"it has {scans} scans of {pixels:,} pixels; at most {_MOST_SCANS} are read")
            image.load()
            orientation = _orientation(image)
            if count == 3:
                channels = [(eight_bit(image) if image.mode[0] in "IF" else image).convert("RGB")]
            else:
                channels = _channels(image, count)
        channels = [each.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else each for each in channels]
        channels[0].info[AS_IT_LIES] = orientation is None
        for view in views:
            view.check_size(*channels[0].size)
    # PIL's readers raise nearly anything on broken bytes: OSError, SyntaxError, struct.error, IndexError
    except Exception as error:
        raise _unreadable(path, error) from error
    return channels


def _channels(image: Image.Image, count: int) -> list[Image.Image]:
    if len(image.getbands()) == count:
        return list(image.split())
    pages = getattr(image, "n_frames", 1)
    if pages != count:
        raise ValueError(
            f"it has {len(image.getbands())} channels and {pages} pages, and the network reads {count} channels"
        )
    channels, size = [], image.size
    for number in range(count):
        image.seek(number)
        if image.size != size or image.mode not in ("L", "I;16"):
            raise ValueError(f"its pages must be grey, of 8 or 16 bits and one size, page {number + 1} is not")
        channels.append(eight_bit(image) if image.mode == "I;16" else image.copy())
    return channels


def open_file(path: str | Path) -> io.BufferedReader:
    """An image's file; OSError also where it is a pipe or a device, or too large to be one."""
    facts = os.stat(path)
    if not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)):  # opening a folder says so itself
        raise OSError(errno.EINVAL, "it is no file")
    if facts.st_size == 0 and stat.S_ISREG(facts.st_mode):  # reading it may wait, as of /proc/kmsg
        raise OSError(errno.ENODATA, "it is empty")
    if facts.st_size > MOST_IMAGE_BYTES:
        raise OSError(errno.EFBIG, f"it has {facts.st_size} bytes, more than {MOST_IMAGE_BYTES}")
    return open(path, "rb")


def _scans(content: bytes) -> int:
    """Of a JPEG's first picture, without decoding it."""
    scans, place = 0, 2
    while (marker := _MARKER.search(content, place)) and marker[1] != b"\xd9":  # the end; what follows is not read
        scans += marker[1] == b"\xda"
        place = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2])
    return scans


def _unreadable(path: str | Path, error: Exception) -> UnreadableImage:
    if isinstance(error, UnidentifiedImageError):
        reason = f"it is none of {', '.join(_FORMATS)}"
    else:
        reason = getattr(error, "strerror", None) or one_line(error)
    return UnreadableImage(f"image {path} cannot be read: {reason}; replace the file or remove it")


def _orientation(image: Image.Image) -> int | None:
    """None: the metadata around sound pixels is broken. Read after loading: PIL turns TIFF upright by itself and then
    forgets the tag.
    """
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, struct.error, ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError):
        return None


def eight_bit(image: Image.Image) -> Image.Image:
    """Grayscale of more than 8 bits; integers count to 65535, floats to 1 or else to 255."""
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    full = 65535 if image.mode[0] == "I" else 1 if high <= 1 else 255
    if not 0 <= low <= high <= full:  # also refuses NaN
        raise ValueError(f"its gray values lie in {low:g}..{high:g}, outside 0..{full}")
    scaled = np.empty(values.shape, np.uint8)
    for row, of_row in zip(scaled, values, strict=True):  # float64 of a large picture would take gigabytes
        row[:] = np.rint(of_row.astype(np.float64) * (255 / full))
    return Image.fromarray(scaled)
