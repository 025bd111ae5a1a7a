"""What a command's process does before its work.

Ctrl-C, SIGTERM and SIGHUP while it imports its modules, which takes seconds, are one line and exit code 130. And
it keeps what it frees.
"""

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h
_ALLOCATORS_OWN = "MALLOC_", "GLIBC_TUNABLES"  # variables


def ending_signals() -> list[signal.Signals]:
    """SIGHUP, too: a terminal that closes; where nohup has it ignored, it stays so."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM] + [signal.SIGHUP] * (not ignored)


def answer_signals() -> None:
    """From now on, until the command itself answers them; for a process that has nothing to lose yet."""
    for number in ending_signals():
        signal.signal(number, _end)


@contextmanager
def importing() -> Iterator[None]:
    """Python's collector does not look through what is imported within, neither meanwhile nor later.

    The modules of torch and its like live to the end; each full look through them takes a quarter of a second.
    """
    gc.disable()
    try:
        yield
    finally:
        _freeze()
        gc.enable()


@cache
def _freeze() -> None:
    """Once: a later job would keep what the one before it has left. Counting what is frozen takes its time."""
    gc.freeze()


def import_timm() -> None:
    """timm without W&B's client, half a second to import, which only its own training programs ask for."""
    if "wandb" in sys.modules:
        return
    sys.modules["wandb"] = None  # type: ignore[assignment]  # Python then says that there is none
    try:
        import timm  # noqa: F401
    finally:
        del sys.modules["wandb"]


def keep_freed_memory() -> None:
    """What one pass frees is there for the next, in this process from here on: for a process of our own alone.

    glibc gives large blocks back to the system, which clears every page of them again for the next pass. Whoever has
    set up the allocator by the environment keeps that.
    """
    if any(name.startswith(_ALLOCATORS_OWN) for name in os.environ):
        return
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"harmonia: interrupted\n")
    os._exit(130)
