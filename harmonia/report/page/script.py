"""Data as scripts: a page opened from a folder may load a script beside it, but may fetch nothing."""

import base64
import json
import zlib
from typing import Any

import numpy as np


def script(name: str, value: Any) -> str:
    """A call that hands the value to the page: JSON in ASCII, arrays as base64 of deflated little-endian numbers."""
    text = json.dumps(value, default=_array, allow_nan=False, separators=(",", ":"))
    # also as text inside a page nothing here could end a script or open an element
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f"harmonia.receive({json.dumps(name)},{text});\n"


def _array(value: Any) -> dict[str, Any]:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"page data must be JSON or numpy arrays, got {type(value).__name__}; convert it first")
    little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
    return {
        "array": f"{value.dtype.kind}{value.dtype.itemsize}",
        "shape": value.shape,
        "data": base64.b64encode(zlib.compress(little.tobytes())).decode("ascii"),
    }
