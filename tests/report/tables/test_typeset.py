import csv
import io
import shutil
import subprocess

import pandas as pd
import pytest
from rich.console import Console

from harmonia.report.tables.paper import FOOTNOTES
from harmonia.report.tables.typeset import print_table, table, table_files, to_csv, to_latex, to_markdown

ODD = "a_b & 50% #1 {x} ~ ^ \\ $ <i> | z"


def odd_table():
    cells = pd.DataFrame([[f"Accuracy {ODD}", "x", "90.00\N{DAGGER}", "[88.1, 92.0]"]] * 2)
    cells.columns = ["Method", "[Metric]", f"↑ {ODD}", "\N{EN DASH}"]
    return table(cells, f"Caption {ODD}", 2, list(FOOTNOTES.values()))


def test_latex_specials_are_escaped():
    text = to_latex(odd_table())
    assert (
        r"a\_b \& 50\% \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$ "
        r"\textless{}i\textgreater{} \textbar{} z"
    ) in text
    assert r"90.00\textdagger{} & {[}88.1, 92.0] \\" in text
    assert r"& $\uparrow$ a\_b" in text
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1
    assert r"\begin{tabular}{llrr}" in text


def has_booktabs():
    return (
        shutil.which("pdflatex") and subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True).returncode == 0
    )


def long_table(columns, rows):
    """As the report's controls are: many numbers with intervals, a long caption."""
    cells = pd.DataFrame([[f"network_{row}", *["87.4 [84.7, 90.2]"] * columns] for row in range(rows)])
    cells.columns = ["Source", *(f"Control's retention {number} (%)" for number in range(columns))]
    return table(
        cells, "Every feature beside its controls of the same area, and what is left above. " * 5, 1, ["Note."]
    )


@pytest.mark.skipif(not has_booktabs(), reason="pdflatex with booktabs is not installed")
@pytest.mark.parametrize(
    "table", [odd_table(), long_table(2, 3), long_table(12, 95)], ids=["odd", "narrow", "long, wide"]
)
def test_latex_compiles_and_fits_on_the_page(tmp_path, table):
    lines = [r"\documentclass{article}", r"\usepackage{booktabs,graphicx}", r"\begin{document}"]
    document = "\n".join([*lines, to_latex(table), r"\end{document}"])
    (tmp_path / "t.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert ran.returncode == 0, ran.stdout.decode(errors="replace")[-2000:]
    log = (tmp_path / "t.log").read_text(errors="replace")
    assert "Overfull" not in log
    assert "too large" not in log


def test_a_long_table_goes_on_in_floats_of_one_number_with_every_line_once():
    text = to_latex(long_table(2, 95))
    assert text.count(r"\begin{table}") == text.count(r"\midrule") == 3
    assert text.count(r"\addtocounter{table}{-1}\caption{(continued)}") == 2
    assert [text.count(f"network\\_{row} &") for row in range(95)] == [1] * 95
    assert text.count("Note.") == 1


def test_markdown_cells_cannot_break_out():
    lines = to_markdown(odd_table()).splitlines()
    assert r"\\ \$ &lt;i> \| z |" in lines[2]
    assert len({line.replace(r"\|", "").count("|") for line in lines[2:6]}) == 1
    assert lines[3] == "| --- | --- | ---: | ---: |"


def test_footnotes_stand_below():
    for text in (to_markdown(odd_table()), to_latex(odd_table())):
        assert text.index("78.4") > text.rindex("88.1")


def test_csv_reads_back_as_the_table():
    odd = odd_table()
    read = list(csv.reader(to_csv(odd).splitlines()))
    assert read == [list(odd.columns), *(list(line) for line in odd.itertuples(index=False))]


def test_the_terminal_shows_brackets_as_they_are():
    shown = io.StringIO()
    cells = pd.DataFrame({"Target": ["[red]e6[/red]"], "[i]": ["1"]})
    print_table(table(cells, "[b]Caption[/b]", 1), Console(width=200, file=shown))
    assert "[red]e6[/red]" in shown.getvalue()
    assert "[b]Caption[/b]" in shown.getvalue()


def test_the_three_files_carry_the_stem_and_the_csv_the_numbers(tmp_path):
    odd = odd_table()
    table_files(odd, "table7", tmp_path, pd.DataFrame({"x": [0.123456789012]}))
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {
        "table7.md": to_markdown(odd),
        "table7.csv": "x\n0.123456789012\n",
        "table7.tex": to_latex(odd),
    }
