"""Laws of a run: images share passes and nothing else, leave when they have converged, and give way to memory."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from planted_patterns import (
    SIZE,
    TOY,
    MatchedFilters,
    assert_same_regions,
    explain,
    from_pool,
    noise_pool,
    p_of,
    planted,
    predicted,
    preset,
    single_patches,
    upsampled,
)

from harmonia.attribution.cam import GradCAM
from harmonia.attribution.contract import Request
from harmonia.attribution.passes import CPU_PASS, BatchSize
from harmonia.attribution.soundness import SoundnessSaliency, composite
from harmonia.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


# Images share passes and nothing else. They leave after different numbers of steps.
SHORT = SoundnessSaliency(
    grid=8,
    steps=24,
    draws=2,
    area=3.0,
    tv=0.01,
    start=GradCAM(),
    start_spread=2.0,
    check_every=4,
    tolerance=0.1,
)


def test_images_leave_when_they_have_converged():
    explanation = explain(SHORT, single_patches(), batch_size=6)
    steps = explanation.facts["steps"]
    assert explanation.converged.any()
    assert len(set(steps.tolist())) > 1
    assert (steps[explanation.converged] < SHORT.steps).any()
    assert (steps[~explanation.converged] == SHORT.steps).all()
    assert not explain(replace(SHORT, tolerance=0.0), single_patches()).converged.any()


def test_without_a_tolerance_the_course_has_a_fixed_length_and_nothing_to_converge():
    explanation = explain(replace(SHORT, tolerance=None), single_patches(), batch_size=6)
    assert (explanation.facts["steps"] == SHORT.steps).all()
    assert explanation.converged.all()


def test_a_finished_map_is_smoothed_and_judged_so():
    rough = replace(SHORT, tolerance=None)
    maps = explain(rough, single_patches()[:2]).maps
    smoothed = explain(replace(rough, smooth=2), single_patches()[:2])
    weights = [math.exp(-(step**2) / (2 * 1.25**2)) for step in range(-2, 3)]  # a quarter of five cells
    for smoothed_map, cells in zip(smoothed.maps, maps, strict=True):
        for y, x in ((0, 0), (3, 7), (5, 4)):
            around = [
                weights[dy + 2] * weights[dx + 2] * cells[min(max(y + dy, 0), 7), min(max(x + dx, 0), 7)].item()
                for dy in range(-2, 3)
                for dx in range(-2, 3)
            ]
            assert smoothed_map[y, x].item() == pytest.approx(sum(around) / sum(weights) ** 2, abs=1e-5)
    assert torch.allclose(smoothed.facts["area"], upsampled(smoothed.maps).mean((1, 2)), atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 6, 32])
@pytest.mark.slow
def test_an_image_has_the_same_mask_in_batches_of_any_size(batch_size):
    expected = explain(SHORT, single_patches(), batch_size=8)
    explanation = explain(SHORT, single_patches(), batch_size=batch_size)
    assert_same_regions(explanation.maps, expected.maps)
    assert torch.equal(explanation.facts["steps"], expected.facts["steps"])


@pytest.mark.parametrize("options", [{}, {"jitter": 0.1, "smooth": 1}])
def test_an_image_has_the_same_bits_in_any_order(options):
    order, method = torch.tensor([5, 2, 0, 7, 6, 3, 1, 4]), replace(SHORT, **options)
    in_order = explain(method, single_patches(), batch_size=6)
    permuted = explain(method, single_patches()[order], positions=order, batch_size=6)
    assert torch.equal(permuted.maps, in_order.maps[order])
    assert torch.equal(permuted.passes, in_order.passes[order])


def test_an_image_has_the_same_mask_among_other_neighbours_and_alone():
    together = explain(SHORT, single_patches())
    for rows in (torch.tensor([6]), torch.tensor([6, 1, 4])):
        found = explain(SHORT, single_patches()[rows], positions=rows)
        assert_same_regions(found.maps, together.maps[rows])


@pytest.mark.parametrize("batch_size", [1, 3, 6, 16])
@pytest.mark.slow
def test_every_pass_on_a_cpu_has_the_same_number_of_inputs(batch_size):
    model = MatchedFilters()
    explain(SHORT, single_patches(), model=model, batch_size=batch_size)
    assert set(model.calls) == {CPU_PASS}


def test_a_batch_of_one_runs_where_no_more_fits():
    model = Cramped(1)
    explanation = explain(SHORT, single_patches()[:2], model=model, batch_size=1)
    assert max(model.calls) == 1
    assert_same_regions(explanation.maps, explain(SHORT, single_patches()[:2]).maps)


def test_an_image_takes_the_place_of_one_that_has_left():
    shown = []
    draw = from_pool(noise_pool())

    def replacements(positions, labels, steps, draws):
        if steps is not None:
            shown.append(dict(zip(positions.tolist(), steps.tolist(), strict=True)))
        return draw(positions, labels, steps, draws)

    # 3 is rounded up to a pass of four
    method = replace(SHORT, draws=1)
    found = explain(method, single_patches(), replacements=replacements, batch_size=3)
    assert len(set(found.facts["steps"].tolist())) > 1
    for now, then in pairwise(shown):
        assert len(then.keys() - now.keys()) <= len(now.keys() - then.keys())
    waiting = set(range(8))
    for batch in shown:
        waiting -= batch.keys()
        assert len(batch) == CPU_PASS or not waiting  # nobody waits while there is room


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_mask():
    pixels = single_patches()[:4]
    first, again, another = (
        explain(SHORT, pixels, replacements=from_pool(noise_pool(), seed)).maps for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, another, atol=1e-3)


@pytest.mark.parametrize("start", [None, GradCAM()])
@pytest.mark.parametrize("draws", [1, 3])
def test_passes_are_the_inputs_that_went_through_the_model(draws, start):
    model = MatchedFilters()
    method = SoundnessSaliency(grid=4, steps=5, draws=draws, held_out=2, check_every=2, start=start, tolerance=None)
    explanation = explain(method, single_patches()[:4], model=model, batch_size=4 * draws)
    # four images a batch: none of it is there to fill it up
    assert explanation.passes.sum().item() == sum(model.calls)


@pytest.mark.parametrize(("name", "most"), [("ss", 78), ("ss_cpu", 50)])
@pytest.mark.slow
def test_the_presets_spend_at_most_so_many_passes_on_an_image(name, most):
    longest = explain(replace(preset(name), tolerance=0.0), single_patches()[:1])
    assert longest.passes.tolist() == [most]
    shortest = explain(replace(preset(name), tolerance=1e6), single_patches()[:1])
    assert shortest.passes.item() < most


def test_judgements_ask_for_images_that_are_held_out():
    asked = []
    draw = from_pool(noise_pool())

    def replacements(positions, labels, steps, draws):
        asked.append((None if steps is None else steps.tolist(), draws))
        return draw(positions, labels, steps, draws)

    method = SoundnessSaliency(grid=4, steps=7, draws=2, held_out=3, check_every=7)
    explain(method, single_patches()[:2], replacements=replacements)
    assert asked == [([step, step], 2) for step in range(7)] + [(None, 3), (None, 3)]  # judged; the complement


@pytest.mark.slow
def test_converged_asks_for_a_standstill_between_two_judgements():
    pixels = single_patches()
    settings = TOY | {"check_every": 10}
    still = explain(SoundnessSaliency(**settings | {"tolerance": 1e6}), pixels)
    assert still.converged.all()
    assert (still.facts["steps"] == 20).all()  # the first judgement has none before it
    moving = explain(SoundnessSaliency(**settings | {"tolerance": 0.0}), pixels)
    assert not moving.converged.any()
    assert (moving.facts["steps"] == TOY["steps"]).all()


def test_an_objective_that_rises_has_not_converged():
    draw, judged = from_pool(noise_pool()), []
    # from the second judgement on before images of another class, which raise the objective once and for all
    replacement = planted([{(20, 0): 1}], seed=5).float() / 255

    def replacements(positions, labels, steps, draws):
        if steps is None:
            judged.append(draws)
            if len(judged) > 1:
                return replacement.expand(len(positions), draws, -1, -1, -1)
        return draw(positions, labels, steps, draws)

    method = SoundnessSaliency(**TOY | {"check_every": 10, "tolerance": 0.5})
    found = explain(method, single_patches()[:1], replacements=replacements)
    assert found.facts["steps"].tolist() == [30]


def test_facts_of_a_mask_equal_what_its_composites_show():
    model, draw, pixels = MatchedFilters(), from_pool(noise_pool()), single_patches()
    explanation = explain(SoundnessSaliency(**TOY), pixels, model=model)
    images, masks = pixels.float() / 255, upsampled(explanation.maps)
    held_out = draw(torch.arange(8), explanation.explained, None, 4)
    black = torch.zeros(8, 1, 3, SIZE, SIZE)
    expected = {
        "area": masks.mean((1, 2)),
        "p_composite": p_of(model, composite(images, masks, held_out), explanation.explained),
        "p_complement": p_of(model, composite(images, 1 - masks, held_out), explanation.explained),
        "p_hadamard": p_of(model, (masks[:, None] * images)[:, None], explanation.explained),
    }
    for name, values in expected.items():
        torch.testing.assert_close(explanation.facts[name], values, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        expected["p_hadamard"], p_of(model, composite(images, masks, black), explanation.explained)
    )


# Memory


class Cramped(MatchedFilters):
    """Fails as torch does where so many inputs at once do not fit."""

    def __init__(self, fits: int):
        super().__init__()
        self.fits = fits

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.fits:
            raise RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried to allocate ...")
        return super().forward(images)


@pytest.mark.parametrize("fits", [1, 2, 3])
@pytest.mark.slow
def test_running_out_of_memory_halves_the_batch_and_changes_no_map(fits, caplog):
    expected = explain(SHORT, single_patches())
    model = Cramped(fits)
    found = explain(SHORT, single_patches(), model=model, batch_size=16)
    assert_same_regions(found.maps, expected.maps)
    assert max(model.calls) <= fits
    assert "out of memory: going on with batch_size 8" in caplog.text


def test_what_does_not_fit_alone_is_refused_with_the_remedy():
    with pytest.raises(InputError, match="batch_size: one input must fit into memory"):
        explain(SHORT, single_patches(), model=Cramped(0))


def test_draws_beyond_the_batch_size_go_through_in_parts_and_change_nothing():
    method = replace(SHORT, draws=5, objective="released", area=1.0)
    model = MatchedFilters()
    together, parts = explain(method, single_patches()[:2]), explain(method, single_patches()[:2], model, batch_size=2)
    assert max(model.calls) == CPU_PASS
    assert_same_regions(parts.maps, together.maps)


def test_progress_adds_up_to_the_images():
    seen = []
    request = Request(
        model=MatchedFilters(),
        pixels=single_patches(),
        choose_labels=predicted,
        replacements=from_pool(noise_pool()),
        device=torch.device("cpu"),
        batch_size=BatchSize(3),
        positions=torch.arange(8),
        image_keys=np.arange(8, dtype=np.uint64),
        on_progress=seen.append,
    )
    SHORT(request)
    assert sum(seen) == pytest.approx(8)
