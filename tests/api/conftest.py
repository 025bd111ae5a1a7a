"""Networks and images of a caller."""

import sys

import numpy as np
import pytest
from api_calls import CLASSES, MODULE, TRANSFORM
from PIL import Image

import harmonia


@pytest.fixture
def networks(tmp_path, monkeypatch):
    """A module of the caller's own that makes two networks."""
    (tmp_path / "own_networks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_networks

    yield own_networks
    sys.modules.pop("own_networks", None)


@pytest.fixture
def folder(tmp_path):
    """Class folders of six images of noise."""
    for number in range(6):
        path = tmp_path / "images" / CLASSES[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).integers(0, 256, (40, 48, 3), np.uint8)
        Image.fromarray(values).save(path)
    return tmp_path / "images"


@pytest.fixture
def first(networks):
    return harmonia.classifier(networks.first(), classes=CLASSES, transform=TRANSFORM, name="first")
