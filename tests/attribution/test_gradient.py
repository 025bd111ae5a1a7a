import pytest
import timm
import torch
from captum.attr import GuidedBackprop as CaptumGuidedBackprop
from captum.attr import InputXGradient as CaptumInputXGradient
from captum.attr import LayerGradientXActivation, Saliency
from timm.layers import GELUTanh
from torch import nn

from harmonia.attribution.gradient import Gradient, GuidedBackprop, InputXGradient
from harmonia.errors import InputError

LABELS = torch.tensor([3, 0, 2])


def test_on_a_linear_network_gradient_and_input_x_gradient_are_its_weights(toy, noise, explain, normalised):
    model, pixels = toy("linear"), noise(3, 8)
    weights = model.network.fc.weight[LABELS].view(3, 3, 8, 8)
    torch.testing.assert_close(explain(Gradient(), model, pixels, LABELS).maps, weights.abs().sum(1))
    expected = (normalised(model, pixels) * weights).sum(1)
    torch.testing.assert_close(explain(InputXGradient(), model, pixels, LABELS).maps, expected)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Gradient(), Saliency),
        (InputXGradient(), CaptumInputXGradient),
        (GuidedBackprop(), CaptumGuidedBackprop),
    ],
)
def test_at_the_input_maps_equal_captums(ours, theirs, toy, noise, explain, normalised):
    model, pixels = toy("small"), noise(3, 16)
    maps = explain(ours, model, pixels, LABELS).maps
    model.network.relu1.inplace = model.network.relu2.inplace = False  # captum's hooks take no other
    their_maps = theirs(model.network).attribute(normalised(model, pixels).requires_grad_(), target=LABELS)
    their_maps = their_maps if isinstance(ours, InputXGradient) else their_maps.abs()
    torch.testing.assert_close(maps, their_maps.sum(1).detach())


def test_at_an_inner_layer_input_x_gradient_equals_captums_layer_gradient_x_activation(toy, noise, explain, normalised):
    model, pixels = toy("small"), noise(3, 16)
    maps = explain(InputXGradient(layer="conv2"), model, pixels, LABELS).maps
    model.network.relu2.inplace = False
    oracle = LayerGradientXActivation(model.network, model.network.conv2)
    found = oracle.attribute(normalised(model, pixels).requires_grad_(), target=LABELS)
    torch.testing.assert_close(maps, found.sum(1).detach())


def test_guidance_ends_with_the_method(toy, noise, explain):
    model, pixels = toy("small"), noise(3, 16)
    before = explain(Gradient(), model, pixels, LABELS).maps
    assert not torch.equal(explain(GuidedBackprop(), model, pixels, LABELS).maps, before)
    assert torch.equal(explain(Gradient(), model, pixels, LABELS).maps, before)


def test_guided_backprop_refuses_a_nonlinearity_that_it_is_not_defined_for(toy, noise, explain):
    for nonlinearity in (nn.SiLU(), GELUTanh()):
        model = toy("small")
        model.network.relu2 = nonlinearity
        with pytest.raises(InputError, match=rf"module 'network.relu2' is a {type(nonlinearity).__name__}"):
            explain(GuidedBackprop(), model, noise(1, 16))
    with pytest.raises(InputError, match="no ReLU module"):
        explain(GuidedBackprop(), toy("linear"), noise(1, 8))


def test_the_input_is_a_layer_and_middle_is_the_first_half_where_nothing_has_stride_8(toy):
    model = toy("small")
    assert [model.layer_name(name) for name in ("input", "middle", "final")] == ["input", "relu1", "relu2"]
    with pytest.raises(InputError, match="layer 'relu' is not a module of Small; close: relu"):
        model.layer_name("relu")
    with pytest.raises(InputError, match="timm names no feature maps"):
        toy("linear").layer_name("middle")


@pytest.mark.parametrize(
    ("arch", "name"),
    [
        ("tf_efficientnet_b5", "blocks.2"),
        ("mobilenetv2_100", "blocks.2"),
        ("resnet18", "layer2"),
        ("resnet50", "layer2"),
        ("vgg11", "features.14"),
        ("convnext_tiny", "stages.1"),
        ("deit_tiny_patch16_224", "blocks.5"),
        ("swin_tiny_patch4_window7_224", "layers.1"),
    ],
)
@pytest.mark.slow
def test_the_middle_is_the_last_feature_map_of_stride_8_or_the_first_half_of_equal_blocks(arch, name, toy):
    with torch.device("meta"):  # the names are asked for, not the weights
        network = timm.create_model(arch)
    model = toy(network, 224)
    assert model.layer_name("middle") == name
    assert model.layer_name(name) == name
