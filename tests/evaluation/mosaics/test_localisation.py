"""Known answers of GridPG, DiFull and DiPart (Rao, Böhle, Schiele 2022)."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from timm.models.crossvit import CrossVit
from timm.models.vgg import VGG
from torch import nn
from torch.nn.functional import linear

from harmonia.attribution.cam import GradCAM, LayerCAM
from harmonia.attribution.captum_methods import IntegratedGradients, Occlusion
from harmonia.attribution.contract import Request
from harmonia.attribution.gradient import Gradient, GuidedBackprop, InputXGradient
from harmonia.attribution.lrp import LRP
from harmonia.attribution.passes import BatchSize
from harmonia.attribution.rollout import AttentionRollout, GradientRollout
from harmonia.data.view import View
from harmonia.errors import InputError
from harmonia.evaluation.mosaics.grids import Grids
from harmonia.evaluation.mosaics.localisation import Localisation, positive_attribution
from harmonia.evaluation.mosaics.presentation import PartHead, PerCell, cut, on_mosaics, paste
from harmonia.features.maps import pack
from harmonia.models.classifier import Classifier
from harmonia.models.spec import ModelSpec
from harmonia.results.localisation import read_localisation, summarise_localisation
from harmonia.store.sets import ShardSet


class Plain(nn.Module):
    """ResNet-like: convolutions with padding, a residual branch, global pooling, one linear layer."""

    feature_info = [{"module": "relu", "reduction": 2}, {"module": "relu2", "reduction": 4}]  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.relu2 = nn.ReLU()
        self.fc = nn.Linear(8, 4)

    def forward_features(self, images):
        return self.relu2(self.conv2(self.relu(self.conv1(images))))

    def forward_head(self, features):
        return self.fc(features.mean((2, 3)))

    def forward(self, images):
        return self.forward_head(self.forward_features(images))


def wrap(network, size, double=False):
    view = View(size=size, crop_pct=1.0, crop_mode="center", interpolation="bilinear", mean=(0.4,) * 3, std=(0.5,) * 3)
    spec = ModelSpec(name="toy", arch=type(network).__name__, family="toy")
    model = Classifier(network, spec, view, list("abcd"), "toy")
    return model.double() if double else model


def plain():
    torch.manual_seed(0)
    return wrap(Plain(), 16)


def vit(**options):
    torch.manual_seed(0)
    return wrap(timm.create_model("test_vit", num_classes=4, img_size=32, **options), 32)


def squeezing():
    """Squeeze-excite gates and SiLU: what an EfficientNet has."""
    torch.manual_seed(0)
    network = timm.create_model("test_efficientnet", num_classes=4)
    assert any(name.endswith(".se") for name, _ in network.named_modules())
    return wrap(network, 32)


def swin():
    torch.manual_seed(0)
    options = {"embed_dim": 24, "depths": (1, 1), "num_heads": (2, 2), "window_size": 4}
    return wrap(timm.create_model("swin_tiny_patch4_window7_224", num_classes=4, img_size=32, **options), 32)


def mosaics(count, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def explain(method, model, pixels, labels=None, images_per_input=1, halved=False):
    batch_size = BatchSize(2)
    batch_size.halved = halved  # a pass is then as large as that, whatever a CPU likes
    labels = torch.zeros(len(pixels), dtype=torch.long) if labels is None else labels
    return method(
        Request(
            model=model,
            pixels=pixels,
            choose_labels=lambda logits, positions: labels[positions],
            replacements=lambda *args: pytest.fail("asks for no replacement images"),
            device=torch.device("cpu"),
            batch_size=batch_size,
            positions=torch.arange(len(pixels)),
            image_keys=np.arange(len(pixels), dtype=np.uint64),
            on_progress=lambda images: None,
            images_per_input=images_per_input,
        )
    )


def outside(maps, cell, n=2):
    """Attribution of either sign outside of the cell."""
    cells = maps.abs().unflatten(2, (n, -1)).unflatten(1, (n, -1)).sum((2, 4)).flatten(1)
    return cells.sum(1) - cells[:, cell]


def scores(maps, cells, n=2, size=448):
    inside, total = positive_attribution(maps, cells, n, size)
    return inside / total


def test_cut_and_paste_are_inverse_and_go_row_by_row():
    images = mosaics(2, 12)
    assert torch.equal(paste(cut(images, 3), 3), images)
    assert torch.equal(cut(images, 3)[9 + 3], images[1, :, 4:8, :4])


# 1. DiFull at the input


@pytest.mark.parametrize("make", [plain, vit, squeezing, swin])
def test_in_difull_nothing_outside_the_cell_reaches_its_logits_bit_for_bit(make):
    model = make()
    size = 2 * model.view.size
    images, others = mosaics(1, size) / 255, mosaics(1, size, seed=1) / 255
    for cell in (0, 3):
        presented = PerCell(model, 2, cell)
        cells = cut(others, 2)
        cells[cell] = cut(images, 2)[cell]
        with torch.no_grad():
            assert torch.equal(presented(paste(cells, 2)), presented(images))
            torch.testing.assert_close(presented(images), model(cut(images, 2)[cell : cell + 1]))


@pytest.mark.parametrize("make", [plain, vit, squeezing, swin])
@pytest.mark.parametrize(
    "method", [Gradient(), InputXGradient(), IntegratedGradients(steps=2), LayerCAM(layer="input")]
)
def test_in_difull_backpropagation_leaves_exactly_nothing_outside(method, make):
    model = make()
    maps = explain(method, PerCell(model, 2, 3), mosaics(2, 2 * model.view.size)).maps
    assert outside(maps, 3).eq(0).all()
    assert scores(maps, [3, 3], size=maps.shape[-1]).tolist() == [1.0, 1.0]


def test_in_difull_guided_backprop_leaves_exactly_nothing_outside():
    maps = explain(GuidedBackprop(), PerCell(plain(), 2, 0), mosaics(2, 32)).maps
    assert outside(maps, 0).eq(0).all()


def test_in_difull_rollout_stays_in_the_cell_whose_class_token_is_read():
    for method in (AttentionRollout(), GradientRollout()):
        maps = explain(method, PerCell(vit(), 2, 3), mosaics(1, 64)).maps
        assert outside(maps, 3).eq(0).all()
        assert maps.sum() > 0


def test_in_difull_occlusion_scores_1_where_no_window_straddles_cells():
    pixels = mosaics(1, 32)
    presented = PerCell(plain(), 2, 0)
    assert outside(explain(Occlusion(window=8, stride=8), presented, pixels).maps, 0).eq(0).all()
    assert outside(explain(Occlusion(window=8, stride=4), presented, pixels).maps, 0) > 0


def test_lrp_takes_a_presented_chain_and_names_modules_within_it():
    torch.manual_seed(0)
    chain = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
    )
    presented, pixels = PerCell(wrap(chain, 8), 2, 0), mosaics(3, 16)
    maps = explain(LRP(), presented, pixels, images_per_input=4).maps
    assert outside(maps, 0).eq(0).all()
    assert maps.abs().sum((1, 2)).gt(0).all()
    together = explain(LRP(), presented, pixels, images_per_input=4, halved=True).maps
    assert torch.allclose(together, maps)
    with pytest.raises(InputError, match=r"module 'classifier\.network\.bn1\.act', a SiLU, has no rule"):
        explain(LRP(), PerCell(squeezing(), 2, 0), mosaics(1, 64), images_per_input=4)


# 2. Enlarging


@pytest.mark.parametrize(("d", "expected"), [(7, 0.96460), (14, 0.98222), (28, 0.99109)])
def test_of_a_uniform_block_of_features_a_corner_keeps_1_minus_1_over_8d_squared(d, expected):
    maps = torch.zeros(1, 2 * d, 2 * d)
    maps[:, :d, d:] = 1
    assert scores(maps, [1])[0] == pytest.approx((1 - 1 / (8 * d)) ** 2, abs=1e-12)
    assert scores(maps, [1])[0] == pytest.approx(expected, abs=5e-6)


def test_of_a_uniform_block_the_centre_of_nine_keeps_1_minus_1_over_4d_squared():
    maps = torch.zeros(1, 21, 21)
    maps[:, 7:14, 7:14] = 1
    assert scores(maps, [4], n=3, size=672)[0] == pytest.approx((1 - 1 / 28) ** 2, abs=1e-12)


def test_gradient_at_the_final_layer_before_pooling_scores_a_quarter_in_gridpg_and_the_enlarged_block_in_difull():
    pixels = mosaics(2, 32)
    whole = explain(Gradient(layer="final"), on_mosaics(plain(), 2, "interpolated"), pixels).maps
    assert whole.shape == (2, 8, 8)
    assert scores(whole, [0, 3], size=256) == pytest.approx([0.25, 0.25])
    alone = explain(Gradient(layer="final"), PerCell(plain(), 2, 0), pixels).maps
    assert scores(alone, [0, 0], size=256) == pytest.approx([(1 - 1 / 32) ** 2] * 2)


# 3. A repeated cell


def test_in_difull_of_a_repeated_cell_grad_cam_scores_half_and_layercam_1_before_enlarging():
    model = plain()
    model.network.conv1.bias.zero_()
    model.network.conv2.bias.zero_()
    model.network.fc.weight.abs_()
    grey = 255 * 0.4  # the mean colour: without biases its features are 0
    pixels = torch.full((1, 3, 32, 32), round(grey), dtype=torch.uint8)
    pixels[:, :, :16, :16] = pixels[:, :, 16:, 16:] = mosaics(1, 16)
    presented = PerCell(model, 2, 0)
    grad_cam, layercam = (explain(method, presented, pixels).maps for method in (GradCAM(), LayerCAM()))
    assert scores(grad_cam, [0], size=8)[0] == pytest.approx(0.5)
    assert scores(layercam, [0], size=8)[0] == 1.0


# 5. The score


def test_a_score_needs_positive_attribution_and_no_scale_and_follows_its_cell():
    maps = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert positive_attribution(-maps.abs(), [2], 2, 32) == (0, 0)
    assert scores(maps * 1e-12, [2], size=32)[0] == pytest.approx(scores(maps, [2], size=32)[0], rel=1e-6)
    turned = paste(cut(maps[:, None], 2)[[2, 3, 0, 1]], 2)[:, 0]
    assert positive_attribution(turned, [0], 2, 8)[0] == pytest.approx(positive_attribution(maps, [2], 2, 8)[0])
    uniform = torch.ones(1, 6, 6)
    assert scores(uniform, [1], size=12)[0] == pytest.approx(0.25)
    assert np.isnan(positive_attribution(torch.full((1, 2, 2), torch.nan), [0], 2, 4)[1]).all()


def test_a_map_without_positive_attribution_and_one_that_is_not_finite_score_0_and_are_counted(tmp_path):
    maps = torch.ones(4, 4, 4)
    maps[1] = -1.0
    maps[2, 0, 0] = torch.nan
    maps[3, :2] = maps[3, :, :2] = -1.0  # all that is positive lies in the last cell
    store = ShardSet.open(tmp_path, "maps", "planted", {"planted": 1}, 4, 4)
    told = {"predicted": "a", "in_top": True, "p_source": 0.5}
    store.write(0, pack(maps.numpy()), [told] * 4)
    source = plain()
    records = [SimpleNamespace(image_id=f"n{number}", path=f"{number}.png", class_name="a") for number in range(4)]
    job = SimpleNamespace(
        folder=tmp_path,
        source=source,
        method=GradCAM(),
        method_name="gc",
        layer="conv2",
        images=SimpleNamespace(records=records),
        viewed=SimpleNamespace(
            batch=lambda images, view: SimpleNamespace(
                pixels=mosaics(len(images), view.size),
                indices=torch.tensor(images),
                readable=torch.ones(len(images), dtype=torch.bool),
            )
        ),
    )
    grids = Grids(2, np.arange(4)[None], (0, 1, 2, 3))
    Localisation(protocol="gridpg")._write_rows(job, grids, store)
    rows = read_localisation(tmp_path)
    assert rows["undefined"].tolist() == [False, True, True, False]
    assert rows["localisation"].tolist() == [pytest.approx(0.25), 0, 0, 1]
    assert rows["mass"].tolist()[1:3] == [0, 0]
    summary = summarise_localisation(rows)
    assert summary["toy/gridpg/undefined"] == 2
    assert summary["toy/gridpg/localisation"] == pytest.approx(1.25 / 4)


# 6. DiPart


def test_in_dipart_nothing_beyond_the_receptive_field_has_attribution():
    maps = explain(InputXGradient(), PartHead(plain(), 2, 0), mosaics(1, 32)).maps[0]
    # conv2's last feature of the cell, 3, reads conv1 up to 2*3+1 = 7, and that reads pixels up to 2*7+1 = 15
    assert maps[17:].eq(0).all()
    assert maps[:, 17:].eq(0).all()
    assert maps[:16, :16].ne(0).any()
    last = explain(InputXGradient(), PartHead(plain(), 2, 3), mosaics(1, 32)).maps[0]
    assert last[:16, :16].ne(0).any()  # leakage through the receptive field, which padding would have stopped
    assert last[:12].eq(0).all()


def test_dipart_reads_one_cell_of_the_feature_map_of_the_whole():
    for make in (plain, squeezing, swin):
        model = make()
        images = mosaics(1, 2 * model.view.size) / 255
        whole = on_mosaics(model, 2, "interpolated").classifier
        with torch.no_grad():
            features = whole.spatial(whole.features(images))
            side = features.shape[-1] // 2
            part = features[:, :, :side, side:]
            expected = whole.head(whole.unspatial(part, whole.features(images)))
            torch.testing.assert_close(PartHead(whole, 2, 1)(images), expected)
    with pytest.raises(InputError, match=r"dipart: toy's last feature map has 3 cells a side for 2 images"):
        PartHead(plain(), 2, 0)(mosaics(1, 12) / 255)


# VGG, whose fully connected layers become convolutions


def test_on_a_mosaic_vgg_averages_its_fully_connected_layers_over_all_windows_of_a_whole_images_features():
    torch.manual_seed(0)
    network = VGG([4, "M", 4, "M", 4, "M", 4, "M", 4, "M"], num_classes=4, mlp_ratio=1 / 256)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    model = wrap(network, 224, double=True)
    images = mosaics(1, 448).double() / 255
    first, second, last = network.pre_logits.fc1, network.pre_logits.fc2, network.head.fc
    presented = on_mosaics(model, 2, "interpolated")
    with torch.no_grad():
        features = model.features(images)
        windows = features.unfold(2, 7, 1).unfold(3, 7, 1).permute(0, 2, 3, 1, 4, 5).flatten(3)
        assert (features.shape[2:], windows.shape[1:3]) == ((14, 14), (8, 8))
        hidden = linear(windows, first.weight.flatten(1), first.bias).relu()
        expected = last(linear(hidden, second.weight.flatten(1), second.bias).relu())
        torch.testing.assert_close(presented(images), expected.mean((1, 2)).float())
        # DiPart's cell of 7 x 7 is one window
        torch.testing.assert_close(PartHead(model, 2, 3)(images), expected[:, 7, 7].float())
        assert not torch.allclose(expected[:, 7, 7].float(), presented(images), rtol=1e-3)


# Vision Transformers on a mosaic


def test_a_vit_sees_a_mosaic_in_three_ways_and_plain_images_as_before():
    model, images = vit(), mosaics(1, 64) / 255
    logits = {}
    for positions in ("interpolated", "tiled", "downscaled"):
        presented = on_mosaics(model, 2, positions)
        with torch.no_grad():
            logits[positions] = presented(images)
        side = 2 if positions == "downscaled" else 4
        assert explain(Gradient(layer="middle"), presented, mosaics(1, 64)).maps.shape == (1, side, side)
    assert not torch.allclose(logits["interpolated"], logits["tiled"])
    tiled = on_mosaics(model, 2, "tiled").classifier.network
    prefix = tiled.pos_embed.shape[1] - 16
    grid = tiled.pos_embed[:, prefix:].unflatten(1, (4, 4))
    own = model.network.pos_embed[:, prefix:].unflatten(1, (2, 2))
    assert torch.equal(grid[:, 2:, :2], own)
    assert torch.equal(tiled.pos_embed[:, :prefix], model.network.pos_embed[:, :prefix])
    with pytest.raises(InputError, match=r"positions=tiled: SwinTransformer adds no position embeddings"):
        on_mosaics(swin(), 2, "tiled")


@pytest.mark.parametrize("arch", ["eva02_tiny_patch14_224", "vit_small_patch16_rope_mixed_ape_224"])
def test_tiled_positions_are_tiled_where_they_are_rotations_too(arch):
    """One image in all cells of a mosaic: with the positions of one cell all cells are the same; grown ones differ."""
    torch.manual_seed(0)
    network = timm.create_model(arch, num_classes=4, img_size=32, patch_size=8, depth=2, embed_dim=24, num_heads=2)
    model, image = wrap(network, 32), torch.rand(1, 3, 32, 32)
    maps = {}
    for positions in ("tiled", "interpolated"):
        presented = on_mosaics(model, 2, positions)
        kept = []
        with presented.layer("blocks.1").register_forward_hook(lambda *call, kept=kept: kept.append(call[2])):
            presented(image.repeat(1, 1, 2, 2))
        maps[positions] = cut(presented.spatial(kept[0]), 2)
    torch.testing.assert_close(maps["tiled"], maps["tiled"][:1].expand(4, -1, -1, -1))
    assert (maps["interpolated"][0] - maps["interpolated"][3]).abs().max() > 1e-4


def test_swin_keeps_its_windows_on_a_mosaic():
    model = swin()
    enlarged = on_mosaics(model, 2, "interpolated").classifier.network
    windows = [block.attn.window_size for stage in enlarged.layers for block in stage.blocks]
    assert windows == [block.attn.window_size for stage in model.network.layers for block in stage.blocks]


@pytest.mark.parametrize("arch", ["beit_base_patch16_224", "eva02_tiny_patch14_224"])
def test_a_vit_of_a_list_of_blocks_has_its_default_layer_on_a_mosaic_too(arch):
    torch.manual_seed(0)
    network = timm.create_model(arch, num_classes=4, img_size=32, patch_size=16, depth=3, embed_dim=24, num_heads=2)
    presented = on_mosaics(wrap(network, 32), 2, "interpolated")
    assert presented.layer_name("final") == "blocks.1"
    assert explain(GradCAM(), presented, mosaics(1, 64)).maps.shape == (1, 4, 4)


def test_a_default_layer_that_is_not_known_is_missed_only_where_it_is_asked_for():
    torch.manual_seed(0)
    options = {"img_scale": (1.0, 1.0), "embed_dim": (24, 24), "num_heads": (2, 2), "depth": ((1, 1, 0),)}
    network = CrossVit(img_size=48, num_classes=4, mlp_ratio=(1.0, 1.0, 1.0), patch_size=(12, 16), **options)
    presented = PerCell(wrap(network, 48), 2)
    assert explain(Gradient(layer="input"), presented, mosaics(1, 96)).maps.shape == (1, 96, 96)
    with pytest.raises(InputError, match=r"ends in 2 feature maps, no one of which.*give layer=NAME"):
        explain(GradCAM(), presented, mosaics(1, 96))


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        ("cait_xxs24_224", {"img_size": 32, "depth": 1, "embed_dim": 24, "num_heads": 2}),
        ("mixer_s32_224", {"img_size": 32}),
        ("levit_128s", {"img_size": 224}),
    ],
)
def test_a_network_of_one_size_is_refused_on_a_mosaic(arch, options):
    network = timm.create_model(arch, num_classes=4, **options)
    size = options["img_size"]
    with pytest.raises(InputError, match=rf"must take a mosaic of {2 * size} x {2 * size}, got: .*evaluation=difull"):
        on_mosaics(wrap(network, size), 2, "interpolated")
    presented = on_mosaics(wrap(network, size), 2, "downscaled")
    assert presented(mosaics(1, 2 * size) / 255).shape == (1, 4)


def test_the_sure_images_are_found_shard_by_shard(tmp_path):
    """The peak must not grow with the images, of which there may be fifty thousand."""
    count, classes, shard_size = 160, 1000, 8
    torch.manual_seed(0)
    logits = torch.randn(count, classes)
    logits[torch.arange(count), torch.arange(count)] += 20
    logits[::7] = torch.nan  # unreadable
    logits[::5] = torch.randn(len(logits[::5]), classes)  # unsure
    logits[3, 3], logits[3, 4] = 0, 99  # sure of another class
    predictions = ShardSet.open(tmp_path, "predictions", "toy", {"of": "toy"}, count, shard_size)
    representation = np.zeros((shard_size, 1280), np.float32)
    for shard in range(predictions.num_shards):
        items = predictions.shard_items(shard)
        arrays = {"logits": logits[items.start : items.stop].numpy(), "representation": representation}
        predictions.write(shard, arrays, [{}] * shard_size)
    job = SimpleNamespace(
        keys=SimpleNamespace(predictions=lambda source: predictions),
        source=SimpleNamespace(class_index=int),
        images=SimpleNamespace(records=[SimpleNamespace(class_name=str(number)) for number in range(count)]),
    )
    tracemalloc.start()
    try:
        pool = Localisation(protocol="gridpg", confidence=0.9).pool(job)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert pool == [number for number in range(count) if number % 7 and number % 5 and number != 3]
    assert peak < 4 * count * (classes + 1280) / 3
