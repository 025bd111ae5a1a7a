"""Laws of one shard: what goes in comes out, and no other bytes pass for it."""

import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from planted_sets import fill, items_of, leftovers, open_set

from harmonia.errors import InputError
from harmonia.store.shards import CorruptShard, read_shard


def test_a_shard_comes_back_bit_equal(tmp_path):
    stored = open_set(tmp_path)
    numbers = np.random.default_rng(0)
    arrays = {
        "maps": numbers.normal(size=(3, 4, 5)).astype(np.float16),
        "scale": np.array([0, np.nan, -np.inf], np.float32),
        "turned": numbers.normal(size=(5, 4, 3)).T,
        "swapped": np.arange(3, dtype=">i4"),
        "yes": np.array([True, False, True]),
        "empty": np.zeros((3, 0), np.int64),
    }
    facts = [{"image_id": "ü\udcff\n", "p_source": np.float32(0.1), "seconds": float("nan")}, {}, {"b": None}]
    stored.write(0, arrays, facts)
    read, read_facts = open_set(tmp_path).read(0)
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(read[name], array)
        assert read[name].tobytes() == array.astype(read[name].dtype).tobytes()
    assert read_facts[0]["image_id"] == "ü\udcff\n"
    assert np.isnan(read_facts[0]["seconds"])
    assert read_facts[0]["p_source"] == float(np.float32(0.1))
    assert read_facts[1:] == [{}, {"b": None}]


@pytest.mark.parametrize(
    ("arrays", "facts", "rule"),
    [
        ({"maps": np.zeros((2, 1))}, [{}] * 3, "holds 3 items"),
        ({"maps": np.zeros(())}, [{}] * 3, "holds 3 items"),
        ({"maps": np.zeros((3, 1))}, [{}] * 2, "got 2 facts"),
        ({"names": np.array(["a", "b", "c"])}, [{}] * 3, "dtype <U1"),
        ({"maps": np.zeros((3, 1))}, [{"shard": 1}] * 3, "index columns"),
        ({"maps": np.zeros((3, 1))}, [{"path": Path("a")}] * 3, "JSON"),
    ],
)
def test_a_shard_that_does_not_fit_is_refused_and_leaves_nothing(tmp_path, arrays, facts, rule):
    stored = open_set(tmp_path)
    with pytest.raises(ValueError, match=rule):
        stored.write(0, arrays, facts)
    assert stored.missing() == [0, 1, 2, 3]
    assert not leftovers(stored.folder)


@pytest.mark.slow
def test_any_flipped_byte_is_detected_or_harmless(tmp_path):
    stored = open_set(tmp_path)
    fill(stored)
    path = stored.shard_path(0)
    sound, (arrays, facts) = path.read_bytes(), stored.read(0)
    detected = 0
    for position in range(len(sound)):
        for bits in (1 << position % 8, 0x20, 0xFF):
            path.write_bytes(sound[:position] + bytes([sound[position] ^ bits]) + sound[position + 1 :])
            try:
                read, read_facts = stored.read(0)
            except CorruptShard:
                detected += 1
                continue
            assert read_facts == facts
            assert read.keys() == arrays.keys()
            assert all(read[name].tobytes() == arrays[name].tobytes() for name in arrays)
            assert all(read[name].dtype == arrays[name].dtype for name in arrays)
    assert detected > 2.9 * len(sound)


def test_any_truncation_is_detected(tmp_path):
    stored = open_set(tmp_path)
    fill(stored)
    path = stored.shard_path(3)
    sound = path.read_bytes()
    for length in range(len(sound)):
        path.write_bytes(sound[:length])
        with pytest.raises(CorruptShard):
            stored.read(3)


def test_a_pickle_is_refused_without_running_it(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "trapped",))

    stored = open_set(tmp_path)
    for content in (pickle.dumps(Trap()), pickle.dumps({"maps": Trap()}, protocol=0)):
        stored.shard_path(0).write_bytes(content)
        with pytest.raises(CorruptShard):
            stored.read(0)
        assert 0 in stored.missing()
        assert not (tmp_path / "trapped").exists()


def test_a_corrupt_shard_error_survives_the_way_between_processes():
    error = CorruptShard(Path("a/b"), "reason")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_shard_larger_than_any_is_corrupt_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "shard-00000.safetensors"
    with path.open("wb") as file:
        file.truncate(2**34 + 1)
    monkeypatch.setattr(Path, "read_bytes", None)
    with pytest.raises(CorruptShard, match="this is no file of at most 17,179,869,184 bytes"):
        read_shard(path, key="k", shard=0)


def test_a_shard_for_which_memory_lacks_is_one_line_and_may_be_sound(tmp_path, monkeypatch):
    def full(path):
        raise MemoryError

    path = tmp_path / "shard-00000.safetensors"
    path.touch()
    monkeypatch.setattr(Path, "read_bytes", full)
    with pytest.raises(InputError, match="a shard must fit in memory, got 0 bytes; remove it") as refused:
        read_shard(path, key="k", shard=0)
    assert not isinstance(refused.value, CorruptShard)


def test_reading_a_missing_shard_says_to_compute_it(tmp_path):
    with pytest.raises(InputError, match="rerun") as error:
        open_set(tmp_path).read(1)
    assert not isinstance(error.value, CorruptShard)


SCALARS = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text(max_size=20))


NUMBERS = npst.arrays(
    st.sampled_from(["float16", "float32", "float64", "int8", "int32", "uint8", "bool"]),
    st.tuples(st.just(3), st.integers(0, 4), st.integers(0, 4)),
)


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(st.text("abc_", min_size=1, max_size=9), NUMBERS, min_size=1, max_size=3),
    st.lists(SCALARS, min_size=3, max_size=3),
)
@pytest.mark.slow
def test_any_arrays_and_facts_come_back_bit_equal(arrays, values):
    with tempfile.TemporaryDirectory() as folder:
        stored = open_set(Path(folder), count=3, shard_size=3)
        facts = [{"image_id": f"{value!r}", "value": value} for value in values]
        stored.write(0, arrays, facts)
        same_arrays, same_facts = open_set(Path(folder), count=3, shard_size=3).read(0)
        assert same_facts == facts
        assert set(same_arrays) == set(arrays)
        for name, array in arrays.items():
            assert same_arrays[name].dtype == array.dtype
            assert same_arrays[name].tobytes() == array.tobytes()


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=200), st.integers(0, 2**16), st.sampled_from(["instead", "into", "behind"]))
@pytest.mark.slow
def test_no_bytes_but_those_written_pass_for_a_shard(junk, place, how):
    with tempfile.TemporaryDirectory() as folder:
        stored = open_set(Path(folder))
        stored.write(0, *items_of(stored, 0))
        path = stored.shard_path(0)
        written = path.read_bytes()
        place %= len(written)
        content = {
            "instead": junk,
            "into": written[:place] + junk + written[place + len(junk) :],
            "behind": written + junk,
        }[how]
        path.write_bytes(content)
        expected = items_of(stored, 0)
        try:
            arrays, facts = open_set(Path(folder)).read(0)
        except CorruptShard:
            assert content != written
        else:  # bytes that mean the same
            assert facts == expected[1]
            assert all(np.array_equal(arrays[name], expected[0][name], equal_nan=True) for name in arrays)
