from types import SimpleNamespace

import metric_batch
import pytest
import torch
from metric_batch import additive, scored, small, value, varied
from scipy.ndimage import gaussian_filter
from torch import nn

from harmonia.attribution.passes import CPU_PASS, BatchSize
from harmonia.errors import InputError
from harmonia.evaluation.metrics import perturbation
from harmonia.evaluation.metrics.completeness_soundness import CompletenessSoundness
from harmonia.evaluation.metrics.contract import NOT_FINITE
from harmonia.evaluation.metrics.curve import Deletion, Insertion
from harmonia.evaluation.metrics.faithfulness_correlation import FaithfulnessCorrelation
from harmonia.evaluation.metrics.infidelity import Infidelity, Noise
from harmonia.evaluation.metrics.irof import IROF
from harmonia.evaluation.metrics.perturbation import baseline_of, mean_and_std, rise_kernel
from harmonia.evaluation.metrics.road import ROAD

METRICS = [
    Insertion(steps=5),
    Deletion(steps=5),
    ROAD(percentiles=(30, 60)),
    CompletenessSoundness(steps=5),
    Infidelity(draws=3),
    Infidelity(draws=3, perturbation=Noise()),
    FaithfulnessCorrelation(draws=5, subset=9),
    IROF(segments=9, compactness=100),
]
each_metric = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: str(metric)[:40])


class Seen:
    """A model that notes how many inputs it is shown at once."""

    def __init__(self, model, at_most=None):
        self.model, self.passes, self.at_most = model, [], at_most

    def __call__(self, images):
        if self.at_most and len(images) > self.at_most:
            raise RuntimeError("CUDA out of memory. Tried to allocate more than there is")
        logits = self.model(images)  # not where only the normalisation is read off
        self.passes.append(len(images))
        return logits

    def __getattr__(self, name):
        return getattr(self.model, name)


@pytest.mark.parametrize("metric", [Insertion(), Deletion(), CompletenessSoundness()])
@pytest.mark.slow
def test_a_hundred_images_of_28_steps_cost_2800_forwards_and_at_most_a_tenth_more(metric):
    seen = Seen(small(16))
    scores = scored(metric, seen, metric_batch.pixels(100, 16), varied(100, 7))
    assert 2800 <= sum(seen.passes) <= 1.1 * 2800
    assert set(seen.passes) == {CPU_PASS}
    assert 2800 <= scores.passes.sum() <= sum(seen.passes)


def test_inputs_are_made_for_one_pass_at_a_time():
    pixels = metric_batch.pixels(5, 8)
    explained = metric_batch.batch(small(8), lambda *args: varied(5, 8), pixels)
    made, answered, waiting = 0, 0, []

    def inputs(row, image):
        nonlocal made
        for _ in range(7):
            made += 1
            waiting.append(made - answered)
            yield image

    def read(logits, labels):
        nonlocal answered
        answered += len(labels)
        return logits[:, 0]

    found = perturbation.read_answers(explained, inputs, read)
    assert [len(of_image) for of_image in found] == [7] * 5
    assert max(waiting) <= CPU_PASS


@pytest.mark.parametrize("metric", [Deletion(steps=5), IROF(segments=9, compactness=100)])
def test_a_batch_that_does_not_fit_is_halved_and_changes_no_score(metric):
    model, pixels, maps = small(16), metric_batch.pixels(3, 16), varied(3, 7)
    size = BatchSize(8)
    scores = scored(metric, Seen(model, at_most=2), pixels, maps, batch_size=size)
    whole = scored(metric, model, pixels, maps)
    assert size.size == 2
    for name, score in whole.scores.items():
        torch.testing.assert_close(value(scores, name), score.values, rtol=1e-4, atol=1e-6)
    assert torch.equal(scores.passes, whole.passes)


@each_metric
def test_an_answer_that_is_not_finite_leaves_that_image_undefined_and_no_other(metric):
    pixels, maps = metric_batch.pixels(3, 16), varied(3, 16)
    pixels[1] = 255  # the white image alone overflows

    class Overflowing(torch.nn.Module):
        def forward(self, images):
            high = torch.where(images.amin((1, 2, 3)) == 1, torch.nan, images.sum((1, 2, 3)) / 50)
            return torch.stack([high, *[torch.zeros_like(high)] * 3], 1)

    found = scored(metric, metric_batch.classifier(Overflowing(), 16), pixels, maps)
    for score in found.scores.values():
        assert score.values.isnan().tolist() == [False, True, False]
        assert score.reasons == ("", NOT_FINITE, "")


def test_the_normalisation_is_read_off_the_model_without_running_it():
    model = additive(torch.ones(3, 8, 8))
    model.mean.copy_(torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
    model.std.copy_(torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
    model.network.forward = lambda images: pytest.fail("the network ran")
    explained = SimpleNamespace(model=model, device=torch.device("cpu"), pixels=torch.zeros(1, 3, 8, 8))
    mean, std = mean_and_std(explained)
    torch.testing.assert_close(mean, model.mean[0])
    torch.testing.assert_close(std, model.std[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ROAD(percentiles=(20, 100)), r"percentiles must lie between 0 and 100, got \[20, 100\]"),
        (lambda: ROAD(percentiles=()), r"percentiles must lie"),
        (lambda: Infidelity(draws=1), r"metric.draws must be at least 2, got 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("metric", [Insertion(steps=65), FaithfulnessCorrelation(subset=64)])
def test_more_than_the_views_pixels_is_refused(metric):
    with pytest.raises(InputError, match="the view's 64 pixels"):
        scored(metric, small(8), metric_batch.pixels(1, 8), varied(1, 8))


@pytest.fixture
def image():
    return metric_batch.pixels(1, 224)[0].float() / 255


def of(name, image):
    size = image.shape[-1]
    model = small(size)
    model.mean.copy_(torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
    model.std.copy_(torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
    given = metric_batch.batch(model, lambda *args: torch.rand(1, 2, 2), metric_batch.pixels(1, size))
    return model, baseline_of(name, given)(image)


def test_blur_is_rises_own_in_the_normalised_image(image):
    """RISE's evaluation.py: gkern(11, 5) convolved with the normalised image, padded by zeros."""
    model, blurred = of("blur", image)
    point = torch.zeros(11, 11)
    point[5, 5] = 1
    kernel = torch.zeros(3, 3, 11, 11)
    for channel in range(3):
        kernel[channel, channel] = torch.from_numpy(gaussian_filter(point.numpy(), 5))
    theirs = nn.functional.conv2d((image[None] - model.mean) / model.std, kernel, padding=5)
    torch.testing.assert_close((blurred[None] - model.mean) / model.std, theirs, rtol=1e-4, atol=1e-4)


def test_the_kernel_sums_to_one_and_grows_with_the_view():
    assert rise_kernel(224).shape == (11, 11)
    assert rise_kernel(600).shape == (27, 27)
    for size in (224, 380, 600):
        assert rise_kernel(size).sum().item() == pytest.approx(1)


def test_zero_is_what_the_network_sees_as_zero(image):
    model, zero = of("zero", image)
    torch.testing.assert_close((zero[None] - model.mean) / model.std, torch.zeros(1, 3, 224, 224), rtol=0, atol=1e-6)


def test_black_and_mean_are_colours_of_the_image(image):
    assert of("black", image)[1].abs().max() == 0
    torch.testing.assert_close(of("mean", image)[1][:, 7, 9], image.mean((1, 2)))
    assert of("mean", image)[1].shape == image.shape
