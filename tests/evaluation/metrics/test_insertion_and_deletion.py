import metric_batch
import numpy as np
import pytest
import torch
from metric_batch import additive, scored, small, value, varied

from harmonia.evaluation.metrics.curve import Deletion, Insertion

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
