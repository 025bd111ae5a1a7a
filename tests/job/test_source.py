"""What a method asks of a batch: classes and replacement images, by position."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from harmonia.attribution.contract import Backgrounds
from harmonia.data.manifest import ImageRecord
from harmonia.job.source import BatchImages

RECORDS = [ImageRecord(f"image {number}", Path(f"{number}.png"), "a", f"digest {number}") for number in range(3)]


class AskedPool:
    """Keeps what it is asked for."""

    def draw(self, images, keys, avoid, steps, draws):
        self.asked = SimpleNamespace(
            images=[image.image_id for image in images], keys=keys, avoid=avoid, steps=steps, draws=draws
        )
        return torch.zeros(len(images), draws, dtype=torch.long)

    def take(self, positions, device):
        return torch.zeros(*positions.shape, 3, 2, 2)


@pytest.mark.parametrize("random_crops", [False, True])
@pytest.mark.parametrize("any_class", [False, True])
@pytest.mark.parametrize("steps", [None, torch.tensor([4, 7])])
def test_a_methods_backgrounds_decide_the_pool_and_the_class_to_avoid(random_crops, any_class, steps):
    pools = {False: AskedPool(), True: AskedPool()}
    batch = BatchImages(
        job=SimpleNamespace(  # pyright: ignore
            source=SimpleNamespace(classes=["cat", "dog", "owl"], view=None),
            method=SimpleNamespace(backgrounds=Backgrounds(random_crops=random_crops, any_class=any_class)),
            images=SimpleNamespace(records=RECORDS, image_keys=lambda positions: np.array(positions) + 10),
            pool=lambda view, crops: pools[crops],
        ),
        indices=torch.tensor([2, 0, 1]),
        device=torch.device("cpu"),
    )
    shown = batch.replacements(torch.tensor([0, 2]), torch.tensor([1, 2]), steps, 5)
    assert shown.shape == (2, 5, 3, 2, 2)
    asked = pools[random_crops].asked
    assert not hasattr(pools[not random_crops], "asked")
    assert asked.images == ["image 2", "image 1"]
    assert asked.keys.tolist() == [12, 11]
    assert asked.avoid == ([None, None] if any_class else ["dog", "owl"])
    assert asked.draws == 5
    if steps is None:
        assert asked.steps is None
    else:
        np.testing.assert_array_equal(asked.steps, [4, 7])
