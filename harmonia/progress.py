"""Bars of running work: on stderr if that is a terminal, or in a notebook's cell, which they leave when done."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from html import escape
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn

_SHOWN_BY: ContextVar[Callable[..., Any] | None] = ContextVar("_SHOWN_BY", default=None)
_EVERY_S = 0.2  # a notebook draws its bar anew


def progress_of(*columns: ProgressColumn) -> Progress:
    """The columns are a terminal's; a notebook shows title and share done, and needs no ipywidgets."""
    # on stderr: stdout belongs to results
    console = Console(stderr=True, force_jupyter=False)
    display = _notebook_display()
    if display is not None:
        return _InNotebook(display, console)
    return Progress(*columns, console=console, disable=not console.is_terminal)


@contextmanager
def shown_by(show: Callable[[str], Any]) -> Iterator[None]:
    """In the block, bars of this thread are given to a function, as HTML; without a bar it is empty."""

    class Page:
        def __call__(self, bundle: dict[str, str], **options: Any) -> "Page":
            return self

        def update(self, bundle: dict[str, str], **options: Any) -> None:
            show(bundle["text/html"])

    token = _SHOWN_BY.set(Page())
    try:
        yield
    finally:
        _SHOWN_BY.reset(token)


def _notebook_display() -> Callable[..., Any] | None:
    """Where a notebook or a page shows bars: IPython's function, if its kernel serves a notebook."""
    if (page := _SHOWN_BY.get()) is not None:
        return page
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if getattr(shell, "kernel", None) is None:
        return None
    from IPython.display import display  # pyright: ignore[reportMissingImports]

    return display


class _InNotebook(Progress):
    def __init__(self, display: Callable[..., Any], console: Console):
        super().__init__(console=console, auto_refresh=False)
        self._display = display
        self._drawn = 0.0
        self._shown: Any = None

    def start(self) -> None:
        self._shown = self._display(*self._bundle(""), raw=True, display_id=True)

    def stop(self) -> None:
        self._shown.update(*self._bundle(""), raw=True)

    def refresh(self) -> None:
        if self._shown is not None and time.monotonic() - self._drawn > _EVERY_S:
            self._drawn = time.monotonic()
            bars = (
                f'<progress value="{task.completed:g}" max="{task.total or 0:g}"></progress> '
                f"{escape(task.description)} {task.completed:.0f}/{task.total or 0:.0f}"
                for task in self.tasks
            )
            self._shown.update(*self._bundle("<br>".join(bars)), raw=True)

    def advance(self, task_id: Any, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self.refresh()

    def update(self, task_id: Any, **changes: Any) -> None:
        super().update(task_id, **changes)
        self.refresh()

    @staticmethod
    def _bundle(shown: str) -> list[dict[str, str]]:
        return [{"text/plain": "", "text/html": shown}]
