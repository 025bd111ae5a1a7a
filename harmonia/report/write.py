"""Tables, figures and pages from the rows that finished jobs left on disk; nothing is computed by a model again."""

import shutil
from collections.abc import Iterable, Sequence
from functools import partial
from io import StringIO
from pathlib import Path

from rich.console import Console

from harmonia.arms import SOFT_ARM
from harmonia.errors import InputError, home, left_out
from harmonia.report.answer import ANSWER, answer_markdown
from harmonia.report.contract import INDEX_PAGE, ReadJob, Section, find_sections
from harmonia.report.figures.style import save_figure, style
from harmonia.report.page.write import PAGE, write_pages
from harmonia.report.tables.typeset import print_table, table_files, to_csv
from harmonia.report.written import Report
from harmonia.results.jobs import JobFolder, check_run, find_jobs, job_folders
from harmonia.store.files import utf8, write_text
from harmonia.store.whole import REPORT

THUMBNAILS = 5000  # about 10 kB each


def write_report(
    run: str | Path,
    arm: str = SOFT_ARM,
    out: str | Path | None = None,
    images: Sequence[str] = (),
    thumbnails: int | None = THUMBNAILS,
    sections: Iterable[str] = (),
) -> Report:
    """Tables, figures and pages of every finished job in the folder or below it; no file without a job.

    Without a finished one a page says why, unless it would replace tables of an earlier report.

    images: ids for Fig. 1. thumbnails: of how many images at most, None for all. sections: modules of sections beside
    those of harmonia.report.sections.
    """
    run = home(run)
    check_run(run, "harmonia.report")
    kinds = find_sections(sections)
    if not any(job_folders(run)):
        return Report(run, arm)
    folder = home(out) if out is not None else run / "report"
    with REPORT.in_place_of(folder) as new:  # jobs are read under its lock: of several reports the last knows the most
        report = _gather(run, kinds, arm, images)
        if not report.jobs and any(name.endswith(".csv") for name in REPORT.own_names(folder) or ()):
            rule = f"run must hold a finished job to replace the report in {folder}"
            reasons = "".join(f": {reason}" for reason in list(report.unread.values())[:1])
            raise InputError(f"{rule}, got none in {str(run)!r}{reasons}; add out=FOLDER for a page of all reasons")
        report.folder = folder
        for section in report.sections:
            _write_files(section, new)
        with left_out(report.unread, "images to browse", InputError, OSError):
            write_pages(report, new, thumbnails)
            return report
        for section in report.sections:
            section.collection = None
        shutil.rmtree(new / PAGE)
        write_pages(report, new, thumbnails)
    return report


def _gather(run: Path, kinds: Sequence[type[Section]], arm: str, images: Sequence[str]) -> Report:
    report = Report(run, arm)
    by_file = {section.rows_file: section for section in kinds}
    read_jobs: dict[type[Section], list[ReadJob]] = {section: [] for section in kinds}
    for job in (jobs_of_run := find_jobs(run)):
        name = utf8(run.resolve().name if job.folder == run else str(job.folder.relative_to(run)))
        with left_out(report.unread, name):
            section = _section_of(job, by_file)
            read_jobs[section].append(ReadJob(name, job, section.read(job)))
    for section, jobs in read_jobs.items():
        make = partial(section, arm=arm, images=images, earlier=tuple(report.sections))
        failed: dict[str, str] = {}
        with left_out(failed, section.heading, InputError, OSError):
            report.sections += [make(jobs)] if jobs else []
        if failed:  # without the jobs of which alone none can be made
            for job in jobs:
                with left_out(report.unread, job.name):
                    make([job])
            with left_out(report.unread, section.heading):
                rest = [job for job in jobs if job.name not in report.unread]
                report.sections += [make(rest)] if rest else []
    shown = {job.job.folder for section in report.sections for job in section.jobs}
    report.jobs = [job for job in jobs_of_run if job.folder in shown]
    report.collection.refuse_unknown(images)
    return report


def _section_of(job: JobFolder, by_file: dict[str, type[Section]]) -> type[Section]:
    if job.error is not None:
        raise InputError(job.error)
    if job.rows_file not in by_file:
        raise InputError(
            f"{job.rows_file!r} must be rows that a section reads, those of {', '.join(by_file)}; name the module of "
            "their section with sections=package.module"
        )
    return by_file[job.rows_file]


def _write_files(section: Section, folder: Path) -> None:
    for table in section.tables:
        stem = _unused(folder, table.stem, "md", "csv", "tex")
        with left_out(section.left_out, f"{section.heading}: table {stem}", InputError, OSError):
            if table not in section.details:
                print_table(
                    table.printed, Console(file=StringIO(), force_jupyter=False)
                )  # what the terminal would not take either
            table_files(table.printed, stem, folder, table.numbers)
            continue
        section.leave_out(table)
    if section.answers:
        write_text(folder / f"{_unused(folder, ANSWER, 'md')}.md", answer_markdown(section.question, section.answers))
    for stem, numbers in section.data.items():
        write_text(folder / f"{_unused(folder, stem, 'csv')}.csv", to_csv(numbers))
    with left_out(section.left_out, f"{section.heading}: other figures", InputError, OSError), style():
        for figure in section.make_figures():
            save_figure(figure.drawn, folder, _unused(folder, figure.stem, "png", "pdf"))
            figure.drawn.clear()  # its data may be large, and its size is all that the pages need
            section.figures.append(figure)
    if section.page != INDEX_PAGE:
        _unused(folder, Path(section.page).stem, "html")
        (folder / section.page).touch()  # written when all is known


def _unused(folder: Path, stem: str, *suffixes: str) -> str:
    """The stem of files that no section has written."""
    for name in (f"{stem}.{suffix}" for suffix in suffixes):
        if (folder / name).exists():
            raise InputError(f"sections: a file must be written by one section, got {name!r} twice; rename one")
    return stem
