"""Laws of the map stage on mosaics: how much goes through the network at once."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harmonia.attribution.cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM
from harmonia.attribution.captum_methods import IntegratedGradients
from harmonia.attribution.gradient import Gradient, GuidedBackprop, InputXGradient
from harmonia.attribution.passes import CPU_PASS, BatchSize
from harmonia.data.view import View
from harmonia.evaluation.mosaics.explain import GridSource
from harmonia.evaluation.mosaics.grids import Grids, MosaicBatch
from harmonia.evaluation.mosaics.presentation import PerCell, Presentation, on_mosaics
from harmonia.models.classifier import Classifier
from harmonia.models.spec import ModelSpec


class Ranked(nn.Module):
    """Class 0 is always the most probable one, the last class the least."""

    def __init__(self, classes):
        super().__init__()
        self.features = nn.Identity()
        self.classes = classes

    def forward_features(self, images):
        return self.features(images)

    def forward(self, images):
        return -torch.arange(float(self.classes)) + 0 * self.forward_features(images).mean((1, 2, 3))[:, None]


def no_progress(images: float) -> None:
    pass


def test_in_top_holds_up_to_rank_n_squared_and_not_beyond():
    names = "abcdef"
    view = View(size=4, crop_pct=1.0, crop_mode="center", interpolation="bilinear", mean=(0.4,) * 3, std=(0.5,) * 3)
    source = Classifier(Ranked(len(names)), ModelSpec(name="toy", arch="Ranked", family="toy"), view, names, "toy")
    records = [SimpleNamespace(image_id=name, path=f"{name}.png", class_name=name) for name in names]
    images = SimpleNamespace(records=records, image_keys=lambda positions: np.array(positions, np.uint64))
    job = SimpleNamespace(source=source, images=images, batch_size=lambda *_: BatchSize(4))
    # the scored cells show the classes of ranks 1 and 4, 4 and 1, 5 and 5
    shown = torch.tensor([[0, 1, 2, 3], [3, 1, 2, 0], [4, 1, 2, 4]]).numpy()
    grids = Grids(2, shown, (0, 3))
    module = GridSource(job, Gradient(), grids, lambda source, n, cell: Presentation(source, n), no_progress)
    pixels = torch.zeros(6, 3, 8, 8, dtype=torch.uint8)
    _, facts = module.predict_step(MosaicBatch(torch.arange(6), pixels, torch.ones(6, dtype=torch.bool)), 0)
    assert [fact["label"] for fact in facts] == list("addaee")
    assert [fact["in_top"] for fact in facts] == [True, True, True, True, False, False]


SIDE = 8
ONE_GRADIENT = [Gradient, InputXGradient, GuidedBackprop, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM]
PRESENTED = {
    "gridpg": lambda classifier, n, cell: on_mosaics(classifier, n, "interpolated"),
    "difull": PerCell,
}


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(5, 4)

    def forward_features(self, images):
        return self.relu(self.conv(images))

    def forward(self, images):
        return self.fc(self.forward_features(images).mean((2, 3)))


def classifier() -> Classifier:
    torch.manual_seed(0)
    mean, std = (0.4, 0.4, 0.4), (0.5, 0.5, 0.5)
    view = View(size=SIDE, crop_pct=1.0, crop_mode="center", interpolation="bilinear", mean=mean, std=std)
    return Classifier(Small(), ModelSpec(name="toy", arch="Small", family="toy"), view, list("abcd"), "toy")


def images_a_pass(method, n: int, protocol: str, batch_size: int = 32, halved: bool = False) -> list[int]:
    """How many images' area each pass through the network had, for five mosaics whose first cell is scored."""
    mosaics = 5
    model = classifier()
    count = mosaics * n * n
    records = [SimpleNamespace(class_name="abcd"[index % 4], image_id=str(index), path="") for index in range(count)]
    job: Any = SimpleNamespace(
        source=model,
        batch_size=lambda model, gradients, images_per_input: BatchSize(max(1, batch_size // images_per_input)),
        images=SimpleNamespace(records=records, image_keys=lambda positions: np.array(positions, np.uint64)),
    )
    source = GridSource(
        job, method, Grids(n, np.arange(count).reshape(mosaics, -1), (0,)), PRESENTED[protocol], no_progress
    )
    source.batch_size.halved = halved
    passes: list[int] = []

    def note(module: nn.Module, args: tuple) -> None:
        passes.append(args[0].numel() // (3 * SIDE * SIDE))

    presented: Any = source.presented["0"]
    presented.classifier.network.register_forward_pre_hook(note)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (mosaics, 3, n * SIDE, n * SIDE), dtype=torch.uint8, generator=generator)
    source.predict_step(MosaicBatch(torch.arange(mosaics), pixels, torch.ones(mosaics, dtype=torch.bool)), 0)
    return passes


@pytest.mark.parametrize("protocol", PRESENTED)
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("method", ONE_GRADIENT)
def test_a_pass_of_one_gradient_is_of_as_many_images_as_without_mosaics_and_at_least_one_mosaic(method, n, protocol):
    assert set(images_a_pass(method(), n, protocol)) == {max(CPU_PASS, n * n)}


@pytest.mark.parametrize("protocol", PRESENTED)
def test_batch_size_counts_images_and_not_mosaics(protocol):
    """Where it decides: once memory has spoken, as on a GPU always."""
    method = IntegratedGradients(layer="conv", steps=2)
    assert max(images_a_pass(method, 2, protocol, batch_size=8, halved=True)) == 8
    assert max(images_a_pass(method, 3, protocol, batch_size=8, halved=True)) == 9  # one mosaic is the least
