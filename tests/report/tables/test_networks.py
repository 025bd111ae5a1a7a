"""Laws of the table of networks as units: every kind of line in words, sentences where networks are enough."""

import pandas as pd
import pytest
from rows_in_memory import NETWORKS, as_gathered, square

from harmonia.report.answer import answers
from harmonia.report.figures.networks import networks_figures
from harmonia.report.tables.networks import networks_table, with_networks
from harmonia.statistics.comparison import compare
from harmonia.statistics.contrasts import mean_transfer
from harmonia.statistics.networks import kin_pairs


@pytest.fixture
def compared(gathered_cell, monkeypatch):
    monkeypatch.setattr("harmonia.statistics.inference.NUM_RESAMPLES", 60)

    def make(**given):
        return compare(as_gathered(*square(gathered_cell, **given), rows_at_once=5000))

    return make


def alike(comparisons, ends, value):
    pairs = [(one, other) for one in NETWORKS for other in NETWORKS if one < other]
    lines = pd.DataFrame(pairs, columns=ends).assign(method="gc", variant="", **comparisons[0].setting)
    return lines.assign(**{name: [number * at for at in range(len(lines))] for name, number in value.items()})


def test_every_kind_of_line_is_printed_in_words_and_the_figure_has_a_dot_a_pair(compared):
    comparisons = compared(sources=["guess"])
    likeness = alike(comparisons, ["source", "target"], {"agreement": 0.1, "cka": 0.0})
    agreement = alike(comparisons, ["first", "second"], {"rho": -0.1, "iou": 0.1})
    table = networks_table(comparisons, "area30", likeness, agreement)
    assert table.printed["From a network to"].tolist() == [
        "itself", "another training of it", "another size of its family", "another family",
        "a larger one of its family", "a larger one of any family", "all others, by agreement of predictions",
        "all others, by rank correlation of maps", "all others, by IoU of regions", "all, from guess, which guesses",
    ]  # fmt: skip
    assert table.printed["Pairs"].tolist() == ["5", "2", "4", "14", "2", "5", "20", "20", "20", "5"]
    (figure,) = networks_figures(kin_pairs(comparisons[0], "area30"), table.numbers, "area30")
    (panel,) = figure.drawn.axes
    assert sum(len(dots.get_offsets()) for dots in panel.collections if hasattr(dots, "get_sizes")) == 25
    assert with_networks(comparisons, said(comparisons), table.numbers)[0].findings == said(comparisons)[0].findings


def said(comparisons):
    return answers(comparisons, [mean_transfer(each) for each in comparisons], [], "area30")


def test_six_networks_have_a_sentence_and_no_table_says_nothing(compared):
    comparisons = compared(networks=NETWORKS | {"e0": ("fc", 9.0)})
    table = networks_table(comparisons, "area30")
    (answer,) = with_networks(comparisons, said(comparisons), table.numbers)
    verdict, numbers = answer.findings[-1]
    assert verdict.startswith("GC, 6 networks as units: another training of it carries")
    assert "than less related networks (p " in verdict
    (first,) = table.numbers[(table.numbers["what"] == "itself")].to_dict("records")
    assert f"from a network to itself {100 * first['above_control']:+.0f} points [" in numbers
    assert networks_table(compared(networks={"a0": ("fa", 1.0), "a1": ("fa", 1.0)}), "area30") is None
