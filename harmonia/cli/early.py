"""Ctrl-C and SIGTERM while a command imports its modules, which takes seconds: one line, exit code 130."""

import os
import signal
from types import FrameType


def answer_signals() -> None:
    """From now on, until the command itself answers them; for a process that has nothing to lose yet."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"harmonia: interrupted\n")
    os._exit(130)
