"""Laws of the controls: what each keeps, how much of it, and that nothing but image and seed draws it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import label

from harmonia.data.view import WHOLE_IMAGE
from harmonia.draws import image_key
from harmonia.errors import InputError
from harmonia.features.areas import top_fractions
from harmonia.features.arms import Explanations, KeepArms
from harmonia.features.controls import Controls, Partners
from harmonia.features.normalise import clamp, positive_minmax

WHOLE = torch.tensor([WHOLE_IMAGE])
AT_30 = {name: (0.3,) for name in ("centre", "same_class", "other_class", "complement", "silhouette")}
ALL = Controls(dim=True, blobs=(0.1, 0.3), **AT_30)
SIZE = 40


def maps_of(images: int) -> torch.Tensor:
    return torch.stack([torch.randn(7, 7, generator=torch.Generator().manual_seed(image)) for image in range(images)])


def explained(maps: torch.Tensor, first: int = 0, another=None) -> Explanations:
    """Of the images first, first + 1, ...; for the same class the map is turned, for another class mirrored."""
    keys = np.array([image_key(f"{first + image}.jpg") for image in range(len(maps))], np.uint64)
    turned = another or (lambda same: maps.rot90(1, (1, 2)) if same else maps.flip(2))
    return Explanations(maps=maps, image_keys=keys, another=turned)


def arms(controls: Controls, explanations: Explanations, source=WHOLE, target=WHOLE, size=SIZE, **more) -> dict:
    """Keep weights by arm, (B, size, size)."""
    keep_arms = KeepArms(more.get("normalise", positive_minmax), (0.3,), controls.arms())
    boxes = [box.expand(len(explanations.maps), 4) for box in (source, target)]
    weights = keep_arms.weights(explanations, *boxes, more.get("source_size", SIZE), size)
    return dict(zip(keep_arms.names, weights.unbind(1), strict=True))


def test_controls_are_named_by_kind_and_percent_after_the_maps_own_arms():
    keep_arms = KeepArms(clamp, (0.3,), ALL.arms())
    assert keep_arms.names == [
        "soft", "area30", "dim", "blobs10", "blobs30", "centre30", "same_class30", "other_class30", "complement30",
        "silhouette30",
    ]  # fmt: skip
    assert [name for name, shows in zip(keep_arms.names, keep_arms.show_image, strict=True) if not shows] == [
        "silhouette30"
    ]
    assert KeepArms(clamp, (0.3,), Controls().arms()).names == ["soft", "area30"]


def test_controls_change_no_weight_of_the_maps_own_arms():
    with_them, without = (arms(controls, explained(maps_of(3))) for controls in (ALL, Controls()))
    for name, weights in without.items():
        assert torch.equal(weights, with_them[name])


# --- dim ----------------------------------------------------------------------------------------


def test_dim_is_the_soft_maps_mean_everywhere():
    weights = arms(ALL, explained(maps_of(3)))
    mean = weights["soft"].mean((1, 2))
    torch.testing.assert_close(weights["dim"], mean[:, None, None].expand(3, SIZE, SIZE), atol=1e-6, rtol=0)


def test_dim_of_a_constant_map_is_the_soft_map():
    found = arms(Controls(dim=True), explained(torch.full((2, 7, 7), 0.4)), normalise=clamp)
    torch.testing.assert_close(found["dim"], found["soft"])


def test_the_mean_is_taken_over_the_sources_view_whatever_the_target_sees():
    middle = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    here, there = (arms(ALL, explained(maps_of(2)), target=box) for box in (WHOLE, middle))
    torch.testing.assert_close(here["dim"], there["dim"])


# --- nothing ------------------------------------------------------------------------------------


def test_nothing_keeps_nothing_of_any_view_and_stands_last():
    middle = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    for target in (WHOLE, middle):
        weights = arms(replace(ALL, nothing=True), explained(maps_of(2)), target=target)
        assert list(weights)[-1] == "nothing"
        assert torch.equal(weights["nothing"], torch.zeros(2, SIZE, SIZE))


# --- blobs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [40, 224])
def test_blobs_have_exactly_the_area_of_the_area_arm(size):
    weights = arms(Controls(blobs=(0.1, 0.3)), explained(maps_of(3)), size=size, source_size=size)
    assert weights["blobs10"].sum((1, 2)).tolist() == [round(0.1 * size**2)] * 3
    assert torch.equal(weights["blobs30"].sum((1, 2)), weights["area30"].sum((1, 2)))
    assert set(weights["blobs30"].unique().tolist()) == {0, 1}
    assert (weights["blobs30"] >= weights["blobs10"]).all()


def test_blobs_are_the_images_and_the_seeds_own_and_do_not_see_the_map():
    first = arms(Controls(blobs=(0.3,)), explained(maps_of(3)))["blobs30"]
    other_seed = arms(Controls(blobs=(0.3,), seed=1), explained(maps_of(3)))["blobs30"]
    other_maps = arms(Controls(blobs=(0.3,)), explained(-maps_of(3)))["blobs30"]
    for one, other in ((first[0], first[1]), (first[0], first[2]), (first[0], other_seed[0])):
        assert (one != other).float().mean() > 0.1
    assert torch.equal(first, other_maps)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_random_arm_is_the_same_for_any_batch(size):
    maps = maps_of(5)
    together = arms(ALL, explained(maps))
    for start in range(0, 5, size):
        part = arms(ALL, explained(maps[start : start + size], start))
        for name, weights in part.items():
            torch.testing.assert_close(weights, together[name][start : start + size], atol=1e-6, rtol=0)
        assert torch.equal(part["blobs30"], together["blobs30"][start : start + size])


def test_blobs_are_few_and_smooth_and_prefer_no_part_of_the_view():
    weights = arms(Controls(blobs=(0.3,)), explained(maps_of(400)), size=32, source_size=32)["blobs30"]
    pieces = [label(one)[1] for one in weights[:50].numpy()]
    assert 1 <= np.mean(pieces) < 8  # independent pixels would make a hundred
    halves = [half.mean().item() for half in (weights[:, :16], weights[:, 16:], weights[..., :16], weights[..., 16:])]
    assert halves == pytest.approx([0.3] * 4, abs=0.02)
    assert weights[:, 8:24, 8:24].mean().item() == pytest.approx(0.3, abs=0.03)


# --- centre -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "area"), [(40, 0.25), (224, 0.3), (225, 0.3), (64, 0.5)])
def test_the_centre_is_the_square_in_the_middle_but_for_its_last_ring(size, area):
    found = arms(Controls(centre=(area,)), explained(maps_of(2)), size=size, source_size=size)
    (centre,) = (weights for name, weights in found.items() if name.startswith("centre"))
    assert centre.sum((1, 2)).tolist() == [round(area * size**2)] * 2
    side = (round(area * size**2)) ** 0.5
    offset = (torch.arange(size) - (size - 1) / 2).abs()
    distance = torch.maximum(offset[:, None], offset)
    assert centre[0][distance <= side / 2 - 1].all()
    assert not centre[0][distance > side / 2 + 1].any()
    assert torch.equal(centre[0], centre[1])


# --- another image's map ------------------------------------------------------------------------


def test_another_images_map_is_laid_over_the_source_view_of_this_one():
    maps = maps_of(3)
    weights = arms(ALL, explained(maps))
    swapped = arms(Controls(), explained(maps.flip(2)))["area30"]
    assert torch.equal(weights["other_class30"], swapped)
    assert torch.equal(weights["same_class30"], arms(Controls(), explained(maps.rot90(1, (1, 2))))["area30"])


def test_an_image_without_a_partner_has_no_such_arm_and_the_others_have():
    def another(same_class):
        maps = maps_of(3)
        maps[1] = torch.nan
        return maps

    keep = arms(ALL, explained(maps_of(3), another=another), source_size=56)
    assert keep["same_class30"][1].isnan().all()
    for image in (0, 2):
        assert set(keep["same_class30"][image].unique().tolist()) == {0, 1}
    for name, weights in keep.items():
        assert weights.isfinite().all() or name in ("same_class30", "other_class30")


CLASSES = np.array(["dog", "cat", "dog", "cat", "dog", "fox", "cat"])


def partners(order=None, seed=0, **changes) -> Partners:
    order = np.arange(7) if order is None else order
    facts = dict(
        image_keys=np.array([image_key(f"{image}.jpg") for image in range(7)], np.uint64)[order],
        explained=CLASSES[order],
        usable=np.ones(7, bool)[order],
        contents=np.array([str(image) for image in range(7)])[order],
        seed=seed,
    )
    return Partners(**(facts | changes))


def test_a_partner_is_another_image_and_of_the_class_asked_for():
    for seed in range(30):
        for image in range(7):
            same, other = (partners(seed=seed).of(image, same) for same in (True, False))
            assert CLASSES[other] != CLASSES[image]
            if image == 5:
                assert same is None  # the only fox
            else:
                assert same != image
                assert CLASSES[same] == CLASSES[image]


def test_a_partner_does_not_depend_on_the_order_of_the_images_but_on_the_seed():
    order = np.array([3, 6, 0, 5, 1, 4, 2])
    place = np.argsort(order)
    for same in (True, False):
        straight = [partners().of(image, same) for image in range(7)]
        mixed = [partners(order).of(int(place[image]), same) for image in range(7)]
        assert [None if one is None else int(order[one]) for one in mixed] == straight
    chosen = {partners(seed=seed).of(0, False) for seed in range(60)}
    assert chosen == {1, 3, 5, 6}  # all of them come up


def test_a_flagged_map_and_a_copy_of_the_image_are_nobodys_partner():
    usable = np.array([True, True, True, True, False, True, True])
    contents = np.array(["a", "b", "a", "c", "d", "e", "f"])  # 2 is a copy of 0, 4 is flagged
    assert partners(usable=usable, contents=contents).of(0, True) is None
    assert partners(contents=contents).of(0, True) == 4
    assert partners(usable=np.zeros(7, bool)).of(0, False) is None


# --- what is left, and the shape alone ----------------------------------------------------------


@pytest.mark.parametrize(("source_size", "size"), [(40, 40), (40, 64), (240, 56)])
@pytest.mark.parametrize("source", [(0.0, 0.0, 1.0, 1.0), (0.1, 0.2, 0.9, 0.8)])
def test_the_area_and_its_complement_cover_what_the_source_sees_and_nothing_twice(source_size, size, source):
    weights = arms(ALL, explained(maps_of(3)), source=torch.tensor([source]), size=size, source_size=source_size)
    union = weights["area30"] + weights["complement30"]
    centres = (torch.arange(size) + 0.5) / size
    inside = [(centres >= source[low]) & (centres <= source[low + 2]) for low in (1, 0)]
    assert torch.equal(union, (inside[0][:, None] & inside[1]).float().expand(3, -1, -1))
    assert set(weights["complement30"].unique().tolist()) == {0, 1}


def test_a_complement_and_a_silhouette_of_an_area_that_is_no_arm_are_those_of_that_area():
    maps = maps_of(2)
    weights = arms(Controls(complement=(0.2,), silhouette=(0.4,)), explained(maps))
    fine = arms(Controls(), explained(maps))
    assert weights["complement20"].mean().item() == pytest.approx(0.8)
    assert weights["silhouette40"].mean().item() == pytest.approx(0.4)
    assert (weights["silhouette40"] >= fine["area30"]).all()
    assert ((1 - weights["complement20"]) <= fine["area30"]).all()


def test_the_silhouette_is_the_shape_of_the_area_arm():
    found = arms(ALL, explained(maps_of(2)))
    assert torch.equal(found["silhouette30"], found["area30"])


def test_outside_the_sources_box_no_control_keeps_anything():
    source = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    outside = torch.ones(SIZE, SIZE, dtype=torch.bool)
    outside[10:30, 10:30] = False
    for name, weights in arms(ALL, explained(maps_of(2)), source=source).items():
        assert (weights[:, outside] == 0).all(), name


def test_a_map_that_ranks_nothing_has_finite_controls():
    maps = torch.stack([torch.zeros(7, 7), torch.full((7, 7), torch.nan)])
    keep = arms(ALL, explained(maps, another=lambda same: maps_of(2)))
    assert all(weights.isfinite().all() for weights in keep.values())
    assert top_fractions(torch.zeros(1, SIZE, SIZE), [0.3])[0, 0].equal(keep["area30"][0])


# --- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["blobs", "centre", "same_class", "other_class", "complement", "silhouette"])
def test_areas_of_a_control_are_checked_as_those_of_the_arms(name):
    with pytest.raises(InputError, match=rf"evaluation\.controls\.{name} must be fractions between 0 and 1, got 30"):
        Controls(**{name: (30,)}).arms()
    with pytest.raises(InputError, match=rf"evaluation\.controls\.{name} must differ"):
        Controls(**{name: (0.3, 0.3)}).arms()
    with pytest.raises(InputError, match="whole percents"):
        Controls(**{name: (0.125,)}).arms()
