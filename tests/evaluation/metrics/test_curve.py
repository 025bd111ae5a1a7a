import itertools

import metric_batch
import pytest
import torch
from metric_batch import small

from harmonia.evaluation.metrics.curve import area_under, exchanged, pixel_order, step_counts
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
