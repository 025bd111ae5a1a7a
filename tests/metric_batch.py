"""A batch as a metric is given it, small models whose answers to it are known, and a metric's scores of chosen maps."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from harmonia.attribution.contract import Request
from harmonia.attribution.passes import BatchSize
from harmonia.data.view import View
from harmonia.evaluation.metrics.contract import ExplainedImages
from harmonia.models.classifier import Classifier
from harmonia.models.spec import ModelSpec


def classifier(network, size):
    half = (0.5, 0.5, 0.5)
    view = View(size=size, crop_pct=1.0, crop_mode="center", interpolation="bilinear", mean=half, std=half)
    spec = ModelSpec(name="toy", arch=type(network).__name__, family="toy")
    return Classifier(network, spec, view, list("abcd"), "toy")


def pixels(count, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def by(method):
    """What ExplainedImages.explain is, of an attribution method that explains class 0."""

    def explain(model, images, rows):
        return method(
            Request(
                model=model,
                pixels=(255 * images).round(),
                choose_labels=lambda logits, positions: torch.zeros(len(positions), dtype=torch.long),
                replacements=lambda *args: None,
                device=torch.device("cpu"),
                batch_size=BatchSize(8),
                positions=rows,
                image_keys=rows.numpy().astype(np.uint64),
                on_progress=lambda images: None,
            )
        ).maps

    return explain


def batch(model, explain, images, progress=None):
    """explain: (model, images, rows) -> maps."""
    rows = torch.arange(len(images))
    return ExplainedImages(
        model=model,
        pixels=images,
        maps=explain(model, images.float() / 255, rows),
        labels=torch.zeros(len(images), dtype=torch.long),
        boxes=(),
        image_keys=rows.numpy().astype(np.uint64),
        device=torch.device("cpu"),
        batch_size=BatchSize(8),
        explain=explain,
        on_progress=progress if progress is not None else (lambda images: None),
    )


class Additive(nn.Module):
    """Class 0 has the sum of weights times the normalised image; the other classes have 0."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights)  # 3 H W

    def forward(self, images):
        logit = (images.double() * self.weights.double()).sum((1, 2, 3))
        return torch.stack([logit, *[torch.zeros_like(logit)] * 3], 1)


class Small(nn.Module):
    """A convolution, a ReLU, pooling and a linear layer of random weights."""

    def __init__(self, gain=4.0):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3, stride=2)
        self.fc = nn.Linear(6, 4)
        self.gain = gain  # far from equal probabilities

    def forward(self, images):
        return self.gain * self.fc(self.conv(images).relu().mean((2, 3)))


def additive(weights):
    return classifier(Additive(weights), weights.shape[-1])


def small(size, **options):
    return classifier(Small(**options), size)


def scored(metric, model, pixels, maps, labels=None, batch_size=8, explain=None, progress=None, keys=None):
    """The metric's Scores of these maps; labels: class 0 unless given."""
    explained = batch(model, lambda *args: maps, pixels, progress)
    changes = {} if labels is None else {"labels": labels}
    changes |= {} if keys is None else {"image_keys": keys}
    size = batch_size if isinstance(batch_size, BatchSize) else BatchSize(batch_size)
    return metric(replace(explained, batch_size=size, explain=explain or explained.explain, **changes))


def value(found, name):
    return found.scores[name].values


def varied(count, size, seed=0):
    """Maps without ties."""
    generator = torch.Generator().manual_seed(seed)
    ranks = [torch.randperm(size * size, generator=generator).view(size, size) for _ in range(count)]
    return torch.stack(ranks).float()
