"""A pass records no more than it must and leaves the model as it was; an image's map does not depend on its batch."""

import pytest
import torch
from networks import assert_same_maps, explain, noise, output_of, random_classifier
from torch import nn

from harmonia.attribution.passes import CPU_PASS
from harmonia.models.load import load

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_trunk_records_no_graph_and_the_head_does():
    classifier = random_classifier("test_resnet")
    seen = {}

    def watch(name):
        def hook(module, args, output):
            seen[name] = (torch.is_grad_enabled(), output.requires_grad, output.grad_fn is not None)

        return classifier.layer(name).register_forward_hook(hook)

    names = ("conv1", "layer1", "layer3", "layer4.0.act1", "global_pool", "fc")
    hooks = [watch(name) for name in names]
    explain(classifier, noise(1, classifier.view.size), layer="layer4")
    for hook in hooks:
        hook.remove()
    assert {name: any(facts) for name, facts in seen.items()} == {name: name in ("global_pool", "fc") for name in names}
    assert all(seen["fc"])


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_no_more_is_saved_for_the_backward_pass_than_by_the_part_behind_the_layer(name):
    classifier = random_classifier(name)
    pixels = noise(CPU_PASS, classifier.view.size)
    layer = classifier.layer_name("final")
    saved = []

    def pack(tensor):
        saved.append(tensor.numel())
        return tensor

    behind = {"test_resnet": behind_resnet, "test_vit": behind_vit}[name]
    leaf = output_of(classifier, layer, pixels / 255).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = behind(classifier.network, leaf)
        logits.gather(1, logits.argmax(1, keepdim=True)).sum()
        allowed = sorted(saved)
        saved.clear()
        explain(classifier, pixels)
    assert sorted(saved) == allowed


def behind_resnet(network: nn.Module, features: torch.Tensor) -> torch.Tensor:
    return network.forward_head(features)


def behind_vit(network: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    return network.forward_head(network.norm(network.blocks[-1](tokens)))


def state_of(model: nn.Module) -> dict:
    modules = dict(model.named_modules())
    return {
        "hooks": {
            name: (len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
            for name, module in modules.items()
        },
        "training": {name: module.training for name, module in modules.items()},
        "parameters": {
            name: (value.requires_grad, value.grad, value._version) for name, value in model.named_parameters()
        },
        "buffers": {name: value._version for name, value in model.named_buffers()},
        "grad mode": torch.is_grad_enabled(),
    }


@pytest.mark.parametrize("grad_mode", [True, False])
def test_model_and_grad_mode_are_left_as_they_were(grad_mode):
    classifier = random_classifier("test_efficientnet")
    with torch.set_grad_enabled(grad_mode):
        before = state_of(classifier)
        explain(classifier, noise(2, classifier.view.size))
        assert state_of(classifier) == before
        assert torch.is_grad_enabled() == grad_mode


@pytest.mark.parametrize("grad_mode", [True, False])
@pytest.mark.parametrize("broken", ["conv_stem", "classifier"])
def test_model_and_grad_mode_are_left_as_they_were_when_a_pass_fails(broken, grad_mode):
    classifier = load(random_classifier("test_efficientnet").spec)

    def fail(module, args):
        raise RuntimeError("planted")

    classifier.layer(broken).register_forward_pre_hook(fail)
    with torch.set_grad_enabled(grad_mode):
        before = state_of(classifier)
        with pytest.raises(RuntimeError, match="planted"):
            explain(classifier, noise(2, classifier.view.size), layer="bn2")
        assert state_of(classifier) == before


def test_the_model_still_computes_the_same_afterwards():
    classifier = random_classifier("test_vit")
    pixels = noise(2, classifier.view.size)
    with torch.no_grad():
        before = classifier(pixels / 255)
        explain(classifier, pixels)
        assert torch.equal(classifier(pixels / 255), before)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_an_image_has_the_same_map_alone_in_any_batch_and_in_any_order(name):
    classifier = random_classifier(name)
    pixels, labels = noise(5, classifier.view.size), torch.tensor([7, 7, 0, 999, 500])
    together = explain(classifier, pixels, labels).maps
    assert_same_maps(explain(classifier, pixels, labels, batch_size=1).maps, together)
    assert_same_maps(explain(classifier, pixels, labels, batch_size=2).maps, together)
    order = torch.tensor([3, 1, 4, 0, 2])
    assert_same_maps(explain(classifier, pixels[order], labels, positions=order).maps, together[order])
    alone = explain(classifier, pixels[2:3], labels, positions=torch.tensor([2])).maps
    assert_same_maps(alone, together[2:3])


def test_the_same_batch_twice_is_equal_bit_for_bit():
    classifier = random_classifier("test_vit")
    pixels = noise(3, classifier.view.size)
    assert torch.equal(explain(classifier, pixels).maps, explain(classifier, pixels).maps)
