"""Small models whose perturbed inputs have known answers, and batches of chosen maps."""

from dataclasses import replace

import explained_batch
import torch
from torch import nn

from harmonia.attribution.passes import BatchSize


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
    return explained_batch.classifier(Additive(weights), weights.shape[-1])


def small(size, **options):
    return explained_batch.classifier(Small(**options), size)


def scored(metric, model, pixels, maps, labels=None, batch_size=8, explain=None, progress=None, keys=None):
    """The metric's Scores of these maps; labels: class 0 unless given."""
    given = explained_batch.batch(model, lambda *args: maps, pixels, progress)
    changes = {} if labels is None else {"labels": labels}
    changes |= {} if keys is None else {"keys": keys}
    size = batch_size if isinstance(batch_size, BatchSize) else BatchSize(batch_size)
    return metric(replace(given, batch_size=size, explain=explain or given.explain, **changes))


def value(found, name):
    return found.scores[name].values


def varied(count, size, seed=0):
    """Maps without ties."""
    generator = torch.Generator().manual_seed(seed)
    ranks = [torch.randperm(size * size, generator=generator).view(size, size) for _ in range(count)]
    return torch.stack(ranks).float()
