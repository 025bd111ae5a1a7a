"""Names of what a target is shown of an image: the whole image, a feature of a map, a control.

An arm is named by its kind and, where it keeps a given area, by that in percent: "soft", "area30", "blobs30".
"""

IMAGE_ARM, SOFT_ARM, DIM_ARM, NOTHING_ARM = "image", "soft", "dim", "nothing"
# kinds of arms that keep a given area
AREA, BLOBS, CENTRE = "area", "blobs", "centre"
SAME_CLASS, OTHER_CLASS, COMPLEMENT, SILHOUETTE = "same_class", "other_class", "complement", "silhouette"
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


def same_area(arm: str, kind: str) -> str:
    """The arm of another kind that keeps as much: "centre30" beside "area30"; "nothing" is beside every arm."""
    return kind if kind == NOTHING_ARM else kind + arm.removeprefix(kind_of(arm))


def is_equal_area(arm: str) -> bool:
    """Whether the arm keeps the top of the map, as much of it as of every other map."""
    return kind_of(arm) == AREA and arm != AREA


def is_feature(arm: str) -> bool:
    """Whether the arm shows what a source's map keeps: no whole image and no control."""
    return arm == SOFT_ARM or is_equal_area(arm)


def is_control(arm: str) -> bool:
    """Whether the arm knows less than the map."""
    return arm != IMAGE_ARM and not is_feature(arm)


def matched_control(arm: str) -> str | None:
    """The control of the same area that knows nothing: "dim" of "soft", "blobsNN" of "areaNN"; None of any other."""
    return same_area(arm, _CONTROL_OF[kind_of(arm)]) if is_feature(arm) else None
