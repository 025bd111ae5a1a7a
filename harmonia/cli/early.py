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
from importlib import import_module
from importlib.util import find_spec
from types import FrameType, ModuleType, new_class
from typing import Any

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


class _Name(type):
    """A name of a module that is imported once the name is used: called, asked for what it has or is, or inherited."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
        if not bases:
            return super().__new__(cls, name, bases, body)
        real = (base._itself() if isinstance(base, _Name) else base for base in bases)
        return new_class(name, tuple(real), exec_body=lambda own: own.update(body))

    def __call__(cls, *values: Any, **named: Any) -> Any:
        return cls._itself()(*values, **named)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls._itself(), name)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, cls._itself())

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls._itself())

    def _itself(cls) -> Any:
        if isinstance(sys.modules.get(cls.__module__), _Later):  # used while it still stands for the module
            del sys.modules[cls.__module__]
        return getattr(import_module(cls.__module__), cls.__name__)


class _Later(ModuleType):
    """Stands for a module of which others take names that they may never use."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Name(name, (), {"__module__": self.__name__})


# timm's training programs take names of the first, torchmetrics' measures of texts and of sounds of the others
_LATER = "wandb", "transformers", "scipy.signal"


def import_libraries() -> None:
    """timm and torchmetrics, without what they import for others than us: one to two seconds of a processor.

    Whoever uses those parts of them in this process imports it then. Left out is torchmetrics' patch of scipy.signal,
    which gives an old name back to SRMRpy, a measure of sounds.
    """
    for name in _LATER:
        if name not in sys.modules and (spec := find_spec(name)):
            sys.modules.setdefault(name, _Later(name)).__spec__ = spec
    try:
        import timm  # noqa: F401
        import torchmetrics  # noqa: F401
    finally:
        for name in _LATER:
            if isinstance(sys.modules.get(name), _Later):
                del sys.modules[name]


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
