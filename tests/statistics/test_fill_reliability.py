"""Laws of fills as judges: planted answers without the image, fills that leak or are blind, orders that turn."""

import numpy as np
import pytest
from rows_in_memory import as_gathered
from scipy.stats import kendalltau

from harmonia.statistics.comparison import compare
from harmonia.statistics.fill_reliability import fill_reliability, kendall

pytestmark = pytest.mark.usefixtures("few_resamples")
IMAGES = 40
LABELS = ["dog", "cat"] * (IMAGES // 2)


@pytest.fixture
def lines(gathered_cell):
    """lines({(fill, target): {(method, arm): answers}}): by fill and target.

    Answers are classes, how many are right, or "10-" by image: right, wrong, left out.
    """

    def make(of_cells, arm="area30"):
        cells = []
        for (fill, target), answers in of_cells.items():
            for (method, shown), answered in answers.items():
                predicted = answered if isinstance(answered, list) else None
                outcomes = "1" * answered + "0" * (IMAGES - answered) if isinstance(answered, int) else answered
                outcomes = outcomes if predicted is None else "1" * IMAGES
                given = {"fill": fill, "target": target, "method": method, "arm": shown, "job": method}
                cells.append(gathered_cell(outcomes, labels=LABELS, predicted=predicted, **given))
        lines_of_fills = fill_reliability(compare(as_gathered(*cells)))
        return lines_of_fills[lines_of_fills["arm"] == arm].set_index(["fill", "target"]).sort_index()

    return make


def cells(blobs, nothing, methods=(30,)):
    named = {(f"m{number}", "area30"): right for number, right in enumerate(methods)}
    for method in {method for method, _ in named}:
        named |= {(method, "image"): IMAGES, (method, "blobs30"): blobs, (method, "nothing"): nothing}
    return {(method, arm): answered for (method, arm), answered in named.items() if answered is not None}


def test_answers_without_the_image_by_hand(lines):
    answered = ["dog"] * 20 + ["owl"] * 10 + ["bat"] * 10
    lines_of_fills = lines({("black", "t"): cells(30, answered), ("mean", "t"): cells(30, ["owl"] * IMAGES)})
    black, mean = lines_of_fills.loc[("black", "t")], lines_of_fills.loc[("mean", "t")]
    assert (black["answer"], black["top_share"], black["entropy"]) == ("dog", 0.5, pytest.approx(1.5))
    assert (mean["answer"], mean["top_share"], mean["entropy"]) == ("owl", 1, 0)
    right = sum(label == answer for label, answer in zip(LABELS, answered, strict=True)) / IMAGES
    assert black["nothing_retention"] == right == 0.25
    assert black["control_retention"] == 0.75
    assert black["control_above_nothing"] == 0.5
    assert black["top_share_low"] < 0.5 < black["top_share_high"]


def test_verdicts_of_planted_fills(lines):
    """Half of the images are dogs: one answer for all is right for 20."""
    lines_of_fills = lines(
        {
            ("black", "t"): cells(30, ["owl"] * IMAGES),
            ("mean", "t"): cells(20, ["dog"] * IMAGES),  # biased: no more than one answer names, and blobs as few
            ("blur", "t"): cells(38, 30),
            ("noisy_linear", "t"): cells(20, 30),
            ("layer_mask", "t"): cells(30, None),
        }
    )
    verdicts = {"black": "yes", "mean": "blind", "blur": "leaks", "noisy_linear": "leaks, blind", "layer_mask": ""}
    assert lines_of_fills["verdict"].droplevel("target").to_dict() == verdicts
    assert lines_of_fills.loc[("layer_mask", "t")][["top_share", "entropy", "nothing_retention"]].isna().all()


def test_without_a_control_it_is_not_known_whether_a_fill_is_blind(lines):
    answers = {("m0", "image"): IMAGES, ("m0", "soft"): 30, ("m0", "nothing"): ["owl"] * IMAGES}
    of_fills = lines({(fill, "t"): answers for fill in ("black", "drop_tokens")}, arm="soft")
    assert of_fills["control_retention"].isna().all()
    assert (of_fills["verdict"] == "").all()
    leaking = lines({(fill, "t"): answers | {("m0", "nothing"): 38} for fill in ("black", "drop_tokens")}, arm="soft")
    assert (leaking["verdict"] == "leaks").all()


def test_jobs_on_other_images_are_each_held_against_nothing_on_their_own(lines):
    """The first has half of the images."""
    half = {"image": "1" * 20, "area30": "1" * 20, "blobs30": "1" * 10 + "0" * 10, "nothing": "10000" * 4}
    answers = {("m0", arm): right + "-" * 20 for arm, right in half.items()}
    whole = {"image": 40, "area30": 40, "blobs30": 30, "nothing": ["dog"] * 30 + ["owl"] * 10}
    answers |= {("m1", arm): right for arm, right in whole.items()}
    of_fills = lines({(fill, "t"): answers for fill in ("black", "mean")})
    of_m1 = sum(label == "dog" for label in LABELS[:30]) / 40
    assert of_fills["control_retention"].tolist() == [(0.5 + 0.75) / 2] * 2
    assert of_fills["nothing_retention"].tolist() == [(0.2 + of_m1) / 2] * 2
    assert of_fills["control_above_nothing"].tolist() == pytest.approx([(0.3 + 0.75 - of_m1) / 2] * 2)
    assert (of_fills["answer"] == "dog").all()
    assert (of_fills["top_share"] == 0.75).all()  # of the job with more images


def test_an_order_is_of_methods_on_the_same_images(lines):
    orders = {"black": (10, 20, 30), "mean": (30, 20, 10)}
    of_cells = {(fill, "t"): cells(35, ["owl"] * IMAGES, order) for fill, order in orders.items()}
    assert lines(of_cells)["tau"].tolist() == [-1, -1]
    for of_fill in of_cells.values():
        of_fill[("m2", "area30")] = "1" * 5 + "0" * 15 + "-" * 20
    assert lines(of_cells)["tau"].isna().all()


def test_order_of_methods_is_compared_with_every_other_fill(lines):
    orders = {"black": (10, 20, 30), "mean": (15, 25, 35), "blur": (30, 20, 10)}
    lines_of_fills = lines({(fill, "t"): cells(35, ["owl"] * IMAGES, order) for fill, order in orders.items()})
    assert lines_of_fills["tau"].droplevel("target").to_dict() == {"black": 0, "mean": 0, "blur": -1}
    assert (lines_of_fills["methods"] == 3).all()
    assert lines_of_fills["verdict"].droplevel("target")["blur"].endswith("order turns")
    kept = lines({(fill, "t"): cells(35, ["owl"] * IMAGES, orders[fill]) for fill in ("black", "mean")})
    assert kept["tau"].tolist() == [1, 1]
    assert (kept["tau_low"] <= kept["tau"]).all()


@pytest.mark.parametrize("methods", [(10,), (10, 20)])
def test_fewer_than_three_methods_have_no_order(lines, methods):
    lines_of_fills = lines({(fill, "t"): cells(35, ["owl"] * IMAGES, methods) for fill in ("black", "mean")})
    assert lines_of_fills["tau"].isna().all()
    assert (lines_of_fills["methods"] == len(methods)).all()
    assert (lines_of_fills["verdict"] == "yes").all()


def test_only_targets_that_two_fills_have_asked_and_no_source_judges_itself(lines):
    both = {(fill, target): cells(30, 0) for fill in ("black", "mean") for target in ("t", "e7")}
    lines_of_fills = lines(both | {("black", "u"): cells(30, 0)})
    assert lines_of_fills.index.tolist() == [("black", "t"), ("mean", "t")]


def test_kendall_is_scipys_tau_b_line_by_line():
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 4, (2, 50, 5)).astype(float)
    first[0] = 1
    expected = [kendalltau(one, other).statistic for one, other in zip(first, second, strict=True)]
    np.testing.assert_allclose(kendall(first, second), expected)
    assert np.isnan(kendall(first, second)[0])
