"""Laws of the table that holds a joint source against its networks: who judges, who is best, and at equal passes."""

import json

import numpy as np
import pandas as pd
import pytest
from rows_in_memory import as_gathered

from harmonia.statistics.comparison import compare
from harmonia.statistics.contrasts import mean_transfer
from harmonia.statistics.harmonised import BEST_ALONE, BEST_AS_MANY, MEAN, VOTE, harmonised

pytestmark = pytest.mark.usefixtures("few_resamples")
IMAGES = 20


def compared(*cells):
    (comparison,) = compare(as_gathered(*cells))
    return comparison


@pytest.fixture
def cells(gathered_cell):
    """Of a source: so many of IMAGES are right on the feature, by target; every whole image is, and no blob."""

    def make(source, hits, **facts):
        outcomes = {"image": IMAGES, "blobs30": 0}
        frames = []
        for target, right in hits.items():
            for arm, count in (outcomes | {"area30": right}).items():
                outcome = "1" * count + "0" * (IMAGES - count)
                voted = target in json.loads(facts.get("voters", "") or "[]")
                frames.append(
                    gathered_cell(
                        outcome, labels=["x"] * IMAGES, source=source, target=target, arm=arm, voted=voted, **facts
                    )
                )
        return frames

    return make


def together(*voters, kind="joint", passes):
    return {"voters": json.dumps(voters), "source_kind": kind, "passes": passes}


@pytest.fixture
def grid(cells):
    """Three networks, of which a and b, and a and c, explain together and vote; x, y and who has no vote judge."""
    return [
        *cells("a", {"x": 10, "y": 6, "c": 20, "b": 20}, passes=50.0),
        *cells("b", {"x": 4, "y": 14, "c": 20, "a": 20}, passes=60.0),
        *cells("b", {"x": 20, "y": 16}, passes=100.0, variant="draws=2"),
        *cells("a", {"x": 8, "y": 8}, passes=104.0, variant="draws=2"),
        *cells("c", {"x": 2, "y": 2}, passes=50.0),
        *cells("a+b", {"x": 12, "y": 12, "a": 20, "b": 20, "a+b": 20}, **together("a", "b", passes=102.0)),
        *cells("a+c", {"x": 10, "y": 10}, **together("a", "c", passes=200.0)),
        *cells("vote a+b", {"x": 6, "y": 6}, **together("a", "b", kind="vote", passes=110.0)),
        *cells("vote a+c", {"x": 8, "y": 8}, **together("a", "c", kind="vote", passes=100.0)),
    ]


def test_a_joint_source_is_held_against_each_network_their_mean_and_the_best_where_nobody_voted(grid):
    lines = harmonised(compared(*grid))
    of_pair = lines[lines["source"] == "a+b"].set_index("beside")
    assert list(of_pair.index) == sorted(["a", "b", MEAN, BEST_ALONE, BEST_AS_MANY, VOTE])
    assert of_pair["retention"].tolist() == pytest.approx([0.6] * 6)  # of x and y alone, not of the voters' 1
    assert of_pair["targets"].tolist() == [2] * 6
    expected = {"a": 8 / 20, "b": 9 / 20, MEAN: 8.5 / 20, BEST_ALONE: 9 / 20, BEST_AS_MANY: 18 / 20, VOTE: 6 / 20}
    assert of_pair["beside_retention"].to_dict() == pytest.approx(expected)
    assert of_pair["difference"].to_dict() == pytest.approx({name: 0.6 - other for name, other in expected.items()})
    passes = {"a": 50, "b": 60, MEAN: 55, BEST_ALONE: 55, BEST_AS_MANY: 102, VOTE: 110}
    assert of_pair["beside_passes"].to_dict() == passes
    assert (of_pair["above_control"] == of_pair["retention"]).all()
    # of a+c nothing ran at as many passes; over both sources the mean of the two differences, of votes apart
    assert BEST_AS_MANY not in set(lines.loc[lines["source"] == "a+c", "beside"])
    of_two = lines[lines["source"] == "2 networks"].set_index("beside")
    assert of_two.loc[BEST_ALONE, ["sources", "difference"]].tolist() == pytest.approx([2, (0.15 + 0.1) / 2])
    assert of_two.loc[VOTE, ["sources", "difference"]].tolist() == pytest.approx([2, (0.3 + 0.1) / 2])
    of_votes = lines[lines["source"] == "votes of 2 networks"].set_index("beside")
    assert of_votes.loc[BEST_ALONE, ["sources", "difference"]].tolist() == pytest.approx([2, (-0.15 + 0) / 2])


def test_the_best_network_is_picked_anew_in_each_resample(grid):
    line = harmonised(compared(*grid)).set_index(["source", "beside"]).loc[("a+b", BEST_ALONE)]
    draws = np.random.default_rng(0).integers(IMAGES, size=(4000, IMAGES))

    def kept(right):
        return (draws < right).mean(1)

    best = np.maximum(kept(10) + kept(6), kept(4) + kept(14)) / 2
    low, high = np.quantile(kept(12) - best, [0.025, 0.975])
    assert line[["difference_low", "difference_high"]].tolist() == pytest.approx([low, high], abs=0.05)


def test_networks_that_voted_are_in_no_mean_over_other_networks(grid):
    lines = mean_transfer(compared(*grid)).set_index(["source", "arm"])
    assert lines.loc[("a+b", "area30"), ["cells", "retention"]].tolist() == pytest.approx([2, 0.6])


def test_the_order_of_jobs_changes_nothing_and_a_network_that_did_not_explain_alone_leaves_no_line(grid):
    lines, again = (harmonised(compared(*each)) for each in (grid, grid[::-1]))
    order = ["source", "beside"]
    pd.testing.assert_frame_equal(*(each.sort_values(order, ignore_index=True) for each in (lines, again)))
    without = [frame for frame in grid if not (frame["source"] == "a").all()]
    assert harmonised(compared(*without)).empty
