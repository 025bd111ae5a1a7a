"""A batch as a metric is given it, with a small classifier and any method."""

import numpy as np
import torch

from harmonia.attribution.contract import Request
from harmonia.attribution.passes import BatchSize
from harmonia.data.view import View
from harmonia.evaluation.metrics.contract import Explained
from harmonia.models.classifier import Classifier, ModelSpec


def classifier(network, size):
    half = (0.5, 0.5, 0.5)
    view = View(size=size, crop_pct=1.0, crop_mode="center", interpolation="bilinear", mean=half, std=half)
    spec = ModelSpec(name="toy", arch=type(network).__name__, family="toy")
    return Classifier(network, spec, view, list("abcd"), "toy")


def pixels(count, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def by(method):
    """What Explained.explain is, of an attribution method that explains class 0."""

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
                keys=rows.numpy().astype(np.uint64),
                on_progress=lambda images: None,
            )
        ).maps

    return explain


def batch(model, explain, images, progress=None):
    """explain: (model, images, rows) -> maps."""
    rows = torch.arange(len(images))
    return Explained(
        model=model,
        pixels=images,
        maps=explain(model, images.float() / 255, rows),
        labels=torch.zeros(len(images), dtype=torch.long),
        boxes=(),
        keys=rows.numpy().astype(np.uint64),
        device=torch.device("cpu"),
        batch_size=BatchSize(8),
        explain=explain,
        on_progress=progress if progress is not None else (lambda images: None),
    )
