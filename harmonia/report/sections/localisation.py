"""GridPG, DiFull and DiPart: a table of localisation, box plots, AggAtt, and whether methods localise the same cells.

S. Rao, M. Böhle, B. Schiele, CVPR 2022, Figs. 5 to 8.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from harmonia.errors import one_line
from harmonia.report.contract import Panels, Section
from harmonia.report.figures.localisation import aggatt, box_plots
from harmonia.report.figures.style import CaptionedFigure
from harmonia.report.tables.localisation import STEM, localisation_agreement_table, localisation_table
from harmonia.results.jobs import JobFolder
from harmonia.results.localisation import AGGATT, LOCALISATION
from harmonia.results.tracking import CELLS
from harmonia.statistics.localisation import mosaic_scores, without_repeats
from harmonia.store.guarded import is_there


class LocalisationSection(Section):
    """Jobs on mosaics."""

    rows_file = LOCALISATION
    heading = "Localisation on mosaics"
    numbers = f"{STEM}.csv"
    place = 20
    read = staticmethod(mosaic_scores)

    def gather(self) -> None:
        self._cells = without_repeats([job.content for job in self.jobs])
        self._names = {job.job.folder: job.name for job in self.jobs}
        shown = {cells.job.folder for cells in self._cells}
        reason = "replaced by a later job of the same cells"
        self.left_out = {job.name: reason for job in self.jobs if job.job.folder not in shown}
        self.headlines = [localisation_table(self._cells)]
        agreement = localisation_agreement_table(self._cells)
        self.details = [agreement] if agreement else []

    def make_figures(self) -> Iterator[CaptionedFigure]:
        """Box plots of every job, and AggAtt of each that has left its mean maps undamaged."""
        yield box_plots(self._cells)
        for number, cells in enumerate(self._cells, start=1):
            if is_there(cells.job.folder, AGGATT):
                try:
                    yield aggatt(number, cells)
                except Exception as error:  # it must not hide the other figures
                    self.left_out[f"{self._names[cells.job.folder]}: AggAtt"] = one_line(error)

    @staticmethod
    def panels(jobs: Sequence[JobFolder], arm: str, panels: Panels) -> dict[str, list[Any]]:
        figures = [*panels.figures("localisation"), *panels.figures("aggatt")]
        return {"Localisation": [*figures, panels.logged_table(CELLS)]}
