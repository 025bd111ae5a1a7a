import pytest
import torch
from captum.attr import IntegratedGradients as CaptumIG
from captum.attr import Occlusion as CaptumOcclusion

from harmonia.attribution.captum_methods import IntegratedGradients, Occlusion, coverage
from harmonia.errors import InputError

LABELS = torch.tensor([3, 0, 2])


def test_on_a_linear_network_integrated_gradients_is_the_input_times_its_weights(toy, noise, explain, normalised):
    model, pixels = toy("linear"), noise(3, 8)
    weights = model.network.fc.weight[LABELS].view(3, 3, 8, 8)
    maps = explain(IntegratedGradients(steps=2), model, pixels, LABELS).maps
    torch.testing.assert_close(maps, (normalised(model, pixels) * weights).sum(1))


def test_integrated_gradients_equals_captums_in_any_micro_batch(toy, noise, explain, normalised):
    model, pixels = toy("small"), noise(3, 16)
    theirs = CaptumIG(model.network).attribute(
        normalised(model, pixels), target=LABELS, n_steps=20, method="gausslegendre"
    )
    for batch_size in (1, 2, 8):
        explanation = explain(IntegratedGradients(), model, pixels, LABELS, batch_size)
        torch.testing.assert_close(explanation.maps, theirs.sum(1).float(), rtol=1e-4, atol=1e-7)
        assert explanation.passes.tolist() == [21] * 3


def test_at_an_inner_layer_integrated_gradients_sums_to_what_the_head_loses_without_it(toy, noise, explain):
    model, pixels = toy("small"), noise(3, 16)
    maps = explain(IntegratedGradients(layer="relu2"), model, pixels, LABELS).maps
    scores = model(pixels / 255).gather(1, LABELS[:, None])[:, 0] - model.network.fc.bias[LABELS]
    torch.testing.assert_close(maps.sum((1, 2)), scores.detach())  # behind it the head is linear


@pytest.mark.parametrize(("window", "stride"), [(4, 2), (3, 3), (4, 4)])
def test_on_a_linear_network_occlusion_is_each_windows_part_of_the_logit(
    window, stride, toy, noise, explain, normalised
):
    model, pixels = toy("linear"), noise(2, 8)
    part = (normalised(model, pixels) * model.network.fc.weight[LABELS[:2]].view(2, 3, 8, 8)).sum(1).detach()
    expected = torch.zeros(2, 8, 8)
    for top in range(0, 8 - window + stride, stride):
        for left in range(0, 8 - window + stride, stride):
            drop = part[:, top : top + window, left : left + window].sum((1, 2))
            expected[:, top : top + window, left : left + window] += drop[:, None, None] / window**2
    explanation = explain(Occlusion(window=window, stride=stride), model, pixels, LABELS[:2])
    torch.testing.assert_close(explanation.maps, expected, rtol=1e-4, atol=1e-6)
    places = len(range(0, 8 - window + stride, stride))
    assert explanation.passes.tolist() == [2 + places**2] * 2


def test_occlusion_without_overlaps_equals_captums_over_the_window(toy, noise, explain, normalised):
    model, pixels = toy("small"), noise(3, 16)
    theirs = CaptumOcclusion(model.network).attribute(
        normalised(model, pixels), (3, 4, 4), strides=(3, 4, 4), target=LABELS
    )
    maps = explain(Occlusion(window=4, stride=4), model, pixels, LABELS, batch_size=2).maps
    torch.testing.assert_close(maps, theirs[:, 0].float() / 16)


def test_every_cell_is_covered_where_the_stride_is_at_most_the_window():
    assert coverage(8, 4, 2).tolist() == [1, 1, 2, 2, 2, 2, 1, 1]
    assert coverage(224, 16, 8).min() == 1
    assert coverage(7, 5, 2).tolist() == [1, 1, 2, 2, 2, 1, 1]


def test_a_window_must_fit_and_leave_no_cell_out(toy, noise, explain):
    with pytest.raises(InputError, match=r"method.window must fit layer 'relu2' of 4 x 4 cells, got 5"):
        explain(Occlusion(layer="relu2"), toy("small"), noise(1, 16))
    with pytest.raises(InputError, match=r"must be at most method.window, got 5 > 4"):
        explain(Occlusion(window=4, stride=5), toy("linear"), noise(1, 8))
