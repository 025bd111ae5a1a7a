import numpy as np
import pytest

from harmonia.errors import InputError
from harmonia.results.maps import MAPS, SmallMaps, read_small_maps, write_small_maps


def maps(count=3):
    stack = np.arange(count * 6, dtype=np.uint8).reshape(count, 2, 3)
    boxes = np.linspace(0, 1, 4 * count, dtype=np.float32).reshape(count, 4)
    return SmallMaps([f"dog\udcff{number}\u2028<b>" for number in range(count)], stack, stack[:, ::-1], boxes)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_maps_come_back_as_they_were_and_names_escaped(tmp_path, count):
    write_small_maps(tmp_path, maps(count))
    read = read_small_maps(tmp_path)
    assert read.image_ids == [f"dog\\udcff{number}\u2028<b>" for number in range(count)]
    assert np.array_equal(read.soft, maps(count).soft)
    assert np.array_equal(read.ranked, maps(count).ranked)
    assert np.array_equal(read.boxes, maps(count).boxes)


@pytest.mark.parametrize("content", [None, b"torn"])
def test_maps_that_are_not_there_or_damaged_say_what_to_do(tmp_path, content):
    if content is not None:
        (tmp_path / MAPS).write_bytes(content)
    with pytest.raises(InputError, match="run the job again"):
        read_small_maps(tmp_path)


def test_a_folder_named_like_a_column_is_read(tmp_path):
    folder = tmp_path / "source=e7"
    folder.mkdir()
    write_small_maps(folder, maps())
    assert len(read_small_maps(folder).image_ids) == 3
