"""Laws of the mask and its objective: known answers on planted patches, gradients, literal rewrites."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from planted_patterns import (
    AREA,
    CLASSES,
    SIZE,
    SPOTS,
    TOY,
    MatchedFilters,
    draw_numbers,
    explain,
    from_pool,
    inside,
    noise_pool,
    p_of,
    planted,
    preset,
    single_patches,
    top_iou,
    upsampled,
)
from torch import nn

from harmonia.attribution.cam import GradCAM
from harmonia.attribution.objectives import OBJECTIVES
from harmonia.attribution.soundness import SoundnessSaliency, composite, total_variation
from harmonia.features.resample import upsampling_matrix

pytestmark = pytest.mark.usefixtures("one_thread")


# The planted patch


@pytest.mark.parametrize("objective", ["released", "nll", "soft"])
@pytest.mark.slow
def test_the_mask_finds_the_planted_patch(objective):
    explanation = explain(SoundnessSaliency(objective=objective, area=AREA[objective], **TOY), single_patches())
    masks = upsampled(explanation.maps)
    assert explanation.predicted.tolist() == [0, 1, 2, 3] * 2
    assert np.mean([top_iou(mask, inside(*spot)) for mask, spot in zip(masks, SPOTS, strict=True)]) > 0.85
    assert explanation.converged.all()


@pytest.mark.parametrize("objective", ["released", "nll"])
def test_another_explained_label_moves_the_mask_to_its_patch(objective):
    first, second = (2, 2), (18, 16)
    pixels = planted([{first: 0, second: 2}], seed=3)
    method = SoundnessSaliency(objective=objective, area=AREA[objective], **TOY)
    for label, own, unasked in ((0, first, second), (2, second, first)):
        mask = upsampled(explain(method, pixels, labels=torch.tensor([label])).maps)[0]
        assert top_iou(mask, inside(*own)) > 0.7
        assert mask[inside(*own)].mean() > 5 * mask[inside(*unasked)].mean()


@pytest.mark.slow
def test_before_confident_backgrounds_the_literal_entropy_empties_the_mask_and_nll_does_not():
    # an empty mask leaves another image, of whose class the model is certain: the least entropy at no area
    by_class = planted([{spot: label} for label in range(CLASSES) for spot in SPOTS], seed=4).split(len(SPOTS))
    of_other_classes = torch.stack(
        [torch.cat([by_class[other] for other in range(CLASSES) if other != own]) for own in range(CLASSES)]
    )

    def replacements(positions, labels, steps, draws):
        picked = draw_numbers(0, positions, steps, draws) % of_other_classes.shape[1]
        return of_other_classes[labels[:, None], picked].float() / 255

    pixels, model = single_patches(), MatchedFilters()
    kept, p = {}, {}
    for objective in ("entropy", "nll"):
        explanation = explain(
            SoundnessSaliency(**TOY | {"tolerance": None, "steps": 100}, objective=objective, area=1.0, average=None),
            pixels,
            replacements=replacements,
            model=model,
        )
        masks = upsampled(explanation.maps)
        fresh = replacements(torch.arange(8), explanation.explained, torch.full((8,), 10**6), 8)
        # one of the eight may stay where it began to grow
        kept[objective] = masks.mean((1, 2)).median().item()
        p[objective] = p_of(model, composite(pixels.float() / 255, masks, fresh), explanation.explained).median().item()
    assert kept["entropy"] < 0.03  # the patch takes .14
    assert p["entropy"] < 0.05
    assert p["nll"] > 0.9


@pytest.mark.slow
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
@pytest.mark.slow
def test_masks_equal_a_literal_rewrite(objective, draws, average):
    method = SoundnessSaliency(
        objective=objective, grid=8, steps=12, draws=draws, area=AREA[objective], tv=0.05, average=average
    )
    pixels, labels, replacements = single_patches()[:3], torch.tensor([0, 1, 3]), from_pool(noise_pool())
    found = explain(method, pixels, labels=labels, replacements=replacements).maps
    torch.testing.assert_close(found, literal_masks(method, pixels, labels, replacements), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_faithful_equals_the_release_step_by_step():
    # the release's own code path: probabilities averaged over ten images and put into a cross-entropy, which applies
    # a second softmax; 2e-5 times the mask's sum at 224 px; Adam .05 from logits 0; the last step's mask
    method = replace(preset("ss_faithful"), steps=40, grid=SIZE // 4)
    pixels, labels = single_patches()[:2], torch.tensor([0, 1])
    maps = explain(method, pixels, labels=labels, batch_size=10).maps
    expected = torch.zeros_like(maps)
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
    torch.testing.assert_close(maps, expected, atol=1e-4, rtol=0)
