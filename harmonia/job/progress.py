"""One line per stage in the terminal: what, how far, how fast, how long still."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from harmonia.media import visible

log = logging.getLogger(__name__)


class Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} images/s" if speed else "– images/s")


class ProgressBar:
    """Of a running stage; ``advance`` may be given fractions of an image."""

    def __init__(self, progress: Progress, task):
        self._progress, self._task = progress, task

    def advance(self, images: float) -> None:
        self._progress.advance(self._task, images)


@contextmanager
def progress_bar(title: str, images: int) -> Iterator[ProgressBar]:
    """A progress bar over so many images, and a line in the log at the end."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        Rate(),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    with Progress(*columns) as progress:
        yield ProgressBar(progress, progress.add_task(visible(title), total=images))
    seconds = time.monotonic() - started
    log.info("%s: %d images in %.1f s (%.1f images/s)", title, images, seconds, images / max(seconds, 1e-9))
