"""Laws of keep weights: what normalisations give, and that an area arm keeps exactly its area's best pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harmonia.data.view import WHOLE_IMAGE, View
from harmonia.errors import InputError
from harmonia.features.areas import descending, in_view, top_fractions, whole_patches, whole_pixels
from harmonia.features.arms import Explanations, KeepArms
from harmonia.features.controls import Controls
from harmonia.features.normalise import (
    NORMALISATIONS,
    clamp,
    minmax,
    normalisation,
    percentile,
    positive_minmax,
    sigmoid,
)
from harmonia.features.resample import resample
from harmonia.shapes import Size

WHOLE = torch.tensor([WHOLE_IMAGE])
AREAS = (0.1, 0.2, 0.3, 0.5)


def map_of(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float32)[:, None]


def explanations(maps: torch.Tensor, another=None) -> Explanations:
    keys = np.arange(len(maps), dtype=np.uint64)
    return Explanations(maps=maps, image_keys=keys, another=another)


def weights(arms: KeepArms, maps: torch.Tensor, source_size: Size = 32, size: Size = 32) -> torch.Tensor:
    whole = WHOLE.expand(len(maps), 4)
    return arms.weights(explanations(maps), whole, whole, source_size, size)


# --- whole patches ------------------------------------------------------------------------------


def in_squares(weights: torch.Tensor, side: int) -> torch.Tensor:
    """(A, rows, columns, side * side): pixels by patch."""
    return weights.unfold(-2, side, side).unfold(-2, side, side).flatten(-2)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([(4, 4), (2, 8), (16, 16)]))
def test_whole_patches_are_the_most_covered_ones_of_nearly_the_same_area(seed, grid):
    region = (torch.rand(1, 2, 32, 32, generator=torch.Generator().manual_seed(seed)) < 0.4).float()
    height, width = 32 // grid[0], 32 // grid[1]
    cut = whole_patches(region, grid)
    for before, after in zip(region[0], cut[0], strict=True):
        cover = [
            (float(before[y : y + height, x : x + width].mean()), float(after[y, x]))
            for y in range(0, 32, height)
            for x in range(0, 32, width)
        ]
        kept = [share for share, is_kept in cover if is_kept]
        assert len(kept) == round(sum(share for share, _ in cover))
        assert min(kept, default=1) >= max((share for share, is_kept in cover if not is_kept), default=0)
        assert abs(before.sum() - after.sum()) <= height * width / 2
        assert torch.equal(after, after[::height, ::width].repeat_interleave(height, 0).repeat_interleave(width, 1))


def test_what_lies_on_patch_borders_already_stays_bit_for_bit():
    for seed in range(10):
        cells = (torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) < 0.5).float()
        region = cells.repeat_interleave(8, 2).repeat_interleave(8, 3)
        assert torch.equal(whole_patches(region, (4, 4)), region)


def test_half_a_patch_too_much_is_rounded_alike_wherever_it_lies():
    """Half of a view of 518 px is 684.5 patches of 14."""
    whole = WHOLE.expand(4, 4)
    maps = torch.randn(4, 37, 37, generator=torch.Generator().manual_seed(0))
    cut = KeepArms(positive_minmax, (0.5,), Controls(blobs=(0.5,), centre=(0.5,)).arms(), True)
    shown = cut.weights(explanations(maps), whole, whole, 518, 518, (37, 37))[:, -3:]
    assert (shown.sum((2, 3)) == 684 * 14**2).all()


def test_arms_in_whole_patches_stand_behind_the_others_and_change_none_of_them():
    maps = torch.randn(2, 7, 7, generator=torch.Generator().manual_seed(0))
    controls = Controls(dim=True, blobs=(0.3,), centre=(0.3,), complement=(0.3,)).arms()
    by_pixel, cut = (KeepArms(positive_minmax, (0.1, 0.3), controls, borders) for borders in (False, True))
    patch_names = ["patch_area10", "patch_area30", "patch_blobs30", "patch_centre30"]
    assert cut.names == [*by_pixel.names, *patch_names]
    assert cut.show_image == [True] * len(cut.names)
    whole = WHOLE.expand(2, 4)
    shown = cut.weights(explanations(maps), whole, whole, 32, 32, (8, 8))
    assert torch.equal(shown[:, : len(by_pixel.names)], weights(by_pixel, maps))
    at = {name: shown[:, place] for place, name in enumerate(cut.names)}
    for name in patch_names:
        squares = in_squares(at[name], 4)
        assert torch.equal(squares.amin(-1), squares.amax(-1))
        area = {"10": 6, "30": 19}[name[-2:]]  # of 64 patches: 6.4 and 19.2
        assert at[name].sum((1, 2)).tolist() == [16 * area] * 2
        assert torch.equal(at[name], whole_patches(at[name.removeprefix("patch_")][:, None], (8, 8))[:, 0])


def test_a_target_without_patches_and_an_image_without_the_arm_have_none_in_whole_patches():
    cut = KeepArms(positive_minmax, (0.3,), (), True)
    maps, whole = torch.randn(2, 7, 7), WHOLE.expand(2, 4)
    assert cut.weights(explanations(maps), whole, whole, 32, 32)[:, -1].isnan().all()
    regions = torch.stack([torch.full((1, 8, 8), torch.nan), torch.ones(1, 8, 8)])
    assert torch.equal(whole_patches(regions, (2, 2)).nan_to_num(7), regions.nan_to_num(7))
    nothing_to_cut = KeepArms(positive_minmax, (), (), True)
    assert nothing_to_cut.names == ["soft"]
    assert nothing_to_cut.weights(explanations(maps), whole, whole, 32, 32, (2, 2)).shape == (2, 1, 32, 32)


# --- normalisations -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "values", "expected"),
    [
        (positive_minmax, (-2, 0, 1, 4), (0, 0, 0.25, 1)),
        (positive_minmax, (1, 2, 3, 5), (0, 0.25, 0.5, 1)),
        (positive_minmax, (-3, -2, -1, -4), (0, 0, 0, 0)),
        (positive_minmax, (7, 7, 7, 7), (0, 0, 0, 0)),
        (positive_minmax, (0, 0, 0, 0), (0, 0, 0, 0)),
        (minmax, (-2, 0, 1, 2), (0, 0.5, 0.75, 1)),
        (minmax, (-3, -2, -1, -5), (0.5, 0.75, 1, 0)),
        (minmax, (7, 7, 7, 7), (0, 0, 0, 0)),
        (minmax, (1e-12, 3e-12, 5e-12, 2e-12), (0, 0.5, 1, 0.25)),
        (percentile, (-1, 0, 2, 2), (0, 0, 1, 1)),
        (percentile, (7, 7, 7, 7), (1, 1, 1, 1)),
        (percentile, (-1, -2, -3, -4), (0, 0, 0, 0)),
        (percentile, (0, 0, 0, 0), (0, 0, 0, 0)),
        (sigmoid, (0, np.log(3), -np.log(3), 100), (0.5, 0.75, 0.25, 1)),
        (clamp, (-0.5, 0.25, 1, 7), (0, 0.25, 1, 1)),
    ],
)
def test_a_normalisation_gives_the_numbers_worked_by_hand(function, values, expected):
    torch.testing.assert_close(function(map_of(*values)), map_of(*expected), atol=1e-6, rtol=1e-6)


def test_one_outlier_does_not_dim_the_rest_under_percentile():
    map_ = torch.ones(1, 20, 20)
    map_[0, 0, 0] = 1e6
    assert torch.equal(percentile(map_), torch.ones(1, 20, 20))
    assert positive_minmax(map_).sum() == 1


def test_where_the_percentile_is_zero_positive_pixels_are_kept_whole():
    map_ = torch.zeros(1, 20, 20)
    map_[0, 3, 4], map_[0, 5, 6] = 1e-3, 5.0
    keep = percentile(map_)
    assert keep.nonzero().tolist() == [[0, 3, 4], [0, 5, 6]]
    assert keep[0, 3, 4] == keep[0, 5, 6] == 1


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_an_image_is_normalised_as_it_is_alone(name):
    maps = torch.randn(4, 5, 6) * torch.tensor([1, 1e-6, 1e6, 0]).view(4, 1, 1)
    alone = torch.cat([normalisation(name)(map_[None]) for map_ in maps])
    torch.testing.assert_close(normalisation(name)(maps), alone, atol=1e-6, rtol=0)


def test_an_unknown_normalisation_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"positive_minmax, minmax, percentile, sigmoid, clamp, got 'softmax'"):
        normalisation("softmax")


# --- the top of a map ---------------------------------------------------------------------------

fractions = st.lists(st.floats(0, 1), min_size=1, max_size=4)


@settings(deadline=None, database=None)
@given(st.integers(1, 12), st.integers(1, 12), fractions, st.integers(0, 2**32 - 1), st.booleans())
def test_the_top_fraction_holds_exactly_its_share_and_the_largest_values(height, width, fractions, seed, tied):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, height, width, generator=generator)
    if tied:
        maps = maps.round()
    keep = top_fractions(maps, fractions)
    assert keep.shape == (2, len(fractions), height, width)
    for map_, arms in zip(maps, keep, strict=True):
        for fraction, arm in zip(fractions, arms, strict=True):
            count = round(fraction * height * width)
            assert sorted(arm.unique().tolist()) in ([0], [1], [0, 1])
            assert arm.sum() == count
            by_hand = sorted(map_.flatten().tolist(), reverse=True)[:count]
            assert sorted(map_[arm == 1].tolist(), reverse=True) == by_hand


@settings(deadline=None, database=None)
@given(st.integers(1, 12), st.integers(1, 12), fractions, st.integers(0, 2**32 - 1), st.booleans())
def test_the_top_is_that_of_a_stable_sort_in_the_order_of_ties(height, width, fractions, seed, tied):
    maps = torch.randn(2, height, width, generator=torch.Generator().manual_seed(seed))
    maps = maps.round() if tied else maps
    pixels = height * width
    order = torch.randperm(pixels, generator=torch.Generator().manual_seed(0))
    for map_, arms in zip(maps, top_fractions(maps, fractions), strict=True):
        best_first = sorted(order.tolist(), key=lambda pixel, map_=map_: -map_.flatten()[pixel].item())
        for fraction, arm in zip(fractions, arms, strict=True):
            assert set(arm.flatten().nonzero()[:, 0].tolist()) == set(best_first[: round(fraction * pixels)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("step", [0.0, 1e-7, 0.5, 100.0], ids=["no two equal", "nearly", "plateaus", "constant"])
def test_the_order_of_whole_numbers_is_that_of_the_floats(dtype, step):
    maps = torch.randn(3, 40, 31, dtype=dtype, generator=torch.Generator().manual_seed(0))
    maps = (maps / step).round() * step if step else maps  # -0 beside 0, too
    maps[0, 0, :4] = torch.tensor([torch.inf, -torch.inf, 1e-42, -1e-42])
    order = torch.randperm(40 * 31, generator=torch.Generator().manual_seed(0))
    best_first = order[maps.flatten(1)[:, order].argsort(dim=1, descending=True, stable=True)]
    assert torch.equal(descending(maps), best_first)
    assert torch.equal(descending(maps[:0]), best_first[:0])
    counts = [0, 1, 7, 620, 1239, 1240]
    for arm, count in zip(top_fractions(maps, [count / 1240 for count in counts]).unbind(1), counts, strict=True):
        assert arm.dtype == dtype
        assert torch.equal(arm, torch.zeros_like(maps).flatten(1).scatter(1, best_first[:, :count], 1).view_as(maps))


def test_a_larger_area_contains_the_smaller():
    keep = top_fractions(torch.randn(3, 16, 16).round(), AREAS)
    assert (keep[:, 1:] >= keep[:, :-1]).all()


@pytest.mark.parametrize("value", [0.0, 0.3, -0.7])
@pytest.mark.parametrize(("cells", "size"), [(1, 224), (7, 224), (10, 300), (224, 224)])
def test_a_constant_map_keeps_scattered_pixels(value, cells, size):
    keep = weights(KeepArms(clamp, (0.3,)), torch.full((1, cells, cells), value), size, size)[0, 1]
    spread = (0.3 * 0.7 / size) ** 0.5  # of the mean of a row of independent pixels
    for lines in (keep.mean(0), keep.mean(1)):
        assert (lines - 0.3).abs().max() < 5 * spread
        assert lines.std().item() == pytest.approx(spread, rel=0.3)


def test_ties_are_broken_alike_in_every_image_and_every_call():
    zeros, fives = torch.zeros(2, 9, 9), torch.full((1, 9, 9), 5.0)
    first = top_fractions(zeros, [0.4])
    torch.rand(7)  # the global generator has no say
    assert torch.equal(first, top_fractions(zeros, [0.4]))
    assert torch.equal(first[0], first[1])
    assert torch.equal(first[0], top_fractions(fives, [0.4])[0])


# --- arms ---------------------------------------------------------------------------------------


def test_arms_are_soft_and_then_the_areas_as_given():
    arms = KeepArms(clamp, (0.3, 0.1, 0.5))
    assert arms.names == ["soft", "area30", "area10", "area50"]
    keep = weights(arms, torch.rand(2, 7, 7))
    assert keep.mean((-2, -1))[:, 1:].tolist() == pytest.approx(np.tile([0.3, 0.1, 0.5], (2, 1)), abs=1 / 32**2)
    assert KeepArms(clamp, ()).names == ["soft"]


def test_the_soft_arm_is_the_normalised_map_interpolated():
    maps = torch.randn(2, 7, 7)
    expected = torch.nn.functional.interpolate(positive_minmax(maps)[:, None], size=32, mode="bilinear")[:, 0]
    torch.testing.assert_close(weights(KeepArms(positive_minmax, AREAS), maps)[:, 0], expected, atol=1e-6, rtol=0)


def test_area_arms_do_not_hear_of_the_normalisation():
    maps = torch.randn(2, 7, 7)
    of_each = [weights(KeepArms(function, AREAS), maps)[:, 1:] for function in NORMALISATIONS.values()]
    assert all(torch.equal(of_each[0], other) for other in of_each[1:])


@pytest.mark.parametrize("cells", ["one", 7, "every pixel"])
@pytest.mark.parametrize(("source_size", "size"), [(224, 240), (240, 224), (600, 224), (64, 300)])
def test_area_arms_stay_binary_and_keep_their_area_in_a_view_of_another_size(cells, source_size, size):
    """Grains of one pixel too: at 600 -> 224 a threshold of one half would keep none of the best 10 %."""
    cells = {"one": 1, "every pixel": source_size}.get(cells, cells)
    keep = weights(KeepArms(clamp, AREAS), torch.randn(2, cells, cells), source_size, size)[:, 1:]
    assert set(keep.unique().tolist()) == {0, 1}
    np.testing.assert_allclose(keep.mean((-2, -1)), np.tile(AREAS, (2, 1)), atol=0.001)


def test_a_region_in_whole_pixels_is_where_it_covers_most():
    cover = torch.tensor([[[1.0, 0.6], [0.4, 0.0]], [[0.5, 0.4], [0.0, 0.2]], [[0.1, 0.0], [0.0, 0.0]]])
    expected = [[[1, 1], [0, 0]], [[1, 0], [0, 0]], [[0, 0], [0, 0]]]
    assert whole_pixels(cover).tolist() == expected
    assert whole_pixels(whole_pixels(cover)).tolist() == expected


@given(st.integers(40, 500), st.integers(40, 500), st.floats(0.5, 1), st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
def test_a_region_seen_in_the_view_it_was_taken_in_is_what_moving_it_would_give(width, height, crop_pct, seed):
    """It is not moved there, which spares the work."""
    box = torch.tensor([replace(view_of(32), crop_pct=crop_pct).box(width, height)])
    maps = torch.randn(1, 7, 7, generator=torch.Generator().manual_seed(seed))
    regions = top_fractions(in_view(maps, 32), AREAS)
    keep = KeepArms(clamp, AREAS, soft_arm=False).weights(explanations(maps), box, box, 32, 32)
    assert torch.equal(keep, regions)
    for region in regions.unbind(1):
        assert torch.equal(whole_pixels(resample(region, box, box, 32)), region)


def test_every_target_looks_at_the_same_region():
    """The left half is the best; a target that sees only the right of the source's view keeps nothing."""
    maps = torch.linspace(1, 0, 8).expand(1, 8, 8).contiguous()
    arms = KeepArms(clamp, (0.5,))
    left, right = torch.tensor([[0, 0, 0.5, 1.0]]), torch.tensor([[0.5, 0, 1, 1.0]])
    assert arms.weights(explanations(maps), WHOLE, left, 64, 32)[0, 1].all()
    assert not arms.weights(explanations(maps), WHOLE, right, 64, 32)[0, 1].any()


@pytest.mark.parametrize("name", NORMALISATIONS)
@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_a_non_finite_map_gives_finite_weights_and_whole_areas(name, broken):
    maps = torch.randn(2, 7, 7)
    maps[0] = broken
    maps[1, 2, 3] = broken
    keep = weights(KeepArms(normalisation(name), AREAS), maps)
    assert torch.isfinite(keep).all()
    assert ((keep >= 0) & (keep <= 1)).all()
    assert keep.mean((-2, -1))[:, 1:].tolist() == pytest.approx(np.tile(AREAS, (2, 1)), abs=1 / 32**2)


@pytest.mark.parametrize("areas", [(0.0,), (1.0,), (-0.1,), (30,), (0.1, 1.5)])
def test_areas_outside_0_to_1_are_refused(areas):
    with pytest.raises(InputError, match="fractions between 0 and 1"):
        KeepArms(clamp, areas)


@pytest.mark.parametrize(("areas", "rule"), [((0.1, 0.1), "differ"), ((0.301,), "whole percents"), ((1e-9,), "whole")])
def test_areas_that_their_names_would_not_tell_apart_are_refused(areas, rule):
    with pytest.raises(InputError, match=rule):
        KeepArms(clamp, areas)


def test_the_kept_area_is_the_mean_weight_of_each_mask():
    keep = torch.tensor([[[[0, 1], [1, 1]], [[0.25, 0.25], [0, 0.5]]]])
    assert keep.mean((-2, -1)).tolist() == [[0.75, 0.25]]


# --- rectangles ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 32), (30, 50), (7, 224)])
def test_a_region_of_a_rectangle_has_exactly_its_area(size):
    maps = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0))
    keep = weights(KeepArms(clamp, AREAS, Controls(blobs=AREAS, centre=AREAS).arms()), maps, size, size)
    pixels = size[0] * size[1]
    assert keep.shape == (3, 1 + 3 * len(AREAS), *size)
    for start in (1, 5, 9):
        kept = keep[:, start : start + 4].sum((2, 3))
        assert torch.equal(kept, torch.tensor([[round(area * pixels) for area in AREAS]] * 3).float())


def test_the_middle_of_a_rectangle_has_its_aspect():
    (middle,) = weights(KeepArms(clamp, (), Controls(centre=(0.25,)).arms()), torch.rand(1, 4, 4), (64, 32), (64, 32))[
        :, 1
    ]
    expected = torch.zeros(64, 32)
    expected[16:48, 8:24] = 1
    assert torch.equal(middle, expected)


def view_of(size: Size) -> View:
    flat = (0.5,) * 3
    return View(size=size, crop_pct=1.0, crop_mode="center", interpolation="bilinear", mean=flat, std=flat)


@pytest.mark.parametrize(("source", "target"), [((64, 32), 64), (64, (64, 32)), ((64, 32), (32, 64))])
def test_a_region_lands_where_it_was_in_the_image(source, target):
    """Of an image of 128 x 128: a quarter of what the source sees is kept, and the target sees it in the same place."""
    size = 128, 128
    image = torch.zeros(1, 1, *size)
    of_source, of_target = (torch.tensor([view_of(seen).box(*size)]) for seen in (source, target))
    left, top, right, bottom = (of_source[0] * 128).round().int().tolist()
    image[..., top : (top + bottom) // 2, left : (left + right) // 2] = 1
    maps = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]).repeat_interleave(16, 1).repeat_interleave(16, 2)
    arms = KeepArms(clamp, (0.25,))
    keep = arms.weights(explanations(maps), of_source, of_target, source, target)[0, 1]
    left, top, right, bottom = (of_target[0] * 128).round().int().tolist()
    seen = torch.nn.functional.interpolate(image[..., top:bottom, left:right], size=keep.shape, mode="area")[0, 0]
    assert torch.equal(keep, seen)
    assert keep.any()
