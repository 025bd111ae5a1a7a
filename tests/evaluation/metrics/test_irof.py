import metric_batch
import numpy as np
import pytest
import torch
from metric_batch import scored, small, value, varied
from skimage.segmentation import slic

from harmonia.evaluation.metrics.irof import IROF, NOT_POSITIVE, ONE_SEGMENT, by_relevance

SIZE = 32
LABELS = torch.tensor([2, 0, 3])


def patches(count):
    """Images of 16 flat squares: superpixels that SLIC finds."""
    return metric_batch.pixels(count, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)


class Brightness(torch.nn.Module):
    """The probability of class 0 is the mean intensity, of two classes and two that have none."""

    def forward(self, images):
        p = (images / 2 + 0.5).double().mean((1, 2, 3))
        none = torch.full_like(p, -torch.inf)
        return torch.stack([p.log(), (1 - p).log(), none, none], 1)


def test_equal_superpixels_of_equal_worth_give_a_half_whatever_the_map(monkeypatch):
    squares = torch.arange(16).view(4, 4).repeat_interleave(8, 0).repeat_interleave(8, 1)
    monkeypatch.setattr(IROF, "superpixels", lambda self, image: squares)
    pixels = torch.full((1, 3, SIZE, SIZE), 200, dtype=torch.uint8)
    metric, model = IROF(baseline="black"), metric_batch.classifier(Brightness(), SIZE)
    for seed in range(3):
        scores = scored(metric, model, pixels, varied(1, 4, seed))
        assert value(scores, "irof").item() == pytest.approx(0.5, abs=1e-6)
    assert scores.passes.tolist() == [17]


def test_it_equals_a_literal_re_write():
    model, pixels, maps = small(SIZE), patches(3), varied(3, SIZE)
    scores = scored(IROF(segments=20), model, pixels, maps, LABELS)
    for row, label in enumerate(LABELS.tolist()):
        image = pixels[row].float() / 255
        segments = slic(image.permute(1, 2, 0).double().numpy(), n_segments=20, compactness=10, start_label=0)
        numbers = np.unique(segments)
        means = [maps[row].numpy()[segments == number].mean() for number in numbers]
        left, curve = image.clone(), []
        with torch.no_grad():
            curve.append(model(left[None]).softmax(1)[0, label].item())
            for number in numbers[np.argsort(means)[::-1]]:
                left[:, torch.from_numpy(segments == number)] = image.mean((1, 2))[:, None]
                curve.append(model(left[None]).softmax(1)[0, label].item())
        ratio = np.array(curve) / curve[0]
        assert len(numbers) > 8
        assert value(scores, "irof")[row].item() == pytest.approx(1 - np.trapezoid(ratio) / len(numbers), abs=1e-5)
        assert scores.passes[row] == len(numbers) + 1


def test_the_best_order_scores_above_the_worst():
    pixels = patches(1)
    maps = pixels.float().mean(1)
    metric, model = IROF(segments=16, baseline="black"), metric_batch.classifier(Brightness(), SIZE)
    best, worst = (value(scored(metric, model, pixels, sign * maps), "irof").item() for sign in (1, -1))
    assert best > 0.55 > 0.45 > worst


def test_superpixels_of_equal_mean_are_not_ordered_by_place():
    segments = torch.arange(64).view(8, 8)
    assert by_relevance(torch.ones(8, 8), segments).tolist() != list(range(64))


def test_a_negative_logit_leaves_it_undefined_and_a_positive_one_orders_as_the_probability_does():
    class Logits(torch.nn.Module):
        """Of class 0 the mean intensity, of class 1 the same less 2: both fall as bright superpixels go."""

        def forward(self, images):
            level = (images / 2 + 0.5).double().mean((1, 2, 3))
            return torch.stack([level, level - 2, level.new_zeros(len(level)), level.new_zeros(len(level))], 1)

    pixels = patches(1)
    maps = pixels.float().mean(1)
    metric, model = IROF(segments=16, baseline="black", reading="logit"), metric_batch.classifier(Logits(), SIZE)
    best, worst = (value(scored(metric, model, pixels, sign * maps), "irof").item() for sign in (1, -1))
    assert best > 0.55 > 0.45 > worst
    scores = scored(metric, model, pixels, maps, torch.tensor([1]))
    assert value(scores, "irof").isnan().all()
    assert scores.scores["irof"].reasons == (NOT_POSITIVE.format(reading="logit"),)


def test_one_superpixel_and_a_class_without_probability_leave_it_undefined(monkeypatch):
    model, pixels = metric_batch.classifier(Brightness(), SIZE), patches(2)
    scores = scored(IROF(segments=16), model, pixels, varied(2, 8), torch.tensor([0, 2]))
    assert scores.scores["irof"].reasons == ("", "the class's probability is not above 0 on the whole image")
    assert value(scores, "irof").isnan().tolist() == [False, True]
    monkeypatch.setattr(IROF, "superpixels", lambda self, image: torch.zeros(SIZE, SIZE, dtype=torch.long))
    scores = scored(IROF(segments=16), model, pixels, varied(2, 8))
    assert scores.scores["irof"].reasons == (ONE_SEGMENT,) * 2
    assert scores.passes.tolist() == [1, 1]
