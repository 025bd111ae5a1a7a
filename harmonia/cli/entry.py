"""What the command lines share: exit codes, one line of refusal, signals, conf/, and words that Hydra would misread."""

import argparse
import io
import logging
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from harmonia.cli.early import ending_signals
from harmonia.errors import InputError, did_you_mean, home, one_line
from harmonia.media import LogLine, visible


def conf_folder() -> Path:
    """conf/ lies inside the package in a wheel and beside it in a checkout."""
    package = Path(__file__).parents[1]
    shipped = package / "conf"
    return shipped if (shipped / "config.yaml").is_file() else package.parent / "conf"


class Refused(BaseException):
    """Passes through Hydra unseen; its cause is for the user to mend."""


class Interrupted(BaseException):
    """Ctrl-C, SIGTERM or SIGHUP, and the line to say, if any. It passes through Lightning, which ends the process on a
    KeyboardInterrupt and ignores SIGTERM.
    """


class Parser(argparse.ArgumentParser):
    """argparse's, with a refusal of one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"the words of the command line must be as in its help, got {message}; see --help")


def exit_code(
    work: Callable[[], int], refusal: Callable[[BaseException], str | None], interrupted: str = "interrupted"
) -> int:
    """What a command line ends with: the work's own code, 2: refused in one line, also by an output that
    takes no more, 130: interrupted.

    141: nobody reads the output any more, as after `| head`. refusal: the line for what the user can mend, None for
    anything else, which is raised.
    """
    _prepare_output()
    line = None
    try:
        with interruptible():
            code = work()
    except (KeyboardInterrupt, Interrupted) as error:
        line, code = str(error) or interrupted, 130
    except (Exception, Refused) as error:
        line, code = refusal(error), 2
        if line is None:
            _unwritten()
            raise
    if unwritten := _unwritten():
        if isinstance(unwritten, BrokenPipeError):
            code = code or 141
        elif line is None:
            line = f"what is printed must have a place, got {unwritten.strerror}; free space, or send it elsewhere"
            code = code or 2
    if line is not None:
        with suppress(OSError):  # nobody is told
            print(visible(f"harmonia: {line}"), file=sys.stderr)
    return code


class _Output(io.TextIOWrapper):
    """An output that lets the work go on when it takes no more, and keeps the reason."""

    unwritten: OSError | None = None
    replaced: io.TextIOWrapper | None = None

    def write(self, text: str, /) -> int:
        with self._kept():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._kept():
            super().flush()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.unwritten = self.unwritten or error


def _prepare_output() -> None:
    """Whatever the output is, nothing that is written there ends a command by itself."""
    while (hole := os.open(os.devnull, os.O_RDONLY)) <= 2:  # closed, as by >&-: no file of ours may take its number
        pass
    os.close(hole)
    if sys.stdout is None:
        sys.stdout = _Output(os.fdopen(os.open(os.devnull, os.O_RDONLY), "wb"), "utf-8")  # whoever prints is told
    elif type(output := sys.stdout) is io.TextIOWrapper:  # no notebook's
        sys.stdout = _Output(output.buffer, output.encoding, "backslashreplace", None, output.line_buffering)
        sys.stdout.replaced = output  # which would close the buffer when it goes
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    elif isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")  # of an alphabet that lacks a name's letters
    logging.raiseExceptions = False  # a line that cannot be written has no traceback
    if logging.lastResort is not None:  # where nobody has configured logging, harmonia's lines go through it
        logging.lastResort.setFormatter(LogLine())
    warnings.formatwarning = lambda message, *_, **__: f"harmonia: {visible(' '.join(str(message).split()))}\n"


def _unwritten() -> OSError | None:
    """Why the output has taken no more; what still waits for it is dropped."""
    sys.stdout.flush()
    if not isinstance(sys.stdout, _Output) or (error := sys.stdout.unwritten) is None:
        return None
    # Python would complain once more when it ends
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.stdout.unwritten = None
    return error


def input_error(error: BaseException) -> str | None:
    return one_line(error) if isinstance(error, InputError) else None


def keyword_command(
    work: Callable[[dict[str, str]], int],
    words: Sequence[str] | None,
    usage: str,
    keys: Sequence[str],
    module: str,
    needed: Sequence[str] = ("run",),
) -> int:
    """The exit code of a command line of KEY=VALUE words, which the work is given; usage is what --help prints."""
    words = sys.argv[1:] if words is None else words

    def answer() -> int:
        if {"-h", "--help"} & set(words):
            print(usage, end="")
            return 0
        return work(keyword_arguments(words, keys, module, needed))

    return exit_code(answer, input_error)


def keyword_arguments(
    words: Sequence[str], keys: Sequence[str], module: str, needed: Sequence[str] = ("run",)
) -> dict[str, str]:
    """The values by key; each key is one of keys, given once and not empty; those needed are there."""
    arguments: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in keys:
            remedy = did_you_mean(key, keys, module)
            raise InputError(f"argument must be one of {', '.join(keys)}, got {key!r}; {remedy}")
        if not equals or not value:
            raise InputError(f"argument {key} must have a value, got {word!r}; write {key}=VALUE")
        if key in arguments:
            raise InputError(f"argument {key} must be given once, got {word!r} too; leave one out")
        arguments[key] = str(home(value)) if value.startswith("~") else value
    if lacking := [key for key in needed if key not in arguments]:
        key = lacking[0]
        raise InputError(f"argument {key} must be given, got none; write {key}=multirun_outputs/<...>")
    return arguments


@contextmanager
def interruptible() -> Iterator[None]:
    """Its signals raise Interrupted in the main thread; the handlers found are put back."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    before = {number: signal.signal(number, interrupt) for number in ending_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def as_interrupt() -> Iterator[None]:
    """For a notebook: an interrupt passes through Lightning, which would end the process, and comes out as Python's."""
    try:
        with interruptible() if threading.current_thread() is threading.main_thread() else nullcontext():
            yield
    except Interrupted:
        raise KeyboardInterrupt from None


def hydra_words(words: Iterable[str]) -> list[str]:
    """Words as Hydra must see them.

    ``KEY=~/FOLDER`` with the home folder's path: a shell leaves it as it is, and Hydra's grammar has no ~ there.
    ``label=true`` quoted: bare, it is a boolean, which is no option's name.
    """
    home = os.path.expanduser("~").replace("\\", "\\\\")
    words = [re.sub(r"(?<=[=,\[])~(?=[/,\]]|$)", home, word) for word in words]
    true = re.compile(r"(?<=[=,\[])true(?=[,\]]|$)")
    return [true.sub("'true'", word) if word.startswith("label=") else word for word in words]
