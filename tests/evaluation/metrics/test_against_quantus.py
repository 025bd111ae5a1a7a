"""Quantus's own numbers, where it is installed (nothing else needs it), and where and why ours are others.

Run with Quantus 0.6.0, which calls np.trapz; NumPy 2.4 has only np.trapezoid.
"""

import metric_batch
import numpy as np
import pytest
import torch
from metric_batch import additive, scored, small, value, varied

from harmonia.evaluation.metrics.curve import Deletion
from harmonia.evaluation.metrics.faithfulness_correlation import FaithfulnessCorrelation
from harmonia.evaluation.metrics.irof import IROF
from harmonia.evaluation.metrics.perturbation import baseline_of

quantus = pytest.importorskip("quantus", reason="Quantus is not installed")

SIZE = 16
LABELS = torch.tensor([2, 0, 3])
QUIET = {"disable_warnings": True, "normalise": False, "abs": False, "return_aggregate": False}


@pytest.fixture(autouse=True)
def trapz(monkeypatch):
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)


def theirs(metric, model, pixels, maps, labels=LABELS):
    normalised = ((pixels.float() / 255 - 0.5) / 0.5).numpy()
    attributions = torch.nn.functional.interpolate(maps[:, None], size=pixels.shape[-1], mode="bilinear").numpy()
    return metric(
        model=model.network,
        x_batch=normalised,
        y_batch=labels.numpy(),
        a_batch=attributions,
        channel_first=True,
        device="cpu",
    )


def test_deletion_is_pixel_flipping_with_the_point_that_it_omits_over_the_steps():
    """PixelFlipping flips channels of pixels one by one, 24 of them being 8 pixels here. Its curve starts after the
    first step and its area is not normalised: ours is (theirs + (p0 + p1) / 2) / steps.
    """
    model, pixels, maps = small(24), metric_batch.pixels(3, 24), varied(3, 24)
    metric = quantus.PixelFlipping(features_in_step=24, perturb_baseline=0.0, return_auc_per_sample=False, **QUIET)
    curves = np.array(theirs(metric, model, pixels, maps))
    with torch.no_grad():
        whole = model(pixels / 255).softmax(1).gather(1, LABELS[:, None])[:, 0].numpy()
    assert curves.shape == (3, 72)
    expected = (np.trapezoid(curves, axis=1) + (whole + curves[:, 0]) / 2) / 72
    found = scored(Deletion(steps=72), model, pixels, maps, LABELS)
    assert value(found, "deletion").tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_faithfulness_correlation_is_quantus_on_the_same_whole_pixels(monkeypatch):
    """Quantus draws channels of pixels one by one, which a map without channels cannot foretell; here it draws ours."""
    model, pixels, maps = small(SIZE), metric_batch.pixels(3, SIZE), varied(3, SIZE)
    ours = FaithfulnessCorrelation(draws=20, subset=40)
    subsets = (ours.pixels(row, draw, SIZE * SIZE).numpy() for draw in range(20) for row in range(3))

    def choice(features, size, replace):
        assert (features, size) == (3 * SIZE * SIZE, 120)
        subset = next(subsets)
        return np.concatenate([subset + channel * SIZE * SIZE for channel in range(3)])

    monkeypatch.setattr(np.random, "choice", choice)
    metric = quantus.FaithfulnessCorrelation(nr_runs=20, subset_size=120, perturb_baseline=0.0, **QUIET)
    expected = theirs(metric, model, pixels, maps)
    found = value(scored(ours, model, pixels, maps, LABELS), "faithfulness_correlation")
    assert found.tolist() == pytest.approx(list(expected), abs=1e-4)


def test_its_black_is_the_images_minimum_so_that_the_linear_closed_form_fails():
    """Input times gradient has correlation 1 at the baseline 0 only; "black" is no such baseline in Quantus."""
    weights = torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(5)).abs()
    model, pixels = additive(weights), metric_batch.pixels(3, SIZE)
    maps = ((pixels / 255 - model.mean) / model.std * weights).sum(1)
    labels = torch.zeros(3, dtype=torch.long)
    metric = quantus.FaithfulnessCorrelation(nr_runs=50, subset_size=40, perturb_baseline="black", **QUIET)
    normalised = ((pixels.float() / 255 - model.mean) / model.std).numpy()
    black = metric(
        model=model.network,
        x_batch=normalised,
        y_batch=labels.numpy(),
        a_batch=maps[:, None].numpy(),
        channel_first=True,
        device="cpu",
    )
    assert normalised.min() < -0.9  # -1 is black, 0 the baseline
    assert max(black) < 0.999
    found = scored(FaithfulnessCorrelation(subset=40), model, pixels, maps)
    assert value(found, "faithfulness_correlation").tolist() == pytest.approx([1.0] * 3, abs=1e-6)


def test_its_irof_fails_on_coloured_images():
    """It compares the shape of a mask without channels; ours scores them."""
    model, pixels, maps = small(32), metric_batch.pixels(3, 32), varied(3, 32)
    with pytest.raises(AssertionError, match="arr must be the same as the mask"):
        theirs(quantus.IROF(perturb_baseline=0.0, **QUIET), model, pixels, maps)
    assert value(scored(IROF(segments=9, compactness=100), model, pixels, maps, LABELS), "irof").isfinite().all()


def test_its_irof_pads_the_curves_of_fewer_superpixels_so_that_a_score_depends_on_its_neighbours(monkeypatch):
    rows = torch.arange(32)[:, None].expand(32, 32).numpy()
    dark = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(2)) / 4
    grey, maps, model = torch.cat([dark, 1 - dark]) * 255, varied(2, 32), small(32)
    coloured = model.network.forward
    monkeypatch.setattr(model.network, "forward", lambda images: coloured(images.expand(-1, 3, -1, -1)))
    stripes = {True: rows // 8, False: rows // 2}  # 4 of the bright image, 16 of the dark one
    monkeypatch.setattr(
        quantus.helpers.utils, "get_superpixel_segments", lambda img, segmentation_method: stripes[img.mean() > 0]
    )
    irof = quantus.IROF(perturb_baseline=0.0, **QUIET)
    together = theirs(irof, model, grey, maps, LABELS[:2])
    alone = [theirs(irof, model, grey[[row]], maps[[row]], LABELS[[row]])[0] for row in range(2)]
    assert together[0] == pytest.approx(alone[0], abs=1e-4)
    assert abs(together[1] - alone[1]) > 0.1


def test_its_mean_is_one_grey_for_all_channels():
    image = metric_batch.pixels(1, SIZE)[0] / 255
    image[0] = 0
    grey = quantus.helpers.utils.get_baseline_value("mean", image.numpy(), (3,))
    assert grey == pytest.approx([image.mean().item()] * 3)
    explained = metric_batch.batch(small(SIZE), lambda model, images, rows: images[:, 0], image[None])
    removed = baseline_of("mean", explained)(image)
    assert removed[:, 0, 0].tolist() == pytest.approx(image.mean((1, 2)).tolist())


def test_irof_is_quantus_with_the_point_that_it_omits_over_the_number_of_superpixels(monkeypatch):
    """Quantus: n - trapz(r_1 ... r_n). Ours: the trapezoids from r_0 = 1, over n, taken from 1. On grey images: of
    coloured ones Quantus 0.6.0 compares the shape of a mask without channels and fails. One at a time: in a batch it
    pads the curves of fewer superpixels with 0 and adds the triangle down to it.
    """
    size = 32
    grey = metric_batch.pixels(3, 4)[:, :1].repeat_interleave(8, 2).repeat_interleave(8, 3)
    pixels, model = grey.expand(-1, 3, -1, -1).contiguous(), small(size)
    maps = torch.rand(3, size, size, generator=torch.Generator().manual_seed(1))  # no two means are equal
    coloured = model.network.forward
    monkeypatch.setattr(model.network, "forward", lambda images: coloured(images.expand(-1, 3, -1, -1)))

    def superpixels(self, image):
        normalised = ((image - 0.5) / 0.5)[:1].permute(1, 2, 0).double().numpy()
        return torch.from_numpy(quantus.helpers.utils.get_superpixel_segments(normalised, "slic"))

    monkeypatch.setattr(IROF, "superpixels", superpixels)
    irof = quantus.IROF(perturb_baseline=0.0, **QUIET)
    expected = [theirs(irof, model, grey[[row]], maps[[row]], LABELS[[row]])[0] for row in range(3)]
    metric = IROF(baseline="zero")
    scores = scored(metric, model, pixels, maps, LABELS)
    for row, label in enumerate(LABELS.tolist()):
        image = pixels[row].float() / 255
        segments = metric.superpixels(image)
        n = int(segments.max()) + 1
        means = torch.stack([maps[row][segments == number].mean() for number in range(n)])
        with torch.no_grad():
            first = torch.where(segments == means.argmax(), 0.5, image)
            p = model(torch.stack([image, first])).softmax(1)[:, label]
        r_1 = (p[1] / p[0]).item()
        ours = value(scores, "irof")[row].item()
        assert n - (n * (1 - ours) - (1 + r_1) / 2) == pytest.approx(expected[row], abs=1e-4)
