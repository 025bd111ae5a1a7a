"""Laws of the table of fills as judges: one arm is printed, a dash stands for what has not run, classes have names."""

import pytest
from rows_in_memory import as_gathered

from harmonia.report.tables.fill_reliability import fill_reliability_table
from harmonia.statistics.comparison import compare

pytestmark = pytest.mark.usefixtures("few_resamples")
SHOWN = {"image": 20, "area30": 15, "area50": 15, "blobs30": 10, "blobs50": 12}


@pytest.fixture
def compared(gathered_cell):
    """compared({fill: the answer to nothing, or None}): of 20 images of two dogs."""

    def make(nothing_of):
        cells = []
        for fill, answer in nothing_of.items():
            for arm, right in SHOWN.items():
                cells.append(gathered_cell("1" * right + "0" * (20 - right), arm=arm, fill=fill))
            if answer:
                cells.append(gathered_cell("0" * 20, predicted=[answer] * 20, arm="nothing", fill=fill))
        return compare(as_gathered(*cells))

    return make


def test_a_line_a_fill_of_the_arm_alone_and_dashes_for_what_has_not_run(compared):
    table = fill_reliability_table(compared({"black": "n02086240", "layer_mask": None}), "area30")
    assert table is not None
    names = ["Target", "Fill", "Judges", "Without the image", "Its share (%)", "Entropy (bits)", "Methods"]
    assert table.printed[names].to_numpy().tolist() == [
        ["e6", "black", "yes", "Shih-Tzu", "100.0 [–]", "0.00", "1"],
        ["e6", "layer_mask", "–", "–", "–", "–", "1"],
    ]
    assert (table.printed["Kendall's tau"] == "–").all()
    assert table.printed["Control's retention (%)"].str.startswith("50.0 [").all()
    assert "blobs30 is left" in table.printed.attrs["caption"]
    assert sorted(table.numbers["arm"]) == ["area30"] * 2 + ["area50"] * 2
    assert table.numbers["control_retention"].tolist() == pytest.approx([0.5, 0.5, 0.6, 0.6])


def test_no_table_of_one_fill_or_of_an_arm_that_has_not_run(compared):
    assert fill_reliability_table(compared({"black": "owl"}), "area30") is None
    assert fill_reliability_table(compared({"black": "owl", "mean": "owl"}), "area10") is None
