"""KEY=VALUE words of the command lines that read finished jobs."""

import difflib
from collections.abc import Sequence

from harmonia.errors import InputError


def keyword_arguments(words: Sequence[str], known: Sequence[str], module: str) -> dict[str, str]:
    """The values by key; each key is one of the known ones, given once and not empty, and `run` is among them."""
    arguments: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in known:
            remedy = did_you_mean(key, known, module)
            raise InputError(f"argument must be one of {', '.join(known)}, got {key!r}; {remedy}")
        if not equals or not value:
            raise InputError(f"argument {key} must have a value, got {word!r}; write {key}=VALUE")
        if key in arguments:
            raise InputError(f"argument {key} must be given once, got {word!r} too; leave one out")
        arguments[key] = value
    if "run" not in arguments:
        raise InputError("argument run must be given, got none; write run=multirun_outputs/<...>")
    return arguments


def did_you_mean(given: str, known: Sequence[str], module: str) -> str:
    """A remedy: the known word that resembles the given one, or the help of a module."""
    close = difflib.get_close_matches(given, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"see python -m {module} --help"
