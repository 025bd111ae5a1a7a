"""The command that fills a page's marks from exported rows; the pages of docs are what it makes of their files."""

import re
from runpy import run_path

import pandas as pd
import pytest
from paths import REPOSITORY
from planted_jobs import plant_transfer
from result_tables import CONTROLS, MAPS_SHARED, METHODS, NETWORKS, PAGE, UNDER_FILLS, lines_of

from harmonia.errors import InputError
from harmonia.export.write import write_export

COMMAND = run_path(str(REPOSITORY / "benchmarks" / "results_page.py"))


def table_in(folder):
    """Gives a table's text by the name of its file."""
    return lambda name: "\n".join(lines_of(f"{folder}/{name.removesuffix('.md')}"))


@pytest.fixture(scope="module")
def reports(tmp_path_factory, save_blank):
    """Of an export of two jobs that say for each of four images whether it is named."""
    folder = tmp_path_factory.mktemp("exported")
    right = {"image": [True] * 4, "area30": [True, True, True, False], "blobs30": [False] * 4}
    right |= {"soft": [True, True, False, False], "dim": [True, False, False, False]}
    for method in ("gc", "ss"):
        probabilities = {arm: [float(hit) for hit in hits] for arm, hits in right.items()}
        plant_transfer(folder / "run" / method, "lite0", method, right, probabilities)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", save_blank)
        return COMMAND["reports_of"](write_export(folder / "run", folder / "export").folder, folder / "reports")


OURS = """# Mine

<!-- ours/transfer_above_control.md, where Arm is area30 -->

old

<!-- end -->

Text, ours/transfer_matrix.csv and ours/rows.parquet.

<!-- ours/table1_soft.md, where Metric is Accuracy (%) or F1, macro -->
<!-- end -->

More.
"""


@pytest.mark.slow
def test_the_command_fills_the_marks_from_the_exported_rows_and_leaves_the_text(reports, tmp_path):
    page = tmp_path / "ours.md"
    page.write_text(OURS)
    COMMAND["fill"](page, reports)
    text = page.read_text()
    outside = [line for line in text.splitlines() if line and line[0] != "|"]
    assert outside == [line for line in OURS.splitlines() if line and line != "old"]
    assert text.count("| lite0 | GC | area30 | 2 | 4 | 75.0 ") == 1  # three images of four, in Lite1 and in Lite2
    assert "| soft |" not in text
    assert "| GC | Accuracy (%) | 100.00 | 100.00 | 100.00 | 50.00 | 100.00 | 50.00 |\n| GC | F1, macro |" in text
    files = {path.name: path.read_bytes() for path in (tmp_path / "ours").iterdir()}
    assert files.keys() == {"transfer_above_control.md", "transfer_matrix.csv", "table1_soft.md", "rows.parquet"}
    rows = pd.read_parquet(tmp_path / "ours" / "rows.parquet")
    right = rows[(rows["method"] == "gc") & (rows["target"] == "lite1")].groupby("arm", observed=True)["right"].mean()
    assert right.to_dict() == {"image": 1, "area30": 0.75, "blobs30": 0, "soft": 0.5, "dim": 0.25}
    assert files["transfer_matrix.csv"] == (reports["area30"] / "transfer_matrix.csv").read_bytes()
    assert files["table1_soft.md"] == (reports["soft"] / "table1.md").read_bytes()
    COMMAND["fill"](page, reports)
    assert page.read_text() == text


def test_a_page_that_is_not_there_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["results_page.py", "EXPORT", "--page", str(tmp_path / "none.md")])
    with pytest.raises(SystemExit):
        COMMAND["main"]()
    assert capsys.readouterr().err.splitlines()[-1].endswith("none.md'; write it with a mark for each table")


@pytest.mark.slow
def test_a_file_that_no_report_has_is_refused_before_anything_is_written(reports, tmp_path):
    page = tmp_path / "ours.md"
    page.write_text(OURS.replace("transfer_matrix.csv", "harmonised.md"))
    with pytest.raises(InputError, match=r"got harmonised\.md; export the jobs"):
        COMMAND["fill"](page, reports)
    assert page.read_text() == OURS.replace("transfer_matrix.csv", "harmonised.md")
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Arm is soft", "Arm is area35", "none of {'area35'}"),
        ("where Arm", "where Area", "got 'Area'"),
        ("<!-- end -->", "", "every mark must end"),
    ],
)
def test_a_mark_that_says_nothing_is_refused(old, new, words):
    with pytest.raises(InputError, match=re.escape(words)):
        COMMAND["with_tables"](PAGE.replace(old, new, 1), table_in("results"))


@pytest.mark.parametrize(
    ("page", "folder"),
    [
        (PAGE, "results"),
        (UNDER_FILLS, "fills"),
        (MAPS_SHARED, "harmonised"),
        (CONTROLS, "controls"),
        (NETWORKS, "networks-as-units"),
        (METHODS, "methods"),
    ],
)
def test_the_page_is_what_the_command_makes_of_its_files(page, folder):
    assert COMMAND["with_tables"](page, table_in(folder)) == page
