import copy

import pytest
import timm
import torch
from captum.attr import LRP as CaptumLRP
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import nn

from harmonia.attribution.gradient import InputXGradient
from harmonia.attribution.lrp import LRP
from harmonia.errors import InputError


def test_in_a_chain_without_biases_relevance_sums_to_the_logit_and_is_input_x_gradient(toy, noise, explain):
    # Ancona et al. 2018: with ReLU and no bias, the epsilon rule is input x gradient
    model, pixels, labels = toy("chain"), noise(3, 16), torch.tensor([3, 0, 2])
    maps = explain(LRP(), model, pixels, labels, batch_size=2).maps
    scores = model(pixels / 255).gather(1, labels[:, None])[:, 0].detach()
    torch.testing.assert_close(maps.sum((1, 2)), scores, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(maps, explain(InputXGradient(), model, pixels, labels).maps, rtol=1e-3, atol=1e-6)


def test_with_biases_relevance_equals_captums_own_lrp(toy, noise, explain, normalised):
    model, pixels, labels = toy("chain"), noise(3, 16), torch.tensor([3, 0, 2])
    for place in (0, 3, 7):
        layer = model.network[place]
        layer.bias = nn.Parameter(torch.linspace(-0.2, 0.3, len(layer.weight)), requires_grad=False)
    own = copy.deepcopy(model.network).requires_grad_(True)
    for module in own:
        if isinstance(module, nn.ReLU):
            module.inplace = False
        if isinstance(module, nn.Flatten):
            module.rule = EpsilonRule()
    theirs = CaptumLRP(own).attribute(normalised(model, pixels).requires_grad_(), target=labels)
    maps = explain(LRP(), model, pixels, labels).maps
    torch.testing.assert_close(maps, theirs.sum(1).detach(), rtol=1e-4, atol=1e-6)


def test_the_network_is_left_as_it_was(toy, noise, explain):
    model, pixels = toy("chain"), noise(1, 16)
    before, state = model(pixels / 255), {name: value.clone() for name, value in model.state_dict().items()}
    explain(LRP(), model, pixels)
    assert torch.equal(model(pixels / 255), before)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(hasattr(module, "rule") for module in model.modules())
    assert all(module.inplace for module in model.modules() if isinstance(module, nn.ReLU))
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.fixture
def vgg(toy):
    """timm's VGG, small and without biases."""
    torch.manual_seed(0)
    network = timm.models.VGG([8, "M", 16, "M"], num_classes=4, mlp_ratio=0.01)
    for module in network.modules():
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)
    return toy(network, 28)


@pytest.mark.parametrize(
    "layer", ["final", "middle", "features.0", "features.1", "features.2", "pre_logits.fc1", "pre_logits.act1"]
)
@pytest.mark.slow
def test_inside_a_chain_without_biases_relevance_is_features_x_gradient_at_any_layer(vgg, noise, explain, layer):
    pixels, labels = noise(3, 28), torch.tensor([3, 0, 2])
    maps = explain(LRP(layer=layer), vgg, pixels, labels, batch_size=2).maps
    expected = explain(InputXGradient(layer=layer), vgg, pixels, labels).maps
    assert expected.abs().max() > 0
    torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-6 * expected.abs().max().item())


def test_the_network_is_copied_once_however_many_micro_batches(toy, noise, explain, monkeypatch):
    copied = []
    deepcopy = copy.deepcopy
    monkeypatch.setattr(copy, "deepcopy", lambda model, *memo: copied.append(model) or deepcopy(model, *memo))
    model = toy("chain")
    explain(LRP(), model, noise(5, 16), batch_size=1)
    assert sum(one is model for one in copied) == 1


def test_timms_vgg_is_a_chain(vgg, noise, explain):
    model, pixels = vgg, noise(2, 28)
    maps = explain(LRP(), model, pixels).maps
    scores = model(pixels / 255).amax(1).detach()
    torch.testing.assert_close(maps.sum((1, 2)), scores, rtol=1e-3, atol=1e-6)


def test_what_has_no_rule_is_refused_by_the_modules_name(toy, noise, explain):
    with pytest.raises(InputError, match=r"module 'network.2', a GELU, has no rule"):
        explain(LRP(), toy(nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.GELU()), 2), noise(1, 2))
    with pytest.raises(InputError, match=r"module 'network', a Small, computes 'add' between its parts"):
        explain(LRP(), toy("small"), noise(1, 16))
