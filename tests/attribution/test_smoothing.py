import pytest
import torch
from torchvision.transforms.functional import gaussian_blur

from harmonia.attribution.gradient import InputXGradient
from harmonia.attribution.smoothing import Smoothed, smooth, unsmoothed
from harmonia.errors import InputError
from harmonia.store.identity import fingerprint


@pytest.mark.parametrize("k", [9, 33, 129])
def test_mirrored_smoothing_is_torchvisions_gaussian_blur_with_sigma_k_over_4(k):
    maps = torch.randn(2, 100, 100, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(smooth(maps, k, "reflect"), gaussian_blur(maps, k, k / 4), rtol=1e-4, atol=1e-6)


def test_an_interior_impulse_returns_the_kernel():
    map_ = torch.zeros(1, 21, 21)
    map_[0, 10, 10] = -3.0
    steps = torch.arange(-4, 5, dtype=torch.float64)
    kernel = torch.exp(-(steps**2) / (2 * (9 / 4) ** 2))
    kernel = torch.outer(kernel, kernel) / kernel.sum() ** 2
    for padding in ("reflect", "zero", "replicate"):
        smoothed = smooth(map_, 9, padding)
        torch.testing.assert_close(smoothed[0, 6:15, 6:15], -3 * kernel.float())
        assert smoothed.sum().item() == pytest.approx(-3.0)
    assert torch.equal(smooth(map_, 1, "reflect"), map_)


@pytest.mark.parametrize(
    ("k", "share"), [(9, 0.9929), (17, 0.9863), (33, 0.9732), (65, 0.9469), (129, 0.8932), (257, 0.7821)]
)
def test_of_a_uniform_cell_of_224_in_448_so_much_stays_inside(k, share):
    map_ = torch.zeros(1, 448, 448)
    map_[:, :224, :224] = 1
    found = smooth(map_, k, "zero")
    assert (found[:, :224, :224].sum() / found.sum()).item() == pytest.approx(share, abs=5e-5)


def test_smoothing_wraps_a_method_and_is_part_of_what_it_is(toy, noise, explain):
    model, pixels = toy("small"), noise(2, 16)
    method = Smoothed(inner=InputXGradient(layer="relu1"), k=3)
    found, inner = explain(method, model, pixels), explain(method.inner, model, pixels)
    torch.testing.assert_close(found.maps, smooth(inner.maps, 3, "reflect"))
    assert (method.normalise, method.backgrounds, unsmoothed(method)) == ("percentile", None, method.inner)
    identities = [fingerprint(Smoothed(inner=method.inner, k=k, padding=pad)) for k, pad in [(3, "zero"), (5, "zero")]]
    assert len({str(identity) for identity in [*identities, fingerprint(method), fingerprint(method.inner)]}) == 4


def test_kernels_that_cannot_be_are_refused():
    with pytest.raises(InputError, match=r"smooth.k must be a positive odd number of pixels, got 8"):
        Smoothed(inner=InputXGradient(), k=8)
    with pytest.raises(InputError, match=r"less than twice the map's 7 cells.*smooth.padding=zero"):
        smooth(torch.zeros(1, 7, 7), 17, "reflect")
    assert smooth(torch.ones(1, 7, 7), 17, "zero").max() < 1
