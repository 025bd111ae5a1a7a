"""Progress bars: on stderr of a terminal; in a notebook in the cell, which is empty when the work is done."""

import io
import sys
from types import SimpleNamespace

import pytest
from rich.progress import BarColumn, TextColumn

from harmonia import progress
from harmonia.job import completion


class Cell:
    """What a notebook's display has shown."""

    def __init__(self):
        self.shown = []

    def __call__(self, bundle, raw, display_id):
        self.update(bundle, raw)
        return self

    def update(self, bundle, raw):
        assert raw
        self.shown.append(bundle["text/html"])


def test_a_notebook_shows_a_bar_and_keeps_nothing_of_it(monkeypatch):
    cell = Cell()
    monkeypatch.setattr(progress, "_notebook_display", lambda: cell)
    monkeypatch.setattr(progress, "_EVERY_S", -1)
    with progress.progress_of(BarColumn()) as bar:
        task = bar.add_task("gc maps of <b>", total=4)
        bar.advance(task, 3)
    assert cell.shown[0] == cell.shown[-1] == ""
    assert '<progress value="3" max="4"></progress> gc maps of &lt;b&gt; 3/4' in cell.shown


def test_a_log_without_a_bar_tells_how_far_a_stage_is(monkeypatch, caplog):
    monkeypatch.setattr(completion, "_SAID_EVERY_S", -1)
    caplog.set_level("INFO")
    with completion.progress_bar("gc maps", 4) as advance:
        advance(1.5)
    assert "gc maps: 1.5 of 4 images after 0 s" in caplog.messages


@pytest.mark.parametrize("shell", [None, SimpleNamespace(kernel=None), SimpleNamespace()])
def test_without_a_notebooks_kernel_it_is_a_terminals(monkeypatch, shell):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    for forced, shown in (("1", True), ("", False)):  # no bar in a pipe
        stderr = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stderr)
        monkeypatch.setenv("FORCE_COLOR", forced)
        with progress.progress_of(TextColumn("{task.description}")) as bar:
            bar.advance(bar.add_task("maps", total=1))
        assert ("maps" in stderr.getvalue()) is shown
