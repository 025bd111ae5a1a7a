import itertools

import metric_batch
import numpy as np
import pytest
import torch
from metric_batch import additive, scored, small, value, varied

from harmonia.evaluation.metrics.curve import Deletion, Insertion, area_under, exchanged, pixel_order, step_counts
from harmonia.features.areas import descending, in_view, top_fractions


def explained(maps, size):
    return metric_batch.batch(small(size), lambda *args: maps, metric_batch.pixels(len(maps), size))


def test_the_order_keeps_what_the_area_arms_keep_at_every_area_with_ties():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randint(0, 4, (3, 12, 12), generator=generator).float()
    order = descending(maps)
    for count in range(0, 145, 9):
        keep = torch.zeros(3, 144).scatter_(1, order[:, :count], 1).view(3, 12, 12)
        assert torch.equal(keep, top_fractions(maps, [count / 144])[:, 0])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float16, torch.bfloat16, torch.float64])
def test_numbers_of_every_kind_have_one_order(dtype):
    maps = torch.randint(-(dtype != torch.uint8) * 99, 99, (2, 12, 12), generator=torch.Generator().manual_seed(0))
    assert torch.equal(descending(maps.to(dtype)), descending(maps.float()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_nan_of_either_sign_is_first(dtype):
    maps = torch.arange(6, dtype=dtype).view(1, 2, 3)
    maps[0, 0, 1:] = torch.tensor([torch.nan, -torch.nan], dtype=dtype)
    assert maps[0, 0, 1:].signbit().tolist() == [False, True]
    order = descending(maps)[0].tolist()
    assert sorted(order[:2]) == [1, 2]
    assert order[2:] == [5, 4, 3, 0]


def test_a_plateau_is_not_read_row_by_row():
    maps = torch.zeros(1, 2, 2)
    maps[0, 0, 0] = 1
    order = pixel_order(explained(maps, 16), 0)
    tail = order[-64:] // 16  # rows of pixels that all have the value 0
    assert len(tail.unique()) > 8
    assert (tail.diff() < 0).any()


def test_the_order_is_that_of_the_bilinearly_enlarged_map():
    maps = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(1))
    large = torch.nn.functional.interpolate(maps[:, None].double(), size=16, mode="bilinear")[:, 0]
    torch.testing.assert_close(in_view(maps, 16), large.float())
    for row in range(2):
        values = in_view(maps, 16)[row].flatten()[pixel_order(explained(maps, 16), row)]
        assert (values.diff() <= 0).all()


def test_pixels_are_exchanged_in_order_and_nothing_else():
    start, end = torch.zeros(3, 2, 2), torch.arange(12.0).view(3, 2, 2) + 1
    order = torch.tensor([2, 0, 3, 1])
    shown = list(exchanged(start, end, order, [0, 1, 3, 4]))
    assert torch.equal(shown[0], start)
    assert shown[1].flatten(1).nonzero()[:, 1].tolist() == [2] * 3
    assert torch.equal(shown[2].flatten(1)[:, [0, 2, 3]], end.flatten(1)[:, [0, 2, 3]])
    assert shown[2].flatten(1)[:, 1].tolist() == [0.0] * 3
    assert torch.equal(shown[3], end)
    assert start.sum() == 0


def test_steps_divide_all_pixels_from_none_to_all():
    assert step_counts(explained(torch.rand(1, 2, 2), 8), 4) == [0, 16, 32, 48, 64]
    uneven = step_counts(explained(torch.rand(1, 2, 2), 8), 7)
    assert uneven[0] == 0
    assert uneven[-1] == 64
    assert {b - a for a, b in itertools.pairwise(uneven)} == {9, 10}


def test_the_area_is_the_trapezoids():
    curve = torch.tensor([1.0, 0.5, 0.0, 0.0]).double()
    assert area_under(curve).item() == pytest.approx((0.75 + 0.25 + 0) / 3)


SIZE = 8
N = SIZE * SIZE


def white(count=1):
    return torch.full((count, 3, SIZE, SIZE), 255, dtype=torch.uint8)


def planted(weighty):
    """Each weighty pixel adds the same to a logit that is 1 of white and 0 of the grey that is normalised to 0."""
    weights = torch.zeros(3, N)
    weights[:, weighty] = 1 / (3 * len(weighty))
    return additive(weights.view(3, SIZE, SIZE))


def one_pixel_at_a_time(metric, **options):
    return metric(steps=N, baseline="zero", reading="logit", **options)


def test_a_perfect_order_of_k_equal_weights_deletes_to_k_half_n_and_inserts_to_one_less_that():
    weighty = torch.randperm(N, generator=torch.Generator().manual_seed(3))[:10]
    maps = torch.zeros(1, N)
    maps[0, weighty] = 1
    maps = maps.view(1, SIZE, SIZE)
    model = planted(weighty)
    assert value(scored(one_pixel_at_a_time(Deletion), model, white(), maps), "deletion").item() == pytest.approx(
        10 / (2 * N)
    )
    assert value(scored(one_pixel_at_a_time(Insertion), model, white(), maps), "insertion").item() == pytest.approx(
        1 - 10 / (2 * N)
    )
    # the worst order: the rest goes first
    assert value(scored(one_pixel_at_a_time(Deletion), model, white(), -maps), "deletion").item() == pytest.approx(
        1 - 10 / (2 * N)
    )


@pytest.mark.parametrize("seed", range(3))
def test_equal_weights_give_a_half_in_any_order(seed):
    model, maps = planted(torch.arange(N)), varied(1, SIZE, seed)
    for metric, name in ((Deletion, "deletion"), (Insertion, "insertion")):
        assert value(scored(one_pixel_at_a_time(metric), model, white(), maps), name).item() == pytest.approx(0.5)


def test_whatever_the_order_deletion_and_insertion_of_reversed_maps_meet():
    model, pixels, maps = small(SIZE), metric_batch.pixels(3, SIZE), varied(3, SIZE)
    inserted = scored(Insertion(steps=N, baseline="black"), model, pixels, maps)
    deleted = scored(Deletion(steps=N, baseline="black"), model, pixels, -maps)
    torch.testing.assert_close(value(inserted, "insertion"), value(deleted, "deletion"))


@pytest.mark.parametrize("mode", ["deletion", "insertion"])
@pytest.mark.parametrize("steps", [8, 64])
def test_both_equal_rises_own_loop(mode, steps):
    """CausalMetric.single_run of RISE's evaluation.py, re-written: step pixels at once, in the normalised image."""
    model, pixels, maps = small(SIZE), metric_batch.pixels(3, SIZE), varied(3, SIZE)
    labels, step = torch.tensor([2, 0, 3]), N // steps
    expected = []
    for image, map_, label in zip(pixels, maps, labels.tolist(), strict=True):
        whole = ((image.float() / 255)[None] - model.mean) / model.std
        start, finish = (whole, torch.zeros_like(whole)) if mode == "deletion" else (torch.zeros_like(whole), whole)
        shown = start.clone()
        order = np.flip(np.argsort(map_.reshape(-1).numpy()), -1)
        scores = np.empty(steps + 1)
        for i in range(steps + 1):
            scores[i] = model.network(shown).softmax(1)[0, label].item()
            if i < steps:
                coordinates = order[step * i : step * (i + 1)].copy()
                shown.view(3, -1)[:, coordinates] = finish.view(3, -1)[:, coordinates]
        expected.append((scores.sum() - scores[0] / 2 - scores[-1] / 2) / (len(scores) - 1))
    metric = {"deletion": Deletion, "insertion": Insertion}[mode](steps=steps, baseline="zero")
    ours = scored(metric, model, pixels, maps, labels)
    assert value(ours, mode).tolist() == pytest.approx(expected, abs=1e-6)
    assert ours.passes.tolist() == [steps + 1] * 3


def test_where_maps_have_plateaus_the_raster_order_of_argsort_scores_something_else():
    """The references sort ties by place: a map of two levels over the upper half would be read as rows."""
    model = planted(torch.arange(8))  # the first row carries the class
    maps = torch.zeros(1, SIZE, SIZE)
    maps[0, -1] = 1  # points at the last row; all others are tied
    ours = value(scored(one_pixel_at_a_time(Deletion), model, white(), maps), "deletion").item()
    by_place = torch.arange(N, 0, -1).float().view(1, SIZE, SIZE)
    by_place[0, -1] += N
    raster = value(scored(one_pixel_at_a_time(Deletion), model, white(), by_place), "deletion").item()
    assert raster == pytest.approx((8 + 4) / N)  # the last row goes first, the class right behind it
    assert ours == pytest.approx((8 + 28) / N, abs=0.1)  # among the 56 tied pixels it goes on the average half-way
