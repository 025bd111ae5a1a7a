"""Methods that draw: SmoothGrad, GradientSHAP, RISE. What is drawn depends on seed and image, never on the batch."""

import numpy as np
import pytest
import torch
from captum.attr import GradientShap as CaptumGradientShap
from captum.attr import NoiseTunnel, Saliency

from harmonia.attribution.gradient import Gradient
from harmonia.attribution.gradient_shap import GradientSHAP
from harmonia.attribution.rise import RISE
from harmonia.attribution.smooth_grad import SmoothGrad
from harmonia.draws import normal, uniform

LABELS = torch.tensor([3, 0, 2])
KEYS = [11, 5, 2**63 + 7]


def others_of(pool):
    """Replacement images by position and step, as the data set's would be."""

    def draw(positions, labels, steps, draws):
        return torch.stack(
            [pool[(7 * position + step) % len(pool)] for position, step in zip(positions, steps, strict=True)]
        )[:, None]

    return draw


METHODS = {
    "smooth_grad": lambda seed: SmoothGrad(draws=3, seed=seed),
    "smooth_grad_inside": lambda seed: SmoothGrad(draws=3, seed=seed, layer="conv2"),
    "gradient_shap": lambda seed: GradientSHAP(draws=3, seed=seed),
    "rise": lambda seed: RISE(masks=5, keep=0.5, seed=seed),
    "rise_inside": lambda seed: RISE(masks=5, keep=0.5, grid=2, seed=seed, layer="relu2"),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_map_depends_on_seed_and_image_not_on_batch_order_or_neighbours(name, toy, noise, explain):
    model, pixels, pool = toy("small"), noise(3, 16), noise(9, 16, seed=1) / 255

    def maps(seed=0, rows=(0, 1, 2), batch_size=8, keys=KEYS):
        rows = torch.tensor(rows)
        return explain(
            METHODS[name](seed),
            model,
            pixels[rows],
            LABELS,
            batch_size,
            np.array(keys, np.uint64)[rows],
            rows,
            others_of(pool),
        ).maps

    together = maps()
    torch.testing.assert_close(maps(batch_size=1), together, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(maps(rows=(2, 0)), together[[2, 0]], rtol=1e-4, atol=1e-7)
    assert not torch.allclose(maps(seed=1), together, rtol=1e-2)
    assert not torch.allclose(maps(keys=[1, 2, 3]), together, rtol=1e-2)


def test_smooth_grad_without_noise_is_the_gradient(toy, noise, explain):
    model, pixels = toy("small"), noise(3, 16)
    for layer in ("auto", "relu1"):
        explanation = explain(SmoothGrad(noise=0, draws=2, layer=layer), model, pixels, LABELS)
        torch.testing.assert_close(explanation.maps, explain(Gradient(layer=layer), model, pixels, LABELS).maps)
    assert explanation.passes.tolist() == [2 + 2] * 3


def test_on_a_linear_network_smooth_grad_is_the_weights_whatever_the_noise(toy, noise, explain):
    model = toy("linear")
    found = explain(SmoothGrad(noise=0.3), model, noise(3, 8), LABELS)
    torch.testing.assert_close(found.maps, model.network.fc.weight[LABELS].view(3, 3, 8, 8).abs().sum(1))


def test_smooth_grad_equals_captums_noise_tunnel_given_the_same_noise(toy, noise, explain, normalised, monkeypatch):
    model, pixels = toy("small"), noise(1, 16)
    image = normalised(model, pixels)
    explanation = explain(SmoothGrad(draws=3, noise=0.2), model, pixels, LABELS[:1], keys=KEYS[:1])
    white = np.stack([normal(0, KEYS[0], 2**45 + draw, np.arange(3 * 256)) for draw in range(3)])
    spread = 0.2 * (image.max() - image.min())
    drawn = spread * torch.from_numpy(white).float().view(3, 3, 16, 16)
    monkeypatch.setattr(torch, "normal", lambda mean, stdev: drawn)
    model.network.relu1.inplace = model.network.relu2.inplace = False
    theirs = NoiseTunnel(Saliency(model.network)).attribute(
        image.requires_grad_(), nt_samples=3, stdevs=0.2, abs=False, target=LABELS[:1]
    )
    torch.testing.assert_close(explanation.maps, theirs.abs().sum(1).float())


def test_smooth_grad_is_the_mean_gradient_of_the_noisy_images_written_out(toy, noise, explain, normalised):
    model, pixels = toy("small"), noise(1, 16)
    image = normalised(model, pixels)[0]
    total = 0
    for draw in range(4):
        white = torch.from_numpy(normal(3, KEYS[1], 2**45 + draw, np.arange(3 * 256))).view(1, 3, 16, 16).float()
        noisy = (image + 0.2 * (image.max() - image.min()) * white).requires_grad_()
        total = total + torch.autograd.grad(model.network(noisy)[0, 2], noisy)[0]
    found = explain(SmoothGrad(draws=4, noise=0.2, seed=3), model, pixels, LABELS[2:], keys=KEYS[1:2])
    torch.testing.assert_close(found.maps, (total / 4).abs().sum(1))


def test_on_a_linear_network_gradient_shap_is_the_weights_times_what_differs_from_the_mean_background(
    toy, noise, explain, normalised
):
    model, pixels, pool = toy("linear"), noise(3, 8), noise(9, 8, seed=1) / 255
    explanation = explain(GradientSHAP(draws=4), model, pixels, LABELS, replacements=others_of(pool))
    base = torch.stack([torch.stack([pool[(7 * row + step) % 9] for step in range(4)]).mean(0) for row in range(3)])
    difference = (pixels / 255 - base) / model.std
    expected = (difference * model.network.fc.weight[LABELS].view(3, 3, 8, 8)).sum(1)
    torch.testing.assert_close(explanation.maps, expected, rtol=1e-4, atol=1e-5)


def test_gradient_shap_equals_captums_given_the_same_background_and_coefficient(
    toy, noise, explain, normalised, monkeypatch
):
    model, pixels, pool = toy("small"), noise(1, 16), noise(1, 16, seed=1) / 255
    explanation = explain(
        GradientSHAP(draws=1, seed=3), model, pixels, LABELS[:1], keys=KEYS[:1], replacements=others_of(pool)
    )
    share = uniform(3, np.array(KEYS[:1], np.uint64), 2**38)
    monkeypatch.setattr(np.random, "uniform", lambda low, high, size: np.full(size, share[0]))
    base = (pool - model.mean) / model.std
    theirs = CaptumGradientShap(model.network).attribute(
        normalised(model, pixels), base, n_samples=1, stdevs=0.0, target=LABELS[:1]
    )
    torch.testing.assert_close(explanation.maps, theirs.sum(1).float())


def test_rise_masks_are_cells_enlarged_bilinearly_and_cut_out(toy):
    method = RISE(grid=4, keep=0.3)
    masks = torch.cat([method.mask(np.arange(100, dtype=np.uint64), draw, 32) for draw in range(5)])
    assert masks.shape == (500, 32, 32)
    assert masks.min() >= 0
    assert masks.max() <= 1 + 1e-9
    assert masks.mean().item() == pytest.approx(0.3, abs=0.01)
    assert len(masks.unique(dim=0)) > 490  # of 16 cells none is kept in 1 of 300
    # one draw, written out with the numbers that it uses
    numbers = uniform(0, 9, 2**39 + 2, 32, np.arange(18))
    cells = torch.tensor(numbers[2:] < 0.3).float().view(1, 1, 4, 4)
    large = torch.nn.functional.interpolate(cells, scale_factor=10, mode="bilinear", align_corners=False)[0, 0]
    top, left = int(numbers[0] * 8), int(numbers[1] * 8)
    torch.testing.assert_close(
        method.mask(np.array([9], np.uint64), 2, 32)[0].float(), large[top : top + 32, left : left + 32]
    )


def test_rise_is_equation_6_written_out(toy, noise, explain, normalised):
    model, pixels = toy("small"), noise(2, 16)
    method = RISE(masks=7, grid=3, keep=0.4, seed=2)
    expected = torch.zeros(2, 16, 16)
    for draw in range(7):
        masks = method.mask(np.array(KEYS[:2], np.uint64), draw, 16).float()
        with torch.no_grad():
            p = model.network(normalised(model, pixels) * masks[:, None]).softmax(1)
        for row in range(2):
            expected[row] += p[row, LABELS[row]] * masks[row] / (7 * 0.4)
    found = explain(method, model, pixels, LABELS[:2], keys=KEYS[:2])
    torch.testing.assert_close(found.maps, expected)


def test_rise_is_highest_where_the_only_pixels_are_that_matter(toy, noise, explain):
    model = toy("linear")
    model.network.fc.weight.data.zero_()
    model.network.fc.weight.data.view(4, 3, 8, 8)[1, :, 5:7, 1:3] = 0.2
    pixels = torch.full((1, 3, 8, 8), 250, dtype=torch.uint8)
    explanation = explain(RISE(masks=400, grid=4, keep=0.5), model, pixels, torch.tensor([1]))
    assert explanation.maps[0, 5:7, 1:3].min() > explanation.maps[0, :4, 4:].max()
    assert explanation.passes.tolist() == [401]
