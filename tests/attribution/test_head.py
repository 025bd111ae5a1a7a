import pytest
import timm
import torch
from torch import nn

from harmonia.attribution.head import Head
from harmonia.errors import InputError


def test_features_in_their_own_place_give_the_networks_logits(toy, noise):
    model, images = toy("small"), noise(3, 16) / 255
    logits = model(images)
    for layer in ("input", "conv1", "relu1", "block", "conv2", "relu2"):
        head = Head(model, layer, images)
        rows = torch.tensor([2, 0, 1, 2])
        torch.testing.assert_close(head(head.features[rows], rows), logits[rows])


def test_what_passes_beside_the_layer_is_the_images_own(toy, noise):
    """``block`` is a residual branch: without it the logits still hear the image."""
    model, images = toy("small"), noise(3, 16) / 255
    head = Head(model, "block", images)
    assert not head._feeds_all
    assert Head(model, "relu1", images)._feeds_all
    without = head(torch.zeros_like(head.features), torch.arange(3))
    model.network.block.weight.zero_()
    model.network.block.bias.zero_()
    torch.testing.assert_close(without, model(images))


def test_tokens_without_a_place_keep_their_values(toy):
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=4, img_size=64)
    model, images = toy(network, 64), torch.rand(2, 3, 64, 64)
    head = Head(model, "blocks.2", images)
    assert head.features.shape == (2, 64, 4, 4)
    rows = torch.arange(2)
    torch.testing.assert_close(head(head.features, rows), model(images))
    swapped = head(head.features.flip(0), rows)  # patches of the other image, class token of the own
    assert not torch.allclose(swapped, model(images).flip(0))


def test_a_layer_beside_the_way_or_without_a_single_tensor_is_refused(toy, noise):
    model = toy("small")
    model.network.unused = nn.Identity()
    with pytest.raises(InputError, match="layer 'unused' does not feed the logits"):
        Head(model, "unused", noise(1, 16) / 255)
