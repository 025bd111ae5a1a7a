"""Laws of a job's folder: whose result it holds, and how long."""

import hashlib
import json
import os

import pytest
import yaml

from harmonia.errors import InputError
from harmonia.job.folder import (
    begin,
    helper_folder,
    holds_finished_job,
    record_failure,
    refuse_foreign,
    seal_files,
    sole_writer,
)
from harmonia.results.rows import CONFIG, ENVIRONMENT, ROWS, SUMMARY, write_summary
from harmonia.results.scores import SCORES

FILES = (ROWS,)
SHA = hashlib.sha256(b"one").hexdigest()
SETTINGS = {
    "source": {"name": "e7"},
    "method": {},
    "data": {},
    "seed": 0,
    "tracking": {"group": "first"},
    "logger": None,
}


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
    (tmp_path / ".rows.parquet.4194304-0123abcd.tmp").write_bytes(b"half")
    dead = tmp_path / ".helper-0123456789abcdef"
    dead.mkdir()
    (dead / ROWS).write_bytes(b"rows")
    dead.with_suffix(".lock").touch()  # the system has freed it
    with helper_folder(tmp_path) as alive, sole_writer(tmp_path) as alone:
        assert alone
        (alive / ROWS).write_bytes(b"rows")
        begin(tmp_path, SETTINGS, FILES)
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {CONFIG, ".lock", alive.name, f"{alive.name}.lock"}
        assert (alive / ROWS).exists()
    assert {path.name for path in tmp_path.iterdir()} <= {CONFIG, ".lock"}


def test_a_job_of_another_kind_leaves_none_of_its_files_behind_and_takes_no_others(finished):
    """Whatever a record names, which somebody may have sent."""
    mine = [
        "thesis.tex",
        ".notes.tmp",
        ".notes.12-0123abcd.tmp",
        ".rows.parquet.tmp",
        ".helper-old/a",
        ".helper-old.lock",
    ]
    (finished / ".helper-old").mkdir()
    for name in (SCORES, "own.csv", *mine):
        (finished / name).write_text("earlier")
    (finished / ENVIRONMENT).write_text(json.dumps({"files": ["thesis.tex", "../outside.csv"]}))
    begin(finished, SETTINGS | {"seed": 1}, (*FILES, "own.csv"))
    assert not (finished / SCORES).exists()
    assert not (finished / "own.csv").exists()
    assert [(finished / name).read_text() for name in mine] == ["earlier"] * len(mine)


def test_files_of_an_evaluation_of_ones_own_go_with_its_job_if_they_are_as_it_left_them(finished):
    names = ["brightness.csv", "mine.csv", "edited.csv"]
    for name in names:
        (finished / name).write_text("one")
    (finished / ENVIRONMENT).write_text(json.dumps({"files": ["brightness.csv", "edited.csv"]}))
    seal_files(finished, [ROWS, "brightness.csv", "edited.csv", "never_written.csv"])
    assert json.loads((finished / ENVIRONMENT).read_text())["files"] == ["brightness.csv", "edited.csv"]
    (finished / "edited.csv").write_text("mine")
    begin(finished, SETTINGS, FILES)  # the same job again
    assert all((finished / name).exists() for name in names)
    begin(finished, SETTINGS | {"seed": 1}, FILES)
    assert [(finished / name).exists() for name in names] == [False, True, True]


@pytest.mark.parametrize("digests", [{"../outside.csv": SHA}, {"a": SHA}, {"": SHA}, {"b\0": SHA}, {"pipe": ""}, [], 7])
def test_a_record_takes_no_file_that_it_does_not_know(finished, digests):
    outside = finished.parent / "outside.csv"
    outside.write_text("one")
    (finished / "a").symlink_to(outside)
    os.mkfifo(finished / "pipe")
    (finished / ENVIRONMENT).write_text(json.dumps({"digests": digests}))
    begin(finished, SETTINGS | {"seed": 1}, FILES)
    assert outside.read_text() == "one"
    assert {path.name for path in finished.iterdir()} >= {"a", "pipe"}


@pytest.mark.parametrize(
    "name", [".hydra", ".hydra/config.yaml", ".hydra/overrides.yaml", "run.log", "own.log", ".lock"]
)
def test_a_link_through_which_a_job_would_write_is_refused(finished, tmp_path_factory, name):
    outside = tmp_path_factory.mktemp("outside") / "it"
    outside.mkdir() if name == ".hydra" else outside.write_text("mine")
    (finished / name).parent.mkdir(exist_ok=True)
    (finished / name).symlink_to(outside)
    with pytest.raises(InputError, match=f"a job's files must lie in its folder, got the link '{name}'; remove it"):
        refuse_foreign(finished)


def test_a_lock_that_is_a_link_is_said_to_be_one(tmp_path):
    (tmp_path / ".lock").symlink_to("elsewhere")
    with pytest.raises(InputError, match=r"\.lock: a lock must be no link, got one"), sole_writer(tmp_path):
        pass


def test_what_hydra_leaves_of_another_program_is_foreign_and_of_a_job_that_was_killed_early_is_not(tmp_path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "run.log").touch()
    (tmp_path / ".hydra" / CONFIG).write_text("db: mysql")
    with pytest.raises(InputError, match=r"got '\.hydra' in it"):
        refuse_foreign(tmp_path)
    (tmp_path / ".hydra" / CONFIG).write_text("source: {}\nmethod: {}\ndata: {}")
    refuse_foreign(tmp_path)


@pytest.mark.parametrize("name", ["thesis.tex", CONFIG, ENVIRONMENT, SUMMARY, "error.txt", ".lock"])
def test_a_folder_that_is_no_jobs_is_refused_and_left_as_it_is(tmp_path, name):
    (tmp_path / ".hydra").mkdir()  # Hydra has just made it
    (tmp_path / name).write_text("foreign: true")
    with pytest.raises(InputError, match=f"must be a new folder, an empty one or a job's, got '{name}' in it; name"):
        refuse_foreign(tmp_path)
    with sole_writer(tmp_path):
        assert (tmp_path / name).read_text() == "foreign: true"


def test_a_jobs_folder_is_taken_again(tmp_path, finished):
    for folder in (tmp_path / "new", tmp_path):
        refuse_foreign(folder)
    (tmp_path / CONFIG).unlink()
    with sole_writer(tmp_path):  # signs
        refuse_foreign(tmp_path)
    refuse_foreign(tmp_path)


def test_a_failure_that_names_bytes_is_recorded_as_text(tmp_path):
    record_failure(tmp_path, ValueError("image dog\udcff\x1b[31m.png"))
    lines = (tmp_path / "error.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == r"ValueError: image dog\udcff\x1b[31m.png"
    assert lines[2].startswith("ValueError")
