"""docs/results.md from an export: its tables between marks, and every file of docs/results that it names.

    python -m harmonia.export run=FOLDER out=EXPORT
    python benchmarks/results_page.py EXPORT
    python benchmarks/results_page.py EXPORT --page FILE    another page; its files lie in a folder of its name
    python benchmarks/results_page.py FOLDER --page FILE    of a sweep's folder: an export has no maps to compare

A mark is `<!-- results/methods.md, where Target is others -->`; `<!-- end -->` ends its table. The text outside stays.
NAME_soft.* is the file NAME.* of a report of the soft maps; all others are of a report of the top 30 %. rows.parquet is
of neither: it says of every image, shown to a target, whether the target was right. Retention follows from it.
"""

import argparse
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from harmonia.errors import InputError
from harmonia.report.write import write_report
from harmonia.results.rows import ROWS

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
SOFT, ARM, END = "soft", "area30", "<!-- end -->"
MARKED = re.compile(r"(<!-- [\w-]+/(\w+\.md)(?:, where ([^>]+?) is ([^>]+?))? -->)(?:(?!<!--).)*" + END, re.DOTALL)
SHOWN = ["source", "method", "label_policy", "fill", "target", "arm", "image_id"]
EDGE = re.compile(r"(?<!\\)\|")  # of a cell; a bar inside of one is escaped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    if not options.page.is_file():
        parser.error(f"--page must be a file, got {str(options.page)!r}; write it with a mark for each table")
    try:
        with TemporaryDirectory() as scratch:
            names = _named(options.page.read_text("utf-8"), options.page.stem)
            arms = sorted({_arm_and_name(name)[0] for name in names} | {ARM})
            fill(options.page, reports_of(options.export, Path(scratch), arms))
    except InputError as refused:
        parser.error(str(refused))


def reports_of(export: Path, scratch: Path, arms: Sequence[str] = (SOFT, ARM)) -> dict[str, Path]:
    """By arm the folder of a report of the export's, or a sweep's, rows; in that of ARM who was right, too."""
    files: list[Path] = []
    for arm in arms:
        if not (jobs := write_report(export, arm, scratch / arm, thumbnails=0).jobs):
            raise InputError(f"export must hold finished jobs, got none in {str(export)!r}; run harmonia.export")
        files = [file for job in jobs if (file := job.folder / ROWS).is_file()]
    if not files:
        raise InputError(
            f"export must hold jobs that show features to targets, got none in {str(export)!r}; export some"
        )
    rows = pd.concat([pd.read_parquet(file, columns=[*SHOWN, "label", "predicted"]) for file in files])
    rows = rows[rows["label"].notna()]
    right = rows["label"] == rows["predicted"]
    rows[SHOWN].astype("category").assign(right=right).to_parquet(scratch / ARM / ROWS, compression="zstd", index=False)
    return {arm: scratch / arm for arm in arms}


def fill(page: Path, reports: dict[str, Path]) -> None:
    """The page's tables and files from the reports; InputError before anything is written."""
    folder, text = page.with_suffix(""), page.read_text("utf-8")
    sources = {name: _arm_and_name(name) for name in _named(text, folder.name)}
    files = {name: reports[arm] / own for name, (arm, own) in sources.items()}
    if absent := [name for name, path in files.items() if not path.is_file()]:
        raise InputError(
            f"{page.name} must name files that the export's reports have, got {', '.join(absent)}; "
            "export the jobs that they need, or take them off the page"
        )
    text = with_tables(text, lambda name: files[name].read_text("utf-8"))
    folder.mkdir(exist_ok=True)
    for name, path in files.items():
        shutil.copyfile(path, folder / name)
    page.write_text(text, "utf-8")


def _named(text: str, folder: str) -> list[str]:
    return sorted(set(re.findall(rf"(?<![\w/.-]){re.escape(folder)}/(\w+\.\w+)", text)))


def _arm_and_name(name: str) -> tuple[str, str]:
    """Of a file of the page: of which report, and what it is called there."""
    file = Path(name)
    if file.stem.endswith(f"_{SOFT}"):
        return SOFT, f"{file.stem.removesuffix(f'_{SOFT}')}{file.suffix}"
    return ARM, name


def with_tables(text: str, read: Callable[[str], str]) -> str:
    """The page with the tables between its marks as the files have them; read gives a file's text by its name."""

    def filled(mark: re.Match[str]) -> str:
        head, name, column, values = mark.groups()
        lines = [line for line in read(name).splitlines() if line.startswith("|")]
        if column:
            lines = lines[:2] + _chosen(lines, name, column, values.split(" or "))
        return "\n".join([head, "", *lines, "", END])

    text, count = MARKED.subn(filled, text)
    if count != (ends := text.count(END)) or count != len(re.findall(r"<!-- [\w-]+/\w+\.md", text)):
        raise InputError(f"every mark must end with {END}, got {count} that do and {ends} ends; mend the page")
    return text


def _chosen(lines: list[str], name: str, column: str, values: list[str]) -> list[str]:
    head, _, *rows = [[cell.strip() for cell in EDGE.split(line)] for line in lines]
    if column not in head:
        raise InputError(f"a mark of {name} must name one of its columns, {', '.join(head[1:-1])}; got {column!r}")
    place = head.index(column)
    if lacking := set(values) - {row[place] for row in rows}:
        raise InputError(f"{name} must have lines where {column} is {' or '.join(values)}, got none of {lacking}")
    return [line for line, row in zip(lines[2:], rows, strict=True) if row[place] in values]


if __name__ == "__main__":
    main()
