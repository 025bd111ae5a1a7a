"""Laws of pairs of models: numbers worked by hand, likeness from whichever job left it, and their correlation."""

import json
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rows_in_memory import as_gathered

from harmonia.results.gathered import gather, job_rows
from harmonia.results.jobs import JobFolder, find_jobs
from harmonia.results.representations import write_representations
from harmonia.results.rows import TransferRows, row_writer, write_summary
from harmonia.statistics.comparison import compare
from harmonia.statistics.likeness import correlations, linear_cka, model_pairs
from harmonia.statistics.ranks import MIN_SIGNIFICANT

pytestmark = pytest.mark.usefixtures("few_resamples")

IDS = [f"{number}.jpg" for number in range(10)]
FAMILIES = {"e7": "efficientnet", "e6": "efficientnet", "vit": "vit"}
SEEN = {name: np.random.default_rng(seed).normal(size=(10, 4)) for seed, name in enumerate(FAMILIES)}
SEEN["vit"] = SEEN["vit"] + SEEN["e7"]


def model(name, **more):
    return {"name": name, "family": FAMILIES[name], "weights": "hub"} | more


def plant(folder, explaining, targets, correct, agreeing=7, seen=None, **config):
    """A finished job; `correct` says of each target how many of the ten images each arm gets right."""
    folder.mkdir(parents=True)
    entries = {name: model(name) for name in targets} | config.pop("target", {})
    settings = {
        "source": model(explaining),
        "target": entries,
        "method": {"name": "gc"},
        "data": {"name": "woof"},
    } | config
    (folder / "config.yaml").write_text(json.dumps(settings))
    with row_writer(folder) as append:
        for target in targets:
            for arm, hits in correct[target].items():
                columns = {name: [0.5] * 10 for name in TransferRows.columns_of()}
                texts = dict(
                    source=explaining, method="gc", label_policy="predicted", arm=arm, fill="black", target=target
                )
                texts |= dict(label="cat", explained="cat", flag="")
                columns |= {name: [text] * 10 for name, text in texts.items()}
                predicted = ["cat" if number < hits else "dog" for number in range(10)]
                columns |= dict(image_id=IDS, path=IDS, predicted=predicted, top5=[["cat"]] * 10)
                columns["source_predicted"] = [
                    predicted[number] if number < agreeing else "fox" for number in range(10)
                ]
                append(columns)
    write_summary(folder, {})
    write_representations(folder, IDS, {name: SEEN[name] for name in (targets if seen is None else seen)})


ARMS = {"image": 8, "soft": 6, "dim": 7, "area30": 4, "blobs30": 1, "centre30": 2}


def pairs(folder, arm="area30"):
    jobs = find_jobs(folder)
    comparisons = compare(gather([job_rows(job) for job in jobs]))
    found = pd.concat([model_pairs(comparison, jobs) for comparison in comparisons])
    return found[found["arm"] == arm].reset_index(drop=True)


def test_a_pairs_numbers_are_those_worked_by_hand(tmp_path):
    plant(tmp_path / "0", "e7", ["e7", "e6", "vit"], {name: ARMS for name in FAMILIES})
    numbers = pairs(tmp_path)
    assert numbers[["source", "target", "within_family", "images"]].values.tolist() == [
        ["e7", "e6", True, 10], ["e7", "vit", False, 10],
    ]  # fmt: skip
    for line in numbers.to_dict("records"):
        assert line["agreement"] == pytest.approx(0.7)
        assert line["retention"] == pytest.approx(4 / 8)
        assert line["control_retention"] == pytest.approx(1 / 8)
        assert line["above_control"] == pytest.approx(3 / 8)
        assert line["cka"] == pytest.approx(linear_cka(SEEN["e7"], SEEN[line["target"]]), abs=0.005)
    assert numbers.loc[1, "cka"] > numbers.loc[0, "cka"] + 0.2  # vit was made like e7


def test_every_feature_arm_is_held_against_its_own_control(tmp_path):
    plant(tmp_path / "0", "e7", ["e6"], {"e6": ARMS})
    assert pairs(tmp_path, "soft")["above_control"].tolist() == [pytest.approx(-1 / 8)]
    assert pairs(tmp_path, "centre30").empty


def test_a_pair_whose_control_has_not_run_has_no_transfer_but_its_likeness(tmp_path):
    plant(tmp_path / "0", "e7", ["e7", "e6"], {name: {"image": 8, "area30": 4} for name in ("e7", "e6")})
    (line,) = pairs(tmp_path).to_dict("records")
    assert line["retention"] == 0.5
    assert math.isnan(line["above_control"])
    assert line["cka"] == pytest.approx(linear_cka(SEEN["e7"], SEEN["e6"]), abs=0.005)


def test_a_source_that_is_no_target_of_its_job_is_taken_from_another_job(tmp_path):
    plant(tmp_path / "0", "e7", ["e6"], {"e6": ARMS})
    assert pairs(tmp_path)["cka"].isna().all()
    plant(tmp_path / "1", "vit", ["e7"], {"e7": ARMS})
    numbers = pairs(tmp_path).set_index("source")
    assert numbers.loc["e7", "cka"] == pytest.approx(linear_cka(SEEN["e7"], SEEN["e6"]), abs=0.005)
    assert math.isnan(numbers.loc["vit", "cka"])


@pytest.mark.parametrize(
    "changes",
    [{"source": model("e7", weights="random")}, {"data": {"name": "woof", "root": "/fog"}},
     {"trainer": {"precision": "bf16-mixed"}}],
)  # fmt: skip
def test_a_model_of_the_same_name_that_is_another_is_not_taken(tmp_path, changes):
    """The same name, but other weights, images or precision."""
    plant(tmp_path / "0", "e7", ["e6"], {"e6": ARMS}, **changes)
    plant(tmp_path / "1", "e7", ["e7", "e6"], {"e7": ARMS, "e6": ARMS})
    found = pairs(tmp_path)
    assert found["cka"].isna().tolist() == [True, False]


def test_a_random_network_of_another_seed_is_another_network(tmp_path):
    random = model("e7", weights="random")
    plant(tmp_path / "0", "e7", ["e6"], {"e6": ARMS}, source=random, seed=0)
    plant(tmp_path / "1", "e7", ["e7", "e6"], {"e7": ARMS, "e6": ARMS}, source=random, target={"e7": random}, seed=1)
    assert pairs(tmp_path)["cka"].isna().tolist() == [True, False]


def test_images_are_matched_by_their_ids(tmp_path):
    plant(tmp_path / "0", "e7", ["e7", "e6"], {"e7": ARMS, "e6": ARMS})
    before = pairs(tmp_path).loc[0, "cka"]
    plant(tmp_path / "1", "vit", ["e7"], {"e7": ARMS})
    plant(tmp_path / "2", "e7", ["vit"], {"vit": ARMS}, seen=[])
    order = np.random.default_rng(0).permutation(10)
    mixed = {"vit": SEEN["vit"][order]}
    write_representations(tmp_path / "2", [IDS[number] for number in order], mixed)
    numbers = pairs(tmp_path)
    assert numbers.loc[numbers.target == "e6", "cka"].item() == pytest.approx(before)
    expected = pytest.approx(linear_cka(SEEN["e7"], SEEN["vit"]), abs=0.005)
    assert numbers.loc[numbers.target == "vit", "cka"].item() == expected


def test_a_torn_file_of_representations_costs_the_likeness_alone(tmp_path):
    plant(tmp_path / "0", "e7", ["e7", "e6"], {"e7": ARMS, "e6": ARMS})
    (tmp_path / "0" / "representations.parquet").write_bytes(b"torn")
    (line,) = pairs(tmp_path).to_dict("records")
    assert math.isnan(line["cka"])
    assert line["agreement"] == pytest.approx(0.7)


def measured_pairs(above, agreement, **columns):
    ends = list(combinations("abcd", 2))[: len(above)]
    frame = pd.DataFrame(ends, columns=["source", "target"]).assign(
        above_control=above, agreement=agreement, cka=np.nan
    )
    constant = {"label_policy": "predicted", "fill": "black", "data": "woof", "method": "gc", "variant": ""}
    return frame.assign(**constant | {"arm": "soft", "random_weights": False} | columns)


def test_the_correlation_is_spearmans_over_the_pairs_of_the_arm():
    rising = measured_pairs([0.1, 0.2, 0.3, 0.4, 0.9], [0.5, 0.6, 0.7, 0.8, 0.81])
    other_arm = measured_pairs([0.0] * 5, [0.9, 0.8, 0.1, 0.2, 0.3], arm="area30")
    (line,) = correlations(pd.concat([rising, other_arm]), "soft").to_dict("records")
    assert (line["measure"], line["rho"], line["pairs"]) == ("agreement", pytest.approx(1), 5)
    assert correlations(pd.concat([rising, other_arm]), "area30")["rho"].isna().tolist() == [True]  # does not vary


def test_sources_of_random_weights_do_not_count():
    trained = measured_pairs([0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.6, 0.7, 0.8, 0.9])
    random = measured_pairs([0.0] * 3, [1.0] * 3, random_weights=True)
    assert correlations(pd.concat([trained, random]), "soft")["pairs"].tolist() == [5]


def test_fewer_pairs_than_needed_give_no_correlation():
    few = measured_pairs([0.1] * (MIN_SIGNIFICANT - 1) + [np.nan], np.linspace(0.1, 0.9, MIN_SIGNIFICANT))
    assert correlations(few, "soft").empty


def test_networks_that_a_source_is_made_of_are_no_pair_with_it(gathered_cell):
    cells = [
        gathered_cell("1101", arm=arm, target=target, voted=target == "e6")
        for target in ("e6", "vit")
        for arm in ("image", "area30")
    ]
    (comparison,) = compare(as_gathered(*cells))
    assert model_pairs(comparison, [JobFolder(Path("0"))])["target"].tolist() == ["vit"]
