from pathlib import Path

import pandas as pd

from harmonia.report.tables.columns import StatisticTable
from harmonia.report.tables.typeset import table
from harmonia.report.written import Report, print_report
from harmonia.results.jobs import JobFolder


def report(**given):
    cells = table(pd.DataFrame({"Method": ["SS"], "e6 (F)": ["80.00"]}), "Source e7", 1)
    return Report(Path("sweep"), "soft", Path("sweep/report"), [JobFolder(Path("sweep/0"))], [cells] * 12, **given)


def test_the_terminal_names_the_page_and_every_file_in_a_few_lines(capsys):
    print_report(report())
    last = capsys.readouterr().out.splitlines()[-4:]
    assert last[0].startswith("A soft map dims")
    assert last[1] == f"report: {Path('sweep/report/index.html')}"
    assert "table1, table2" in last[2]
    assert "table12; transfer_matrix.csv" in last[2]


def test_the_terminal_names_the_ranking_page_and_no_matrix_of_a_report_without_transfer(capsys):
    metrics = table(pd.DataFrame({"Source": ["e7"], "Method": ["SS"], "deletion": ["0.1"]}), "Methods by metrics", 2)
    scored = report(statistics=[StatisticTable("ranking", metrics, metrics)])
    scored.tables = []
    print_report(scored)
    printed = capsys.readouterr().out
    assert f"metrics of their maps: {Path('sweep/report/ranking.html')}" in printed
    assert "tables (md, csv, tex): ranking\n" in printed


def test_the_main_tables_values_are_shown(capsys):
    print_report(report())
    assert capsys.readouterr().out.count("80.00") == 12


def test_of_many_lines_of_one_kind_the_first_are_shown_and_the_rest_counted(capsys):
    print_report(report(missing=[f"cell {number}" for number in range(200)], left_out={"3": "failed"}))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("missing: ")] == [
        *(f"missing: cell {number}" for number in range(10)),
        "missing: and 190 more, see index.html",
    ]
    assert "left out: 3: failed" in lines


def test_of_transfer_above_control_only_the_means_and_the_reports_arm_are_shown(capsys):
    lines = [(source, arm) for source in ("all", "e7", "vit") for arm in ("soft", "area30")]
    cells = pd.DataFrame(
        [(*line, f"{number}.5") for number, line in enumerate(lines)], columns=["Source", "Arm", "Above"]
    )
    headline = StatisticTable("transfer_above_control", table(cells, "Transfer", 2), cells)
    print_report(report(statistics=[headline]))
    printed = capsys.readouterr().out
    assert [value for value in cells["Above"] if value in printed] == ["0.5", "1.5", "2.5", "4.5"]
    assert len(headline.printed) == 6


def test_of_a_source_alone_every_arm_is_shown(capsys):
    cells = pd.DataFrame([("e7", "soft", "0.5"), ("e7", "area30", "1.5")], columns=["Source", "Arm", "Above"])
    headline = StatisticTable("transfer_above_control", table(cells, "Transfer", 2), cells)
    print_report(report(statistics=[headline]))
    printed = capsys.readouterr().out
    assert [value for value in cells["Above"] if value in printed] == ["0.5", "1.5"]
