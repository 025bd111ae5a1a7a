"""Laws of networks as units: what is planted is found, nothing is found in noise, names and order change nothing."""

import math
from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from rows_in_memory import NETWORKS, as_gathered, square
from scipy.stats import kstest

from harmonia.statistics import ranks
from harmonia.statistics.comparison import compare
from harmonia.statistics.networks import Grid, _capacity, _kinships, _likeness, kin_pairs, networks

ARCHITECTURES = np.repeat(np.arange(8), [3, 3, 3, 3, 1, 1, 1, 1])
FAMILIES = np.array([0, 0, 1, 1, 2, 3, 4, 5])[ARCHITECTURES]


def distances(architecture, family):
    same = [codes[:, None] == codes for codes in (family, architecture, np.arange(len(family)))]
    return 3 - np.sum(same, 0)


def planted(seed, effects=(0, 0, 0), upward=0.0, architecture=ARCHITECTURES, family=FAMILIES, draws=20):
    """Strong and weak sources and targets, noise, and what is added to each kinship, nearest first."""
    generator = np.random.default_rng(seed)
    n = len(family)
    above = generator.normal(0, 0.1, (n, 1)) + generator.normal(0, 0.1, n) + generator.normal(0, 0.03, (n, n))
    parameters = 1e6 * (1.0 + architecture)
    above += np.append(effects, 0)[distances(architecture, family)] + upward * (parameters[:, None] < parameters)
    above = np.stack([above, *above + generator.normal(0, 0.01, (draws, n, n))])
    return Grid([f"n{k}" for k in range(n)], family, parameters, above, above - 0.05)


def lines(grid, alike=None):
    numbers = [*_kinships(grid), *_capacity(grid), *_likeness(grid, alike or {})]
    return {(line["kind"], line["what"]): line for line in numbers}


def test_planted_kinship_is_found_and_each_kinship_for_itself():
    of = lines(planted(0, (0.15, 0.09, 0.0)))
    assert [of["kinship", name]["pairs"] for name in ("itself", "seed", "size", "family")] == [16, 24, 36, 180]
    itself, seed, size = (of["kinship", name] for name in ("itself", "seed", "size"))
    assert seed["difference"] == pytest.approx(0.09, abs=0.02)
    assert seed["p_orders"] < 0.001
    assert seed["p_within"] < 0.05  # also beside other sizes of the same family
    assert itself["p_orders"] == 1 / (1 + ranks.DRAWN_ORDERS)  # no order does as well
    assert itself["p_within"] < 0.01
    assert size["difference"] == pytest.approx(0, abs=0.03)


def test_planted_families_are_found_beside_seeds():
    """Another size adds as much as another seed: that is more than other families, and seeds are no more than sizes."""
    of = lines(planted(1, (0.1, 0.1, 0.1), architecture=np.repeat(np.arange(8), 2), family=np.repeat(np.arange(4), 4)))
    assert of["kinship", "size"]["difference"] == pytest.approx(0.1, abs=0.02)
    assert of["kinship", "size"]["p_orders"] < 0.02
    assert of["kinship", "seed"]["p_orders"] < 0.01
    assert of["kinship", "seed"]["p_within"] > 0.05


def test_a_planted_way_up_is_found():
    of = lines(planted(3, upward=0.3, architecture=np.arange(9), family=np.arange(9) // 3))
    assert of["capacity", "family"]["difference"] == pytest.approx(0.3, abs=0.15)
    assert of["capacity", "any"]["p_orders"] < 0.05


def test_planted_likeness_is_found_per_standard_deviation():
    likeness = np.random.default_rng(1).normal(size=(16, 16))
    likeness = likeness + likeness.T
    grid = planted(0)
    others = ~np.eye(16, dtype=bool)
    grid.above[:] += 0.05 * likeness / likeness[others].std()
    line = lines(grid, {"cka": likeness})["likeness", "cka"]
    assert line["difference"] == pytest.approx(0.05, abs=0.01)
    assert line["p_orders"] < 0.001


@pytest.mark.parametrize("layout", [(np.arange(12) // 3, np.arange(12) // 6), (np.arange(9), np.arange(9) // 3)])
@pytest.mark.slow
def test_where_nothing_is_planted_p_is_uniform(layout, monkeypatch):
    monkeypatch.setattr(ranks, "DRAWN_ORDERS", 199)
    ps = {}
    for seed in range(150):
        for line in _kinships(planted(seed, architecture=layout[0], family=layout[1], draws=0)):
            ps.setdefault(line["what"], []).append((line["p_orders"], line["p_within"]))
    for what, (p_orders, p_within) in {what: np.transpose(numbers) for what, numbers in ps.items()}.items():
        many = what != "size" or layout[0].max() == 8  # few orders of four architectures differ
        assert not many or what == "family" or kstest(p_orders, "uniform").pvalue > 0.01
        assert (p_orders <= 0.05).mean() < 0.1
        assert (p_within <= 0.05).mean() < 0.1


def dummies(pairs, n):
    """sources, targets but the last"""
    source, target = np.array(pairs).T
    return np.hstack([np.eye(n)[source], np.eye(n)[target][:, :-1]])


def test_differences_and_p_are_those_of_regressions_written_out():
    """By statsmodels: in each order of the networks, and in each draw with its weights, the model is fitted anew."""
    family = np.array([0, 0, 0, 1, 2])
    architecture = np.array([0, 0, 1, 2, 3])
    grid = planted(5, (0.05, 0.04, 0.0), architecture=architecture, family=family, draws=3)
    line = lines(grid)["kinship", "seed"]
    pairs = [pair for pair in product(range(5), repeat=2) if pair[0] != pair[1]]

    def coefficient(order, draw=0):
        kin = [float(architecture[order[a]] == architecture[order[b]]) for a, b in pairs]
        design = np.hstack([dummies(pairs, 5), np.array(kin)[:, None]])
        weights = [grid.weights[draw, a, b] for a, b in pairs]
        return sm.WLS([grid.above[draw, a, b] for a, b in pairs], design, weights).fit().params[-1]

    own = range(5)
    assert line["difference"] == pytest.approx(coefficient(own))
    drawn = [coefficient(own, draw) for draw in (1, 2, 3)]
    assert (line["difference_low"], line["difference_high"]) == pytest.approx(np.quantile(drawn, [0.025, 0.975]))
    of_orders = np.array([coefficient(order) for order in permutations(own)])
    apart = np.abs(of_orders - of_orders.mean())
    assert line["p_orders"] == pytest.approx(np.mean(apart >= apart[0] - 1e-9))
    within = np.array([coefficient((*order, 3, 4)) for order in permutations(range(3))])
    apart = np.abs(within - within.mean())
    assert line["p_within"] == pytest.approx(np.mean(apart >= apart[0] - 1e-9))


def test_a_pair_weighs_the_product_and_an_architecture_counts_once_in_it():
    weights = planted(0).weights
    assert (weights[0] == 1).all()
    single = np.flatnonzero(np.bincount(ARCHITECTURES)[ARCHITECTURES] == 1)
    one, other = single[:2]
    assert weights[1:, one, other] == pytest.approx(weights[1:, one, one] * weights[1:, other, other])
    # of one architecture: a * e0 * e1, from a * e0, a * e1, and both with another network
    third = single[0]
    e = weights[1:, 0, third] / weights[1:, 1, third]
    assert weights[1:, 0, 0] / weights[1:, 1, 1] == pytest.approx(e)
    a = weights[1:, 0, 0] * weights[1:, 1, 1] / weights[1:, 0, 1]
    assert weights[1:, 0, 2] == pytest.approx(weights[1:, 0, 0] * weights[1:, 2, 2] / a)


@pytest.mark.slow
def test_a_mixed_model_of_crossed_random_effects_says_the_same():
    """MixedLM has no crossed effects but as variance components of one group that holds all pairs."""
    grid = planted(0, (0.0, 0.08, 0.04))
    source, target = np.nonzero(~np.eye(16, dtype=bool))
    frame = pd.DataFrame({"source": source, "target": target, "above": grid.above[0, source, target]})
    frame = frame.assign(group=1, seed=grid.distance[source, target] == 1, size=grid.distance[source, target] == 2)
    components = {"source": "0 + C(source)", "target": "0 + C(target)"}
    model = sm.MixedLM.from_formula("above ~ seed + size", frame, groups="group", vc_formula=components).fit()
    of = lines(grid)
    assert of["kinship", "size"]["difference"] == pytest.approx(model.params["size[T.True]"], abs=0.01)
    # less related than a seed are sizes, too
    less = (36 * model.params["size[T.True]"]) / 216
    assert of["kinship", "seed"]["difference"] == pytest.approx(model.params["seed[T.True]"] - less, abs=0.02)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr("harmonia.statistics.inference.NUM_RESAMPLES", 60)


def of_cells(parts):
    (comparison,) = compare(as_gathered(*parts, rows_at_once=5000))
    agreement = pd.DataFrame([("a0", "b0", "gc", "", 0.5)], columns=["first", "second", "method", "variant", "value"])
    return networks(comparison, {"rho": agreement}), comparison


@pytest.mark.usefixtures("few")
def test_names_of_networks_and_the_order_of_jobs_change_nothing(gathered_cell):
    numbers, comparison = of_cells(square(gathered_cell))
    called = dict(zip(NETWORKS, ["z", "y", "x", "w", "v"], strict=True)) | {"fa": "zz", "fc": "aa"}
    others, _ = of_cells(square(gathered_cell, called)[::-1])
    pd.testing.assert_frame_equal(numbers, others)
    counts = {
        line.what: (line.kind, line.pairs, line.networks) for line in numbers.itertuples() if line.kind == "kinship"
    }
    assert counts == {
        "itself": ("kinship", 5, 5), "seed": ("kinship", 2, 2), "size": ("kinship", 4, 3), "family": ("kinship", 14, 5)
    }  # fmt: skip
    pairs = kin_pairs(comparison, "area30")
    means = pairs.groupby("kinship")["above_control"].mean()
    assert means[numbers.loc[:3, "what"]].tolist() == pytest.approx(numbers.loc[:3, "above_control"].tolist())
    assert not (numbers["kind"] == "likeness").any()  # of most pairs it is not known


@pytest.mark.usefixtures("few")
def test_a_source_that_guesses_stands_beside_the_others_and_a_network_without_all_pairs_is_left_out(gathered_cell):
    numbers, comparison = of_cells(square(gathered_cell, sources=["guess"], lacking=[("c0", "a0"), ("b0", "c0")]))
    assert numbers.loc[
        (numbers["kind"] == "kinship") & (numbers["what"] == "family"), ["pairs", "networks"]
    ].to_numpy().tolist() == [[6, 4]]
    (line,) = numbers[numbers["kind"] == "guesses"].to_dict("records")
    assert (line["what"], line["pairs"]) == ("guess", 4)
    cells_of = comparison.cells
    shown = (cells_of["source"] == "guess") & (cells_of["arm"] == "area30") & (cells_of["target"] != "c0")
    assert line["above_control"] == pytest.approx(comparison.above_control[0, shown].mean())
    alike = kin_pairs(comparison, "area30").query(
        "kinship != 'itself' and source in ['a0', 'a1']"
    )  # as many parameters
    assert line["difference"] == pytest.approx(alike["above_control"].mean() - line["above_control"])
    assert math.isnan(line["p_orders"])
    assert networks(compare(as_gathered(*square(gathered_cell)[:40]))[0], {}).empty  # of too few networks


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(("parameters", "as_many"), [(1.0, ["a0", "a1"]), (9.0, [*NETWORKS])])
def test_a_source_that_is_no_target_stands_beside_networks_of_its_size(parameters, as_many, gathered_cell):
    more = NETWORKS | {"x0": ("fx", parameters)}
    parts = square(gathered_cell, networks=more, lacking=[(name, "x0") for name in more])
    numbers, comparison = of_cells(parts)
    (line,) = numbers[numbers["kind"] == "beside"].to_dict("records")
    assert (line["what"], line["pairs"], line["networks"]) == ("x0", 5, 6)
    cells_of = comparison.cells
    shown = comparison.above_control[0, (cells_of["source"] == "x0") & (cells_of["arm"] == "area30")]
    assert line["above_control"] == pytest.approx(shown.mean())
    of_networks = kin_pairs(comparison, "area30").query("kinship != 'itself'")
    assert {*of_networks["source"]} == {*NETWORKS}
    alike = of_networks[of_networks["source"].isin(as_many)]
    assert line["difference"] == pytest.approx(alike["above_control"].mean() - shown.mean())
    voters = [part.assign(voters='["a0", "a1"]') if (part["source"] == "x0").all() else part for part in parts]
    assert not of_cells(voters)[0]["what"].eq("x0").any()


@pytest.mark.usefixtures("few")
def test_a_target_that_lacks_a_pair_is_no_network_and_stands_beside_none(gathered_cell):
    numbers, _ = of_cells(square(gathered_cell, lacking=[("b0", "a0")]))
    assert not numbers["kind"].isin(["beside", "guesses"]).any()
