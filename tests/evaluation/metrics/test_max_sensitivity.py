import metric_batch
import pytest
import torch
from captum.metrics import sensitivity_max
from metric_batch import additive, scored, small, value, varied

from harmonia.attribution.passes import CPU_PASS
from harmonia.evaluation.metrics.max_sensitivity import MAP_NOT_FINITE, ZERO, MaxSensitivity

SIZE = 8
NAME = "max_sensitivity"


def gradients(model, images, rows):
    with torch.enable_grad():
        leaf = images.clone().requires_grad_()
        (found,) = torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)
    return found.sum(1)


def run(explain, model=None, count=3, **options):
    pixels = metric_batch.pixels(count, SIZE)
    metric = MaxSensitivity(**options)
    return scored(metric, model or small(SIZE), pixels, varied(count, SIZE), explain=explain), pixels


def test_the_gradient_of_a_linear_model_is_not_sensitive_at_all():
    weights = torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
    found, _ = run(gradients, additive(weights))
    assert value(found, NAME).tolist() == [0.0] * 3


def test_a_map_that_is_the_image_changes_by_the_noise_itself():
    shifts = []

    def explain(model, images, rows):
        shifts.append(images)
        return images.flatten(2).transpose(1, 2)

    scores, pixels = run(explain, radius=0.1, draws=20)
    whole, *others = shifts
    changes = torch.stack([(other - whole).flatten(1).norm(dim=1) / whole.flatten(1).norm(dim=1) for other in others])
    torch.testing.assert_close(value(scores, NAME), changes.amax(0).double(), rtol=1e-5, atol=0)
    torch.testing.assert_close(whole, pixels / 255)
    noise = torch.stack(others) - whole
    assert noise.abs().max() <= 0.1 + 1e-6
    assert noise.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.05)  # uniform
    assert noise.mean().item() == pytest.approx(0, abs=0.003)
    assert (torch.stack(others) < 0).any()  # not clipped


def test_it_is_captums_on_the_same_draws():
    model, shown = small(SIZE), []

    def explain(model, images, rows):
        shown.append(images)
        return gradients(model, images, rows)

    scores, _ = run(explain, model, draws=4, radius=0.05)
    images, *draws = shown
    theirs = sensitivity_max(
        lambda inputs: (gradients(model, inputs[0] if isinstance(inputs, tuple) else inputs, None),),
        images,
        perturb_func=lambda expanded: torch.stack(draws, 1).flatten(0, 1),
        n_perturb_samples=4,
    )
    torch.testing.assert_close(value(scores, NAME).float(), theirs, rtol=1e-4, atol=1e-6)
    assert (theirs > 0.01).all()


def test_every_image_is_explained_once_and_once_a_draw():
    explained = []

    def counting(model, images, rows):
        explained.extend(rows.tolist())
        return gradients(model, images, rows)

    run(counting, draws=3)
    assert sorted(explained) == sorted(4 * [0, 1, 2])


def test_draws_belong_to_the_image_and_few_images_are_explained_at_once():
    sizes = []

    def explain(model, images, rows):
        sizes.append(len(images))
        return gradients(model, images, rows)

    seven, _ = run(explain, count=7)
    assert max(sizes) == CPU_PASS
    three, _ = run(gradients, count=3)
    torch.testing.assert_close(value(seven, NAME)[:3], value(three, NAME))


def test_a_map_of_zeros_and_one_that_is_not_finite_leave_it_undefined():
    calls = []

    def explain(model, images, rows):
        calls.append(images)
        maps = gradients(model, images, rows)
        maps[0] = 0 if len(calls) == 1 else 1
        if len(calls) > 1:
            maps[1] = torch.nan
        return maps

    scores, _ = run(explain)
    assert scores.scores[NAME].reasons == (ZERO, MAP_NOT_FINITE, "")
    assert value(scores, NAME).isnan().tolist() == [True, True, False]
