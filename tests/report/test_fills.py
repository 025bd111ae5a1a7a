"""Laws of claims under several fills: planted rows give the table, the range, and the mark of a sign that turns."""

from dataclasses import replace

import pytest
from rows_in_memory import as_gathered

from harmonia.report.answer import answer_markdown, answers, cautions_of_all
from harmonia.report.fills import TURNS, fills_table, with_ranges
from harmonia.statistics.comparison import compare
from harmonia.statistics.contrasts import mean_transfer

pytestmark = pytest.mark.usefixtures("few_resamples")

BLACK = {"area30": 20, "blobs30": 10, "centre30": 38}
MEAN = {"area30": 45, "blobs30": 25, "centre30": 35}
ABOVE, CENTRE = "Above control (points)", "Above centre box (points)"


@pytest.fixture
def compared(gathered_cell):
    """compared({(fill, target): hits by arm}): of 60 images that every target names as a whole."""

    def make(hits_of):
        return compare(
            as_gathered(
                *(
                    gathered_cell("1" * right + "0" * (60 - right), arm=arm, fill=fill, target=target)
                    for (fill, target), hits in hits_of.items()
                    for arm, right in ({"image": 60} | hits).items()
                )
            )
        )

    return make


def answered(comparisons):
    return with_ranges(answers(comparisons, [mean_transfer(each) for each in comparisons], [], "area30"))


def test_a_caution_of_all_fills_stands_once_and_one_of_some_says_which(compared):
    of_fills = answered(compared({("black", "e6"): BLACK, ("mean", "e6"): MEAN | {"centre30": 45}}))
    alike, *of_one = cautions_of_all(of_fills)
    assert alike in of_fills[0].cautions
    assert alike in of_fills[1].cautions
    of_mean = [caution for caution in of_one if caution.startswith("Fill mean: ")]
    assert of_mean == ["Fill mean: No clear difference is no proof that there is none."]
    whole = answer_markdown("Why?", of_fills)
    assert whole.count("What may not be concluded:") == 1
    assert whole.count(alike) == 1


def test_an_answer_that_has_one_caution_twice_counts_once(compared):
    black, mean = answered(compared({("black", "e6"): BLACK, ("mean", "e6"): MEAN}))
    twice = [replace(black, cautions=["Alike."] * 2), replace(mean, cautions=[])]
    assert cautions_of_all(twice) == ["Fill black: Alike."]


def test_lines_of_a_cell_stand_together_and_a_claim_that_turns_round_is_marked(compared):
    table = fills_table(compared({("black", "e6"): BLACK, ("black", "vit"): MEAN, ("mean", "e6"): MEAN}), "area30")
    assert table.printed[["Target", "Fill"]].to_numpy().tolist() == [["e6", "black"], ["e6", "mean"]]
    assert table.printed["Retention (%)"].str.partition(" ")[0].tolist() == ["33.3", "75.0"]
    assert table.printed[ABOVE].str.partition(" ")[0].tolist() == ["16.7", "33.3"]
    assert not table.printed[ABOVE].str.endswith(TURNS).any()
    assert table.printed[CENTRE].str.partition(" ")[0].tolist() == ["-30.0", "16.7"]
    assert table.printed[CENTRE].str.endswith(TURNS).all()
    assert table.numbers["above_centre"].tolist() == pytest.approx([-0.3, 1 / 6])


def test_a_network_that_the_source_is_made_of_is_no_other_network(gathered_cell):
    cells = [
        gathered_cell("1" * right + "0" * (60 - right), arm=arm, fill=fill, target=target, voted=target == "e6")
        for fill in ("black", "mean")
        for target in ("e6", "vit")
        for arm, right in ({"image": 60} | BLACK).items()
    ]
    table = fills_table(compare(as_gathered(*cells)), "area30")
    assert table.printed["Target"].tolist() == ["vit"] * 2


@pytest.mark.parametrize("fills", [{("black", "e6"): BLACK}, {("black", "e6"): BLACK, ("mean", "vit"): MEAN}])
def test_no_table_where_no_cell_has_run_under_two_fills(compared, fills):
    assert fills_table(compared(fills), "area30") is None
    assert not any("Over the fills" in caution for answer in answered(compared(fills)) for caution in answer.cautions)


def test_no_table_of_an_arm_that_has_not_run(compared):
    assert fills_table(compared({("black", "e6"): BLACK, ("mean", "e6"): MEAN}), "area50") is None


def test_every_answer_says_the_range_and_which_sign_hangs_on_the_fill(compared):
    both = answered(compared({("black", "e6"): BLACK, ("mean", "e6"): MEAN}))
    caution = (
        "Over the fills black, mean the difference of GC of e7 is +17 to +33 points to random blobs; -30 to +17 points "
        "to a centred box, and its sign hangs on the fill."
    )
    assert [answer.cautions[-1] for answer in both] == [caution, caution]


def test_means_over_other_networks_are_not_compared(compared):
    """drop_tokens may have fewer targets than black: their means differ by the networks, too."""
    of_fills = answered(compared({("black", "e6"): BLACK, ("black", "vit"): MEAN, ("mean", "e6"): MEAN}))
    assert not any("Over the fills" in caution for answer in of_fills for caution in answer.cautions)
    assert "No other fill ran on the same networks: under another the answer may differ." in cautions_of_all(of_fills)
