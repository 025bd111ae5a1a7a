"""What a report has come to, and what of it the terminal shows."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harmonia.media import number_of, say, terminal
from harmonia.report.contract import INDEX_PAGE, Section
from harmonia.report.figures.style import CaptionedFigure
from harmonia.report.page.collection import Collection
from harmonia.report.tables.columns import StatisticTable
from harmonia.report.tables.typeset import print_table
from harmonia.results.jobs import JobFolder

SHOWN = 10  # lines of one kind in the terminal; the page has all


@dataclass(repr=False)
class Report:
    """What was written, and the jobs that are not in it by name, with the reason."""

    run: Path
    arm: str
    folder: Path | None = None  # None: there was no job, and so no file
    jobs: list[JobFolder] = field(default_factory=list)  # the finished ones
    sections: list[Section] = field(default_factory=list)  # those that have jobs
    unread: dict[str, str] = field(default_factory=dict)  # jobs that no section has, with the reason

    def __repr__(self) -> str:
        where = "no file" if self.folder is None else str(self.folder / INDEX_PAGE)
        return f"Report of {number_of(len(self.jobs), 'job')}, arm {self.arm}: {where}"

    @property
    def tables(self) -> list[StatisticTable]:
        return [table for section in self.sections for table in section.tables]

    @property
    def figures(self) -> list[CaptionedFigure]:
        return [figure for section in self.sections for figure in section.figures]

    @property
    def collection(self) -> Collection:
        return next((section.collection for section in self.sections if section.collection), Collection({}, [], [], []))

    @property
    def missing(self) -> list[str]:
        return [line for section in self.sections for line in section.missing]

    @property
    def complete(self) -> bool:
        """Whether all tables could be typeset."""
        return all(section.complete for section in self.sections)

    @property
    def left_out(self) -> dict[str, str]:
        """Jobs and parts of jobs that are not in the report, with the reason."""
        return self.unread | {name: reason for section in self.sections for name, reason in section.left_out.items()}


def print_report(report: Report) -> None:
    """The main tables, what is missing or was left out, where the rest is, then the answers."""
    console = terminal(220)
    for section in report.sections:
        for table in section.terminal_tables():
            print_table(table, console)
    for section in report.sections:
        if section.note and section.page == INDEX_PAGE:
            say(f"{section.note} {section.command.replace('FOLDER', shlex.quote(str(report.run)))}".rstrip())
    for line in _first(report.missing):
        say(f"missing: {line}")
    for line in _first([f"{name}: {reason}" for name, reason in report.left_out.items()]):
        say(f"left out: {line}")
    if not report.jobs:
        more = "" if report.left_out else "; run= names the folder of a run or a sweep"
        say(f"no finished job in {report.run} or below it, so there is no table{more}")
    if report.folder is not None:
        _print_files(report, report.folder)
    for section in report.sections:
        for line in answer_lines(section):
            say(line)
        for answer in filter(lambda answer: len(answer.lines), section.answers):
            print_table(answer.table, console)


def _print_files(report: Report, folder: Path) -> None:
    say(f"report: {folder / INDEX_PAGE}")
    for section in report.sections:
        if section.page != INDEX_PAGE:
            say(f"{section.page_shows}: {folder / section.page}")
    if report.jobs:
        more = "".join(f"; {stem}.csv" for section in report.sections for stem in section.data)
        say(f"  tables (md, csv, tex): {', '.join(table.stem for table in report.tables)}{more}")
        say(f"  figures (png, pdf): {', '.join(figure.stem for figure in report.figures)}")


def answer_lines(section: Section) -> Iterator[str]:
    """A section's answers as paragraphs."""
    if section.answers:
        yield section.question
    for answer in section.answers:
        if len(section.answers) > 1:
            yield f"{answer.setting}:"
        yield from answer.sentences
        yield answer.basis
    if section.answers:
        yield "What may not be concluded:"
        yield from (f"  - {caution}" for caution in section.cautions)


def _first(lines: Sequence[str]) -> list[str]:
    more = len(lines) - SHOWN
    return list(lines) if more <= 1 else [*lines[:SHOWN], f"and {more} more, see {INDEX_PAGE}"]
