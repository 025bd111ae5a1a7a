import math

import numpy as np
import pytest

from harmonia.errors import InputError
from harmonia.results.scores import SCORES, ScoreRows, read_scores, reasons, summarise_scores, write_scores


def piece(metric, values, why=None, **changes):
    count = len(values)
    constant = {
        "source": "e7",
        "method": "gc",
        "layer": "bn2",
        "smooth": 0,
        "label_policy": "predicted",
        "label": "dog",
        "explained": "dog",
        "p_explained": 0.5,
        "evaluation": "road",
        "metric": metric,
        "better": "higher",
    }
    columns = {name: [value] * count for name, value in (constant | changes).items()}
    columns |= {"image_id": [f"n{number}" for number in range(count)], "path": ["x.png"] * count}
    return columns | {"value": values, "reason": why or ["" if math.isfinite(value) else "zero" for value in values]}


def test_rows_are_read_as_they_were_written_and_an_undefined_value_is_no_number(tmp_path):
    write_scores(tmp_path, [piece("road", [0.25, math.nan]), piece("road_morf", [1e-300, 2.0], label=None)])
    rows = read_scores(tmp_path)
    assert rows.columns.tolist() == ScoreRows.columns_of()
    np.testing.assert_array_equal(rows["value"], [0.25, math.nan, 1e-300, 2.0])
    assert rows["reason"].tolist() == ["", "zero", "", ""]
    assert rows["metric"].tolist() == ["road", "road", "road_morf", "road_morf"]
    assert rows["label"].isna().tolist() == [False, False, True, True]


def test_rows_that_fail_on_the_way_leave_the_earlier_ones(tmp_path):
    write_scores(tmp_path, [piece("road", [1.0])])
    before = (tmp_path / SCORES).read_bytes()
    with pytest.raises(ValueError, match="missing"):
        write_scores(tmp_path, [piece("road", [2.0]), {}])
    assert (tmp_path / SCORES).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [SCORES]


def test_file_names_that_are_no_text_are_escaped(tmp_path):
    write_scores(tmp_path, [piece("road", [1.0]) | {"image_id": ["a\udcff.png"]}])
    assert read_scores(tmp_path)["image_id"].tolist() == ["a\\udcff.png"]


def test_what_is_no_file_of_scores_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"scores\.parquet"):
        read_scores(tmp_path)
    (tmp_path / SCORES).write_bytes(b"PAR1")
    with pytest.raises(InputError, match="run the job again"):
        read_scores(tmp_path)


def test_the_summary_is_over_what_is_defined_and_counts_the_rest(tmp_path):
    write_scores(tmp_path, [piece("road", [1.0, math.nan, 2.0, 6.0]), piece("road_morf", [math.nan] * 4)])
    assert summarise_scores(read_scores(tmp_path)) == {
        "e7/road/road": 3.0,
        "e7/road/road_median": 2.0,
        "e7/road/road_images": 3,
        "e7/road/road_undefined": 1,
        "e7/road/road_morf": None,
        "e7/road/road_morf_median": None,
        "e7/road/road_morf_images": 0,
        "e7/road/road_morf_undefined": 4,
    }


def test_reasons_count_images_once_the_commonest_first(tmp_path):
    why = ["zero", "", "constant", "zero"]
    values = [math.nan if reason else 1.0 for reason in why]
    write_scores(tmp_path, [piece("road", values, why), piece("road_morf", values, why)])
    assert list(reasons(read_scores(tmp_path)).items()) == [("zero", 2), ("constant", 1)]
