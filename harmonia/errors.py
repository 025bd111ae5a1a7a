"""The one exception for what a user can mend, and words for it."""

import difflib
import math
from collections.abc import Sequence


class InputError(ValueError):
    """A bad configuration, image, label, weights file, map store or results folder.

    The message is one line naming the subject, the rule, the value and the remedy. The command
    line prints it without a traceback and exits with code 2.
    """


def did_you_mean(given: str, known: Sequence[str], module: str) -> str:
    """A remedy: the known word that resembles the given one, or the help of a module."""
    close = difflib.get_close_matches(given, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"see python -m {module} --help"


def at_least(group: str, least: float, **options: float | None) -> None:
    """Refuses the first option that is below the least it can be, or infinite; None is no number."""
    for key, value in ((f"{group}{name}", value) for name, value in options.items()):
        if value is not None and not least <= value < math.inf:
            finite = "" if math.isfinite(value) else "finite and "
            raise InputError(f"{key} must be {finite}at least {least}, got {value}; write {key}={least}")


def one_line(error: BaseException) -> str:
    """What another library's error says, in one line; its name where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
