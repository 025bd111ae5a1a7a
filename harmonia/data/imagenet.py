"""Names of the 1,000 ImageNet classes, from timm."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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
    return tuple(_timms("imagenet_synsets.txt"))


@cache
def _descriptions() -> dict[str, str]:
    described = dict(line.split("\t") for line in _timms("imagenet_synset_to_lemma.txt"))
    return {wnid: described[wnid].split(",")[0] for wnid in wnids()}


def _timms(name: str) -> list[str]:
    """Lines of a file that timm brings, read in place: timm takes seconds to import, and a report needs no torch."""
    timm: Any = find_spec("timm")  # which harmonia depends on
    return Path(timm.origin).with_name("data").joinpath("_info", name).read_text(encoding="utf-8").splitlines()
