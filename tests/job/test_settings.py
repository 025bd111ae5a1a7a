"""Paths and areas are looked at before torch is imported, harmonia's own classes' alone; what null stands for."""

from types import SimpleNamespace

import pytest
import torch

from harmonia.cli.composed import composed_conf
from harmonia.errors import InputError
from harmonia.job.contract import Job
from harmonia.job.settings import _check_paths_and_areas, settings_of

OURS = "harmonia.data.folder.folder"


@pytest.mark.parametrize(
    ("values", "subject"),
    [
        ({"data": {"_target_": OURS, "root": "no/photos"}}, "data.root: no/photos"),
        ({"method": {"maps": "no.npz"}}, "method.maps: no.npz"),
        ({"evaluation": {"areas": [30]}}, "evaluation.areas"),
        ({"evaluation": {"controls": {"blobs": [30]}}}, "evaluation.controls.blobs"),
    ],
)
def test_what_is_not_there_or_no_area_is_refused(values, subject):
    with pytest.raises(InputError, match=f"^{subject}"):
        _check_paths_and_areas(values)


@pytest.mark.parametrize(
    "values",
    [
        {"data": {"_target_": OURS, "root": "."}},
        {"data": {"_target_": "harmonia_of_mine.Bucket", "root": "s3://photos"}},
        {"evaluation": {"controls": {"_target_": "mine.Controls", "boxes": [30]}}},
        {"evaluation": {"areas": [0.3], "controls": {"seed": [1, 2]}}},
    ],
)
def test_what_others_classes_mean_by_a_key_is_theirs(values):
    _check_paths_and_areas(values)


@pytest.mark.parametrize(("device", "asked", "images"), [("cpu", [], 8), ("cuda", [], 64), ("cpu", ["64"], 64)])
def test_a_slow_device_writes_fewer_images_together_unless_told(device, asked, images):
    words = ["source=lite0", "paths.job=job", "tracking.group=none", *(f"store.shard_size={size}" for size in asked)]
    job = SimpleNamespace(settings=settings_of(composed_conf(words)), device=torch.device(device))
    assert Job.shard_size.fget(job) == images
