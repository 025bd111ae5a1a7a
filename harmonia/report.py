"""Tables and a page from the rows that finished jobs left on disk; nothing is computed by a model again."""

import difflib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import pandas as pd
from rich.console import Console

from harmonia.comparison import compare
from harmonia.contrasts import missing
from harmonia.errors import InputError
from harmonia.finished_jobs import Job, find_jobs
from harmonia.gathering import gather, job_rows
from harmonia.results import IMAGE_ARM, write_text
from harmonia.statistic_tables import HEADLINE, STEMS, StatisticTable, statistic_tables
from harmonia.tables import transfer_matrix, transfer_tables
from harmonia.typeset import print_table, table_files

HELP = """\
Tables and a page from finished jobs.

    python -m harmonia.report run=FOLDER [arm=soft] [out=FOLDER]

run  a sweep's folder, one job's folder, or any folder above them
arm  what stands under (F): soft, area10, area20, area30, area50 or a control's name
out  where the report goes; by default FOLDER/report; an earlier report there is replaced

Exit code: 0, or 1 if no job was finished, or 2 if the command line was wrong.
"""

MATRIX = "transfer_matrix.csv"

LEGEND = (
    "A soft map dims the image and may keep more of its light than another: compare methods at equal area, "
    "python -m harmonia.report run=FOLDER arm=area30 (it replaces these files; out=FOLDER2 keeps them)."
)

_PAGE = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>harmonia: {{ run }}</title>
<style>
:root { color-scheme: light dark; --line: #d5d5d5; --quiet: #666; }
@media (prefers-color-scheme: dark) { :root { --line: #444; --quiet: #aaa; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
figure { margin: 2.5rem 0; overflow-x: auto; }
figcaption { color: var(--quiet); margin-bottom: .5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; }
tbody tr:nth-child(3n) td { border-bottom-width: 2px; }
</style>
<h1>Attribution transfer</h1>
<p>{{ run }}: {{ finished }} finished job{{ "" if finished == 1 else "s" }}.
<a href="transfer_matrix.csv">All numbers as CSV</a>.</p>
<p>{{ legend }}</p>
{% for table in tables %}
<figure>
<figcaption>Table {{ loop.index }}. {{ table.attrs.caption }}</figcaption>
<table>
<thead><tr>{% for name in table.columns %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for line in table.itertuples(index=False) %}
<tr>{% for cell in line %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
{% for note in table.attrs.footnotes %}
<p>{{ note }}</p>
{% endfor %}
</figure>
{% endfor %}
{% if missing %}
<h2>Not run</h2>
<ul>
{% for line in missing %}
<li>{{ line }}</li>
{% endfor %}
</ul>
{% endif %}
{% if left_out %}
<h2>Left out</h2>
<ul>
{% for name, reason in left_out.items() %}
<li><b>{{ name }}</b>: {{ reason }}</li>
{% endfor %}
</ul>
{% endif %}
</html>
""")


@dataclass
class Report:
    """What was written, and the jobs that are not in it by name, with the reason."""

    num_finished: int = 0
    tables: list[pd.DataFrame] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    statistics: list[StatisticTable] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # cells and arms that others of the grid have


def write_report(run: str | Path, arm: str = "soft", out: str | Path | None = None) -> Report:
    """The tables, the matrix and the page of every finished job in the folder or below it; no file without a job."""
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
            parts[_name(job, run)] = job_rows(job)
        except InputError as error:
            report.left_out[_name(job, run)] = str(error)
    rows = gather(list(parts.values()))
    arms = sorted(set(rows["arm"].unique()) - {IMAGE_ARM})
    if parts and arm not in arms:
        choice = ", ".join(arms) or "(none)"
        raise InputError(f"arm must be one of {choice}, got {arm!r}; {_remedy(arm, arms)}")
    used = set(rows["job"].unique())
    for name, part in parts.items():
        if not used.intersection(part["job"].unique()):
            report.left_out[name] = "replaced by a later job of the same cells"
    report.num_finished = len(parts)
    comparisons = compare(rows)
    report.tables = transfer_tables(comparisons, arm)
    report.statistics = statistic_tables(comparisons, arm)
    report.missing = [line for comparison in comparisons for line in missing(comparison)]

    folder = Path(out) if out is not None else run / "report"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out must be a folder, got {str(folder)!r} ({error.strerror}); name another") from error
    _remove_tables(folder)
    for number, table in enumerate(report.tables, start=1):
        report.files += table_files(table, f"table{number}", folder)
    for made in report.statistics:
        report.files += table_files(made.printed, made.stem, folder, made.numbers)
    page = _PAGE.render(
        legend=LEGEND,
        run=run.resolve().name,
        finished=report.num_finished,
        tables=[*report.tables, *(made.printed for made in report.statistics)],
        missing=report.missing,
        left_out=report.left_out,
    )
    others = {
        MATRIX: transfer_matrix(comparisons).to_csv(index=False, lineterminator="\n"),
        "index.html": page,
    }
    for name, text in others.items():
        write_text(folder / name, text)
        report.files.append(folder / name)
    return report


def _remove_tables(folder: Path) -> None:
    """An earlier report's tables, of which there may have been more; other people's files stay."""
    if (folder / MATRIX).is_file():
        for path in folder.iterdir():
            if re.fullmatch(rf"(table[1-9][0-9]*|{'|'.join(STEMS)})\.(md|csv|tex)", path.name):
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
        if made.stem == HEADLINE:
            print_table(made.printed, console)
    for path in report.files:
        console.print(str(path), markup=False, soft_wrap=True)
    if report.tables:
        console.print(LEGEND, markup=False, soft_wrap=True)
    for line in report.missing:
        console.print(f"missing: {line}", markup=False, soft_wrap=True)
    for name, reason in report.left_out.items():
        console.print(f"left out: {name}: {reason}", markup=False, soft_wrap=True)
    if not report.num_finished:
        console.print("no finished job found, so there is no table", markup=False, soft_wrap=True)


def _arguments(words: Sequence[str]) -> dict[str, str]:
    known = ["run", "arm", "out"]
    arguments: dict[str, str] = {}
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
    return arguments


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
