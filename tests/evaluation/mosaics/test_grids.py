"""Which images stand in which mosaics, and under which key their maps are kept."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harmonia.attribution.cam import GradCAM
from harmonia.attribution.gradient_shap import GradientSHAP
from harmonia.data.manifest import ImageRecord
from harmonia.errors import InputError
from harmonia.evaluation.mosaics.grids import draw_grids
from harmonia.job.contract import Keys

LABELS = [f"c{index % 5}" for index in range(60)]
KEYS = np.arange(60, dtype=np.uint64) * 977


def test_gridpg_draws_distinct_classes_and_uses_an_image_once():
    grids = draw_grids(range(60), LABELS, KEYS, 2, 500, False, seed=0)
    assert 13 <= len(grids.images) <= 15
    assert len(np.unique(grids.images)) == grids.images.size
    assert all(len({LABELS[image] for image in grid}) == 4 for grid in grids.images)
    assert (len(grids), grids.item(6)) == (4 * len(grids.images), (1, 2))


def test_in_gridpg_the_commonest_class_is_as_often_in_one_cell_as_in_another():
    labels = ["common"] * 300 + [f"c{index % 9}" for index in range(900)]
    keys = np.arange(1200, dtype=np.uint64) * 977
    counts = np.zeros(4)
    for seed in range(4):
        drawn = draw_grids(range(1200), labels, keys, 2, 500, False, seed).images
        counts += (drawn < 300).sum(0)
    # 943 in all, so that a share has a standard deviation of .014; in the order drawn they are .46 to .13
    np.testing.assert_allclose(counts / counts.sum(), 0.25, atol=0.04)


def test_difull_repeats_the_first_class_in_the_last_cell_with_another_image():
    grids = draw_grids(range(60), LABELS, KEYS, 2, 8, True, seed=0)
    assert grids.scored == (0, 3)
    for grid in grids.images:
        names = [LABELS[image] for image in grid]
        assert names[0] == names[3]
        assert len(set(names)) == 3
        assert grid[0] != grid[3]
    assert len(np.unique(grids.images)) == 32


def test_mosaics_follow_the_seed_and_not_the_pools_order():
    def digest(pool, seed):
        return draw_grids(pool, LABELS, KEYS, 2, 5, False, seed).digest(records())

    assert digest(range(60), 0) == digest(list(range(60))[::-1], 0) != digest(range(60), 1)


def records(**changes):
    """Of the images in LABELS; changes: of every record."""
    return [
        dataclasses.replace(ImageRecord(str(index), Path(str(index)), label, f"sha of {index}"), **changes)
        for index, label in enumerate(LABELS)
    ]


@pytest.mark.parametrize("changes", [{"digest": "mirrored"}, {"class_name": "renamed"}, {"image_id": "other"}])
def test_other_bytes_or_classes_under_the_same_names_are_other_mosaics(changes):
    grids = draw_grids(range(60), LABELS, KEYS, 2, 5, False, 0)
    moved = records(path=Path("/elsewhere"))
    assert grids.digest(records()) == grids.digest(moved) != grids.digest(records(**changes))


def test_maps_of_mosaics_are_kept_by_the_pool_and_the_seed_where_a_method_draws_from_it():
    def identity(method, pool_digest, seed):
        settings = SimpleNamespace(seed=seed, method=SimpleNamespace(name="m"), store=SimpleNamespace(shard_size=None))
        images = SimpleNamespace(pool_digest=pool_digest, records=())
        source = SimpleNamespace(name="net", identity=dict)
        options = {"settings": settings, "images": images, "source": source, "method": method}
        options |= {"fill": None, "given": None, "label_policy": None, "shard_size": 4}
        job: Any = SimpleNamespace(open_set=lambda kind, name, identity, *sizes: identity, **options)
        keys: Any = Keys(job)
        return keys.mosaics(method, "gridpg", {"grids": "g"}, 8)

    drawing, plain = GradientSHAP(), GradCAM()
    assert identity(drawing, "p", 0) != identity(drawing, "q", 0)
    assert identity(drawing, "p", 0) != identity(drawing, "p", 1)
    assert identity(plain, "p", 0) == identity(plain, "q", 1)


def test_too_few_sure_images_are_an_error_that_says_what_is_needed():
    with pytest.raises(InputError, match=r"2 x 2 needs 4 classes, got 3 sure images of 3 classes"):
        draw_grids([0, 1, 2], LABELS, KEYS, 2, 5, False, seed=0)
    with pytest.raises(InputError, match=r"needs 3 classes, one of them twice, got 4 sure images of 4 classes"):
        draw_grids([0, 1, 2, 3], LABELS, KEYS, 2, 5, True, seed=0)
