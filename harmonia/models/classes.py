"""Names of a network's classes."""

from harmonia.data.imagenet import wnids
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
    if not path.is_file():
        raise InputError(f"{spec.name}: class file {path} does not exist; give a text file with one class name a line")
    names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{spec.name}: class names must differ, {path} has {twice!r} twice; rename one")
    return names
