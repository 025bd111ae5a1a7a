"""What tests of the Python interface share: two networks of the caller's own, and calls that stay on one thread."""

import harmonia

CLASSES = ["cat", "dog", "owl"]
TRANSFORM = {"size": 32, "crop_pct": 1.0, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
ONLY = ["evaluation.controls=null", "trainer=cpu", "num_threads=1"]
MODULE = """
import torch
from torch import nn

def network(seed, width):
    torch.manual_seed(seed)
    parts = nn.Conv2d(3, width, 3, 2), nn.ReLU(), nn.Conv2d(width, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*parts, nn.Linear(8, 3))

def first():
    return network(1, 6)

def second():
    return network(2, 4)
"""


def explain(model, images, cache, **options):
    return harmonia.explain(model, images, cache=cache, options=["trainer=cpu", "num_threads=1"], **options)
