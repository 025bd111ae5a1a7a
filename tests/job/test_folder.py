"""Laws of a job's folder: whose result it holds, and how long."""

import json

import pytest
import yaml

from harmonia.job.folder import begin, helper_folder, holds_finished_job, record_failure, sole_writer
from harmonia.results.rows import CONFIG, ENVIRONMENT, ROWS, SUMMARY, write_summary
from harmonia.results.scores import SCORES

FILES = (ROWS,)
SETTINGS = {"source": {"name": "e7"}, "seed": 0, "tracking": {"group": "first"}, "logger": None}


@pytest.fixture
def finished(tmp_path):
    begin(tmp_path, SETTINGS, FILES)
    (tmp_path / ROWS).write_bytes(b"rows")
    write_summary(tmp_path, {"images": 8})
    return tmp_path


@pytest.mark.parametrize("changes", [{}, {"tracking": {"group": "second"}}, {"logger": {"mode": "offline"}}])
def test_a_finished_jobs_result_stays_until_that_of_the_same_settings_takes_its_place(finished, changes):
    assert holds_finished_job(finished, SETTINGS | changes)
    begin(finished, SETTINGS | changes, FILES)
    assert (finished / ROWS).read_bytes() == b"rows"
    assert holds_finished_job(finished, SETTINGS)  # killed now, it has lost nothing
    assert yaml.safe_load((finished / CONFIG).read_text()) == SETTINGS | changes


def test_a_result_of_other_settings_is_gone_before_anything_is_computed(finished):
    begin(finished, SETTINGS | {"seed": 1}, FILES)
    assert not (finished / ROWS).exists()
    assert not (finished / SUMMARY).exists()
    assert not holds_finished_job(finished, SETTINGS | {"seed": 1})


def test_what_failed_or_was_not_finished_is_no_result(finished):
    record_failure(finished, RuntimeError("no memory"))
    assert not holds_finished_job(finished, SETTINGS)
    begin(finished, SETTINGS, FILES)
    assert [path.name for path in finished.iterdir()] == [CONFIG]
    (finished / ROWS).write_bytes(b"rows")
    begin(finished, SETTINGS, FILES)
    assert not (finished / ROWS).exists()


def test_what_killed_processes_left_half_written_goes_and_a_living_helpers_folder_stays(tmp_path):
    (tmp_path / ".rows.parquet.4194304.tmp").write_bytes(b"half")
    dead = tmp_path / ".helper-dead"
    dead.mkdir()
    (dead / ROWS).write_bytes(b"rows")
    (tmp_path / ".helper-dead.lock").touch()  # the system has freed it
    with helper_folder(tmp_path) as alive, sole_writer(tmp_path) as alone:
        assert alone
        (alive / ROWS).write_bytes(b"rows")
        begin(tmp_path, SETTINGS, FILES)
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {CONFIG, ".lock", alive.name, f"{alive.name}.lock"}
        assert (alive / ROWS).exists()
    assert {path.name for path in tmp_path.iterdir()} <= {CONFIG, ".lock"}


@pytest.mark.parametrize("recorded", [{"files": ["own.csv", "../outside.csv"]}, {}])
def test_a_job_of_another_kind_leaves_none_of_its_files_behind(tmp_path, recorded):
    """An early version recorded no files: what its jobs could leave is known."""
    folder = tmp_path / "job"
    folder.mkdir()
    left, kept = (folder / "own.csv", tmp_path / "outside.csv") if recorded else (folder / SCORES, folder / "notes.txt")
    for path in (left, kept):
        path.write_text("earlier")
    (folder / ENVIRONMENT).write_text(json.dumps(recorded))
    begin(folder, SETTINGS, FILES)
    assert not left.exists()
    assert kept.exists()


def test_a_failure_that_names_bytes_is_recorded_as_text(tmp_path):
    record_failure(tmp_path, ValueError("image dog\udcff\x1b[31m.png"))
    lines = (tmp_path / "error.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == r"ValueError: image dog\udcff\x1b[31m.png"
    assert lines[2].startswith("ValueError")
