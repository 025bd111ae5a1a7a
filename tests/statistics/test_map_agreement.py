"""Laws of the agreement of maps: planted maps, a slow literal re-write, floors, what does not count, and transfer."""

from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import spearmanr

from harmonia.draws import Purpose, smooth_noise
from harmonia.results.maps import REGION_SIDE, SIDE, SmallMaps
from harmonia.statistics.map_agreement import SourceMaps, agreement_correlations, map_agreement

pytestmark = pytest.mark.usefixtures("few_resamples", "few_image_resamples")

CHANCE = 0.3 / 1.7  # IoU of two independent regions of 30 %
WHOLE = (0.0, 0.0, 1.0, 1.0)


@pytest.fixture
def few_image_resamples(monkeypatch):
    monkeypatch.setattr("harmonia.statistics.ranks.IMAGE_RESAMPLES", 50)


def scenes(count, seed):
    """Relevance over whole images, 64 x 64."""
    return np.stack([smooth_noise(seed, number, Purpose.RANDOM_MAP) for number in range(count)])


def seen(scene, box, side):
    """What a view of this box sees of scenes at its side x side places."""
    middles = (np.arange(side) + 0.5) / side
    rows, columns = (
        ((low + middles * (high - low)) * scene.shape[1]).astype(int)
        for low, high in ((box[1], box[3]), (box[0], box[2]))
    )
    return scene[:, rows][:, :, columns]


def source(name, scene, box=WHOLE, family="", answers=None, explained=None):
    """A source that ranks the places of each image as the scene has them."""
    count = len(scene)
    soft, fine = seen(scene, box, SIDE), seen(scene, box, REGION_SIDE).reshape(count, -1)
    low, high = soft.min((1, 2), keepdims=True), soft.max((1, 2), keepdims=True)
    soft = np.round(255 * (soft - low) / np.maximum(high - low, 1e-9)).astype(np.uint8)
    places = (-fine).argsort(1, kind="stable").argsort(1)
    smallest = np.where(places < round(0.3 * REGION_SIDE**2), 30, 255).astype(np.uint8)
    shape = (count, REGION_SIDE, REGION_SIDE)
    boxes = np.tile(np.array(box, np.float32), (count, 1))
    maps = SmallMaps([f"n{number}" for number in range(count)], soft, smallest.reshape(shape), (30,), boxes)
    return SourceMaps(
        source=name,
        method="gc",
        variant="",
        family=family,
        random_weights=False,
        maps=maps,
        map_of=np.arange(count),
        flagged=np.zeros(count, bool),
        explained=np.zeros(count, np.uint32) if explained is None else explained,
        answers=answers or {},
    )


def agreement(*sources, above=None):
    """Transfer above control by source and target; nowhere else a cell."""
    cells = list(above or {})
    draws = np.array([list((above or {"none": np.nan}).values())] * 3, float)

    def positions(keys):
        ends = zip(keys["source"], keys["target"], strict=True)
        return np.array([cells.index(pair) if pair in cells else -1 for pair in ends])

    count = len(sources[0].map_of)
    comparison = SimpleNamespace(above_control=draws, positions=positions)
    return map_agreement(comparison, sources, np.array(["dog", "owl"] * count)[:count], "area30")


def line(*sources):
    return agreement(*sources).iloc[0]


def test_equal_maps_agree_wholly_reversed_ones_not_at_all_and_independent_ones_as_blobs_do():
    scene = scenes(20, 1)
    same, reverse = (line(source("a", scene), source("b", other)) for other in (scene, -scene))
    apart = line(source("a", scene), source("b", scenes(20, 2)))
    assert (same["rho"], same["iou"]) == (pytest.approx(1), pytest.approx(1))
    assert (reverse["rho"], reverse["iou"]) == (pytest.approx(-1, abs=1e-3), pytest.approx(0))
    assert apart["rho"] == pytest.approx(0, abs=0.15)
    assert apart["iou"] == pytest.approx(CHANCE, abs=0.04)
    for of in (same, reverse, apart):
        assert [of["rho_another"], of["rho_blobs"]] == pytest.approx([0, 0], abs=0.04)
        assert [of["iou_another"], of["iou_blobs"]] == pytest.approx([CHANCE] * 2, abs=0.03)
    assert same["rho_above_another"] == pytest.approx(same["rho"] - same["rho_another"])


def test_maps_that_only_share_the_centre_agree_no_more_than_with_it_and_with_other_images():
    hill = -((np.arange(64) - 31.5) ** 2) / 300
    a, b = (0.3 * scenes(30, seed) / scenes(30, seed).std() + hill[:, None] + hill for seed in (1, 2))
    of = line(source("a", a), source("b", b))
    assert of["rho"] > 0.5
    assert abs(of["rho_above_another"]) < 0.1
    assert of["rho_above_another_low"] < 0.02
    assert of["rho_centre"] > of["rho"] - 0.1
    assert of["iou_centre"] > of["iou"] - 0.1


def test_each_source_is_read_through_its_own_crop():
    scene, box = scenes(10, 1), (0.25, 0.0, 1.0, 0.75)
    right = line(source("a", scene), source("b", scene, box))
    taken_as_whole = source("b", scene, box)
    whole_boxes = np.tile(np.array(WHOLE, np.float32), (10, 1))
    wrong = line(source("a", scene), replace(taken_as_whole, maps=replace(taken_as_whole.maps, boxes=whole_boxes)))
    assert right["rho"] > 0.98 > 0.8 > wrong["rho"]
    assert right["iou"] > 0.5  # each its own 30 %, of which the other holds a part
    assert right["iou"] > wrong["iou"] + 0.2


def test_numbers_are_those_of_a_slow_literal_re_write():
    """Nearest places of equal grids; Spearman by scipy, sets of places by Python, every other image in turn."""
    count = 5
    a, b = (source(name, scenes(count, seed), WHOLE) for name, seed in (("a", 1), ("b", 2)))
    got = line(a, b)
    soft = [each.maps.soft.reshape(count, -1) for each in (a, b)]
    sets = [
        [set(np.flatnonzero(area == 30)) for area in each.maps.smallest_areas.reshape(count, -1)] for each in (a, b)
    ]

    def rho(one, other):
        return spearmanr(one, other).statistic

    def iou(one, other):
        return len(one & other) / len(one | other)

    for name, maps, measure in (("rho", soft, rho), ("iou", sets, iou)):
        own = np.mean([measure(maps[0][image], maps[1][image]) for image in range(count)])
        others = [
            (measure(maps[0][image], maps[1][other]) + measure(maps[1][image], maps[0][other])) / 2
            for image in range(count)
            for other in range(count)
            if other != image
        ]
        assert got[name] == pytest.approx(own, abs=1e-5)
        assert got[f"{name}_another"] == pytest.approx(np.mean(others), abs=1e-5)
    offset = [max(abs(row - 15.5), abs(column - 15.5)) for row in range(SIDE) for column in range(SIDE)]
    centre = np.mean([spearmanr(-np.array(offset), maps).statistic for of in soft for maps in of])
    assert got["rho_centre"] == pytest.approx(centre, abs=1e-5)


def test_the_order_of_sources_changes_nothing_and_families_are_means_of_their_pairs():
    of_lite = [source(name, scenes(12, seed), family="lite") for seed, name in enumerate("abc")]
    sources = [*of_lite, source("v", scenes(12, 7), family="vit")]
    lines = agreement(*sources)
    assert lines.equals(agreement(*reversed(sources)))
    by_family = lines[lines["kind"] == "families"].set_index(["first", "second"])
    within = lines[(lines["kind"] == "networks") & lines["within_family"]]
    assert by_family.index.tolist() == [("lite", "lite"), ("lite", "vit")]
    assert by_family.loc[("lite", "lite"), "rho"] == pytest.approx(within["rho"].mean())
    assert by_family.loc[("lite", "lite"), ["pairs", "images"]].tolist() == [3, 36]
    assert (by_family["rho_low"] <= by_family["rho"]).all()


def test_images_of_which_two_classes_are_explained_or_a_map_ranks_nothing_do_not_count():
    scene = scenes(6, 1)
    flat = scene.copy()
    flat[1] = 0
    explained = np.array([9, 0, 0, 0, 0, 0], np.uint32)
    b = source("b", flat, explained=explained)
    b = replace(b, flagged=np.arange(6) == 2, map_of=np.array([0, 1, 2, 3, 4, -1]))
    of = line(source("a", scene), b)
    assert of[["images", "unlike_class", "unranked"]].tolist() == [2, 1, 2]
    assert of["rho"] == pytest.approx(1)
    assert np.isnan(of["rho_named"])
    none = line(source("a", scene), source("b", scene, explained=explained + 5))
    assert none[["images", "unlike_class"]].tolist() == [0, 6]
    assert np.isnan(none["rho"])


def test_agreement_foretells_naming_where_it_decides_it_and_transfer_where_pairs_go_with_it():
    noise, scene = scenes(20, 5), scenes(20, 1)
    share = np.linspace(0, 1, 20)[:, None, None]
    alike = share * scene + (1 - share) * noise
    named = np.stack([share[:, 0, 0] > 0.5, share[:, 0, 0]], 1).astype(float)
    of = line(source("a", scene, answers={"b": named}), source("b", alike, answers={"a": named}))
    assert of["rho_named"] > 0.75
    assert (of[["rho_shown", "iou_shown"]] > 0.8).all()
    weights = {"a": 1, "b": 0.8, "c": 0.6, "d": 0.4}
    mixed = [source(name, of * scene + (1 - of) * scenes(20, ord(name))) for name, of in weights.items()]
    plain = agreement(*mixed)
    rhos = dict(zip(zip(plain["first"], plain["second"], strict=True), plain["rho"], strict=True))
    above = {pair: rhos[pair] for pair in combinations("abcd", 2)} | {(b, a): rho for (a, b), rho in rhos.items()}
    with_transfer = agreement(*mixed, above=above)
    assert with_transfer["above_control"].tolist() == pytest.approx(plain["rho"].tolist())
    found = agreement_correlations(with_transfer).set_index("measure").loc["rho"]
    assert (found["rho"], found["pairs"], found["models"]) == (pytest.approx(1), 6, 4)
