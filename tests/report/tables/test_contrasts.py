"""Laws of the table of likeness against transfer: it has every pair once, and enough of them."""

from pathlib import Path

import pytest
from rows_in_memory import as_gathered

from harmonia.report.tables.contrasts import likeness_table, statistic_tables
from harmonia.results.jobs import JobFolder
from harmonia.statistics.comparison import compare

pytestmark = pytest.mark.usefixtures("few_resamples")

MODELS = ("a", "b", "c")  # six pairs


def grid(gathered_cell, models):
    """All models as sources and targets; a source names the label on every whole image."""
    parts = []
    for source in models:
        for number, target in enumerate(models):
            for arm, hits in (("image", 8 - number), ("soft", 5 - number), ("dim", 2)):
                parts.append(gathered_cell("1" * hits + "0" * (10 - hits), arm=arm, source=source, target=target))
    return compare(as_gathered(*parts))


def test_the_table_prints_every_pair_once_and_the_correlation_beneath(gathered_cell):
    table = likeness_table(grid(gathered_cell, MODELS), [JobFolder(Path("0"))], "soft")
    assert table is not None
    assert len(table.printed) == 6
    line = table.printed[(table.printed["Source"] == "a") & (table.printed["Target"] == "b")].iloc[0]
    assert (line["Agreement (%)"], line["CKA"]) == ("70.0", "\N{EN DASH}")
    assert line["Above control (points)"].startswith(f"{100 * (4 / 7 - 2 / 7):.1f} [")
    assert "Spearman's rho" in table.printed.attrs["footnotes"][0]
    assert "over 6 pairs" in table.printed.attrs["footnotes"][0]


@pytest.mark.parametrize(("models", "arm"), [(("a", "b"), "soft"), (MODELS, "area30"), ((), "soft")])
def test_no_table_without_pairs_enough(gathered_cell, models, arm):
    comparisons = grid(gathered_cell, models) if models else []
    assert likeness_table(comparisons, [JobFolder(Path("0"))], arm) is None


def test_a_setting_in_which_a_source_is_shown_to_itself_alone_costs_no_table_of_the_others(gathered_cell):
    cells = [
        gathered_cell("1" * 20, source="e7", target=target, fill=fill, arm=arm)
        for fill, target in (("black", "e6"), ("black", "e7"), ("mean", "e7"))
        for arm in ("image", "area30", "blobs30")
    ]
    tables = {table.stem: table for table in statistic_tables(compare(as_gathered(*cells)), "area30")}
    assert tables["transfer_above_control"].numbers["fill"].unique().tolist() == ["black"]
