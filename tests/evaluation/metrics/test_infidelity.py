import metric_batch
import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from metric_batch import additive, scored, small, value, varied

from harmonia.errors import InputError
from harmonia.evaluation.metrics.infidelity import Infidelity, Noise, Square
from harmonia.features.areas import in_view
from harmonia.features.fill import Black

SIZE = 8
LABELS = torch.tensor([2, 0, 3])


def weights():
    return torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("normalize", [True, False])
def test_of_a_linear_model_the_gradient_foretells_noise_exactly(normalize):
    """Noise is the same in all channels, so that a map that is summed over channels can say all of it."""
    maps = weights().sum(0, keepdim=True).expand(3, -1, -1)
    metric = Infidelity(perturbation=Noise(), normalize=normalize)
    scores = scored(metric, additive(weights()), metric_batch.pixels(3, SIZE), maps)
    assert value(scores, "infidelity").tolist() == pytest.approx([0.0] * 3, abs=1e-9)
    assert scores.passes.tolist() == [33] * 3


@pytest.mark.parametrize("normalize", [True, False])
def test_of_a_linear_model_input_times_gradient_foretells_every_square(normalize):
    model, pixels = additive(weights()), metric_batch.pixels(3, SIZE)
    maps = ((pixels / 255 - model.mean) / model.std * weights()).sum(1)
    found = scored(Infidelity(normalize=normalize), model, pixels, maps)
    assert value(found, "infidelity").tolist() == pytest.approx([0.0] * 3, abs=1e-9)


def test_a_map_that_is_wrong_is_off_by_what_the_model_does():
    """A map of zeros, which never gets here, would foretell nothing; a map that is not asked, neither."""
    model, pixels = additive(weights()), metric_batch.pixels(1, SIZE)
    right = weights().sum(0, keepdim=True)
    metric = Infidelity(perturbation=Noise(), normalize=False, draws=64)
    half = value(scored(metric, model, pixels, right / 2), "infidelity")
    none = value(scored(metric, model, pixels, torch.zeros_like(right)), "infidelity")
    torch.testing.assert_close(half, none / 4)
    assert none > 0.01
    scaled = Infidelity(perturbation=Noise(), draws=64)
    torch.testing.assert_close(value(scored(scaled, model, pixels, torch.zeros_like(right)), "infidelity"), none)


@pytest.mark.parametrize("perturbation", [Noise(), Square()])
def test_the_unit_of_a_map_and_its_sign_do_not_matter_once_it_is_scaled(perturbation):
    model, pixels, maps = small(SIZE), metric_batch.pixels(3, SIZE), varied(3, SIZE)
    metric = Infidelity(perturbation=perturbation)
    one, other = (value(scored(metric, model, pixels, scale * maps), "infidelity") for scale in (1, -1000))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", [Noise, Square])
def test_every_value_is_captums_on_the_same_perturbations(kind, normalize):
    """Captum's map has three channels, ours is their sum: with noise its part is the same in each, and of a square
    I / (x - baseline), which its decorator for maps times input hands over, is 1 in one channel and 0 in the others.
    """
    model, pixels, maps = small(SIZE), metric_batch.pixels(3, SIZE), varied(3, 4) / 16
    metric = Infidelity(perturbation=kind(), normalize=normalize, draws=5)
    values = value(scored(metric, model, pixels, maps, LABELS), "infidelity")
    images = pixels.float() / 255
    given = metric_batch.batch(model, lambda *args: maps, pixels)
    perturb = kind().of(given, 0)

    def same(expanded):
        shifts, shown = [], []
        for row in range(3):
            for draw in range(5):
                perturbed, _ = perturb(images[row], torch.ones(SIZE, SIZE), row, draw)
                shown.append(perturbed)
                change = (images[row] - perturbed)[:1] / 0.5  # of the normalised image
                unit = change if kind is Noise else (perturbed == 0.5).all(0, keepdim=True).float()
                shifts.append(torch.cat([unit, torch.zeros(2, SIZE, SIZE)]))
        assert len(expanded) == len(shown)
        return torch.stack(shifts), torch.stack(shown)

    attributions = in_view(maps, SIZE)[:, None].expand(-1, 3, -1, -1).contiguous()
    theirs = captum_infidelity(
        model, same, images, attributions, target=LABELS, n_perturb_samples=5, normalize=normalize
    )
    torch.testing.assert_close(values.float(), theirs.float(), rtol=1e-3, atol=1e-5)


def test_squares_have_their_side_and_every_place():
    pixels = torch.full((1, 3, SIZE, SIZE), 255, dtype=torch.uint8)
    given = metric_batch.batch(small(SIZE), lambda *args: varied(1, SIZE), pixels)
    perturb = Square(side=0.5, baseline="black").of(given, 0)
    corners = set()
    for draw in range(300):
        perturbed, foretold = perturb(pixels[0] / 255, torch.ones(SIZE, SIZE), 7, draw)
        black = (perturbed == 0).all(0)
        assert black.sum() == 16 == foretold
        rows, columns = black.nonzero().unbind(1)
        assert rows.max() - rows.min() == 3 == columns.max() - columns.min()
        corners.add((rows.min().item(), columns.min().item()))
    assert len(corners) == 25


def test_what_is_no_perturbation_is_refused():
    with pytest.raises(InputError, match="perturbation must be Square or Noise, got Black"):
        Infidelity(perturbation=Black())
