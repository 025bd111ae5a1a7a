"""What the command lines share: exit codes, one line of refusal, signals, conf/, and words that Hydra would misread."""

import logging
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

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
    """Ctrl-C or SIGTERM. Lightning ends the process on a KeyboardInterrupt and ignores SIGTERM; this passes through."""


def exit_code(
    work: Callable[[], int], refusal: Callable[[BaseException], str | None], interrupted: str = "interrupted"
) -> int:
    """What a command line ends with: the work's own code, 2: refused in one line, 130: interrupted.

    141: nobody reads the output any more, as after `| head`. refusal: the line for what the user can mend, None for
    anything else, which is raised.
    """
    if logging.lastResort is not None:  # where nobody has configured logging, harmonia's lines go through it
        logging.lastResort.setFormatter(LogLine())
    try:
        with interruptible():
            code = work()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        if not poll.poll(0):  # the output has its reader: another pipe has broken, a defect
            raise
        # Python would complain once more when it closes the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (KeyboardInterrupt, Interrupted):
        line, code = interrupted, 130
    except (Exception, Refused) as error:
        line, code = refusal(error), 2
        if line is None:
            raise
    print(visible(f"harmonia: {line}"), file=sys.stderr)
    return code


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
    """Both signals raise Interrupted in the main thread; the handlers found are put back."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
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
    ``label=true`` quoted: bare, it is a boolean, which is no option's name. -m before the overrides: between two of
    them argparse would take the second for a mistake.
    """
    home = os.path.expanduser("~").replace("\\", "\\\\")
    words = [re.sub(r"(?<=[=,\[])~(?=[/,\]]|$)", home, word) for word in words]
    true = re.compile(r"(?<=[=,\[])true(?=[,\]]|$)")
    words = [true.sub("'true'", word) if word.startswith("label=") else word for word in words]
    return sorted(words, key=lambda word: word not in ("-m", "--multirun"))
