"""The same names for the classes of a data set and of its models."""

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from harmonia.data.imagenet import readable
from harmonia.data.manifest import ImageRecord, ImageSet
from harmonia.errors import InputError
from harmonia.models.classifier import Classifier

log = logging.getLogger(__name__)

_INDEXED = re.compile(r"(\d+)[\s,;:]+(.+)")  # 0 cat; 0,cat


def settle_classes(images: ImageSet, source: Classifier, targets: Iterable[Classifier]) -> ImageSet:
    """The images, with classes as the models name them; the models take the data set's names where they mean the same.

    Says what no model knows and which names are ImageNet indices. A data set of which a target knows no class would
    score 0 without a word: InputError.
    """
    targets = list(targets)
    models = list(dict.fromkeys((*targets, source)))
    records = (*images.records, *images.pool)
    names = {name for record in records for name in (record.class_name, record.given) if name}
    for model in models:
        model.name_classes(plain_names(model.classes, names))
    images = images.in_words_of({name for model in models for name in model.classes})
    _say_indices(images)
    for model in models:
        _check_classes(images, model, model in targets)
    return images


def warn_of_nameless(pool: Sequence[ImageRecord], source: Classifier) -> None:
    """Says how many replacement images may show any class of the source's."""
    nameless = sum(source.class_index(record.class_name or "") is None for record in pool)
    if nameless:
        log.warning(
            "%d of %d replacement images have none of the source's classes: they may show the explained one",
            nameless,
            len(pool),
        )


def plain_names(classes: Sequence[str], asked: Collection[str]) -> tuple[str, ...]:
    """A model's classes, those of the names asked for in their spelling: without the index before each, a comma
    behind each, in other case.

    Only where one meaning is left: an index must be the line's place in all lines, from 0 or from 1, and two names that
    differ in case alone stay two.

    >>> plain_names(["0 Cat", "1 dog"], {"cat", "dog"})
    ('cat', 'dog')
    """
    folded = {name.casefold() for name in asked}
    known = tuple(classes)
    for reading in (known, _without_commas(known), _without_indices(known)):
        if len(set(reading)) == len(reading) and not folded.isdisjoint(name.casefold() for name in reading):
            known = reading
            break
    missing = set(asked) - set(known)
    wanted = Counter(name.casefold() for name in missing)
    there = Counter(name.casefold() for name in known if name not in asked)
    alike = {name.casefold(): name for name in missing if wanted[name.casefold()] == there[name.casefold()] == 1}
    return tuple(name if name in asked else alike.get(name.casefold(), name) for name in known)


def _without_commas(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name[:-1].rstrip() for name in names) if all(name[-1:] == "," for name in names) else ()


def _without_indices(names: Sequence[str]) -> tuple[str, ...]:
    parts = [_INDEXED.fullmatch(name) for name in _without_commas(names) or names]
    places = [int(part[1]) for part in parts if part]
    plain = places in (list(range(len(names))), list(range(1, len(names) + 1)))
    return tuple(part[2].strip() for part in parts if part) if plain else ()


def _say_indices(images: ImageSet) -> None:
    """A folder 0 may be a tench or a digit."""
    read = {record.given: record.class_name or "" for record in images.records if record.given.isdecimal()}
    indices = {given: wnid for given, wnid in sorted(read.items()) if given != wnid}
    for first, wnid in list(indices.items())[:1]:
        log.info(
            "%s: %d class names are read as ImageNet indices, %r as %s (%s); a classes file that has them goes first",
            images.name,
            len(indices),
            first,
            wnid,
            readable(wnid),
        )


def _check_classes(images: ImageSet, model: Classifier, asked: bool) -> None:
    """Says which classes a model lacks; it must know one of them where it is asked for its answers."""
    unknown = [name for name in images.class_names if model.class_index(name) is None]
    if unknown and len(unknown) == len(images.class_names) and asked:
        given = sorted({one.given or one.class_name or "" for one in images.records})
        raise InputError(
            f"data: {model.name} knows no class of {images.name}; the data set has {_few(given)}, "
            f"{model.name} {_few(model.classes)}; name the classes by WordNet id or ImageNet index, give "
            f"data.class_map=FILE, or name those of {model.name} by source.classes=FILE or target.NAME.classes=FILE"
        )
    if unknown:
        log.warning("%s lacks %d classes of %s, first %r", model.name, len(unknown), images.name, unknown[0])


def _few(names: Sequence[str]) -> str:
    more = [f"{len(names) - 3} more"] if len(names) > 3 else []
    return ", ".join([*(repr(name) for name in names[:3]), *more])
