"""Tables, figures and pages from the rows that finished jobs left on disk; nothing is computed by a model again."""

import difflib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from harmonia.comparison import compare
from harmonia.contrasts import missing
from harmonia.errors import InputError
from harmonia.examples import check_names
from harmonia.finished_jobs import Job, find_jobs
from harmonia.gathering import gather, job_rows
from harmonia.illustrations import illustrate
from harmonia.likeness import LIKENESS, likeness_table
from harmonia.localisation_report import STEM, illustrate_localisation, localisation_jobs, localisation_table
from harmonia.localisation_rows import LOCALISATION
from harmonia.page.collection import collect
from harmonia.page.write import INDEX, write_pages
from harmonia.results import IMAGE_ARM, write_text
from harmonia.statistic_tables import HEADLINE, STEMS, StatisticTable, statistic_tables
from harmonia.tables import transfer_matrix, transfer_tables
from harmonia.typeset import print_table, table_files

HELP = """\
Tables, figures and pages to browse from finished jobs; open index.html in any browser.

    python -m harmonia.report run=FOLDER [arm=soft] [out=FOLDER] [images=ID,ID] [thumbnails=5000]

run         a sweep's folder, one job's folder, or any folder above them
arm         what stands under (F): soft, area10, area20, area30, area50 or a control's name
out         where the report goes; by default FOLDER/report; an earlier report there is replaced
images      what Fig. 1 shows: ids of images (image_id in the rows); without it the typical ones
thumbnails  of how many images at most, evenly spread; all or 0 are possible; numbers are there for every image

Exit code: 0, or 1 if no job was finished, or 2 if the command line was wrong.
"""

MATRIX = "transfer_matrix.csv"
THUMBNAILS = 5000  # about 10 kB each

LEGEND = "A soft map dims the image and may keep more of its light than another: compare methods at equal area."
EQUAL_AREA = "python -m harmonia.report run=FOLDER arm=area30 out=FOLDER2"
_OURS = re.compile(
    rf"(table[1-9]\d*|{'|'.join([*STEMS, LIKENESS, STEM])})\.(md|csv|tex)|"
    rf"(localisation_boxes|aggatt|fig1|fig2(_part\d+)?|transfer_matrix|accuracy_by_area|area_distributions|{LIKENESS})(_\d+)?\.(png|pdf)"
)


@dataclass
class Report:
    """What was written, and the jobs that are not in it by name, with the reason."""

    num_finished: int = 0
    tables: list[pd.DataFrame] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    statistics: list[StatisticTable] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # cells and arms that others of the grid have


def write_report(
    run: str | Path,
    arm: str = "soft",
    out: str | Path | None = None,
    images: Sequence[str] = (),
    thumbnails: int | None = THUMBNAILS,
) -> Report:
    """Tables, matrix, figures and pages of every finished job in the folder or below it; no file without a job.

    images: ids for Fig. 1. thumbnails: of how many images at most, None for all.
    """
    run = Path(run)
    if run.is_file():
        raise InputError(f"run must be a folder, got the file {str(run)!r}; name the folder it lies in")
    if not run.is_dir():
        siblings = [path.name for path in run.parent.iterdir()] if run.parent.is_dir() else []
        raise InputError(f"run must be an existing folder, got {str(run)!r}; {_remedy(run.name, siblings)}")
    report = Report()
    parts: dict[str, pd.DataFrame] = {}
    jobs = find_jobs(run)
    if not jobs:
        return report
    for job in jobs:
        try:
            if job.error is not None:
                raise InputError(job.error)
            if not (job.folder / LOCALISATION).is_file():
                parts[_name(job, run)] = job_rows(job)
        except InputError as error:
            report.left_out[_name(job, run)] = str(error)
    mosaics = localisation_jobs(jobs)
    rows = gather(list(parts.values()))
    arms = sorted(set(rows["arm"].unique()) - {IMAGE_ARM})
    if parts and arm not in arms:
        choice = ", ".join(arms) or "(none)"
        raise InputError(f"arm must be one of {choice}, got {arm!r}; {_remedy(arm, arms)}")
    used = set(rows["job"].unique())
    for name, part in parts.items():
        if not used.intersection(part["job"].unique()):
            report.left_out[name] = "replaced by a later job of the same cells"
    report.num_finished = len(parts) + len(mosaics)
    comparisons = compare(rows)
    report.tables = transfer_tables(comparisons, arm)
    likeness = likeness_table(comparisons, jobs, arm)
    report.statistics = statistic_tables(comparisons, arm) + ([likeness] if likeness else [])
    report.statistics += [localisation_table(mosaics)] if mosaics else []
    report.missing = [line for comparison in comparisons for line in missing(comparison)]
    matrix = transfer_matrix(comparisons)
    collection = collect(rows)
    check_names(collection, images)

    folder = Path(out) if out is not None else run / "report"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out must be a folder, got {str(folder)!r} ({error.strerror}); name another") from error
    _remove_earlier(folder)
    for number, table in enumerate(report.tables, start=1):
        report.files += table_files(table, f"table{number}", folder)
    for made in report.statistics:
        report.files += table_files(made.printed, made.stem, folder, made.numbers)
    write_text(folder / MATRIX, matrix.to_csv(index=False, lineterminator="\n"))
    report.files.append(folder / MATRIX)
    pairs = likeness.numbers if likeness else None
    figures = illustrate(rows, matrix, collection, folder, arm, images, pairs) if parts else []
    figures += illustrate_localisation(mosaics, folder) if mosaics else []
    report.files += [folder / f"{figure.stem}.{suffix}" for figure in figures for suffix in ("png", "pdf")]
    facts = {
        "run": run.resolve().name,
        "finished": report.num_finished,
        "legend": LEGEND,
        "equal_area": EQUAL_AREA,
        "tables": report.tables,
        "statistics": report.statistics,
        "headline": HEADLINE,
        "figures": figures,
        "missing": report.missing,
        "left_out": report.left_out,
    }
    write_pages(folder, collection, thumbnails, arm, facts)
    report.files.append(folder / INDEX)
    return report


def _remove_earlier(folder: Path) -> None:
    """An earlier report's tables and figures, of which there may have been more; other people's files stay."""
    if (folder / MATRIX).is_file():
        for path in folder.iterdir():
            if _OURS.fullmatch(path.name):
                path.unlink()


def _name(job: Job, run: Path) -> str:
    name = str(job.folder.relative_to(run))
    return run.resolve().name if name == "." else name


def _remedy(given: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(given, known, n=1)
    return f"did you mean {close[0]!r}?" if close else "see python -m harmonia.report --help"


def print_report(report: Report) -> None:
    """The tables, the paths and what was left out, in the terminal."""
    # A pipe has no width of its own, and a table folded at 80 columns cannot be read.
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    for table in report.tables:
        print_table(table, console)
    for made in report.statistics:
        if made.stem in (HEADLINE, STEM):
            print_table(made.printed, console)
    for path in report.files:
        console.print(str(path), markup=False, soft_wrap=True)
    if report.tables:
        console.print(f"{LEGEND} {EQUAL_AREA}", markup=False, soft_wrap=True)
    for line in report.missing:
        console.print(f"missing: {line}", markup=False, soft_wrap=True)
    for name, reason in report.left_out.items():
        console.print(f"left out: {name}: {reason}", markup=False, soft_wrap=True)
    if not report.num_finished:
        console.print("no finished job found, so there is no table", markup=False, soft_wrap=True)


def _arguments(words: Sequence[str]) -> dict[str, Any]:
    known = ["run", "arm", "out", "images", "thumbnails"]
    arguments: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in known:
            remedy = _remedy(key, known)
            raise InputError(f"argument must be one of {', '.join(known)}, got {key!r}; {remedy}")
        if not equals or not value:
            raise InputError(f"argument {key} must have a value, got {word!r}; write {key}=VALUE")
        if key in arguments:
            raise InputError(f"argument {key} must be given once, got {word!r} too; leave one out")
        arguments[key] = value
    if "run" not in arguments:
        raise InputError("argument run must be given, got none; write run=multirun_outputs/<...>")
    if "images" in arguments:
        arguments["images"] = arguments["images"].split(",")
    if "thumbnails" in arguments:
        arguments["thumbnails"] = _count(arguments["thumbnails"])
    return arguments


def _count(text: str) -> int | None:
    if text != "all" and not text.isdecimal():
        raise InputError(f"thumbnails must be a number of images or all, got {text!r}; {THUMBNAILS} is usual")
    return None if text == "all" else int(text)


def main(words: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    words = sys.argv[1:] if words is None else words
    if {"-h", "--help"} & set(words):
        print(HELP, end="")
        return 0
    try:
        report = write_report(**_arguments(words))
    except InputError as error:
        print(f"harmonia: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print_report(report)
    return 0 if report.num_finished else 1


if __name__ == "__main__":
    sys.exit(main())
