"""Paths and areas are looked at before torch is imported, but those of harmonia's own classes alone."""

import pytest

from harmonia.errors import InputError
from harmonia.job.settings import _check_paths_and_areas

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
