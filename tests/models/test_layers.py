"""Which layer a method looks at, where its positions lie in the image, and what is refused as a layer."""

import pytest
import torch
from networks import explain, linear, noise, output_of, random_classifier, small_swin, wrap
from timm.models.deit import VisionTransformerDistilled
from timm.models.vgg import VGG
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from harmonia.errors import InputError
from harmonia.models.classifier import Classifier
from harmonia.models.load import load

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("arch", "name"),
    [
        ("tf_efficientnet_lite0", "bn2"),
        ("mobilenetv2_035", "bn2"),
        ("mobilenetv3_small_050", "blocks"),
        ("resnet10t", "layer4"),
        ("test_convnext", "stages"),
        ("small_swin", "norm"),
        ("small_vgg", "features"),
    ],
)
def test_default_layer_gives_the_last_feature_map_before_pooling(arch, name):
    small = {"small_swin": small_swin, "small_vgg": small_vgg}
    classifier = small[arch]() if arch in small else random_classifier(arch)
    assert classifier.layer_name("final") == name
    images = noise(1, classifier.view.size) / 255
    output = output_of(classifier, name, images)
    with torch.no_grad():
        last = classifier.network.forward_features((images - classifier.mean) / classifier.std)
    assert output.ndim == 4
    assert torch.equal(output, last)


@pytest.mark.parametrize(("arch", "blocks"), [("test_vit", 6), ("vit_tiny_patch16_224", 12)])
def test_default_layer_of_a_vit_gives_the_input_of_the_last_block(arch, blocks):
    classifier = random_classifier(arch)
    name = classifier.layer_name("final")
    assert name == f"blocks.{blocks - 2}"
    received = []
    hook = classifier.layer(f"blocks.{blocks - 1}").register_forward_pre_hook(lambda m, args: received.append(args[0]))
    output = output_of(classifier, name, noise(1, classifier.view.size) / 255)
    hook.remove()
    assert torch.equal(received[0], output)


def test_behind_the_last_block_of_a_vit_the_map_is_exactly_zero():
    # only the class token is read there, and layer norm works token by token: no patch token reaches the logits
    classifier = random_classifier("test_vit")
    pixels = noise(2, classifier.view.size)
    last = f"blocks.{len(classifier.network.blocks) - 1}"
    assert explain(classifier, pixels, layer=last).maps.eq(0).all()
    assert (explain(classifier, pixels).maps.abs().amax((1, 2)) > 0).all()


@pytest.mark.parametrize("arch", ["test_vit", "distilled", "registers"])
def test_patch_tokens_keep_their_place_whatever_stands_before_them(arch):
    """One lit patch, no position embedding: the map takes one value on that patch and another everywhere else."""
    networks = {
        "test_vit": lambda: load(random_classifier(arch).spec),
        "distilled": distilled_vit,
        "registers": register_vit,
    }
    classifier = networks[arch]()
    assert classifier.network.num_prefix_tokens == {"test_vit": 1, "distilled": 2, "registers": 5}[arch]
    nn.init.zeros_(classifier.network.pos_embed)
    side = classifier.view.size // 16
    map_ = explain(classifier, lit_patch(classifier.view.size, 16, row=1, column=3), layer="norm_pre").maps[0]
    assert_lit(map_, side, row=1, column=3)


def test_channels_last_maps_keep_their_rows_and_columns():
    classifier = small_swin()
    assert classifier.network.output_fmt == "NHWC"
    # the patch embedding sees no further than its patch of 4 px
    map_ = explain(classifier, lit_patch(56, 4, row=2, column=9), layer="patch_embed").maps[0]
    assert_lit(map_, 14, row=2, column=9)


def test_channels_last_map_is_the_weighted_sum_of_its_channels():
    classifier = small_swin()
    pixels = noise(1, 56)
    explanation = explain(classifier, pixels)
    # GAP and one linear layer behind the last norm: the gradient is the class's weight over 7 x 7 positions
    activations_1hwC = output_of(classifier, "norm", pixels / 255)
    weight_C = classifier.network.head.fc.weight[explanation.explained[0]]
    torch.testing.assert_close(explanation.maps, (activations_1hwC @ weight_C / 49).detach())


def small_vgg() -> Classifier:
    torch.manual_seed(0)
    return wrap(VGG([8, "M", 16, "M"], num_classes=5, mlp_ratio=0.01), size=28, classes=5)


def register_vit() -> Classifier:
    torch.manual_seed(0)
    network = VisionTransformer(img_size=64, embed_dim=32, depth=2, num_heads=2, num_classes=5, reg_tokens=4)
    return wrap(network, size=64, classes=5)


def distilled_vit() -> Classifier:
    torch.manual_seed(0)
    network = VisionTransformerDistilled(img_size=64, embed_dim=32, depth=2, num_heads=2, num_classes=5)
    return wrap(network, size=64, classes=5)


def lit_patch(size: int, patch: int, row: int, column: int) -> torch.Tensor:
    pixels = torch.full((1, 3, size, size), 40, dtype=torch.uint8)
    pixels[:, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] = 220
    return pixels


def assert_lit(map_: torch.Tensor, side: int, row: int, column: int):
    assert map_.shape == (side, side)
    lit = torch.zeros(side, side, dtype=torch.bool)
    lit[row, column] = True
    dark = map_[~lit]
    gap = (map_[lit] - dark.mean()).abs().item()
    assert gap > 0
    assert (dark.max() - dark.min()).item() < 1e-3 * gap


def test_an_unknown_layer_is_refused_with_close_names():
    with pytest.raises(InputError, match=r"'layer5'.*close:.*layer4"):
        explain(random_classifier("test_resnet"), noise(1, 160), layer="layer5")


def test_a_layer_that_gives_several_tensors_is_refused():
    with pytest.raises(InputError, match="a Pair gives no single tensor"):
        explain(linear(), noise(1, 8), layer="pair")


def test_a_layer_without_image_axes_is_refused():
    with pytest.raises(InputError, match=r"shape \(4, 4\), which has no image axes"):
        explain(linear(), noise(1, 8), layer="head")


@pytest.mark.parametrize("layer", ["side_branch", "never_called"])
def test_a_layer_beside_the_way_to_the_logits_is_refused(layer):
    with pytest.raises(InputError, match=f"'{layer}' does not feed the logits"):
        explain(linear(), noise(1, 8), layer=layer)


def test_a_layer_beside_the_way_is_refused_for_an_unfrozen_model_too():
    classifier = linear().requires_grad_()
    with pytest.raises(InputError, match="'side_branch' does not feed the logits"):
        explain(classifier, noise(1, 8), layer="side_branch")


def test_a_layer_that_works_on_windows_is_refused():
    # Swin's attention sees (image, window) pairs in the place of images: 49 tokens that are no map of one image
    classifier = small_swin()
    with pytest.raises(InputError, match=r"'layers\.0\.blocks\.0\.attn' gives 16 maps for 4 images"):
        explain(classifier, noise(2, 56), layer="layers.0.blocks.0.attn")


def test_a_layer_whose_axes_are_not_those_of_an_image_is_refused():
    layer = "blocks.2.attn.q_norm"  # tokens and channels of every head
    with pytest.raises(InputError, match=f"'{layer}' gives maps of [0-9]+ x [0-9]+ for a square image"):
        explain(random_classifier("test_vit"), noise(1, 160), layer=layer)


def test_a_layer_channels_last_within_a_network_channels_first_is_turned():
    classifier = random_classifier("test_convnext")
    output = output_of(classifier, "stages.3.blocks.0.norm", noise(1, 160) / 255)
    assert output.shape[1] == output.shape[2] != output.shape[3]
    assert torch.equal(classifier.spatial(output), output.permute(0, 3, 1, 2))
    assert torch.equal(classifier.unspatial(classifier.spatial(output), output), output)
