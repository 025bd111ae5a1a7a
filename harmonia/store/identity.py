"""What a configured object is, for the key of what it computes."""

import dataclasses
import functools
from typing import Any


def fingerprint(value: Any) -> Any:
    """JSON-able: a dataclass by its class's name and version and by its fields; a function with bound options likewise.

    Where the class lives is left out: code may move, and what it computed stays found (ADR 11). So are fields that do
    not tell two apart (compare=False), and options that came later (metadata later=True) while they are at their
    default: what was computed before them stays found.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        compared = [field for field in dataclasses.fields(value) if field.compare]
        options = {field.name: getattr(value, field.name) for field in compared}
        tell = [each.name for each in compared if not each.metadata.get("later") or options[each.name] != each.default]
        fields = {name: fingerprint(options[name]) for name in tell}
        return {"class": kind.__name__, "version": getattr(kind, "version", 0), **fields}
    if isinstance(value, functools.partial):
        version = {"version": value.func.version} if hasattr(value.func, "version") else {}
        bound = {name: fingerprint(option) for name, option in value.keywords.items()}
        return {"function": value.func.__name__, **version, **bound}
    if isinstance(value, list | tuple):
        return [fingerprint(item) for item in value]
    return value
