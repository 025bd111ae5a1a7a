"""Names of the 1,000 ImageNet classes, from timm."""

from functools import cache

from harmonia.data.text import composed


def class_name(text: str) -> str | None:
    """The WordNet id meant by a WordNet id or by an index 0-999, None when text is neither."""
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) < len(wnids()):  # Python reads no 5,000
        return wnids()[int(text)]
    return text if text in wnids() else None


@cache
def own_class_name(name: str) -> str:
    """The WordNet id where the name means an ImageNet class, else the name, composed."""
    return class_name(name) or composed(name)


def readable(name: str) -> str:
    """A short description ("Shih-Tzu") of a WordNet id; any other name stays as it is."""
    return _descriptions().get(name, name)


@cache
def wnids() -> tuple[str, ...]:
    """The WordNet ids in the order of the network outputs."""
    # timm takes seconds to import, which a listing of the command line must not pay
    from timm.data.imagenet_info import ImageNetInfo

    return tuple(ImageNetInfo().label_names())


@cache
def _descriptions() -> dict[str, str]:
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    return {wnid: info.label_name_to_description(wnid).split(",")[0] for wnid in wnids()}
