"""timm's networks whose tokens come late, in windows, in stages or in branches: maps in place, or one true line."""

import pytest
import timm
import torch
from networks import explain, noise, output_of, wrap
from timm.models.cait import Cait
from timm.models.coat import CoaT
from timm.models.efficientformer import EfficientFormer
from timm.models.hiera import Hiera
from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg
from timm.models.nest import Nest
from timm.models.pit import PoolingVisionTransformer
from timm.models.tnt import TNT
from timm.models.twins import Twins
from timm.models.xcit import Xcit
from torch import nn

from harmonia.attribution.cam import HiResCAM
from harmonia.errors import InputError
from harmonia.models.classifier import Classifier, channels_last

pytestmark = pytest.mark.usefixtures("one_thread")

HIERA = {"num_classes": 5, "img_size": (64, 64), "num_heads": 1}
OPTIONS = {"num_classes": 5, "img_size": 64}
SMALL = {
    "cait": lambda: Cait(patch_size=16, depth=2, embed_dim=24, num_heads=2, **OPTIONS),
    "xcit": lambda: Xcit(depth=2, embed_dim=24, num_heads=2, **OPTIONS),
    "twins": lambda: Twins(depths=(1, 1, 1, 2), embed_dims=(8, 16, 24, 32), num_heads=(1, 1, 1, 2), **OPTIONS),
    "tnt": lambda: TNT(depth=3, embed_dim=24, inner_dim=8, num_heads_outer=2, **OPTIONS),
    "pit": lambda: pit(depth=(1, 1, 3), base_dims=(8, 8, 8), heads=(1, 2, 2), num_classes=5, img_size=128),
    "coat": lambda: CoaT(patch_size=4, serial_depths=(1, 1, 1, 2), embed_dims=(8, 8, 16, 16), num_heads=8, **OPTIONS),
    "nest": lambda: Nest(embed_dims=(8, 16, 24), num_heads=(1, 2, 2), depths=(1, 1, 1), **OPTIONS),
    "mvit": lambda: MultiScaleVit(MultiScaleVitCfg((1, 1, 1, 1), 8), **OPTIONS),
    "mvit_cls": lambda: MultiScaleVit(MultiScaleVitCfg((1, 1, 1, 2), 8, use_cls_token=True), **OPTIONS),
    "efficientformer": lambda: EfficientFormer((1, 1, 1, 2), (8, 16, 24, 32), num_vit=1, num_classes=5),
    "hiera": lambda: Hiera(embed_dim=24, stages=(1, 1, 1, 2), mask_unit_size=(2, 2), q_pool=1, **HIERA),
}
PLACES = {  # final, middle, normalised
    "cait": ("blocks", "blocks.0", None),
    "xcit": ("cls_attn_blocks.0", "blocks.0", "cls_attn_blocks.1.norm1"),
    "twins": ("norm", "pos_block.1", "norm"),
    "tnt": ("blocks.2.norm_out", None, "blocks.2.norm_out"),
    "pit": ("transformers.2.blocks.1", "transformers.0.blocks", "transformers.2.blocks.2.norm1"),
    "coat": ("serial_blocks4.0", "serial_blocks2.0", "serial_blocks4.0"),
    "nest": ("levels", "levels.1", "levels"),
    "mvit": ("norm", "stages.2.blocks.0.norm1", "norm"),
    "mvit_cls": ("stages.3.blocks.1.norm1", "stages.2.blocks.0.norm1", "stages.3.blocks.1.norm1"),
    "efficientformer": ("norm", "stages.1", "norm"),
    "hiera": ("blocks.3", "blocks.1", "blocks.3"),
}


def pit(**options) -> PoolingVisionTransformer:
    return PoolingVisionTransformer(patch_size=16, stride=8, mlp_ratio=4, **options)


def small(kind: str) -> Classifier:
    torch.manual_seed(0)
    size = {"pit": 128, "efficientformer": 224}.get(kind, 64)
    return wrap(SMALL[kind](), size, 5)


@pytest.mark.parametrize("arch", SMALL)
def test_places_are_found_and_lie_in_the_image(arch):
    classifier = small(arch)
    names = []
    for place in ("final", "middle", "normalised"):
        try:
            names.append(classifier.layer_name(place))
        except InputError:
            names.append(None)
    assert tuple(names) == PLACES[arch]
    size = classifier.view.size
    image = noise(1, size) / 255
    for layer in filter(None, dict.fromkeys(names)):
        before = classifier.spatial(output_of(classifier, layer, image))
        assert before.shape[2] == before.shape[3] > 1
        for row, column in ((0, 0), (0, 1), (1, 1)):
            changed = image.clone()
            half = slice(row * size // 2, (row + 1) * size // 2), slice(column * size // 2, (column + 1) * size // 2)
            changed[:, :, half[0], half[1]] = noise(1, size, seed=1)[:, :, half[0], half[1]] / 255
            change = (classifier.spatial(output_of(classifier, layer, changed)) - before).abs().sum(1)[0]
            side = len(change) // 2
            quarters = {(r, c): change[r * side :, c * side :][:side, :side].sum() for r in (0, 1) for c in (0, 1)}
            assert max(quarters, key=quarters.__getitem__) == (row, column), layer


@pytest.mark.parametrize("arch", SMALL)
def test_spatial_and_unspatial_are_the_way_there_and_back(arch):
    classifier = small(arch)
    for place in ("final", "middle") if PLACES[arch][1] else ("final",):
        output = output_of(classifier, classifier.layer_name(place), noise(2, classifier.view.size) / 255)
        assert torch.equal(classifier.unspatial(classifier.spatial(output), output), output)


@pytest.mark.parametrize("arch", SMALL)
def test_grad_cam_is_plain_autograds(arch):
    classifier = small(arch)
    pixels = noise(2, classifier.view.size)
    layer = classifier.layer_name("final")
    kept = []
    with classifier.layer(layer).register_forward_hook(lambda *call: kept.append(call[2].requires_grad_()) or None):
        logits = classifier(pixels / 255)
    (gradients,) = torch.autograd.grad(logits.amax(1).sum(), kept[0])
    features, gradients = (classifier.spatial(tensor.detach()) for tensor in (kept[0], gradients))
    expected = (features * gradients.mean((2, 3), keepdim=True)).sum(1)
    torch.testing.assert_close(explain(classifier, pixels).maps, expected, rtol=1e-4, atol=1e-7)


def test_hieras_tokens_in_windows_are_its_own_reroll():
    classifier = small("hiera")
    image = noise(1, 64) / 255
    with torch.no_grad():
        maps = classifier.network.forward_intermediates(classifier._normalised(image), intermediates_only=True)
    rerolled = classifier.spatial(output_of(classifier, "blocks.0", image))
    assert torch.equal(rerolled, maps[0])
    tokens = output_of(classifier, "blocks.0", image)
    assert not torch.equal(rerolled.flatten(2).mT, tokens)  # they stood in another order


def test_a_network_of_branches_has_no_default_layer_but_takes_a_named_one():
    torch.manual_seed(0)
    options = {"embed_dim": (24, 24), "num_heads": (2, 2), "depth": ((1, 1, 0),), "mlp_ratio": (1.0, 1.0, 1.0)}
    network = timm.create_model("crossvit_tiny_240", num_classes=5, img_size=240, **options)
    classifier = wrap(network, 240, 5)
    for place in ("final", "normalised", "middle"):
        with pytest.raises(InputError, match=r"it ends in 2 feature maps, no one of which feeds all of its logits"):
            classifier.layer_name(place)
    assert explain(classifier, noise(1, 240), layer="blocks.0.blocks.1").maps.shape == (1, 14, 14)


def test_cait_is_read_by_several_normalisations_which_no_layer_stands_behind():
    classifier = small("cait")
    with pytest.raises(InputError, match=r"behind 'blocks' several normalisations.*use method=gc"):
        classifier.layer_name(HiResCAM.auto)


def test_a_named_layer_is_refused_whose_tokens_stand_in_another_order():
    classifier = small("hiera")
    classifier.structure.token_order = lambda tokens: None
    with pytest.raises(InputError, match=r"'blocks\.0' does not change where the image does"):
        classifier.layer_name("blocks.0")


def test_a_layers_place_is_looked_at_once():
    classifier, passes = small("pit"), []
    classifier.network.register_forward_hook(lambda *call: passes.append(len(call[2])))
    for _ in range(3):
        classifier.layer_name("transformers.1.blocks.0")
    assert passes == [5]


def test_weights_of_five_axes_stay_as_they_are():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv3d(1, 2, (1, 3, 3)))
    two, three = (layer.weight.clone() for layer in network)
    channels_last(network)
    assert torch.equal(network[0].weight, two)
    assert torch.equal(network[1].weight, three)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert network[1].weight.is_contiguous()


def test_channels_last_is_torchs_own():
    ours, theirs = (timm.create_model("test_efficientnet") for _ in range(2))
    channels_last(ours)
    theirs.to(memory_format=torch.channels_last)
    strides = [[each.stride() for each in (*net.parameters(), *net.buffers())] for net in (ours, theirs)]
    assert strides[0] == strides[1]
