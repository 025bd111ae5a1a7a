"""From a group of the configuration to its object; every option is first held against its target's signature."""

import difflib
import inspect
import math
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, is_typeddict

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate

from harmonia.errors import InputError

_NULL = type(None)
_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    Path: "a file or folder path",
}
_PLURALS = {int: "whole numbers", float: "numbers", str: "texts", bool: "true or false", Path: "file or folder paths"}
_LISTS = (list, tuple, Sequence)

_GROUPS = ("source", "method", "data", "label", "fill", "evaluation", "trainer")
# keys that the pipeline reads itself: their types, and the least number
_ROOT: dict[str, tuple[Any, int | None]] = {
    "seed": (int, 0),
    "batch_size": (Literal["auto"] | int, 1),
    "num_threads": (int | None, 1),
    "unreadable": (str, None),
    "crop_pct": (float | None, None),
    "layer": (str, None),
    "smooth.k": (int | None, 1),
    "smooth.padding": (Literal["reflect", "zero", "replicate"], None),
    "paths.cache": (str, None),
    "paths.job": (str, None),
    "paths.weights": (str | None, None),
    "store.shard_size": (int, 1),
    "store.spool_gb": (float, 0),
    "tracking.panel_images": (int, 0),
    "method.name": (str, None),
    "data.name": (str, None),
    "label.name": (str, None),
    "fill.name": (str, None),
    "evaluation.name": (str, None),
    "trainer.precision": (Any, None),
}


def build(group: str, options: Mapping[str, Any] | None, **objects: Any) -> Any:
    """The object that a group's options describe; what its constructor raises comes as it was raised.

    objects are further arguments, which no configuration can hold.
    """
    return _bound(_checked(group, options, keywords_only=False))(**objects)


def build_function(group: str, options: Mapping[str, Any] | None) -> Callable[..., Any]:
    """The function that a group names, its keyword-only parameters bound to the options."""
    return _bound(_checked(group, options, keywords_only=True))


def check(group: str, signature_of: Callable[..., Any], options: Mapping[str, Any] | None) -> None:
    """Every option must be a parameter of signature_of and fit its annotation; annotations unknown here fit all."""
    _check(group, signature_of, _mapping(group, options), keywords_only=False)


def check_root(settings: Mapping[str, Any]) -> None:
    """The keys outside the groups, and that every group has an option."""
    for group in _GROUPS:
        _mapping(group, settings.get(group))
    if not settings.get("target"):
        raise InputError("target must name at least one model, got none; add target=[self]")
    for name, model in _mapping("target", settings["target"]).items():
        _mapping(f"target.{name}", model)
    for key, (annotation, least) in _ROOT.items():
        value: Any = settings
        for part in key.split("."):
            if not isinstance(value, Mapping) or part not in value:
                raise InputError(f"{key} must be given, got none; keep the key that conf/ has")
            value = value[part]
        _check_value(key, annotation, value)
        if least is not None and isinstance(value, int | float) and not least <= value < math.inf:
            finite = "finite and " if value == math.inf else ""
            raise InputError(f"{key} must be {finite}at least {least}, got {value}")


def _mapping(group: str, options: Any) -> Mapping[str, Any]:
    if not isinstance(options, Mapping):
        raise InputError(f"{group} must be one of its options, got {_shown(options)}; --help lists them")
    return options


def _checked(group: str, options: Mapping[str, Any] | None, keywords_only: bool) -> dict[str, Any]:
    # the name is for tables and tags
    given = {key: value for key, value in _mapping(group, options).items() if key != "name"}
    _check(group, _locate(group, given), given, keywords_only)
    return given


def _bound(options: dict[str, Any]) -> Callable[..., Any]:
    """The target with its options, nested objects made; not called: Hydra would wrap what it raises."""
    try:
        return instantiate(options, _convert_="all", _partial_=True)
    except InstantiationException as error:
        cause: BaseException = error
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__
    # outside the handler, which would make Hydra's wrapping the context of what it wraps
    raise cause


def _locate(group: str, options: Mapping[str, Any]) -> Callable[..., Any]:
    """The class or function that _target_ names; a module that exists and does not import is a defect."""
    path = options.get("_target_")
    if not isinstance(path, str):
        raise InputError(f"{group}._target_ must name a class or a function, got {_shown(path)}")
    try:
        found = get_object(path)
    except (ImportError, ValueError) as error:
        if error.__cause__ is not None and not isinstance(error.__cause__, ModuleNotFoundError | AttributeError):
            raise
        raise InputError(
            f"{group}._target_ must name an importable class or function, got {path!r} ({error})"
        ) from error
    if not callable(found):
        raise InputError(f"{group}._target_ must name a class or a function, got {path!r}, a {type(found).__name__}")
    return found


def _check(group: str, target: Callable[..., Any], options: Mapping[str, Any], keywords_only: bool) -> None:
    parameters = _parameters(target)
    if parameters is None:
        return
    kinds = {parameter.kind for parameter in parameters}
    named = {
        parameter.name: parameter
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY
        or (parameter.kind is parameter.POSITIONAL_OR_KEYWORD and not keywords_only)
    }
    for name, value in options.items():
        if name.startswith("_") and name.endswith("_"):  # Hydra's own: _target_, _args_
            continue
        if name in named:
            _check_value(f"{group}.{name}", named[name].annotation, value)
        elif inspect.Parameter.VAR_KEYWORD not in kinds:
            near = difflib.get_close_matches(name, named, n=1)
            remedy = f"did you mean {group}.{near[0]}?" if near else "--cfg job prints the ones it has"
            raise InputError(f"{group} has no option {name!r}; {remedy}")
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in options and "_args_" not in options:
            raise InputError(f"{group}.{name} must be given, it has no default; add {group}.{name}=VALUE")


def _parameters(target: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """None where Python keeps no signature; annotations that cannot be evaluated stay strings."""
    try:
        return list(inspect.signature(target, eval_str=True).parameters.values())
    except (NameError, AttributeError, TypeError, ValueError, SyntaxError):
        pass
    try:
        return list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return None


def _check_value(key: str, annotation: Any, value: Any) -> None:
    nested = value if isinstance(value, list | tuple) else [value]
    for one in nested:
        if _is_object(one):
            _check(key, _locate(key, one), one, keywords_only=False)
    if not _fits(annotation, value):
        expected = _in_words(annotation)
        raise InputError(f"{key} must be {expected}, got {_shown(value)}{_remedy(key, annotation, value)}")


def _is_object(value: Any) -> bool:
    """Whether Hydra makes an object of it."""
    return isinstance(value, Mapping) and "_target_" in value


def _fits(annotation: Any, value: Any) -> bool:
    return any(_fits_one(member, value) for member in _members(annotation))


def _members(annotation: Any) -> Iterator[Any]:
    """The members of a union; everything else is its own."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    elif origin is Annotated:
        yield from _members(get_args(annotation)[0])
    else:
        yield _NULL if annotation is None else annotation


def _fits_one(annotation: Any, value: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(annotation))
    if origin in _LISTS:
        return _fits_list(annotation, value)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is Path:
        return isinstance(value, str | Path)
    if annotation in _LISTS:
        return isinstance(value, list | tuple)
    if _is_class(annotation):
        return isinstance(value, annotation) or _is_object(value)
    return True


def _fits_list(annotation: Any, value: Any) -> bool:
    if not isinstance(value, list | tuple):
        return False
    elements = get_args(annotation)
    if get_origin(annotation) is tuple and Ellipsis not in elements:
        return len(value) == len(elements) and all(map(_fits, elements, value))
    return all(_fits(elements[0], one) for one in value)


def _is_class(annotation: Any) -> bool:
    """Whether isinstance can tell; parameters without an annotation carry a class of inspect's own."""
    if not isinstance(annotation, type) or annotation in (inspect.Parameter.empty, Any):
        return False
    return not (is_typeddict(annotation) or getattr(annotation, "_is_protocol", False))


def _in_words(annotation: Any) -> str:
    members = list(_members(annotation))
    if Path in members and str in members:
        members.remove(str)
    if float in members and int in members:
        members.remove(int)
    choices = [str(choice) for member in members if get_origin(member) is Literal for choice in get_args(member)]
    choices = list(dict.fromkeys(choices))
    words = choices if len(choices) < 2 else [f"one of {', '.join(choices)}"]
    words += [_one_in_words(member) for member in members if get_origin(member) is not Literal and member is not _NULL]
    return " or ".join([*words, "null"] if _NULL in members else words)


def _one_in_words(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin in _LISTS or annotation in _LISTS:
        elements = [one for one in get_args(annotation) if one is not Ellipsis]
        number = f"{len(elements)} " if origin is tuple and Ellipsis not in get_args(annotation) else ""
        plural = _PLURALS.get(elements[0]) if len(set(elements)) == 1 else None
        return f"a list of {number}{plural or 'values'}"
    return _WORDS.get(annotation) or f"{getattr(annotation, '__name__', annotation)} (its _target_ and options)"


def _shown(value: Any) -> str:
    """As YAML has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def _remedy(key: str, annotation: Any, value: Any) -> str:
    members = list(_members(annotation))
    plain = isinstance(value, int | float)  # bool too: the command line read a word as a number or as true
    if plain and Path in members:
        return f"; write {key}=./{_shown(value)}"
    if plain and str in members and int not in members and float not in members:
        return f"""; write {key}="'{_shown(value)}'\""""
    if int in members and isinstance(value, float) and value.is_integer():
        return f"; write {key}={int(value)}"
    if any(get_origin(member) in _LISTS and _fits(member, [value]) for member in members):
        return f"; write {key}=[{value if isinstance(value, str) else _shown(value)}]"
    return ""
