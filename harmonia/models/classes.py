"""Names of a network's classes."""

from harmonia.data.imagenet import wnids
from harmonia.data.text import read_names
from harmonia.errors import InputError, home
from harmonia.models.contract import Built
from harmonia.models.spec import ModelSpec


def class_names(spec: ModelSpec, built: Built) -> tuple[str, ...]:
    """In the order of the outputs: those of the spec's file, else those that came with the weights, else ImageNet's."""
    count = built.num_classes
    if spec.classes is None:
        if built.classes is not None:
            return built.classes
        if count != 1000:
            raise InputError(
                f"{spec.name}: its {count} classes need names; give classes=FILE with one class name a line, "
                "in the order of the model's outputs"
            )
        return wnids()
    names = class_file(spec)
    if (got := len(names)) != count:
        raise InputError(f"{spec.name}: {spec.classes} must name the weights' {count} classes, got {got}; edit it")
    return names


def class_file(spec: ModelSpec) -> tuple[str, ...]:
    path = home(str(spec.classes))
    names = read_names(path, f"{spec.name}: class file", "classes")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{spec.name}: class names must differ, {path} has {twice!r} twice; rename one")
    return names
