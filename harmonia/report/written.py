"""What a report has come to, and what of it the terminal shows."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from harmonia.report.figures.style import Illustration
from harmonia.report.page.write import INDEX, RANKING
from harmonia.report.tables.columns import StatisticTable
from harmonia.report.tables.contrasts import HEADLINE
from harmonia.report.tables.localisation import STEM
from harmonia.report.tables.ranking import RANKING_STEMS
from harmonia.report.tables.typeset import print_table
from harmonia.results.jobs import JobFolder
from harmonia.statistics.contrasts import ALL_SOURCES

LEGEND = "A soft map dims the image and may keep more of its light than another: compare methods at equal area."
EQUAL_AREA = "python -m harmonia.report run=FOLDER arm=area30 out=FOLDER2"
MATRIX = "transfer_matrix.csv"
SHOWN = 10  # lines of one kind in the terminal; the page has all


@dataclass
class Report:
    """What was written, and the jobs that are not in it by name, with the reason."""

    run: Path
    arm: str
    folder: Path | None = None  # None: there was no job, and so no file
    jobs: list[JobFolder] = field(default_factory=list)  # the finished ones
    tables: list[pd.DataFrame] = field(default_factory=list)
    statistics: list[StatisticTable] = field(default_factory=list)
    matrix: pd.DataFrame = field(default_factory=pd.DataFrame)
    figures: list[Illustration] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)  # cells and arms that others of the grid have


def print_report(report: Report) -> None:
    """The main tables, what is missing or was left out, and where the rest is."""
    # A pipe has no width of its own, and a table folded at 80 columns cannot be read.
    console = Console(width=None if sys.stdout.isatty() else 220, highlight=False)

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    for table in report.tables:
        print_table(table, console)
    for made in report.statistics:
        if made.stem == HEADLINE:
            print_table(_main_lines(made.printed, report.arm), console)
        elif made.stem == STEM:
            print_table(made.printed, console)
    if report.tables:
        say(f"{LEGEND} {EQUAL_AREA}")
    for line in _first(report.missing):
        say(f"missing: {line}")
    for line in _first([f"{name}: {reason}" for name, reason in report.left_out.items()]):
        say(f"left out: {line}")
    if not report.jobs:
        say("no finished job found, so there is no table")
    if report.folder is None:
        return
    say(f"report: {report.folder / INDEX}")
    if any(made.stem in RANKING_STEMS for made in report.statistics):
        say(f"ranking of methods by metrics of their maps: {report.folder / RANKING}")
    if report.jobs:
        tables = [f"table{number}" for number, _ in enumerate(report.tables, start=1)]
        stems = tables + [made.stem for made in report.statistics]
        say(f"  tables (md, csv, tex): {', '.join(stems)}{f'; {MATRIX}' if report.tables else ''}")
        say(f"  figures (png, pdf): {', '.join(figure.stem for figure in report.figures)}")


def _main_lines(headline: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Of transfer above control the means over sources, and each source's line of the arm that the report is about.

    All of it where no mean over sources stands above its parts.
    """
    means: Any = headline["Source"].str.startswith(ALL_SOURCES)
    main: Any = headline[means | (headline["Arm"] == arm) | ~means.any()]
    main.attrs = headline.attrs
    return main


def _first(lines: Sequence[str]) -> list[str]:
    more = len(lines) - SHOWN
    return list(lines) if more <= 1 else [*lines[:SHOWN], f"and {more} more, see {INDEX}"]
