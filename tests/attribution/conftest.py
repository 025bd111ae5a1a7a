"""Small networks with closed forms, and a request for them."""

import numpy as np
import pytest
import torch
from torch import nn

from harmonia.attribution.contract import Request
from harmonia.attribution.passes import BatchSize
from harmonia.data.view import View
from harmonia.models.classifier import Classifier
from harmonia.models.spec import ModelSpec
from harmonia.shapes import sides


class Linear(nn.Module):
    """Every pixel has its weight; ``features`` passes the image on."""

    def __init__(self):
        super().__init__()
        self.features = nn.Identity()
        self.fc = nn.Linear(3 * 8 * 8, 4, bias=False)

    def forward_features(self, images):
        return self.features(images)

    def forward(self, images):
        return self.fc(self.forward_features(images).flatten(1))


class Small(nn.Module):
    """Two convolutions with ReLU, pooling and a linear layer; ``block`` has a residual branch beside it."""

    feature_info = [{"module": "relu1", "reduction": 2}, {"module": "relu2", "reduction": 4}]  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.relu1 = nn.ReLU(inplace=True)
        self.block = nn.Conv2d(5, 5, 3, padding=1)
        self.conv2 = nn.Conv2d(5, 6, 3, stride=2, padding=1)
        self.relu2 = nn.ReLU(inplace=True)
        self.fc = nn.Linear(6, 4)

    def forward_features(self, images):
        x = self.relu1(self.conv1(images))
        x = x + self.block(x)
        return self.relu2(self.conv2(x))

    def forward(self, images):
        return self.fc(self.forward_features(images).mean((2, 3)))


class Chain(nn.Sequential):
    """A chain of layers that have LRP rules, without biases."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 5, 3, padding=1, bias=False),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(5, 6, 3, padding=1, bias=False),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 4, bias=False),
        )


NETWORKS = {"linear": (Linear, 8), "small": (Small, 16), "chain": (Chain, 16)}


@pytest.fixture
def toy():
    """toy("linear"): a classifier of random weights, normalised by mean 0.4 and std 0.5."""

    def make(network, size=None, mean=0.4, std=0.5):
        torch.manual_seed(0)
        if isinstance(network, str):
            kind, size = NETWORKS[network]
            network = kind()
        view = View(
            size=size, crop_pct=1.0, crop_mode="center", interpolation="bilinear", mean=(mean,) * 3, std=(std,) * 3
        )
        spec = ModelSpec(name="toy", arch=type(network).__name__, family="toy")
        return Classifier(network, spec, view, list("abcd"), "toy")

    return make


@pytest.fixture
def noise():
    """noise(count, size): random pixels; size is a square's side, or height and width."""

    def make(count, size, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, 256, (count, 3, *sides(size)), dtype=torch.uint8, generator=generator)

    return make


@pytest.fixture
def explain():
    """explain(method, model, pixels, labels, ...): the Explanation. labels: one a position, None for the predicted."""

    def run(
        method,
        model,
        pixels,
        labels=None,
        batch_size=8,
        keys=None,
        positions=None,
        replacements=None,
        given=None,
        on_progress=lambda images: None,
    ):
        positions = torch.arange(len(pixels)) if positions is None else positions

        def choose(logits, positions):
            return logits.argmax(1) if labels is None else labels[positions]

        request = Request(
            model=model,
            pixels=pixels,
            choose_labels=choose,
            replacements=replacements or (lambda *args: pytest.fail("asks for no replacement images")),
            device=torch.device("cpu"),
            batch_size=BatchSize(batch_size),
            positions=positions,
            image_keys=np.arange(len(pixels), dtype=np.uint64) if keys is None else np.asarray(keys, np.uint64),
            on_progress=on_progress,
            given=given,
        )
        return method(request)

    return run


@pytest.fixture
def normalised():
    """normalised(classifier, pixels): what the bare network takes."""
    return lambda classifier, pixels: (pixels / 255 - classifier.mean) / classifier.std
