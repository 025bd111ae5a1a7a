"""Panels of a W&B workspace, each of something that a job or a report has logged."""

from collections.abc import Sequence
from typing import Any

RUNS = 100  # of jobs, that a panel shows at most


class Panels:
    """Makes a workspace's panels of what its report has. wr: wandb_workspaces.reports.v2; tables, figures: stems."""

    def __init__(self, wr: Any, tables: Sequence[str], figures: Sequence[str]):
        self._wr = wr
        self._figures = figures
        self._tables = dict.fromkeys(tables)  # that no panel shows yet

    def tables(self, *stems: str) -> list[Any]:
        """Of these tables of the report, those that have no panel yet."""
        shown = [stem for stem in stems if stem in self._tables]
        for stem in shown:
            del self._tables[stem]
        return [self.logged_table(f"tables/{stem}") for stem in shown]

    def figures(self, *starts: str) -> list[Any]:
        """Of the report's figures whose stems begin so."""
        return [self.pictures(f"figures/{stem}", stem) for stem in self._figures if stem.startswith(starts)]

    def logged_table(self, name: str) -> Any:
        return self._wr.WeavePanelSummaryTable(table_name=name)

    def pictures(self, name: str, title: str = "") -> Any:
        return self._wr.MediaBrowser(title=title or name, media_keys=[name], num_columns=1)

    def bars(self, title: str, metric: str, axis: str) -> Any:
        return self._wr.BarPlot(title=title, metrics=[metric], title_x=axis, max_runs_to_show=RUNS)

    def curves(self, title: str, x: str, axis: str, y: Sequence[str]) -> Any:
        """Fractions over a metric that the jobs log beside them."""
        return self._wr.LinePlot(title=title, x=x, title_x=axis, y=list(y), range_y=(0, 1), max_runs_to_show=RUNS)
