from pathlib import Path

import pandas as pd

from harmonia.report.contract import Section
from harmonia.report.tables.columns import StatisticTable
from harmonia.report.tables.typeset import table
from harmonia.report.written import Report, print_report
from harmonia.results.jobs import JobFolder


class Shown(Section):
    """Twelve tables."""

    rows_file, heading, numbers, note = "shown.parquet", "Shown", "shown.csv", "Read this first."

    def gather(self):
        cells = table(pd.DataFrame({"Method": ["SS"], "e6 (F)": ["80.00"]}), "Source e7", 1)
        self.main = [StatisticTable(f"table{number}", cells, cells) for number in range(1, 13)]
        self.data = {"transfer_matrix": cells}


class Apart(Shown):
    """The same on a page of its own."""

    page, page_name, page_shows = "apart.html", "Apart", "all that is apart"

    def terminal_tables(self):
        return []


def report(*sections, unread=None):
    return Report(
        Path("sweep"), "soft", Path("sweep/report"), [JobFolder(Path("sweep/0"))], list(sections), unread or {}
    )


def test_the_terminal_names_the_page_and_every_file_in_a_few_lines(capsys):
    print_report(report(Shown([], "soft", (), [])))
    last = capsys.readouterr().out.splitlines()[-4:]
    assert last[0] == "Read this first."
    assert last[1] == f"report: {Path('sweep/report/index.html')}"
    assert "table1, table2" in last[2]
    assert "table12; transfer_matrix.csv" in last[2]


def test_the_terminal_names_a_sections_own_page_and_leaves_its_tables_and_note_there(capsys):
    print_report(report(Apart([], "soft", (), [])))
    printed = capsys.readouterr().out
    assert f"all that is apart: {Path('sweep/report/apart.html')}" in printed
    assert "80.00" not in printed
    assert "Read this first." not in printed


def test_nothing_finished_names_no_page_that_was_not_written(capsys):
    print_report(Report(Path("sweep"), "soft"))
    no_job = "no finished job in sweep or below it, so there is no table"
    assert capsys.readouterr().out == f"{no_job}; run= names the folder of a run or a sweep\n"
    print_report(Report(Path("sweep"), "soft", unread={"0": "no weights"}))
    assert capsys.readouterr().out == f"left out: 0: no weights\n{no_job}\n"


def test_a_report_counts_its_jobs():
    assert repr(report()) == f"Report of 1 job, arm soft: {Path('sweep/report/index.html')}"
    assert repr(Report(Path("sweep"), "soft")) == "Report of 0 jobs, arm soft: no file"


def test_the_main_tables_values_are_shown(capsys):
    print_report(report(Shown([], "soft", (), [])))
    assert capsys.readouterr().out.count("80.00") == 12


def test_of_many_lines_of_one_kind_the_first_are_shown_and_the_rest_counted(capsys):
    shown = Shown([], "soft", (), [])
    shown.missing = [f"cell {number}" for number in range(200)]
    print_report(report(shown, unread={"3": "failed"}))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("missing: ")] == [
        *(f"missing: cell {number}" for number in range(10)),
        "missing: and 190 more, see index.html",
    ]
    assert "left out: 3: failed" in lines
