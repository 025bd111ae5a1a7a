"""What has come of a transfer, as the Python interface gives it back."""

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from harmonia.arms import SOFT_ARM
from harmonia.errors import InputError
from harmonia.media import number_of
from harmonia.report.contract import ReadJob
from harmonia.report.figures.style import shown, style
from harmonia.report.sections.transfer import TransferSection
from harmonia.report.tables.contrasts import HEADLINE
from harmonia.report.tables.typeset import Typeset, to_html
from harmonia.report.write import write_report
from harmonia.report.written import Report
from harmonia.results.jobs import find_jobs
from harmonia.results.rows import TransferRows, read_pieces


class TransferResult:
    """Finished jobs of one source, a method each; tables and figures are the report's."""

    def __init__(self, folder: Path, kept: tempfile.TemporaryDirectory | None = None):
        self.folder = folder
        self._kept = kept  # a temporary folder lives as long as its result
        self._sections: dict[str, TransferSection] = {}  # by arm; intervals take seconds

    def rows(self) -> pd.DataFrame:
        """A line for each image, target and arm: rows.parquet of all jobs."""
        columns = TransferRows.columns_of()
        pieces = [piece for job in find_jobs(self.folder) for piece in read_pieces(job.folder, columns)]
        return pd.concat(pieces, ignore_index=True)

    def section(self, arm: str = SOFT_ARM) -> TransferSection:
        """What the report says of them, about one arm."""
        if arm not in self._sections:
            jobs = find_jobs(self.folder)
            read = [ReadJob(job.folder.name, job, TransferSection.read(job)) for job in jobs]
            self._sections[arm] = TransferSection(read, arm, (), ())
        return self._sections[arm]

    def table(self, stem: str = HEADLINE, arm: str = SOFT_ARM) -> pd.DataFrame:
        """Numbers of one of the report's tables: transfer_above_control, table1, matrix, transfer_matrix, ...

        In a notebook it shows itself as the report prints it; its columns are the numbers'. matrix: retention of the
        arm, sources by targets. transfer_matrix: accuracy and retention of every target and arm, with intervals.
        """
        section = self.section(arm)
        tables: dict[str, pd.DataFrame] = {
            table.stem: Typeset.of(table.numbers, table.printed) for table in section.tables
        }
        tables |= {stem: numbers.copy() for stem, numbers in section.data.items()}
        return _named(tables, stem, "table")

    def figure(self, stem: str = "accuracy_by_area", arm: str = SOFT_ARM) -> Figure:
        """One of the report's figures: accuracy_by_area, fig1, fig2, transfer_matrix, ..."""
        stems = []
        with style():
            for figure in self.section(arm).make_figures():
                if figure.stem == stem:
                    return shown(figure.drawn)
                stems.append(figure.stem)
        return _named(dict.fromkeys(stems), stem, "figure")

    def report(self, out: str | Path, arm: str = SOFT_ARM) -> Report:
        """Tables, figures and pages to browse, written to a folder; open its index.html."""
        return write_report(self.folder, arm=arm, out=out)

    def __repr__(self) -> str:
        rows = self.rows()
        source, methods, targets = (", ".join(map(str, rows[name].unique())) for name in ("source", "method", "target"))
        return (
            f"TransferResult of {methods}: {source} to {targets}, {number_of(len(rows['image_id'].unique()), 'image')}"
        )

    def _repr_html_(self) -> str:
        section = self.section()
        return "".join(to_html(table.printed) for table in (*section.headlines, *section.main))


def _named(parts: dict[str, Any], stem: str, what: str) -> Any:
    if stem not in parts:
        raise InputError(f"{what} must be one of {', '.join(parts)}, got {stem!r}; choose one")
    return parts[stem]
