"""From a configuration to typed settings and objects; every value is held against the annotation of what takes it."""

import difflib
import inspect
import shlex
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, is_typeddict

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate

from harmonia.errors import InputError, Within

_NULL = type(None)
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "a file or folder path"}
_PLURALS = {int: "whole numbers", float: "numbers", str: "texts", bool: "true or false", Path: "file or folder paths"}
_FORMS = {int: "NUMBER", float: "NUMBER", str: "TEXT", bool: "true", Path: "PATH", _NULL: "null"}  # on the command line
_PLAIN = (str, bytes, bool, _NULL)  # classes, but what _target_ builds is none of them
_LISTS = (list, tuple, Sequence)
_SOME = Within(-(2**63), 2**64 - 1)  # where the annotation says no range

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """The chosen option of one group of conf/: what it builds, and its name in tables and tags."""

    key: str  # the group's, as on the command line
    name: str
    options: Mapping[str, Any]  # _target_ and its parameters

    def build(self, **objects: Any) -> Any:
        """What the options describe, with objects that no configuration can hold; its errors come as raised."""
        check(self.key, self.options)
        return _bound(self.options)(**objects)

    def function(self) -> Callable[..., Any]:
        """The function that the group names, its keyword-only parameters bound to the options."""
        check(self.key, self.options, keywords_only=True)
        return _bound(self.options)

    def with_options(self, **options: Any) -> "Group":
        return replace(self, options={**self.options, **options})


def read_settings(settings: type[T], values: Mapping[str, Any], key: str = "") -> T:
    """A dataclass of settings (of values, Groups, other such dataclasses, dicts of them) from a mapping at the key."""
    arguments = _arguments(key, settings, values, keywords_only=False)
    return settings(**{name: _typed(dotted(key, name), annotation, values[name]) for name, annotation, _ in arguments})


def _typed(key: str, annotation: Any, value: Any) -> Any:
    if get_origin(annotation) is dict and is_dataclass(entry := get_args(annotation)[1]):
        return {name: _typed(f"{key}.{name}", entry, options) for name, options in (value or {}).items()}
    if not is_dataclass(annotation):
        _check_value(key, annotation, value, None)
        return tuple(value) if isinstance(value, list) else value  # settings can be hashed
    if not isinstance(value, Mapping):
        raise InputError(f"{key} must be one of its options, got {_shown(value)}; --help lists them")
    if annotation is not Group:
        return read_settings(cast(type, annotation), value, key)
    _check_value(f"{key}.name", str, value.get("name"), None)
    return Group(key, value["name"], {name: option for name, option in value.items() if name != "name"})


def _bound(options: Mapping[str, Any]) -> Callable[..., Any]:
    """The target with its options, nested objects made; not called: Hydra would wrap what it raises."""
    try:
        return instantiate(dict(options), _convert_="all", _partial_=True)
    except InstantiationException as error:
        cause: BaseException = error
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__
    # outside the handler, which would make Hydra's wrapping the context of what it wraps
    raise cause


def import_target(group: str, options: Mapping[str, Any]) -> Callable[..., Any]:
    """The class or function that _target_ names; a module that exists and does not import is a defect."""
    path = options.get("_target_")
    if not isinstance(path, str):
        raise _no_target(group, _shown(path))
    try:
        target = get_object(path)
    except (ImportError, ValueError) as error:
        if error.__cause__ is not None and not isinstance(error.__cause__, ModuleNotFoundError | AttributeError):
            raise
        raise _no_target(group, f"{path!r} ({error})") from error
    if not callable(target):
        raise _no_target(group, f"{path!r}, a {type(target).__name__}")
    return target


def _no_target(group: str, got: str) -> InputError:
    return InputError(f"{group}._target_ must name a class or a function, got {got}; write package.module.NAME")


def check(key: str, options: Mapping[str, Any], keywords_only: bool = False) -> None:
    """Refuses options that their _target_ does not take."""
    for name, annotation, usual in _arguments(key, import_target(key, options), options, keywords_only):
        _check_value(dotted(key, name), annotation, options[name], usual)


def _arguments(
    key: str, target: Callable[..., Any], options: Mapping[str, Any], keywords_only: bool
) -> Iterator[tuple[str, Any, Any]]:
    """The options that are parameters, their annotations and defaults; none may be unknown, or lack without default."""
    parameters = _parameters(target)
    if parameters is None:
        return
    named = {
        parameter.name: parameter
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY
        or (parameter.kind is parameter.POSITIONAL_OR_KEYWORD and not keywords_only)
    }
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    for name in options:
        hydras = name.startswith("_") and name.endswith("_")  # _target_, _args_
        if not (name in named or takes_any or hydras):
            near = difflib.get_close_matches(name, named, n=1)
            remedy = f"did you mean {dotted(key, near[0])}?" if near else "--cfg job prints the ones it has"
            raise InputError(f"{key or 'the configuration'} has no option {name!r}; {remedy}")
    for name, parameter in named.items():
        if name in options:
            yield name, parameter.annotation, parameter.default
        elif parameter.default is parameter.empty and "_args_" not in options:
            option = dotted(key, name)
            raise InputError(f"{option} must be given, it has no default; add {option}=VALUE")


def dotted(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _parameters(target: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """None where Python keeps no signature; annotations that cannot be evaluated stay strings."""
    for eval_str in (True, False):
        with suppress(NameError, AttributeError, TypeError, ValueError, SyntaxError):
            return list(inspect.signature(target, eval_str=eval_str).parameters.values())
    return None


def _check_value(key: str, annotation: Any, value: Any, usual: Any) -> None:
    for item in value if isinstance(value, list | tuple) else [value]:
        if _is_object(item):
            check(key, item)
    if not _fits(annotation, value):
        expected, word = _in_words(annotation), f"{key}={_remedy(annotation, value)}"
        word = shlex.quote(word) if word.endswith("]") else word  # a shell would take it for a pattern
        raise InputError(f"{key} must be {expected}, got {_shown(value)}; write {word}")
    _check_range(key, annotation, value, usual)


def _check_range(
    key: str, annotation: Any, value: Any, usual: Any, limit: Within = _SOME, in_list: bool = False
) -> None:
    """Each number against the nearest range around its type; of a union that of the first member that it fits."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    limit = next((one for one in arguments if isinstance(one, Within)), limit)
    if origin in (Annotated, Union, types.UnionType):
        _check_range(key, next(member for member in arguments if _fits(member, value)), value, usual, limit, in_list)
    elif isinstance(value, list | tuple):
        for kind, item in zip(_kinds(annotation, value), value, strict=True):
            _check_range(key, kind, item, usual, limit, in_list=True)
    else:
        limit.check(key, value, usual, in_list)


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def _fits(annotation: Any, value: Any) -> bool:
    if Path in _members(annotation) and isinstance(value, str) and (not value or "\0" in value):
        return False
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
    if _is_list(annotation):
        kinds = _kinds(annotation, value) if isinstance(value, list | tuple) else None
        return kinds is not None and len(kinds) == len(value) and all(map(_fits, kinds, value))
    if annotation in (int, float):
        kind = int if annotation is int else int | float
        return isinstance(value, kind) and not isinstance(value, bool) and value == value  # NaN is not
    if annotation is Path:
        return isinstance(value, str | Path)
    if _is_class(annotation):
        return isinstance(value, annotation) or (_is_object(value) and annotation not in _PLAIN)
    return True


def _is_list(annotation: Any) -> bool:
    return (get_origin(annotation) or annotation) in _LISTS


def _kinds(annotation: Any, value: Sequence) -> tuple:
    """Annotations of a list's elements."""
    elements = get_args(annotation)
    fixed = get_origin(annotation) is tuple and Ellipsis not in elements
    return elements if fixed else (elements[:1] or (Any,)) * len(value)


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
    if _is_list(annotation):
        elements = [one for one in get_args(annotation) if one is not Ellipsis]
        number = f"{len(elements)} " if get_origin(annotation) is tuple and Ellipsis not in get_args(annotation) else ""
        plural = _PLURALS.get(elements[0]) if len(set(elements)) == 1 else None
        return f"a list of {number}{plural or 'values'}"
    return _WORDS.get(annotation) or f"{getattr(annotation, '__name__', annotation)} (its _target_ and options)"


def _shown(value: Any) -> str:
    """As YAML has it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _remedy(annotation: Any, value: Any) -> str:
    """What to write behind KEY=: the value where it only reads otherwise, else the form of the first kind that fits."""
    members = [member for member in _members(annotation) if member is not _NULL]
    plain = isinstance(value, int | float)  # bool too: the command line read a word as a number or as true
    if plain and Path in members:
        return f"./{_shown(value)}"
    if plain and str in members and int not in members and float not in members:
        return f"""\"'{_shown(value)}'\""""
    if int in members and isinstance(value, float) and value.is_integer():
        return str(int(value))
    if any(get_origin(member) in _LISTS and _fits(member, [value]) for member in members):
        return f"[{value if isinstance(value, str) else _shown(value)}]"
    kind = Path if Path in members else next(iter(members), _NULL)
    if get_origin(kind) is Literal:
        return str(get_args(kind)[0])
    return "[A,B]" if _is_list(kind) else _FORMS.get(kind, "{_target_:NAME}")
