import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harmonia.errors import InputError
from harmonia.results.maps import MAPS, REGION_SIDE, SmallMaps, read_small_maps, write_small_maps


def maps(count=3):
    soft = np.arange(count * 6, dtype=np.uint8).reshape(count, 2, 3)
    smallest = np.random.default_rng(0).choice(np.array([10, 30, 255], np.uint8), (count, REGION_SIDE, REGION_SIDE))
    boxes = np.linspace(0, 1, 4 * count, dtype=np.float32).reshape(count, 4)
    digests = [f"{number:064x}" for number in range(count)]
    return SmallMaps(
        [f"dog\udcff{number}\u2028<b>" for number in range(count)], soft, smallest, (10, 30), boxes, digests
    )


@pytest.mark.parametrize("count", [0, 1, 3])
def test_maps_come_back_as_they_were_and_names_escaped(tmp_path, count):
    write_small_maps(tmp_path, maps(count))
    read = read_small_maps(tmp_path)
    assert read.image_ids == [f"dog\\udcff{number}\u2028<b>" for number in range(count)]
    assert np.array_equal(read.soft, maps(count).soft)
    assert np.array_equal(read.smallest_areas, maps(count).smallest_areas)
    assert read.areas == (10, 30)
    assert np.array_equal(read.boxes, maps(count).boxes)
    assert read.digests == maps(count).digests


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


def test_a_region_is_what_the_smallest_areas_do_not_exceed_and_only_of_an_area_that_was_evaluated():
    kept = maps()
    assert np.array_equal(kept.region(1, "area30"), kept.smallest_areas[1] != 255)
    assert np.array_equal(kept.region(1, "area10"), kept.smallest_areas[1] == 10)
    assert [kept.region(1, arm) for arm in ("area20", "soft", "blobs30", "image")] == [None] * 4


def test_maps_of_an_earlier_version_have_no_region_and_the_rest(tmp_path):
    cells = pa.array([bytes(range(6))], pa.binary(6))
    edges = {name: [0.5] for name in ("left", "top", "right", "bottom")}
    columns = {"image_id": ["i"], "soft": cells, "ranked": cells, **edges}
    pq.write_table(pa.table(columns).replace_schema_metadata({"shape": "2 3"}), tmp_path / MAPS)
    read = read_small_maps(tmp_path)
    assert (read.image_ids, read.soft.tolist(), read.boxes.tolist()) == (["i"], [[[0, 1, 2], [3, 4, 5]]], [[0.5] * 4])
    assert read.region(0, "area30") is None
    assert read.digests == []


def test_maps_that_do_not_fit_their_images_are_refused(tmp_path):
    cells, edges = pa.array([bytes(6)] * 2, pa.binary(6)), {"left": 0.0, "top": 0.0, "right": 1.0, "bottom": 1.0}
    columns = {"image_id": ["i", "j"], "soft": cells} | {name: [value] * 2 for name, value in edges.items()}
    for changes, shape in [
        ({"image_id": ["i", "i"]}, "2 3"),
        ({"image_id": ["i", None]}, "2 3"),
        ({"left": [0.0, np.inf]}, "2 3"),
        ({"left": [0.0, 2.0]}, "2 3"),
        ({}, "2 2"),
        ({}, "0 3"),
        ({}, "-1 3"),
        ({}, ""),
    ]:
        table = pa.table(columns | changes).replace_schema_metadata({"shape": shape})
        pq.write_table(table, tmp_path / MAPS)
        with pytest.raises(InputError, match="run the job again"):
            read_small_maps(tmp_path)
