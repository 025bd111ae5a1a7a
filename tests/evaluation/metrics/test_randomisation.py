import copy

import pytest
import timm
import torch
from metric_batch import classifier
from torch import nn

from harmonia.errors import InputError
from harmonia.evaluation.metrics.randomisation import Layers, randomised


def network(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=4)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:  # as training leaves them: nothing is 0 or 1
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand(tensor.shape))
    return classifier(model, 160)


def learned(model):
    """Every parameter, and the statistics of batch norm."""
    state = dict(model.network.named_parameters())
    return state | {name: value for name, value in model.network.named_buffers() if "running" in name}


def copies(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(
    "name", ["test_vit", "test_resnet", "test_efficientnet", "test_convnext", "swin_tiny_patch4_window7_224"]
)
@pytest.mark.slow
def test_every_parameter_and_statistic_changes(name):
    model = network(name)
    before = {key: tensor.clone() for key, tensor in learned(model).items()}
    with randomised(model, "layer", 0) as layers:
        for layer in layers.names:
            layers.randomise(layer)
        same = [key for key, tensor in learned(model).items() if torch.equal(tensor, before[key])]
    assert same == []


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_an_exception_leaves_the_model_as_it_was_bit_for_bit(name):
    model = network(name)
    before, draws = copies(model), torch.get_rng_state()
    objects = [id(tensor) for tensor in model.parameters()]

    def interrupted():
        with randomised(model, "block", 0) as layers:
            for layer in layers.names:
                layers.randomise(layer)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert [id(tensor) for tensor in model.parameters()] == objects
    assert torch.equal(torch.get_rng_state(), draws)


def test_layers_go_from_the_logits_down_to_the_image():
    blocks = Layers(network("test_vit"), "block", 0).names
    assert blocks[:2] == ["head", "norm"]
    assert blocks[2:8] == [f"blocks.{number}" for number in reversed(range(6))]
    # parameters of the network itself come last, though its tokens meet the patches behind their embedding
    assert blocks[8:] == ["patch_embed", "pos_embed", "cls_token"]
    cnn = Layers(network("test_efficientnet"), "block", 0).names
    assert (cnn[0], cnn[-1]) == ("classifier", "conv_stem")
    assert {"blocks.0", "bn2"} < set(cnn)
    assert Layers(network("test_resnet"), "block", 0).names[1:3] == ["layer4.0", "layer3.0"]


def test_layers_of_the_finer_kind_own_their_parameters():
    names = Layers(network("test_vit"), "layer", 0).names
    assert {"blocks.0.attn.qkv", "blocks.0.norm1", "patch_embed.proj", "cls_token", "head"} < set(names)


def test_what_is_drawn_depends_on_no_order_and_no_granularity():
    drawn = []
    for granularity, order in (("block", 1), ("layer", -1)):
        model = network("test_vit")
        with randomised(model, granularity, 3) as layers:
            for layer in layers.names[::order]:
                layers.randomise(layer)
            drawn.append(copies(model))
    assert all(torch.equal(drawn[0][key], drawn[1][key]) for key in drawn[0])


def test_another_seed_draws_others():
    drawn = []
    for seed in (0, 1):
        model = network("test_vit")
        with randomised(model, "block", seed) as layers:
            layers.randomise("head")
            drawn.append(model.network.head.weight.clone())
    assert not torch.equal(*drawn)


def test_one_layer_changes_alone_and_comes_back():
    model = network("test_vit")
    before = copies(model)
    with randomised(model, "block", 0) as layers:
        layers.randomise("blocks.2")
        changed = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
        assert changed
        assert all(key.startswith("network.blocks.2.") for key in changed)
        layers.restore("blocks.2")
        assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_a_module_with_an_initialisation_of_its_own_is_initialised_by_it():
    model = network("test_resnet")
    with randomised(model, "block", 0) as layers:
        for layer in layers.names:
            layers.randomise(layer)
        norm, conv = model.network.bn1, model.network.layer1[0].conv1
        assert (norm.running_mean == 0).all()
        assert (norm.running_var == 1).all()
        bound = 1 / conv.weight[0].numel() ** 0.5
        assert conv.weight.abs().max() <= bound
        assert conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


def test_a_parameter_without_one_keeps_its_mean_and_deviation():
    model = network("test_vit")
    before = model.network.pos_embed.clone()
    with randomised(model, "block", 0) as layers:
        layers.randomise("pos_embed")
        drawn = model.network.pos_embed
        assert drawn.mean().item() == pytest.approx(before.mean().item(), abs=5e-3)
        assert drawn.std().item() == pytest.approx(before.std().item(), rel=0.1)


class Frozen(nn.Module):
    """A layer whose initialisation is what it holds already, beside a table of fixed numbers."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(6.0))
        self.register_buffer("index", torch.arange(6))

    def reset_parameters(self):
        self.weight.data.copy_(torch.arange(6.0))


def test_an_initialisation_that_changes_nothing_is_not_trusted():
    model = nn.Sequential(Frozen(), nn.Linear(6, 6))
    fixed = copy.deepcopy(model[0].index)
    with randomised(model, "layer", 0) as layers:
        layers.randomise("0")
        assert not torch.equal(model[0].weight, torch.arange(6.0))
        assert torch.equal(model[0].index, fixed)


def test_a_network_without_parameters_is_refused():
    with pytest.raises(InputError, match="no parameters"):
        Layers(nn.Sequential(nn.ReLU()), "block", 0)
