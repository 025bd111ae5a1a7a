from dataclasses import replace

import numpy as np
import pytest
import torch
from metric_batch import batch, classifier, pixels
from torch import nn

from harmonia.evaluation.metrics.boxes import NO_BOX, NO_MASS, BoxScores, union

SIZE = 8


def scored(maps, *boxes, metric=None):
    """Values and reasons by name, of maps at the view's resolution and of each image's boxes."""
    model = classifier(nn.Identity(), SIZE)
    shown = batch(model, lambda model, images, rows: maps, pixels(len(maps), SIZE))
    given = tuple(torch.tensor(of_image, dtype=torch.float64).reshape(-1, 4) for of_image in boxes)
    return (metric or BoxScores())(replace(shown, boxes=given)).scores


def spot(*places):
    map_ = torch.zeros(1, SIZE, SIZE)
    for row, column in places:
        map_[0, row, column] = 1.0
    return map_


def test_a_map_of_the_box_has_1_of_everything_and_one_of_its_complement_0():
    box = [[2, 1, 6, 4]]
    inside = union(torch.tensor(box), SIZE).float()[None]
    for maps, value in ((inside, 1.0), (1 - inside, 0.0)):
        scores = scored(maps, box)
        for name in ("pointing_game", "energy_pointing_game", "box_iou"):
            assert scores[name].values.item() == value, name
        assert scores["box_area"].values.item() == 4 * 3 / 64


def test_a_map_that_nearly_does_not_vary_has_the_boxs_share_of_the_energy():
    maps = torch.ones(1, SIZE, SIZE)
    maps[0, 0, 0] += 1e-6
    found = scored(maps, [[4, 4, 8, 8]])
    assert found["energy_pointing_game"].values.item() == pytest.approx(found["box_area"].values.item(), abs=1e-6)


def test_the_iou_at_matched_area_is_that_of_the_highest_pixels():
    # a box of 4 pixels; the 4 highest of the map are 3 of them and one outside: 3 shared of 5
    maps = spot((0, 0), (0, 1), (1, 0), (5, 5)) + 0.5 * spot((1, 1))
    assert scored(maps, [[0, 0, 2, 2]])["box_iou"].values.item() == pytest.approx(3 / 5)


def test_several_boxes_count_as_their_union():
    maps = spot((0, 0), (7, 7))
    scores = scored(maps, [[0, 0, 1, 1], [0, 0, 1, 1], [7, 7, 8, 8]])
    assert scores["box_area"].values.item() == 2 / 64
    assert scores["energy_pointing_game"].values.item() == 1
    assert scores["box_iou"].values.item() == 1


def test_boxes_are_half_open_at_pixel_centres():
    assert union(torch.tensor([[1.5, 2.5, 3.5, 3.5]]), SIZE).nonzero().tolist() == [[2, 1], [2, 2]]
    assert not union(torch.tensor([[1.6, 0, 2.4, 8]]), SIZE).any()


def test_of_equal_highest_pixels_the_share_inside_counts():
    assert scored(spot((0, 0), (0, 1), (7, 7)), [[0, 0, 8, 1]])["pointing_game"].values.item() == pytest.approx(2 / 3)


def test_the_tolerance_is_a_disc_around_the_highest_pixel():
    # box pixel (4, 4); the peak is 3 rows and 4 columns away: at a distance of 5
    maps, box = spot((1, 0)), [[4, 4, 5, 5]]
    assert scored(maps, box, metric=BoxScores(tolerance_px=4.9))["pointing_game"].values.item() == 0
    assert scored(maps, box, metric=BoxScores(tolerance_px=5.0))["pointing_game"].values.item() == 1
    assert scored(maps, box, metric=BoxScores(tolerance_px=5.0))["energy_pointing_game"].values.item() == 0


def test_undefined_is_not_zero():
    scores = scored(torch.stack([spot((0, 0))[0], -1 - spot((0, 0))[0]]), [], [[0, 0, 4, 4]])
    assert all(score.values[0].isnan() and score.reasons[0] == NO_BOX for score in scores.values())
    assert scores["energy_pointing_game"].values[1].isnan()
    assert scores["energy_pointing_game"].reasons[1] == NO_MASS
    # the highest of the negative values is still the highest
    assert scores["pointing_game"].values[1].item() == pytest.approx(15 / 63)


def test_a_coarse_map_is_enlarged_bilinearly():
    maps = torch.tensor([[[0.0, 0.0], [0.0, 1.0]]])
    large = torch.nn.functional.interpolate(maps[None], size=(SIZE, SIZE), mode="bilinear", align_corners=False)[0, 0]
    expected = large[4:, 4:].sum() / large.sum()
    scores = scored(maps, [[4, 4, 8, 8]])
    assert scores["energy_pointing_game"].values.item() == pytest.approx(expected.item())
    # the corner is a plateau of 2 x 2 equal pixels, all inside
    assert scores["pointing_game"].values.item() == 1


def test_the_games_are_quantus_where_it_is_right():
    """Quantus 0.6.0 has one of several highest pixels inside for a hit and scores an empty mask True: NaN in an array
    of bool. Its energy has 1e-9 beneath the line, where the mass of small gradients disappears.
    """
    quantus = pytest.importorskip("quantus", reason="Quantus is not installed")
    maps = torch.randn(5, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    boxes = [[[1, 1, 6, 6]], [[0, 0, 3, 8]], [[2, 2, 4, 4], [5, 5, 8, 8]], [[0, 4, 8, 8]], []]
    masks = torch.stack([union(torch.tensor(box, dtype=torch.float64).reshape(-1, 4), SIZE) for box in boxes]).numpy()
    scores = scored(maps, *boxes)
    hits = quantus.PointingGame(disable_warnings=True).evaluate_batch(a_batch=maps.numpy(), s_batch=masks)
    assert scores["pointing_game"].values[:4].tolist() == hits[:4].tolist()
    assert bool(hits[4]) is True
    assert scores["pointing_game"].reasons[4] == NO_BOX
    energy = quantus.AttributionLocalisation(positive_attributions=True, disable_warnings=True)
    pictures = np.zeros((5, 3, SIZE, SIZE))
    theirs = energy.evaluate_batch(x_batch=pictures, a_batch=maps.numpy(), s_batch=masks)
    assert scores["energy_pointing_game"].values[:4].tolist() == pytest.approx(theirs[:4].tolist(), abs=1e-6)
    faint = energy.evaluate_batch(x_batch=pictures, a_batch=1e-12 * maps.numpy(), s_batch=masks)
    assert faint[0] < 0.1 * theirs[0]
    assert scored(1e-12 * maps, *boxes)["energy_pointing_game"].values[0].item() == pytest.approx(theirs[0], abs=1e-6)
