"""The one exception for what a user can mend, ranges of numbers, and words for both."""

import difflib
import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from harmonia.media import visible

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)  # a write that fails so names no file


class InputError(ValueError):
    """A bad configuration, image, label, weights file, map store or results folder.

    The message is one line naming the subject, the rule, the value and the remedy. The command
    line prints it without a traceback and exits with code 2. What it names acts on no terminal, notebook or log.
    """

    def __str__(self) -> str:
        return visible(re.sub(r"\s*\n\s*", " ", super().__str__()))


def did_you_mean(given: str, known: Sequence[str], module: str) -> str:
    """A remedy: the known word that resembles the given one, or the help of a module."""
    close = difflib.get_close_matches(given, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"see python -m {module} --help"


@dataclass(frozen=True)
class Within:
    """In Annotated: the least and the most that a number, or each of a list, may be."""

    least: float
    most: float
    fallback: float | None = None  # what to write instead, where no default fits; None: the bound

    def check(self, key: str, value: Any, usual: Any = None, in_list: bool = False) -> None:
        """Refuses a number outside; what is no number passes. usual: its default, which is written if it fits."""
        if isinstance(value, int | float) and not self.least <= value <= self.most:
            side, bound = ("most", self.most) if value > self.most else ("least", self.least)
            fits = isinstance(usual, int | float) and self.least <= usual <= self.most
            number = usual if fits else bound if self.fallback is None else self.fallback
            remedy = f"{number} in its place" if in_list else f"{key}={number}"
            raise InputError(f"{key} must be at {side} {bound}, got {value}; write {remedy}")


Seed = Annotated[int, Within(0, 2**64 - 1)]


def home(path: str | Path) -> Path:
    """With the home folder in place of a first ~ or ~NAME."""
    if "\0" in str(path):
        raise InputError(f"{path}: a path must be one of files, got a NUL in it; write another")
    if str(expanded := Path(os.path.expanduser(path))).startswith("~"):
        raise InputError(f"{path}: ~ must be a user's home folder, got none of that name; write the whole path")
    return expanded


@contextmanager
def refused(rule: str, remedy: str, *kinds: type[Exception]) -> Iterator[None]:
    """What fails in the block is one line of rule, reason and remedy; of these kinds alone, without any of all."""
    try:
        yield
    except InputError:
        raise
    except kinds or (Exception,) as error:  # noqa: B030
        reason = getattr(error, "strerror", None) or one_line(error)[:300]
        name = str(getattr(error, "filename", None) or "")
        raise InputError(f"{rule}: {reason}{'' if name in rule else f': {name}'}; {remedy}") from error


@contextmanager
def left_out(reasons: dict[str, str], what: str, *ending: type[Exception]) -> Iterator[None]:
    """Damage, even what nobody thought of, costs no more than what the block makes; errors that end it are given."""
    try:
        yield
    except ending:
        raise
    except Exception as error:
        line = f"unreadable: {type(error).__name__}: {one_line(error)}; run the job again"
        reasons[what] = str(error) if isinstance(error, InputError) else line


def one_line(error: BaseException) -> str:
    """What another library's error says, in one line; its name where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
