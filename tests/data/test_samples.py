import importlib.util
import sys

import pytest

from harmonia.data.decode import open_rgb
from harmonia.data.samples import samples
from harmonia.errors import InputError

needs_foolbox = pytest.mark.skipif(
    importlib.util.find_spec("foolbox") is None, reason="the sample images come with foolbox"
)


@needs_foolbox
def test_samples_are_twenty_readable_images_labelled_by_their_names():
    images = samples()
    assert len(images.records) == len(images.pool) == 20
    labels = {record.image_id: record.class_name for record in images.records}
    assert labels["imagenet_15_99.jpg"] == "n01855672"  # goose
    assert all(min(open_rgb(record.path).size) >= 200 for record in images.records)
    assert "foolbox" not in sys.modules


@needs_foolbox
def test_limit_keeps_the_ids():
    limited, full = samples(limit=5, pool_size=3), samples()
    assert len(limited.records) == 5
    assert len(limited.pool) == 3
    assert set(limited.records) < set(full.records)


@needs_foolbox
def test_samples_take_a_pool_of_the_users_own(tmp_path, tree):
    found = samples(pool=tree(tmp_path, {"a": 2}))
    assert [record.image_id for record in found.pool] == ["pool:a/0.png", "pool:a/1.png"]


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install foolbox"):
        samples()
