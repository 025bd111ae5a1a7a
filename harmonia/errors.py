"""The one exception for what a user can mend, and words for it."""

import difflib
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


def one_line(error: BaseException) -> str:
    """What another library's error says, in one line; its name where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
