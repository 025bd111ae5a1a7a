"""What a section of the report is, all that it says of one kind of jobs, its panels, and where sections are found."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from harmonia.errors import InputError, refused
from harmonia.report import sections
from harmonia.report.answer import Answer, cautions_of_all
from harmonia.report.figures.style import CaptionedFigure
from harmonia.report.page.collection import Collection
from harmonia.report.tables.columns import StatisticTable
from harmonia.results.jobs import JobFolder

INDEX_PAGE = "index.html"
RUNS = 100  # of jobs, that a panel of a W&B workspace shows at most


@dataclass(frozen=True)
class ReadJob:
    """A finished job and what its section has read of it."""

    name: str  # its folder, below the run's
    job: JobFolder
    content: Any


class Panels:
    """Makes a workspace's panels, each of something that a job or the report has logged.

    wr: wandb_workspaces.reports.v2; tables, figures: stems of the report's.
    """

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


class Section:
    """Subclass it in a module, and name that module in the evaluation's `section` or in sections= of the report.

    A section is made of the jobs that left its rows, at least one; what it holds is then written and shown, sections
    in the order of their place. docs/report.md has an example.
    """

    rows_file: ClassVar[str]  # what its jobs leave and those of no other section
    heading: ClassVar[str]  # of the report in which it is the first section
    numbers: ClassVar[str]  # the CSV that this report names first
    place: ClassVar[int] = 100
    page: ClassVar[str] = INDEX_PAGE  # where it is shown: there, or NAME.html of its own
    page_name: ClassVar[str] = ""  # of an own page, for the bar of pages
    page_shows: ClassVar[str] = ""  # the same in a line
    note: str = ""  # above the tables
    command: str = ""  # that the note refers to; FOLDER stands for the folder of the jobs

    read: ClassVar[Callable[[JobFolder], Any]]  # what a finished job has left; an InputError leaves the job out

    def __init__(self, jobs: Sequence[ReadJob], arm: str, images: Sequence[str], earlier: Sequence["Section"]):
        self.jobs, self.arm, self.images = jobs, arm, images  # what the user asked for
        self.earlier = earlier  # sections, whose contents this one may use
        self.question = ""  # that the answers answer
        self.answers: list[Answer] = []  # on top of the page and at the end of the terminal, one a setting
        self.main: list[StatisticTable] = []  # shown in full, in the terminal too
        self.headlines: list[StatisticTable] = []  # the same, and first of the page's tables
        self.details: list[StatisticTable] = []  # at the end of the page, folded where they are long
        self.data: dict[str, pd.DataFrame] = {}  # CSV files without a printed table, by stem
        self.metrics: dict[str, float] = {}  # in the report's W&B run
        self.missing: list[str] = []  # what others of the grid have, a line each
        self.left_out: dict[str, str] = {}  # reasons by name, of jobs or parts of them; make_figures may add some
        self.collection: Collection | None = None  # images to browse
        self.figures: list[CaptionedFigure] = []  # those made, in files
        self.complete = True  # no table could not be typeset
        self.gather()

    def gather(self) -> None:
        """Fill what the section holds. An InputError ends the report before any file is written."""

    @staticmethod
    def panels(jobs: Sequence[JobFolder], arm: str, panels: Panels) -> dict[str, list[Any]]:
        """Panels of a W&B workspace by the heading above them, of jobs that logged and of their report."""
        return {}

    def make_figures(self) -> Iterator[CaptionedFigure]:
        yield from ()

    def terminal_tables(self) -> list[pd.DataFrame]:
        return [table.printed for table in (*self.main, *self.headlines)]

    @property
    def tables(self) -> list[StatisticTable]:
        return [*self.main, *self.headlines, *self.details]

    @property
    def cautions(self) -> list[str]:
        """What may not be concluded from its answers, each once."""
        return cautions_of_all(self.answers)

    @property
    def has_numbers(self) -> bool:
        """Whether the CSV that the report names is there."""
        return self.numbers in {f"{stem}.csv" for stem in (*self.data, *(table.stem for table in self.tables))}

    def leave_out(self, table: StatisticTable) -> None:
        for tables in (self.main, self.headlines, self.details):
            tables[:] = [kept for kept in tables if kept is not table]
        self.complete = False

    def table_of(self, figure: CaptionedFigure) -> StatisticTable | None:
        """The table whose stem begins the figure's: on a page of their own they stand together."""
        return next((table for table in self.tables if figure.stem.startswith(table.stem)), None)


def find_sections(modules: Iterable[str]) -> list[type[Section]]:
    """Sections of the package harmonia.report.sections and of the modules named, by place.

    A module's code runs: names come from the user's command line and configuration, never from a job's folder.
    """
    built_in = [f"{sections.__name__}.{module.name}" for module in pkgutil.iter_modules(sections.__path__)]
    by_file: dict[str, type[Section]] = {}
    for name in dict.fromkeys([*built_in, *modules]):
        for section in _sections_of(name):
            if (known := by_file.setdefault(section.rows_file, section)) is not section:
                two = f"{known.__module__} and {name}"
                raise InputError(
                    f"sections: {section.rows_file} must have one section, got those of {two}; leave one out"
                )
    return sorted(by_file.values(), key=lambda section: section.place)


def _sections_of(name: str) -> list[type[Section]]:
    see = "see docs/report.md"
    with refused(f"sections: {name!r} must be a module's dotted name, got", see, ImportError, ValueError, TypeError):
        classes = [value for value in vars(importlib.import_module(name)).values() if isinstance(value, type)]
    own = [value for value in classes if issubclass(value, Section) and value.__module__ == name]
    if not own:
        raise InputError(f"sections: {name} must have a subclass of {Section.__module__}.Section, got none; {see}")
    return own
