"""Names of what a target is shown of an image: the whole image, a feature of a map, a control.

An arm is named by its kind and, where it keeps a given area, by that in percent: "soft", "area30", "blobs30". What is
cut in whole patches of the target and not by pixel has a word before it: "patch_area30".
"""

IMAGE_ARM, SOFT_ARM, DIM_ARM, NOTHING_ARM = "image", "soft", "dim", "nothing"
# kinds of arms that keep a given area
AREA, BLOBS, CENTRE = "area", "blobs", "centre"
SAME_CLASS, OTHER_CLASS, COMPLEMENT, SILHOUETTE = "same_class", "other_class", "complement", "silhouette"
PATCH = "patch_"
_IN_PATCHES = (AREA, BLOBS, CENTRE)  # kinds that may be cut so
_CONTROL_OF = {SOFT_ARM: DIM_ARM, AREA: BLOBS}


def percent(area: float) -> int:
    """An area, a fraction of the view, as arms write it."""
    return round(100 * area)


def arm_of(kind: str, area: float) -> str:
    """The arm of this kind that keeps this fraction of the view."""
    return f"{kind}{percent(area)}"


def kind_of(arm: str) -> str:
    return arm.rstrip("0123456789")


def area_of(arm: str) -> float | None:
    """The fraction of the view that the arm keeps; None of arms without a given area."""
    digits = arm.removeprefix(kind_of(arm))
    return int(digits) / 100 if digits else None


def in_patches(arm: str) -> str | None:
    """The same arm in whole patches of the target; None of one that is not cut so."""
    return PATCH + arm if kind_of(arm) in _IN_PATCHES else None


def by_pixel(arm: str) -> str:
    """The same arm cut by pixel."""
    return arm.removeprefix(PATCH)


def same_area(arm: str, kind: str) -> str:
    """The arm of another kind that keeps as much, cut alike: "centre30" beside "area30"; "nothing" is beside each."""
    cut = PATCH if arm.startswith(PATCH) else ""
    return kind if kind == NOTHING_ARM else cut + kind + arm.removeprefix(kind_of(arm))


def is_equal_area(arm: str) -> bool:
    """Whether the arm keeps the top of the map by pixel, as much of it as of every other map."""
    return kind_of(arm) == AREA and arm != AREA


def is_feature(arm: str) -> bool:
    """Whether the arm shows what a source's map keeps: no whole image and no control."""
    return arm == SOFT_ARM or is_equal_area(by_pixel(arm))


def is_control(arm: str) -> bool:
    """Whether the arm knows less than the map."""
    return arm != IMAGE_ARM and not is_feature(arm)


def matched_control(arm: str) -> str | None:
    """The control of the same area that knows nothing: "dim" of "soft", "blobsNN" of "areaNN"; None of any other."""
    return same_area(arm, _CONTROL_OF[kind_of(by_pixel(arm))]) if is_feature(arm) else None


def centred_box(arm: str) -> str | None:
    """The centred box of the same area, cut alike; None of an arm that shows no top of a map."""
    return same_area(arm, CENTRE) if is_equal_area(by_pixel(arm)) else None
