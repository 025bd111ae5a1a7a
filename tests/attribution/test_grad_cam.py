"""Grad-CAM: equal to two published implementations, and to closed forms."""

import math

import cv2
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from captum.attr import LayerGradCam
from networks import assert_same_maps, classifier_of, explain, linear, noise, random_classifier, real_images, wrap
from pytorch_grad_cam import GradCAM as OracleCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms.functional import normalize

from harmonia.features.normalise import positive_minmax
from harmonia.models.classifier import Classifier
from harmonia.models.load import load

CONVOLUTIONAL = ["lite0", "resnet18", "test_convnext"]
TRANSFORMERS = ["deit_tiny", "vit_tiny_patch16_224"]


pytestmark = pytest.mark.usefixtures("one_thread")


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
    target_layer = classifier.layer(classifier.layer_name("final"))
    transform = patch_tokens if hasattr(classifier.network, "num_prefix_tokens") else None
    with RawOracle(classifier.network, [target_layer], reshape_transform=transform) as cam:
        finished = cam(normalised(classifier, pixels), [ClassifierOutputTarget(int(label)) for label in labels])
        return cam.raw, finished


@pytest.mark.parametrize("name", CONVOLUTIONAL + TRANSFORMERS)
@pytest.mark.slow
def test_raw_maps_equal_pytorch_grad_cam(name):
    classifier = classifier_of(name)
    pixels = real_images(classifier.view)
    explanation = explain(classifier, pixels)
    raw, _ = oracle(classifier, pixels, explanation.explained)
    assert_same_maps(explanation.maps, raw)


@pytest.mark.parametrize("name", ["lite0", "deit_tiny"])
def test_normalised_maps_equal_pytorch_grad_cam(name):
    classifier = classifier_of(name)
    pixels = real_images(classifier.view)
    explanation = explain(classifier, pixels)
    _, finished = oracle(classifier, pixels, explanation.explained)
    size = (classifier.view.size, classifier.view.size)
    resized = torch.tensor(np.stack([cv2.resize(map_, size) for map_ in positive_minmax(explanation.maps).numpy()]))
    # they scale once more behind the resizing, and divide by max + 1e-7, which leaves the range by less than 1e-5 here
    np.testing.assert_allclose(positive_minmax(resized), finished, atol=1e-5)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_raw_maps_equal_captum(name):
    classifier = classifier_of(name)
    pixels = real_images(classifier.view)
    explanation = explain(classifier, pixels)
    layer_grad_cam = LayerGradCam(classifier.network, classifier.layer(classifier.layer_name("final")))
    theirs = layer_grad_cam.attribute(normalised(classifier, pixels), target=explanation.explained)
    assert_same_maps(explanation.maps, theirs.detach()[:, 0])


@pytest.mark.parametrize("name", ["resnet18", "deit_tiny"])
def test_labels_and_probabilities_are_those_of_a_plain_forward_pass(name):
    classifier = classifier_of(name)
    pixels = real_images(classifier.view)
    labels = torch.tensor([1, 20, 300, 999])
    explanation = explain(classifier, pixels, labels)
    with torch.no_grad():
        p = classifier(pixels / 255).softmax(1)
    assert explanation.explained.tolist() == labels.tolist()
    assert explanation.predicted.tolist() == p.argmax(1).tolist()
    torch.testing.assert_close(explanation.p_explained, p[torch.arange(4), labels])
    assert explanation.passes.tolist() == [1] * 4
    assert explanation.converged.all()


def test_on_a_linear_network_the_map_is_its_weights_times_its_pixels_over_the_area():
    classifier, pixels, labels = linear(), noise(4, 8), torch.tensor([3, 0, 2, 2])
    explanation = explain(classifier, pixels, labels)
    assert classifier.layer_name("final") == "features"
    weights_BC = classifier.network.head.weight[labels]
    torch.testing.assert_close(explanation.maps, torch.einsum("bc,bchw->bhw", weights_BC, pixels / 255) / 64)


def test_on_a_linear_network_the_map_sums_to_the_logit_without_its_bias():
    classifier, pixels, labels = linear(), noise(4, 8), torch.tensor([3, 0, 2, 2])
    explanation = explain(classifier, pixels, labels)
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
    pixels, labels = noise(4, 8), torch.tensor([3, 0, 2, 2])
    explanation = explain(classifier, pixels, labels, layer="features")
    activations = (pixels / 255 - 0.5) / math.sqrt(1 + 1e-5)  # negative ones too: the layer stands before the ReLU
    # the gradient is the class's weight over the area where ReLU is open, else 0
    open_share = (activations > 0).float().mean((2, 3))
    weights_BC = classifier.network.head.weight[labels] * open_share / 64
    torch.testing.assert_close(explanation.maps, torch.einsum("bc,bchw->bhw", weights_BC, activations))


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
