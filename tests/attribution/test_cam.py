"""The CAMs: equal to published implementations, and to closed forms."""

import math

import cv2
import networks
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from networks import assert_same_maps, classifier_of, linear, random_classifier, real_images, wrap
from pytorch_grad_cam import GradCAM as OracleGradCAM
from pytorch_grad_cam import GradCAMPlusPlus as OraclePlusPlus
from pytorch_grad_cam import HiResCAM as OracleHiRes
from pytorch_grad_cam import LayerCAM as OracleLayer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms.functional import normalize

from harmonia.attribution.cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM
from harmonia.attribution.captum_methods import IntegratedGradients
from harmonia.attribution.gradient import InputXGradient
from harmonia.attribution.layer import ClassGradient
from harmonia.errors import InputError
from harmonia.evaluation.mosaics.presentation import PartHead, on_mosaics
from harmonia.features.normalise import positive_minmax
from harmonia.models.classifier import Classifier
from harmonia.models.load import load

LABELS = torch.tensor([3, 0, 2])
CONVOLUTIONAL = ["lite0", "resnet18", "test_convnext"]
TRANSFORMERS = ["deit_tiny", "vit_tiny_patch16_224"]

pytestmark = pytest.mark.usefixtures("one_thread")


def raw_maps(kind, model, images, layer="conv2"):
    """pytorch-grad-cam's raw maps, from before its scaling and resizing."""

    class Raw(kind):
        def get_cam_image(self, *args, **kwargs):
            self.raw = torch.as_tensor(super().get_cam_image(*args, **kwargs))
            return self.raw.numpy()

    model.network.relu2.inplace = False
    with Raw(model.network, [model.layer(layer)]) as cam:
        cam(images.requires_grad_(), [ClassifierOutputTarget(int(label)) for label in LABELS])
        return cam.raw


def test_hirescam_equals_pytorch_grad_cam_and_captum(toy, noise, explain, normalised):
    model, pixels = toy("small"), noise(3, 16)
    maps = explain(HiResCAM(layer="conv2"), model, pixels, LABELS).maps
    torch.testing.assert_close(maps, raw_maps(OracleHiRes, model, normalised(model, pixels)))
    captum = LayerGradientXActivation(model.network, model.network.conv2)
    found = captum.attribute(normalised(model, pixels).requires_grad_(), target=LABELS)
    torch.testing.assert_close(maps, found.sum(1).detach())


def test_layercam_equals_pytorch_grad_cam_where_features_are_not_negative(toy, noise, explain, normalised):
    # theirs clips the product's gradient and the features' sum; behind a ReLU both are ours
    model, pixels = toy("small"), noise(3, 16)
    maps = explain(LayerCAM(layer="relu2"), model, pixels, LABELS).maps
    assert maps.max() > 0
    torch.testing.assert_close(maps, raw_maps(OracleLayer, model, normalised(model, pixels), "relu2"))


def test_grad_cam_plus_plus_equals_pytorch_grad_cam_where_gradients_dwarf_its_epsilon(toy, noise, explain, normalised):
    model, pixels = toy("small"), noise(3, 16)
    model.network.fc.weight.data *= 1000
    maps = explain(GradCAMPlusPlus(layer="relu2"), model, pixels, LABELS).maps
    torch.testing.assert_close(
        maps, raw_maps(OraclePlusPlus, model, normalised(model, pixels), "relu2"), rtol=1e-4, atol=1e-4
    )


def test_grad_cam_plus_plus_is_equations_19_and_its_weights_written_out(toy, noise, explain):
    model, pixels = toy("small"), noise(1, 16)
    maps = explain(GradCAMPlusPlus(layer="relu2"), model, pixels, LABELS[:1]).maps[0]
    outputs = []
    model.network.relu2.register_forward_hook(lambda module, args, output: outputs.append(output))
    with torch.no_grad():
        model(pixels / 255)
    features = outputs[0][0]  # C 4 4; every gradient is the class's weight over 16 positions
    expected = torch.zeros(4, 4)
    for channel, weight in zip(features, model.network.fc.weight[3] / 16, strict=True):
        alpha = weight**2 / (2 * weight**2 + sum(channel.flatten()) * weight**3)
        expected += sum(alpha * max(weight, 0) for _ in range(16)) * channel
    torch.testing.assert_close(maps, expected)


def test_on_signed_features_a_weight_stays_between_0_and_half_the_positive_gradients():
    # -2/g is the pole of a channel whose features are negative; behind a ReLU none is
    gradients = torch.full((1, 3, 2, 2), 0.5)
    features = torch.tensor([-0.99, -1.01, 1.0])[:, None, None].expand(1, 3, 2, 2).contiguous()
    class_gradient = ClassGradient(features, gradients, torch.zeros(1, 4), torch.zeros(1, dtype=torch.long))
    alpha = torch.tensor([1 / 2, 1 / 2, 1 / (2 + 4 * 0.5)])
    expected = (alpha * 4 * 0.5 * features[0, :, 0, 0]).sum()
    torch.testing.assert_close(GradCAMPlusPlus().maps(class_gradient), expected.expand(1, 2, 2))


def test_a_channel_without_gradient_has_no_weight_and_no_nan(toy, noise, explain):
    model = toy("small")
    model.network.fc.weight.data[:, :3] = 0
    assert explain(GradCAMPlusPlus(layer="relu2"), model, noise(2, 16)).maps.isfinite().all()
    model.network.fc.weight.data.zero_()
    assert explain(GradCAMPlusPlus(layer="relu2"), model, noise(2, 16)).maps.eq(0).all()


@pytest.mark.parametrize("method", [HiResCAM(), GradCAM()])
def test_before_global_pooling_and_a_linear_layer_hirescam_and_grad_cam_sum_to_the_logit(method, toy, noise, explain):
    model, pixels = toy("small"), noise(3, 16)
    maps = explain(method, model, pixels, LABELS).maps
    scores = model(pixels / 255).gather(1, LABELS[:, None])[:, 0] - model.network.fc.bias[LABELS]
    torch.testing.assert_close(maps.sum((1, 2)), scores.detach())


@pytest.mark.parametrize("method", [HiResCAM, LayerCAM, InputXGradient, IntegratedGradients])
def test_in_front_of_a_normalisation_features_times_gradients_cancel_and_are_refused(method, explain, noise):
    model = random_classifier("test_vit")
    with pytest.raises(InputError, match=r"features times gradients cancel .* layer=normalised"):
        explain(method(layer="blocks.4"), model, noise(2, model.view.size))


@pytest.mark.parametrize("method", [HiResCAM, LayerCAM])
def test_of_a_vit_these_cams_look_behind_the_last_blocks_normalisation(method, explain, noise):
    model = random_classifier("test_vit")
    assert method().layer_of(model) == "blocks.5.norm1"
    assert explain(method(), model, noise(2, model.view.size)).maps.abs().amax((1, 2)).gt(0).all()


@pytest.mark.parametrize(
    ("arch", "name"),
    [
        ("test_resnet", "layer4"),
        ("test_convnext", "stages"),
        ("vit_relpos_small_patch16_rpn_224", "blocks.10"),  # normalises behind its attention
        ("vit_base_patch16_siglip_gap_224", "blocks.10"),  # pools patches, beside the normalisation
    ],
)
@pytest.mark.slow
def test_where_the_scale_of_the_last_feature_map_matters_the_normalised_layer_is_the_default_one(arch, name):
    model = random_classifier(arch)
    assert model.layer_name("normalised") == model.layer_name("final") == name


def test_a_head_that_reads_a_cells_tokens_notices_their_scale(explain, noise):
    presented = PartHead(on_mosaics(random_classifier("test_vit"), 2, "tiled").classifier, 2, 0)
    assert HiResCAM().layer_of(presented) == "blocks.4"
    maps = explain(HiResCAM(), presented, noise(1, 2 * presented.classifier.view.size)).maps
    assert maps.abs().sum() > 0


def bare(classifier: Classifier, pixels: torch.Tensor) -> torch.Tensor:
    """What timm's bare network takes; with a gradient, which the oracles need in front of frozen weights."""
    return normalize(pixels / 255, classifier.view.mean, classifier.view.std).requires_grad_()


def patch_tokens(tokens: torch.Tensor) -> torch.Tensor:
    """pytorch-grad-cam's reshape_transform for 224 px in patches of 16 behind one class token."""
    return tokens[:, 1:].reshape(len(tokens), 14, 14, -1).permute(0, 3, 1, 2)


class RawOracle(OracleGradCAM):
    """pytorch-grad-cam that also keeps its maps from before ReLU and scaling."""

    raw: np.ndarray

    def get_cam_image(self, *args, **kwargs):
        self.raw = super().get_cam_image(*args, **kwargs)
        return self.raw


def grad_cam_maps(classifier: Classifier, pixels: torch.Tensor, labels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """pytorch-grad-cam's raw maps and its finished ones on the bare network."""
    target_layer = classifier.layer(classifier.layer_name("final"))
    transform = patch_tokens if hasattr(classifier.network, "num_prefix_tokens") else None
    with RawOracle(classifier.network, [target_layer], reshape_transform=transform) as cam:
        finished = cam(bare(classifier, pixels), [ClassifierOutputTarget(int(label)) for label in labels])
        return cam.raw, finished


@pytest.mark.parametrize("name", CONVOLUTIONAL + TRANSFORMERS)
@pytest.mark.slow
def test_raw_maps_equal_pytorch_grad_cam(name):
    classifier = classifier_of(name)
    pixels = real_images(classifier.view)
    explanation = networks.explain(classifier, pixels)
    raw, _ = grad_cam_maps(classifier, pixels, explanation.explained)
    assert_same_maps(explanation.maps, raw)


@pytest.mark.parametrize("name", ["lite0", "deit_tiny"])
@pytest.mark.slow
def test_normalised_maps_equal_pytorch_grad_cam(name):
    classifier = classifier_of(name)
    pixels = real_images(classifier.view)
    explanation = networks.explain(classifier, pixels)
    _, finished = grad_cam_maps(classifier, pixels, explanation.explained)
    size = (classifier.view.size, classifier.view.size)
    resized = torch.tensor(np.stack([cv2.resize(map_, size) for map_ in positive_minmax(explanation.maps).numpy()]))
    # they scale once more behind the resizing, and divide by max + 1e-7, which leaves the range by less than 1e-5 here
    np.testing.assert_allclose(positive_minmax(resized), finished, atol=1e-5)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_raw_maps_equal_captum(name):
    classifier = classifier_of(name)
    pixels = real_images(classifier.view)
    explanation = networks.explain(classifier, pixels)
    layer_grad_cam = LayerGradCam(classifier.network, classifier.layer(classifier.layer_name("final")))
    theirs = layer_grad_cam.attribute(bare(classifier, pixels), target=explanation.explained)
    assert_same_maps(explanation.maps, theirs.detach()[:, 0])


@pytest.mark.parametrize("name", ["resnet18", "deit_tiny"])
def test_labels_and_probabilities_are_those_of_a_plain_forward_pass(name):
    classifier = classifier_of(name)
    pixels = real_images(classifier.view)
    labels = torch.tensor([1, 20, 300, 999])
    explanation = networks.explain(classifier, pixels, labels)
    with torch.no_grad():
        p = classifier(pixels / 255).softmax(1)
    assert explanation.explained.tolist() == labels.tolist()
    assert explanation.predicted.tolist() == p.argmax(1).tolist()
    torch.testing.assert_close(explanation.p_explained, p[torch.arange(4), labels])
    assert explanation.passes.tolist() == [1] * 4
    assert explanation.converged.all()


def test_on_a_linear_network_the_map_is_its_weights_times_its_pixels_over_the_area():
    classifier, pixels, labels = linear(), networks.noise(4, 8), torch.tensor([3, 0, 2, 2])
    explanation = networks.explain(classifier, pixels, labels)
    assert classifier.layer_name("final") == "features"
    weights_BC = classifier.network.head.weight[labels]
    torch.testing.assert_close(explanation.maps, torch.einsum("bc,bchw->bhw", weights_BC, pixels / 255) / 64)


def test_on_a_linear_network_the_map_sums_to_the_logit_without_its_bias():
    classifier, pixels, labels = linear(), networks.noise(4, 8), torch.tensor([3, 0, 2, 2])
    explanation = networks.explain(classifier, pixels, labels)
    logits = classifier(pixels / 255) - classifier.network.head.bias
    torch.testing.assert_close(explanation.maps.sum((1, 2)), logits[torch.arange(4), labels])


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
    pixels, labels = networks.noise(4, 8), torch.tensor([3, 0, 2, 2])
    explanation = networks.explain(classifier, pixels, labels, layer="features")
    activations = (pixels / 255 - 0.5) / math.sqrt(1 + 1e-5)  # negative ones too: the layer stands before the ReLU
    # the gradient is the class's weight over the area where ReLU is open, else 0
    open_share = (activations > 0).float().mean((2, 3))
    weights_BC = classifier.network.head.weight[labels] * open_share / 64
    torch.testing.assert_close(explanation.maps, torch.einsum("bc,bchw->bhw", weights_BC, activations))


def test_map_is_linear_in_the_head():
    classifier = load(random_classifier("test_resnet").spec)
    pixels, labels = networks.noise(2, classifier.view.size), torch.tensor([5, 700])
    once = networks.explain(classifier, pixels, labels).maps
    head = classifier.network.fc
    head.weight.mul_(-3)
    torch.testing.assert_close(networks.explain(classifier, pixels, labels).maps, -3 * once)
    head.bias.add_(17)
    torch.testing.assert_close(networks.explain(classifier, pixels, labels).maps, -3 * once)
    head.weight.zero_()
    assert networks.explain(classifier, pixels, labels).maps.eq(0).all()


def test_maps_follow_the_chosen_labels():
    classifier, pixels = linear(), networks.noise(2, 8)
    by_class = [networks.explain(classifier, pixels, torch.full((2,), label)).maps for label in range(4)]
    mixed = networks.explain(classifier, pixels, torch.tensor([2, 1])).maps
    assert torch.equal(mixed, torch.stack([by_class[2][0], by_class[1][1]]))
    assert not torch.allclose(by_class[1][0], by_class[2][0])


class Predicting(pl.LightningModule):
    def __init__(self, classifier: Classifier):
        super().__init__()
        self.classifier = classifier

    def predict_step(self, pixels: torch.Tensor) -> torch.Tensor:
        return networks.explain(self.classifier, pixels).maps


@pytest.mark.filterwarnings("ignore:The 'predict_dataloader' does not have many workers")
def test_lightnings_predict_gives_the_same_maps():
    classifier = random_classifier("test_vit")
    pixels = networks.noise(4, classifier.view.size)
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
    assert torch.equal(torch.cat(parts), networks.explain(classifier, pixels, batch_size=2).maps)
