"""A small plain network in the manner of VGG (Simonyan, Zisserman 2014): no way past a convolution.

source=python source.factory=harmonia.models.plain_vgg:plain_vgg, with a head for as many classes as are learned.
Differs: batch normalisation, global pooling in place of two wide layers.
"""

from itertools import pairwise

from torch import nn

CHANNELS = (3, 32, 64, 128, 256)


def plain_vgg() -> nn.Module:
    """Four stages of two convolutions and a pooling: 1.2 million parameters, for images of 32 px and more."""
    stages = nn.Sequential(*(_stage(*counts) for counts in pairwise(CHANNELS)))
    return nn.Sequential(stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS[-1], 10))


def _stage(before: int, after: int) -> nn.Module:
    layers: list[nn.Module] = []
    for count in (before, after):
        layers += [nn.Conv2d(count, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2))
