"""Names of what a target is shown of an image: the whole image, features of a map, controls."""

import re

IMAGE_ARM = "image"
_OWN_ARM = re.compile(r"image|soft|area\d+")
_MATCHED = {"soft": "dim", "area": "blobs"}


def is_control(arm: str) -> bool:
    """Whether the arm knows less than the map; "image", "soft" and "areaNN" do not."""
    return _OWN_ARM.fullmatch(arm) is None


def matched_control(arm: str) -> str | None:
    """The control of the same area that knows nothing: "dim" of "soft", "blobsNN" of "areaNN"; None of any other."""
    kind = arm.rstrip("0123456789")
    return None if is_control(arm) or kind not in _MATCHED else _MATCHED[kind] + arm.removeprefix(kind)


def is_feature(arm: str) -> bool:
    """Whether the arm shows what a source's map keeps: no whole image and no control."""
    return re.fullmatch(r"soft|area\d+", arm) is not None
