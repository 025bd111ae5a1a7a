from itertools import product

import numpy as np
import pytest
from PIL import Image

from harmonia.cli.composed import composed_conf
from harmonia.training.settings import fit_settings_of


@pytest.fixture(scope="session")
def colours(tmp_path_factory):
    """train and val folders of noise in three colours, 20 x 24 px: twelve and four images of each."""
    root, draw = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for (split, count), (channel, name) in product((("train", 12), ("val", 4)), enumerate(("red", "green", "blue"))):
        folder = root / split / name
        folder.mkdir(parents=True)
        for number in range(count):
            pixels = draw.integers(0, 100, (20, 24, 3), np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def small_words():
    """A tiny network, and no more than it needs."""
    source = ["source=python", "source.factory=networks:tiny", "source.name=tiny", "source.input_size=16"]
    view = ["source.mean=[0.5,0.5,0.5]", "source.std=[0.5,0.5,0.5]"]
    return [*source, *view, "batch_size=8", "logger=none", "trainer=cpu"]


@pytest.fixture(scope="session")
def settings(small_words):
    """Of a fit with these words beside the small ones, in a folder."""

    def make(root, folder, *words):
        config = composed_conf([*small_words, *words], "fit")
        config.data.root, config.paths.job, config.tracking.group = str(root), str(folder), None
        return fit_settings_of(config)

    return make
