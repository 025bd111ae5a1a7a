import json
import math

import numpy as np
import pandas as pd
import pytest
from rows_in_memory import columns_of, read_rows

from harmonia.arms import is_control, matched_control
from harmonia.errors import InputError
from harmonia.results.jobs import find_jobs
from harmonia.results.rows import TransferRows, read_summary, row_writer, write_summary


def test_odd_names_come_back_as_they_were(tmp_path):
    names = [
        'say "cheese"',
        "two\nlines",
        "<script>alert(1)</script>",
        "Épagneul 犬 🐶",
        "a|b,c;d\\",
        "",
        "nan",
    ]
    written = columns_of(names, names[::-1], path=names, image_id=names, top5=[names] * len(names))
    with row_writer(tmp_path) as append:
        append(written)
        append(columns_of(["x"], ["y"], p_label=[math.nan], label=[None]))
    rows = read_rows(tmp_path)
    assert list(rows.columns) == TransferRows.columns_of()
    for name in ("label", "predicted", "path", "image_id"):
        assert rows[name].iloc[:-1].tolist() == written[name]
    assert list(rows["top5"].iloc[0]) == names
    assert math.isnan(rows["p_label"].iloc[-1])
    assert pd.isna(rows["label"].iloc[-1])
    assert rows["p_label"].dtype == np.float32


def test_a_file_name_that_is_not_utf8_is_kept_escaped(tmp_path):
    with row_writer(tmp_path) as append:
        append(columns_of(["x"], ["x"], path=["dog\udcff.jpg"]))
    assert read_rows(tmp_path)["path"].tolist() == ["dog\\udcff.jpg"]


def write_and_crash(folder, error):
    with row_writer(folder) as append:
        append(columns_of(["new"], ["x"]))
        raise error


def test_a_writer_that_crashes_leaves_the_folder_as_it_was(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_and_crash(tmp_path, KeyboardInterrupt)
    assert list(tmp_path.iterdir()) == []

    with row_writer(tmp_path) as append:
        append(columns_of(["old"], ["x"]))
    with pytest.raises(RuntimeError):
        write_and_crash(tmp_path, RuntimeError)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]
    assert read_rows(tmp_path)["label"].tolist() == ["old"]


def test_rows_are_invisible_until_the_block_ends(tmp_path):
    with row_writer(tmp_path) as append:
        append(columns_of(["x"], ["x"]))
        assert not (tmp_path / "rows.parquet").exists()
    assert len(read_rows(tmp_path)) == 1


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({name: [] for name in TransferRows.columns_of() if name != "entropy"}, "entropy"),
        (columns_of([], [], colour=[]), "colour"),
        (columns_of(["x"], ["x"], flag=["", ""]), "named flag expected length 1 but got length 2"),
        (columns_of(["x"], ["x"], arm="s"), "one string"),
    ],
)
def test_columns_other_than_the_schema_are_refused(tmp_path, columns, named):
    with pytest.raises(ValueError, match=named), row_writer(tmp_path) as append:
        append(columns)
    assert list(tmp_path.iterdir()) == []


def test_a_folders_name_is_no_column(tmp_path):
    folder = tmp_path / "source=vit,method=gc"
    folder.mkdir()
    with row_writer(folder) as append:
        append(columns_of(["x"], ["x"]))
    assert read_rows(folder)["source"].tolist() == ["e7"]


def test_rows_that_cannot_be_read_are_an_input_error(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(InputError, match="run the job again"):
        read_rows(tmp_path)
    pd.DataFrame({"image_id": ["a"]}).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(InputError, match="lacks"):
        read_rows(tmp_path)


@pytest.mark.parametrize(
    ("arm", "control"),
    [("soft", "dim"), ("area5", "blobs5"), ("area30", "blobs30"), ("image", None), ("dim", None), ("centre30", None),
     ("area", None), ("soft3", None), ("myarea30", None)],
)  # fmt: skip
def test_an_arm_is_matched_with_the_control_of_its_area(arm, control):
    assert matched_control(arm) == control


def test_what_knows_less_than_the_map_is_a_control():
    own = ["image", "soft", "area10", "area5"]
    controls = ["dim", "blobs30", "centre30", "same_class30", "other_class30", "complement30", "silhouette30"]
    assert [is_control(arm) for arm in own + controls] == [False] * 4 + [True] * 7


def test_a_summary_is_sorted_valid_json_with_null_for_undefined(tmp_path):
    write_summary(tmp_path, {"b": np.float32(0.5), "a": math.nan, "c": None, "d": np.int64(3), "<é>": math.inf})
    text = (tmp_path / "summary.json").read_text()

    def refuse(constant):
        raise AssertionError(constant)

    assert list(json.loads(text, parse_constant=refuse)) == sorted(["b", "a", "c", "d", "<é>"])
    assert read_summary(tmp_path) == {"a": None, "b": 0.5, "c": None, "d": 3, "<é>": None}
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_every_job_is_found_once_and_the_unfinished_say_why(tmp_path):
    def plant(name, *files):
        for file in files:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text({"config.yaml": "source: {name: e7}", "summary.json": "{}"}.get(path.name, "why\nmore"))

    whole = ("config.yaml", "rows.parquet", "summary.json")
    plant("10", *whole, ".hydra/config.yaml", "wandb/run-1/files/config.yaml")
    plant("9", *whole)
    plant("failed", *whole, "error.txt")
    plant("killed", ".hydra/config.yaml")
    plant("torn", "rows.parquet", "config.yaml")
    plant("report", "index.html")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.yaml").write_text("a: [")
    jobs = {str(job.folder.relative_to(tmp_path)): job for job in find_jobs(tmp_path)}
    assert list(jobs) == ["9", "10", "bad", "failed", "killed", "torn"]
    assert [name for name, job in jobs.items() if job.finished] == ["9", "10"]
    assert jobs["9"].config == {"source": {"name": "e7"}}
    assert jobs["9"].error is None
    assert jobs["failed"].error == "why"
    assert jobs["killed"].error == "unfinished: no config.yaml, rows, summary.json"
    assert jobs["torn"].error == "unfinished: no summary.json"
    assert "readable YAML" in jobs["bad"].error
    assert "\n" not in jobs["bad"].error
