import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from harmonia.features.maps import flag_of, pack, unpack


def signed_maps(n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 7, 9)).astype(np.float32)


@pytest.mark.parametrize("size", [1e-42, 1e-38, 1e-12, 1.0, 1e8, 1e38])
def test_packing_keeps_a_thousandth_of_the_largest_magnitude_at_any_size(size):
    maps = (signed_maps() / 10 * np.float32(size)).astype(np.float64)
    error = np.abs(unpack(pack(maps)) - maps).max(axis=(1, 2))
    assert (error < 1e-3 * np.abs(maps).max(axis=(1, 2))).all()


def test_images_of_one_batch_do_not_share_a_scale():
    maps = signed_maps() * np.array([1e-12, 1, 1e8], np.float32)[:, None, None]
    alone = np.concatenate([unpack(pack(maps[i : i + 1])) for i in range(3)])
    np.testing.assert_array_equal(unpack(pack(maps)), alone)


def test_zero_maps_stay_exactly_zero_and_constant_maps_exact():
    maps = np.stack([np.zeros((4, 4)), np.full((4, 4), 0.3)]).astype(np.float32)
    np.testing.assert_array_equal(unpack(pack(maps)), maps)


def test_largest_magnitude_is_exact():
    maps = signed_maps()
    packed = unpack(pack(maps))
    np.testing.assert_array_equal(np.abs(packed).max(axis=(1, 2)), np.abs(maps).max(axis=(1, 2)))


def test_entries_that_are_not_finite_come_back_as_nan_and_spare_the_others():
    maps = signed_maps()
    maps[0, 0, 0], maps[0, 1, 1], maps[1] = np.nan, np.inf, np.nan
    packed = unpack(pack(maps))
    lost = ~np.isfinite(maps)
    np.testing.assert_array_equal(np.isnan(packed), lost)
    np.testing.assert_allclose(packed[~lost], maps[~lost], atol=1e-3 * np.abs(maps[~lost]).max())


def test_packed_arrays_have_the_stored_types():
    packed = pack(signed_maps().astype(np.float64))
    assert packed["maps"].dtype == np.float16
    assert packed["scale"].dtype == np.float32
    assert unpack(packed).dtype == np.float32


def test_no_maps_pack_to_no_maps():
    assert unpack(pack(np.zeros((0, 7, 7), np.float32))).shape == (0, 7, 7)


def test_maps_with_channels_are_refused():
    with pytest.raises(ValueError, match=r"\[n, h, w\]"):
        pack(np.zeros((2, 3, 7, 7), np.float32))


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ([0, 0, 0], "zero"),
        ([-0.0, 0, 0], "zero"),
        ([2, 2, 2], "constant"),
        ([np.nan, 0, 0], "non-finite"),
        ([np.inf, 1, 1], "non-finite"),
        ([0, 0, 1e-30], ""),
    ],
)
def test_flag_names_what_leaves_no_ranking(values, flag):
    assert flag_of(np.array([values], np.float32)) == flag


ANY_MAPS = npst.arrays(np.float32, st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(1, 5)))


@given(ANY_MAPS)
def test_whatever_the_values_are_a_thousandth_of_the_largest_finite_magnitude_is_kept_and_the_rest_is_nan(maps):
    packed = unpack(pack(maps))
    finite = np.isfinite(maps)
    np.testing.assert_array_equal(np.isnan(packed), ~finite)
    largest = np.where(finite, np.abs(maps), 0).max(axis=(1, 2), initial=0)
    error = np.where(finite, np.abs(packed.astype(np.float64) - maps), 0).max(axis=(1, 2), initial=0)
    assert (error <= 1e-3 * largest + np.finfo(np.float32).smallest_subnormal).all()


@given(ANY_MAPS)
def test_packing_what_was_packed_changes_nothing(maps):
    once = unpack(pack(maps))
    np.testing.assert_array_equal(unpack(pack(once)), once)
