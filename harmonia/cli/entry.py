"""What the doors share: where conf/ lies, how signals and refusals leave Hydra, and words that Hydra would misread."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


def conf_folder() -> Path:
    """conf/ lies inside the package in a wheel and beside it in a checkout."""
    package = Path(__file__).parents[1]
    shipped = package / "conf"
    return shipped if (shipped / "config.yaml").is_file() else package.parent / "conf"


class Refused(BaseException):
    """Passes through Hydra unseen; its cause is for the user to mend."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM. Lightning ends the process on a KeyboardInterrupt and ignores SIGTERM; this passes through."""


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


def quote_true(words: list[str]) -> list[str]:
    """``label=true`` as Hydra must see it: bare, it reads a boolean, which is no option's name."""
    bare = re.compile(r"(?<=[=,\[])true(?=[,\]]|$)")
    return [bare.sub("'true'", word) if word.startswith("label=") else word for word in words]


def sweep_first(words: list[str]) -> list[str]:
    """-m before the overrides: between two of them argparse would take the second for a mistake."""
    flags = [word for word in words if word in ("-m", "--multirun")]
    return [*flags, *(word for word in words if word not in flags)]
