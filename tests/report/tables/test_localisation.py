"""Laws of the rank correlation between the cells of two jobs."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from harmonia.report.tables.localisation import localisation_agreement_table
from harmonia.statistics.localisation import MosaicScores


def job(name, scores, protocol="gridpg", cells_per_mosaic=2):
    count = len(scores)
    rows = pd.DataFrame(
        {
            "protocol": protocol,
            "source": "lite0",
            "grid_side": 2,
            "grid": np.arange(count) // cells_per_mosaic,
            "cell": np.arange(count) % cells_per_mosaic,
            "image_id": [f"n{number}" for number in range(count)],
            "localisation": scores,
        }
    )
    return MosaicScores(name, rows, SimpleNamespace())


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    first = rng.random(60)
    return first, 0.5 * first + 0.2 * rng.random(60), rng.random(60) / 4


@pytest.mark.slow
def test_every_pair_has_scipys_rho_inside_its_interval_and_those_with_the_best_are_printed(scores):
    table = localisation_agreement_table([job(name, values) for name, values in zip("abc", scores, strict=True)])
    numbers = table.numbers.set_index(["first", "second"])
    assert set(numbers.index) == {("a", "b"), ("a", "c"), ("b", "c")}
    assert list(table.printed["Method"]) == ["b", "c"]
    for (first, second), line in numbers.iterrows():
        one, other = (scores["abc".index(name)] for name in (first, second))
        assert line["rho"] == pytest.approx(spearmanr(one, other).statistic)
        assert (line["rho_low"] < line["rho"] < line["rho_high"]) == (first == "a")
        assert (line["cells"], line["mosaics"]) == (60, 30)


@pytest.mark.slow
def test_only_cells_that_both_have_scored_count_and_protocols_do_not_meet(scores):
    first, second, third = scores
    made = localisation_agreement_table([job("a", first), job("b", second[:20]), job("c", third, protocol="difull")])
    (line,) = made.numbers.to_dict("records")
    assert (line["first"], line["second"], line["cells"]) == ("a", "b", 20)
    assert line["rho"] == pytest.approx(spearmanr(first[:20], second[:20]).statistic)


@pytest.mark.slow
def test_mosaics_are_drawn_whole():
    """Cells that repeat each other are no more evidence than one of them."""
    rng = np.random.default_rng(1)
    few = rng.random((2, 20))
    alone = localisation_agreement_table([job("a", few[0], cells_per_mosaic=1), job("b", few[1], cells_per_mosaic=1)])
    fourfold = localisation_agreement_table(
        [job(name, np.repeat(one, 4), cells_per_mosaic=4) for name, one in zip("ab", few, strict=True)]
    )
    widths = [made.numbers["rho_high"][0] - made.numbers["rho_low"][0] for made in (alone, fourfold)]
    assert widths[1] == pytest.approx(widths[0], abs=1e-9)


@pytest.mark.slow
def test_cells_that_all_score_alike_have_no_correlation():
    table = localisation_agreement_table([job("a", np.ones(40)), job("b", np.linspace(0, 0.9, 40))])
    assert np.isnan(table.numbers["rho"][0])
    assert list(table.printed["Spearman's rho"]) == ["–"]
    assert list(table.printed["Localises best"]) == ["b"]  # of those that put the cells in an order


def test_too_few_mosaics_give_no_table(scores):
    assert localisation_agreement_table([job("a", scores[0][:8]), job("b", scores[1][:8])]) is None
