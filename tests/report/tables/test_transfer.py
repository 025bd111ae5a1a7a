import numpy as np
import pandas as pd
import pytest
from rows_in_memory import as_gathered

from harmonia.report.tables.transfer import transfer_matrix, transfer_tables
from harmonia.results.summary import summarise
from harmonia.statistics.comparison import cell_estimates, compare

pytestmark = pytest.mark.usefixtures("few_resamples")

DASH = "\N{EN DASH}"


def soft_tables(*cells):
    return transfer_tables(compared(*cells), "soft")


def compared(*cells):
    return compare(as_gathered(*cells))


def grid(
    gathered_cell, source="e7", targets=("e7", "e6", "e5"), methods=("ss", "gc"), arms=("image", "soft"), **options
):
    return [
        gathered_cell("1110111111" if arm == "image" else "1010110110", source=source, target=target, method=method,
                      arm=arm, kept_area=1.0 if arm == "image" else 0.25, **options)
        for method in methods for target in targets for arm in arms
    ]  # fmt: skip


def lines_of(table, method):
    return table[table["Method"] == method].set_index("Metric").drop(columns="Method")


def test_the_figures_are_the_summarys(gathered_cell):
    cells = grid(gathered_cell, targets=("e7",), methods=("ss",))
    (table,) = soft_tables(*cells)
    summary = summarise(pd.concat(cells).assign(p_explained=0.5, in_top5=False))
    lines = lines_of(table, "SS")
    for letter, arm in (("I", "image"), ("F", "soft")):
        column = lines[f"e7 ({letter})"]
        assert column["Accuracy (%)"] == f"{100 * summary[f'e7/{arm}/accuracy']:.2f}"
        assert column["F1, weighted"] == f"{summary[f'e7/{arm}/f1_weighted']:.3f}"
        assert column["F1, macro"] == f"{summary[f'e7/{arm}/f1_macro']:.3f}"
        assert column["Kept area (%)"] == f"{100 * summary[f'e7/{arm}/kept_area']:.2f}"


def test_beneath_each_figure_stand_its_interval_and_the_printed_value(gathered_cell):
    (table,) = soft_tables(*grid(gathered_cell))
    assert table.columns.tolist() == [
        "Method", "Metric", "e7 (I)", "e7 (F)", "e6 (I)", "e6 (F)", "e5 (I)", "e5 (F)"
    ]  # fmt: skip
    lines = lines_of(table, "GC")
    assert lines.index.tolist() == [
        "Accuracy (%)",
        "Accuracy, 95 % interval",
        "Accuracy, printed",
        "F1, weighted",
        "F1, weighted, 95 % interval",
        "F1, macro",
        "F1, macro, 95 % interval",
        "F1, printed",
        "Kept area (%)",
    ]
    assert lines.loc["Accuracy, printed", "e6 (F)"] == "55.74"
    assert lines.loc["F1, printed", "e6 (F)"] == ".70"
    (comparison,) = compared(*grid(gathered_cell))
    estimate = cell_estimates(comparison).query("target == 'e6' and method == 'gc' and arm == 'soft'").iloc[0]
    bounds = 100 * estimate["accuracy_feature_low"], 100 * estimate["accuracy_feature_high"]
    assert lines.loc["Accuracy, 95 % interval", "e6 (F)"] == f"[{bounds[0]:.2f}, {bounds[1]:.2f}]"


def test_cells_in_which_the_paper_contradicts_itself_are_marked(gathered_cell):
    cells = [*grid(gathered_cell), *grid(gathered_cell, source="vit", targets=("vit", "e6"), family="vit")]
    e7, vit = soft_tables(*cells)
    assert lines_of(e7, "SS").loc["Accuracy, printed", "e7 (I)"] == "78.4\N{DAGGER}"
    assert lines_of(e7, "GC").loc["Accuracy, printed", "e7 (I)"] == "78.47\N{DAGGER}"
    assert lines_of(vit, "GC").loc["F1, printed", "vit (I)"] == ".87\N{DOUBLE DAGGER}"
    assert lines_of(vit, "SS").loc["F1, printed", "vit (I)"] == ".94"
    assert [note[0] for note in e7.attrs["footnotes"]] == ["P", "\N{DAGGER}"]
    assert [note[0] for note in vit.attrs["footnotes"]] == ["P", "\N{DOUBLE DAGGER}"]
    assert "Imagewoof" in e7.attrs["footnotes"][0]


def test_the_papers_features_lie_on_black(gathered_cell):
    (table,) = soft_tables(*grid(gathered_cell, methods=("ss_paper",), fill="blur"))
    line = lines_of(table, "SS_PAPER").loc["Accuracy, printed"]
    assert (line["e6 (I)"], line["e6 (F)"]) == ("75.90", DASH)


def test_an_equal_area_arm_has_printed_numbers_for_the_whole_image_alone(gathered_cell):
    (table,) = transfer_tables(compared(*grid(gathered_cell, arms=("image", "area30"))), "area30")
    line = lines_of(table, "SS").loc["Accuracy, printed"]
    assert line["e6 (I)"] == "75.90"
    assert line["e6 (F)"] == DASH


def test_networks_that_the_paper_lacks_have_no_printed_line(gathered_cell):
    (table,) = soft_tables(*grid(gathered_cell, source="lite2", targets=("lite2", "lite0")))
    assert not table["Metric"].str.endswith("printed").any()
    assert table.attrs["footnotes"] == []


def test_an_arm_that_never_ran_gives_dashes_beside_the_images(gathered_cell):
    cells = [*grid(gathered_cell, methods=("ss",)), *grid(gathered_cell, methods=("gc",), arms=("image",))]
    (table,) = soft_tables(*cells)
    assert lines_of(table, "GC").loc[["Accuracy (%)", "F1, macro", "Kept area (%)"], "e6 (F)"].tolist() == [DASH] * 3


@pytest.mark.parametrize(
    ("given", "outcomes", "note"),
    [
        ({"labels": [None] * 4, "predicted": ["a"] * 4}, "1111", "No image has a label"),
        ({}, "1", "One image has no interval"),
        ({"p_label": [np.nan, 0.5, np.nan, 0.5]}, "0101", "e6 lacks the class of 2 images, which count as wrong"),
        ({"flag": ["zero", "", "", ""]}, "0101", "1 maps of GC are flagged"),
    ],
)
def test_what_is_odd_about_the_images_is_a_footnote(gathered_cell, given, outcomes, note):
    (table,) = soft_tables(*(gathered_cell(outcomes, arm=arm, **given) for arm in ("image", "soft")))
    assert [text for text in table.attrs["footnotes"] if text.startswith(note)]


def test_the_matrix_has_a_line_for_every_cell_but_whole_images(gathered_cell):
    arms = ("image", "soft", "dim", "area30")
    lines = transfer_matrix(compared(*grid(gathered_cell, arms=arms)))
    assert len(lines) == 2 * 3 * 3
    assert lines.columns[:9].tolist() == [
        "source", "target", "method", "arm", "accuracy_image", "accuracy_feature", "retention", "kept_area", "images"
    ]  # fmt: skip
    assert lines.loc[lines["arm"] == "area30", "reason"].unique().tolist() == ["the matched control has not run"]
