"""Laws of representations on disk: what comes back is what was written, up to half precision and one factor."""

import numpy as np
import pytest

from harmonia.errors import InputError
from harmonia.results.representations import read_representations, write_representations

IDS = ["a/1.jpg", "b/2.jpg", "ä\udce9.jpg"]  # the last is no UTF-8


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_values_come_back_up_to_one_factor_whatever_their_size(tmp_path, scale):
    wide, narrow = np.random.default_rng(0).normal(size=(3, 50)), np.arange(6.0).reshape(3, 2)
    write_representations(tmp_path, IDS, {"e7": scale * wide, "name/with slash": narrow})
    image_ids, representations = read_representations(tmp_path)
    assert image_ids == ["a/1.jpg", "b/2.jpg", "ä\\udce9.jpg"]  # as rows have it
    assert list(representations) == ["e7", "name/with slash"]
    np.testing.assert_allclose(representations["e7"], wide / np.abs(wide).max(), atol=1e-3)
    np.testing.assert_allclose(representations["name/with slash"], narrow / 5, atol=1e-3)


def test_a_representation_of_nothing_but_zeros_stays_so(tmp_path):
    write_representations(tmp_path, IDS, {"e7": np.zeros((3, 4))})
    assert not read_representations(tmp_path)[1]["e7"].any()


def test_a_job_that_left_none_has_none(tmp_path):
    assert read_representations(tmp_path) == ([], {})


def test_a_damaged_file_is_named_with_a_remedy(tmp_path):
    (tmp_path / "representations.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(InputError, match=r"representations\.parquet must be readable Parquet.*run the job again"):
        read_representations(tmp_path)


def test_rows_of_other_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="e7 expected length 3 but got length 2"):
        write_representations(tmp_path, IDS, {"e7": np.zeros((2, 4))})


def test_a_file_with_an_image_twice_is_refused(tmp_path):
    write_representations(tmp_path, ["a", "b", "a"], {"e7": np.ones((3, 4))})
    with pytest.raises(InputError, match="must be readable Parquet, got: ValueError: images without a name"):
        read_representations(tmp_path)
