"""Laws of benchmarks/same_numbers.py: it passes equal folders, and no other."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "same_numbers.py"
JOB = "sweep/source=e7"  # a reader of Parquet may take such a folder for a column
PROBABILITIES = np.array([0.1, np.nan, 0.3, -0.0], np.float32)


def leave_job(folder: Path, probabilities: np.ndarray = PROBABILITIES, **summary: float) -> Path:
    """A job's folder as a run leaves it: rows in two groups, representations, and a summary."""
    job = folder / JOB
    job.mkdir(parents=True)
    names = pa.array([f"image {row}" for row in range(len(probabilities))]).dictionary_encode()
    rows = pa.table({"image_id": names, "p_label": pa.array(probabilities)})
    pq.write_table(rows, job / "rows.parquet", row_group_size=2)
    likeness = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(8, dtype=np.float16)), 2)
    pq.write_table(pa.table({"representation/e7": likeness}), job / "representations.parquet")
    (job / "summary.json").write_text(json.dumps({"e7/soft/accuracy": 0.5, "seconds": 1.0} | summary))
    return folder


Compare = Callable[..., tuple[int, str]]


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Compare:
    """Exit status and words of the script."""

    def run(*words: str | Path) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", [str(SCRIPT), *map(str, words)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return int(left.value.code or 0), capsys.readouterr().out

    return run


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return leave_job(tmp_path / "old")


def test_equal_folders_pass_and_what_was_compared_is_counted(old: Path, tmp_path: Path, compare: Compare):
    new = leave_job(tmp_path / "new", seconds=7.0, maps_cached=3, images_decoded=0)
    assert compare(old, new) == (
        0,
        "         3 columns\n"
        "         1 files representations.parquet\n"
        "         1 files rows.parquet\n"
        "         1 files summary.json\n"
        "         8 rows\n"
        "the same, bit for bit\n",
    )


@pytest.mark.parametrize("row", range(4))
def test_one_flipped_bit_fails_also_of_nan_and_of_zero(row: int, old: Path, tmp_path: Path, compare: Compare):
    flipped = PROBABILITIES.copy()
    flipped.view(np.uint32)[row] ^= 1 if row < 3 else 1 << 31
    status, text = compare(old, leave_job(tmp_path / "new", flipped))
    assert status == 1
    assert f"{JOB}/rows.parquet: p_label: 1 of 4 rows differ, the first is row {row}\n" in text


def test_a_column_that_may_differ_is_named_by_the_user(old: Path, tmp_path: Path, compare: Compare):
    new = leave_job(tmp_path / "new", PROBABILITIES + 1)
    assert compare(old, new)[0] == 1
    assert compare(old, new, "--ignore", "rows.parquet/p_label")[0] == 0


def test_a_missing_row_fails(old: Path, tmp_path: Path, compare: Compare):
    status, text = compare(old, leave_job(tmp_path / "new", PROBABILITIES[:3]))
    assert (status, "rows.parquet: p_label: 4 rows of uint32 became 3 of uint32" in text) == (1, True)


@pytest.mark.parametrize("without", ["old", "new"])
def test_a_missing_file_fails(without: str, old: Path, tmp_path: Path, compare: Compare):
    new = leave_job(tmp_path / "new")
    (tmp_path / without / JOB / "rows.parquet").unlink()
    status, text = compare(old, new)
    assert (status, f"{JOB}/rows.parquet: missing in the {without} folder" in text) == (1, True)


def test_a_missing_column_and_another_number_of_the_summary_fail(old: Path, tmp_path: Path, compare: Compare):
    new = leave_job(tmp_path / "new", **{"e7/soft/accuracy": 0.25})
    pq.write_table(pa.table({"image_id": ["image 0"] * 4}), new / JOB / "rows.parquet")
    status, text = compare(old, new)
    assert status == 1
    assert "summary.json: e7/soft/accuracy: 0.5 became 0.25\n" in text
    assert "rows.parquet: only the old file has p_label\n" in text


def test_nothing_to_compare_fails(tmp_path: Path, compare: Compare):
    assert compare(tmp_path, tmp_path) == (1, "NOTHING TO COMPARE\n")
