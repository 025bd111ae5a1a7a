"""Laws of likeness against transfer: who counts, and from how many pairs on."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rows_in_memory import as_gathered

from harmonia.report.tables.contrasts import likeness_table
from harmonia.results.jobs import JobFolder
from harmonia.statistics.comparison import compare
from harmonia.statistics.likeness import correlations
from harmonia.statistics.ranks import MIN_SIGNIFICANT

pytestmark = pytest.mark.usefixtures("few_resamples")

MODELS = ("a", "b", "c")  # six pairs


def pairs(above, agreement, **columns):
    ends = list(combinations("abcd", 2))[: len(above)]
    frame = pd.DataFrame(ends, columns=["source", "target"]).assign(
        above_control=above, agreement=agreement, cka=np.nan
    )
    constant = {"label_policy": "predicted", "fill": "black", "data": "woof", "method": "gc", "variant": ""}
    return frame.assign(**constant | {"arm": "soft", "random_weights": False} | columns)


def test_the_correlation_is_spearmans_over_the_pairs_of_the_arm():
    rising = pairs([0.1, 0.2, 0.3, 0.4, 0.9], [0.5, 0.6, 0.7, 0.8, 0.81])
    other_arm = pairs([0.0] * 5, [0.9, 0.8, 0.1, 0.2, 0.3], arm="area30")
    (line,) = correlations(pd.concat([rising, other_arm]), "soft").to_dict("records")
    assert (line["measure"], line["rho"], line["pairs"]) == ("agreement", pytest.approx(1), 5)
    assert correlations(pd.concat([rising, other_arm]), "area30")["rho"].isna().tolist() == [True]  # does not vary


def test_sources_of_random_weights_do_not_count():
    trained = pairs([0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.6, 0.7, 0.8, 0.9])
    random = pairs([0.0] * 3, [1.0] * 3, random_weights=True)
    assert correlations(pd.concat([trained, random]), "soft")["pairs"].tolist() == [5]


def test_fewer_pairs_than_needed_give_no_correlation():
    few = pairs([0.1] * (MIN_SIGNIFICANT - 1) + [np.nan], np.linspace(0.1, 0.9, MIN_SIGNIFICANT))
    assert correlations(few, "soft").empty


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
