import metric_batch
import numpy as np
import pytest
import torch
from metric_batch import additive, scored, small, value, varied

from harmonia.evaluation.metrics.faithfulness_correlation import FaithfulnessCorrelation

SIZE = 16
NAME = "faithfulness_correlation"
LABELS = torch.tensor([2, 0, 3])


def input_times_gradient(model, pixels, weights):
    return ((pixels / 255 - model.mean) / model.std * weights).sum(1)


def test_of_a_linear_model_input_times_gradient_has_correlation_one_at_the_true_zero():
    weights = torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
    model, pixels = additive(weights), metric_batch.pixels(3, SIZE)
    maps = input_times_gradient(model, pixels, weights)
    for sign in (1, -1):
        scores = scored(FaithfulnessCorrelation(subset=30), model, pixels, sign * maps)
        assert value(scores, NAME).tolist() == pytest.approx([sign] * 3, abs=1e-6)
    assert scores.passes.tolist() == [101] * 3
    # another baseline is another question
    scores = scored(FaithfulnessCorrelation(subset=30, baseline="black"), model, pixels, maps)
    assert (value(scores, NAME) < 0.9).all()


def test_it_is_the_correlation_of_sums_and_drops_over_the_subsets():
    model, pixels, maps = small(SIZE), metric_batch.pixels(3, SIZE), varied(3, SIZE)
    metric = FaithfulnessCorrelation(draws=12, subset=40, baseline="black")
    values = value(scored(metric, model, pixels, maps, LABELS), NAME)
    for row, label in enumerate(LABELS.tolist()):
        image, sums, drops = pixels[[row]].float() / 255, [], []
        for draw in range(12):
            subset = metric.pixels(row, draw, SIZE * SIZE)
            without = image.clone()
            without.view(3, -1)[:, subset] = 0
            with torch.no_grad():
                drops.append((model(image) - model(without))[0, label].item())
            sums.append(maps[row].view(-1)[subset].sum().item())
        assert values[row].item() == pytest.approx(np.corrcoef(sums, drops)[0, 1], abs=1e-4)


def test_subsets_are_distinct_pixels_and_every_pixel_is_as_likely():
    metric = FaithfulnessCorrelation(subset=16)
    counts = np.zeros(64)
    for draw in range(2000):
        subset = metric.pixels(11, draw, 64).numpy()
        assert len(set(subset.tolist())) == 16
        counts[subset] += 1
    assert abs(counts / 2000 - 0.25).max() < 0.05  # five standard deviations


def test_a_model_that_does_not_care_leaves_it_undefined():
    careless = additive(torch.zeros(3, SIZE, SIZE))
    scores = scored(FaithfulnessCorrelation(subset=30), careless, metric_batch.pixels(2, SIZE), varied(2, SIZE))
    assert value(scores, NAME).isnan().all()
    assert scores.scores[NAME].reasons == ("the logit drops alike for all subsets",) * 2


def test_rounding_of_the_logit_is_no_drop():
    class Rounds(torch.nn.Module):
        """Says the same of every image, but for the last places of float32."""

        def forward(self, images):
            return 9 + 3e-6 * images.mean((2, 3)).sum(1, keepdim=True).sigmoid().expand(-1, 4)

    model = metric_batch.classifier(Rounds(), SIZE)
    metric, pixels = FaithfulnessCorrelation(subset=30), metric_batch.pixels(2, SIZE)
    assert 0 < (model(pixels / 255) - 9).abs().max() < 4e-6
    found = scored(metric, model, pixels, varied(2, SIZE))
    assert found.scores[NAME].reasons == ("the logit drops alike for all subsets",) * 2


def test_a_map_whose_sums_are_all_equal_leaves_it_undefined():
    maps = torch.zeros(1, SIZE, SIZE)
    maps[0, 0, 0] = 1
    metric = FaithfulnessCorrelation(draws=3, subset=2, seed=0)
    assert not any((metric.pixels(0, draw, SIZE * SIZE) == 0).any() for draw in range(3))
    found = scored(metric, small(SIZE), metric_batch.pixels(1, SIZE), maps)
    assert found.scores[NAME].reasons == ("all sums of the map are equal",)
