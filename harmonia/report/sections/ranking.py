"""How metrics of maps rank the methods, whether they agree, and whether they foretell transfer: a page of its own."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from harmonia.report.contract import Panels, Section
from harmonia.report.figures.ranking import link_figures, ranking_figures
from harmonia.report.figures.style import CaptionedFigure, of_setting
from harmonia.report.sections.transfer import TransferSection
from harmonia.report.tables import ranking as tables
from harmonia.results.gathered_scores import gather_scores, job_scores
from harmonia.results.jobs import JobFolder
from harmonia.results.scores import SCORES
from harmonia.results.tracking import IMAGES
from harmonia.statistics.metric_transfer import metric_links, transferred
from harmonia.statistics.ranking import agreement_over_images, agreement_over_methods, ranking


class RankingSection(Section):
    """Jobs that scored maps; whether scores foretell transfer is told by jobs of transfer of the same maps."""

    rows_file = SCORES
    heading = "Metrics of maps"
    numbers = f"{tables.RANKING}.csv"
    place = 30
    read = staticmethod(job_scores)
    page = "ranking.html"
    page_name = "Ranking"
    page_shows = "ranking of methods by metrics of their maps"
    note = (
        "Metrics judge the maps on the source itself. They measure different things and may contradict each other, so "
        "no score sums them up: where they disagree, that is the finding."
    )

    def gather(self) -> None:
        settings, repeated = gather_scores([job.content for job in self.jobs])
        reason = "replaced by a later job of the same cells"
        self.left_out = {job.name: reason for job in self.jobs if str(job.job.folder) in repeated}
        links = [
            linked
            for section in self.earlier
            if isinstance(section, TransferSection)
            for linked in transferred(settings, section.comparisons, section.rows, [job.job for job in section.jobs])
        ]
        self._lines = [ranking(scored) for scored in settings]
        self._over_methods = [agreement_over_methods(scored) for scored in settings]
        self._over_images = [agreement_over_images(scored) for scored in settings]
        self._links = [(linked, metric_links(linked)) for linked in links]
        shown = [
            tables.ranking_table(settings, self._lines, linked=bool(links)),
            tables.spread_table(settings, self._lines),
            tables.metric_agreement_table(settings, self._over_methods, self._over_images),
            tables.link_table(settings, self._links),
        ]
        self.main = [table for table in shown if len(table.printed)]
        self._settings = [", ".join(scored.setting.values()) for scored in settings]

    def terminal_tables(self) -> list[pd.DataFrame]:
        return []  # too wide

    def make_figures(self) -> Iterator[CaptionedFigure]:
        """Stems of a second setting end in _2."""
        for number, lines in enumerate(self._lines):
            where = "" if len(self._lines) == 1 else f" {self._settings[number]}."
            figures = ranking_figures(lines, self._over_methods[number], self._over_images[number])
            yield from of_setting(figures, number, where)
        for number, (linked, lines) in enumerate(self._links):
            setting = ", ".join([*linked.scores.setting.values(), linked.fill])
            yield from of_setting(link_figures(linked, lines), number, "" if len(self._links) == 1 else f" {setting}.")

    @staticmethod
    def panels(jobs: Sequence[JobFolder], arm: str, panels: Panels) -> dict[str, list[Any]]:
        figures = panels.figures(tables.RANKING, tables.METRIC_AGREEMENT, tables.LINK)
        return {"Metrics of maps": [*figures, panels.logged_table(IMAGES)]}
