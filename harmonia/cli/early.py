"""Ctrl-C, SIGTERM and SIGHUP while a command imports its modules, which takes seconds: one line, exit code 130."""

import os
import signal
from types import FrameType


def ending_signals() -> list[signal.Signals]:
    """SIGHUP, too: a terminal that closes; where nohup has it ignored, it stays so."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM] + [signal.SIGHUP] * (not ignored)


def answer_signals() -> None:
    """From now on, until the command itself answers them; for a process that has nothing to lose yet."""
    for number in ending_signals():
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"harmonia: interrupted\n")
    os._exit(130)
