from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from harmonia.attribution.gradient import Gradient
from harmonia.data.view import View
from harmonia.evaluation.mosaics.explain import GridSource
from harmonia.evaluation.mosaics.grids import Grids, MosaicBatch
from harmonia.evaluation.mosaics.presentation import Presentation
from harmonia.models.classifier import Classifier, ModelSpec


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


def test_in_top_holds_up_to_rank_n_squared_and_not_beyond():
    names = "abcdef"
    view = View(size=4, crop_pct=1.0, crop_mode="center", interpolation="bilinear", mean=(0.4,) * 3, std=(0.5,) * 3)
    source = Classifier(Ranked(len(names)), ModelSpec(name="toy", arch="Ranked", family="toy"), view, names, "toy")
    records = [SimpleNamespace(image_id=name, path=f"{name}.png", class_name=name) for name in names]
    images = SimpleNamespace(records=records, image_keys=lambda positions: np.array(positions, np.uint64))
    job = SimpleNamespace(source=source, images=images, batch_size=4)
    # the scored cells show the classes of ranks 1 and 4, 4 and 1, 5 and 5
    shown = torch.tensor([[0, 1, 2, 3], [3, 1, 2, 0], [4, 1, 2, 4]]).numpy()
    grids = Grids(2, shown, (0, 3))
    progress = SimpleNamespace(advance=lambda images: None)
    module = GridSource(job, Gradient(), grids, lambda source, n, cell: Presentation(source, n), progress)
    pixels = torch.zeros(6, 3, 8, 8, dtype=torch.uint8)
    _, facts = module.predict_step(MosaicBatch(torch.arange(6), pixels, torch.ones(6, dtype=torch.bool)), 0)
    assert [fact["label"] for fact in facts] == list("addaee")
    assert [fact["in_top"] for fact in facts] == [True, True, True, True, False, False]
