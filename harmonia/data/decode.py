"""Image files to RGB.

Ordinary files decode to the bytes timm gets from PIL's convert("RGB"). Two kinds differ on purpose:
a picture with an EXIF orientation is turned upright, and 16-bit or float grayscale is scaled where
PIL would clip it to white.
"""

import hashlib
import io
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from harmonia.errors import InputError, one_line

# the listed suffixes only: others would hand a file to external programs (EPS to Ghostscript)
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Corrupt EXIF and palette transparency change no pixel here, and ImageNet has hundreds of such files.
# Once per process: catch_warnings is not thread-safe and makes every other warning repeat.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnreadableImage(InputError):
    """An image file that yields no pixels; the message names it and says why."""


def open_rgb(path: str | Path, digest: str = "") -> Image.Image:
    """The picture upright, in RGB, fully loaded.

    digest: the SHA-256 that its bytes must still have, where they had one when the data set was listed. Otherwise
    InputError, also where unreadable images are skipped: maps are kept under digests, and would be of another picture.
    """
    try:
        content = Path(path).read_bytes()  # once: what is hashed is what is decoded
    except OSError as error:
        raise _unreadable(path, error) from error
    if digest and hashlib.sha256(content).hexdigest() != digest:
        raise InputError(
            f"image {path} must not change during a run, its bytes are not those listed at the start; rerun when the "
            "data set is complete, what is stored stays valid"
        )
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            image.load()
            orientation = _orientation(image)
            rgb = (_eight_bit(image) if image.mode[0] in "IF" else image).convert("RGB")
    # PIL's readers raise nearly anything on broken bytes: OSError, SyntaxError, struct.error, IndexError
    except Exception as error:
        raise _unreadable(path, error) from error
    return rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb


def _unreadable(path: str | Path, error: Exception) -> UnreadableImage:
    if isinstance(error, UnidentifiedImageError):
        reason = "it is empty" if Path(path).stat().st_size == 0 else f"it is none of {', '.join(_FORMATS)}"
    else:
        reason = getattr(error, "strerror", None) or one_line(error)
    return UnreadableImage(f"image {path} cannot be read: {reason}; replace the file or remove it")


def _orientation(image: Image.Image) -> int:
    """Read after loading: PIL turns TIFF upright by itself and then forgets the tag."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    # broken metadata, of any kind, around sound pixels
    except Exception:
        return 1


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grayscale of more than 8 bits; integers count to 65535, floats to 1 or else to 255."""
    values = np.asarray(image).astype(np.float64)
    low, high = values.min(), values.max()
    full = 65535 if image.mode[0] == "I" else 1 if high <= 1 else 255
    if not 0 <= low <= high <= full:  # also refuses NaN
        raise ValueError(f"its gray values lie in {low:g}..{high:g}, outside 0..{full}")
    return Image.fromarray(np.rint(values * (255 / full)).astype(np.uint8))
