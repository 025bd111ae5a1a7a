"""Names of a network's classes."""

from pathlib import Path
from typing import Any

from harmonia.data.imagenet import wnids
from harmonia.data.text import composed, read_names
from harmonia.errors import InputError, home
from harmonia.media import visible
from harmonia.models.contract import Built
from harmonia.models.spec import ModelSpec


def class_names(spec: ModelSpec, built: Built) -> tuple[str, ...]:
    """In the order of the outputs: those of the spec, else those that came with the weights, else ImageNet's.

    What came with the weights is believed where it names as many as there are outputs.
    """
    count = built.num_classes
    known = built.classes if len(built.classes or ()) == count else None
    names = known if spec.classes is None else given_classes(spec)
    if names is None:
        if count == 1000:
            return wnids()
        raise InputError(
            f"{spec.name}: its {count} classes need names; give source.classes=FILE or target.NAME.classes=FILE, one "
            "class name a line in the order of the model's outputs (in Python classes=NAMES)"
        )
    if (got := len(names)) != count:
        named = spec.classes if isinstance(spec.classes, str | Path) else "classes"
        raise InputError(f"{spec.name}: {named} must name the weights' {count} classes, got {got}; edit it")
    return _different(names, spec.name, "classes")


def given_classes(spec: ModelSpec) -> tuple[str, ...]:
    """Those of the spec's list or file."""
    if isinstance(spec.classes, tuple):
        return _different(tuple(map(composed, spec.classes)), spec.name, "classes")
    path = home(str(spec.classes))
    return _different(read_names(path, f"{spec.name}: class file", "classes"), spec.name, str(path))


def _different(names: tuple[str, ...], of: str, where: str) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{of}: class names must differ, {where} has {twice!r} twice; rename one")
    return names


def names_in_order(value: Any) -> tuple[str, ...] | None:
    """Different names that are seen whole, from a list or a mapping between names and 0, 1, ...; else None."""
    if isinstance(value, dict):
        pairs = [(index, word) if isinstance(word, str) else (word, index) for index, word in value.items()]
        by_index = {index: word for index, word in pairs if type(index) is int}
        if len(by_index) < len(value) or sorted(by_index) != list(range(len(value))):
            return None
        value = [by_index[index] for index in range(len(value))]
    if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
        return None
    names = tuple(word.strip() for word in value)
    believed = names and all(names) and len(set(names)) == len(names) and all(visible(word) == word for word in names)
    return names if believed else None
