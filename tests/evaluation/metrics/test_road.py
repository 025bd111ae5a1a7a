import metric_batch
import pytest
import torch
from metric_batch import scored, small, value, varied

from harmonia.evaluation.metrics.road import ROAD

SIZE = 20
LABELS = torch.tensor([2, 0, 3])


@pytest.fixture
def oracle(monkeypatch):
    """pytorch-grad-cam's module, without noise."""
    road = pytest.importorskip("pytorch_grad_cam.metrics.road", reason="grad-cam is not installed")
    monkeypatch.setattr(road.NoisyLinearImputer.__init__, "__defaults__", (0.0, None))
    return road


class Pixels(torch.nn.Module):
    """Keeps the intensities that it was shown last."""

    def forward(self, images):
        self.shown = images / 2 + 0.5
        return images.mean((2, 3))


def theirs(metric, model, pixels, maps):
    normalised = (pixels.float() / 255 - model.mean) / model.std
    targets = [lambda logits, label=label: logits.softmax(-1)[label] for label in LABELS.tolist()]
    return metric(normalised, maps.numpy(), targets, model.network).tolist()


def test_without_noise_and_ties_all_three_are_those_of_pytorch_grad_cam(oracle):
    model, pixels = small(SIZE), metric_batch.pixels(3, SIZE)
    maps = varied(3, SIZE) / SIZE**2  # it takes 1 - map for the reverse order
    scores = scored(ROAD(noise=0), model, pixels, maps, LABELS)
    for name, metric in (
        ("road", oracle.ROADCombined),
        ("road_morf", oracle.ROADMostRelevantFirstAverage),
        ("road_lerf", oracle.ROADLeastRelevantFirstAverage),
    ):
        assert value(scores, name).tolist() == pytest.approx(theirs(metric(), model, pixels, maps), abs=1e-6)
    assert scores.passes.tolist() == [19] * 3


def imputed(pixels, maps, percentile, size=SIZE):
    """What the model is shown when the best of the map are replaced, without noise."""
    model = metric_batch.classifier(Pixels(), size)
    scored(ROAD(noise=0, percentiles=(percentile,)), model, pixels, maps)
    return model.network.shown[1]  # the image, the best replaced, the worst replaced


def test_a_map_of_two_levels_loses_its_percentage_where_the_reference_removes_every_pixel(oracle):
    """pytorch-grad-cam keeps what lies below a percentile; 12.5 % ones, the rest 0: the percentile is 0, below it none.

    Ranks remove 20 % exactly: all of the ones and random others.
    """
    maps = torch.zeros(1, SIZE, SIZE)
    maps.view(-1)[:50] = 1
    pixels = metric_batch.pixels(1, SIZE)
    changed = (imputed(pixels, maps, 80) - pixels[0] / 255).abs().amax(0) > 1e-4
    assert changed.sum() == 80
    assert changed.view(-1)[:50].all()
    theirs = oracle.RemoveMostRelevantFirst(80, lambda image, kept: kept)(pixels[0] / 255, maps[0])
    assert theirs.sum() == 0


def test_a_constant_image_loses_nothing():
    pixels = torch.full((2, 3, SIZE, SIZE), 90, dtype=torch.uint8)
    found = scored(ROAD(noise=0), small(SIZE), pixels, varied(2, SIZE))
    for score in found.scores.values():
        assert score.values.tolist() == pytest.approx([0.0] * 2, abs=1e-6)


def test_of_a_linear_ramp_the_interior_is_restored_exactly_and_the_border_is_not():
    pixels = (10 * torch.arange(SIZE, dtype=torch.uint8)).expand(1, 3, SIZE, SIZE).contiguous()
    inside, border = torch.zeros(1, SIZE, SIZE), torch.zeros(1, SIZE, SIZE)
    inside[0, 5:15, 5:9] = 1
    border[0, :, :2] = 1
    torch.testing.assert_close(imputed(pixels, inside, 90), pixels[0] / 255, rtol=0, atol=1e-4)
    assert (imputed(pixels, border, 90) - pixels[0] / 255).abs().max() > 0.05


def test_the_combination_is_half_the_difference_and_turns_around_with_the_map():
    model, pixels, maps = small(SIZE), metric_batch.pixels(3, SIZE), varied(3, SIZE)
    scores, turned = (scored(ROAD(), model, pixels, sign * maps, LABELS) for sign in (1, -1))
    torch.testing.assert_close(value(scores, "road"), (value(scores, "road_lerf") - value(scores, "road_morf")) / 2)
    torch.testing.assert_close(value(turned, "road"), -value(scores, "road"))


def test_noise_is_drawn_by_the_seed():
    model, pixels, maps = small(SIZE), metric_batch.pixels(2, SIZE), varied(2, SIZE)
    first, again, reseeded = (
        value(scored(ROAD(noise=0.2, seed=seed), model, pixels, maps), "road") for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, reseeded)
