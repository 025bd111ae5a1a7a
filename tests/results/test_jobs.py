"""Which jobs are finished, and which options tell them apart."""

import errno
import json
import os
from pathlib import Path

import pytest

from harmonia.results.jobs import JobFolder, find_jobs

TRANSFER = {"source": {"name": "e7"}, "evaluation": {"name": "transfer", "areas": [0.3]}, "data": {"root": "woof"}}
SCORES = TRANSFER | {"evaluation": {"name": "boxes", "metric": {"tolerance_px": 0.0}}}


def told_apart(config, other):
    return job_of(config).options != job_of(other).options


def job_of(config):
    rows_file = "scores.parquet" if "metric" in config["evaluation"] else "rows.parquet"
    return JobFolder(Path(), config, rows_file=rows_file)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"name": "folder", "root": "/mine/photos"}, "photos"),
        ({"name": "folder", "root": "photos/"}, "photos"),
        ({"name": "folder", "root": None, "labels": "labels.csv"}, "folder"),
        ({"name": "flowers", "root": "photos"}, "flowers"),
        ({"root": "photos"}, "photos"),
        ({}, "unnamed data"),
    ],
)
def test_a_folder_of_the_users_own_goes_by_its_own_name(data, name):
    assert job_of(TRANSFER | {"data": data}).data_name == name


@pytest.mark.parametrize("config", [TRANSFER, SCORES])
def test_a_job_from_before_there_were_boxes_is_one_without_them(config):
    assert not told_apart(config, config | {"data": {"root": "woof", "boxes": None}})


def test_boxes_tell_scores_apart_and_neither_transfer_nor_data_sets():
    first, second = ({"data": {"root": "woof", "boxes": name}} for name in ("a.csv", "b.csv"))
    assert told_apart(SCORES | first, SCORES | second)
    assert not told_apart(TRANSFER | first, TRANSFER | second)
    assert len({job_of(SCORES | boxes).data_options for boxes in (first, second, {})}) == 1


def test_a_class_that_moved_between_versions_makes_no_variant_and_another_class_does():
    old, new, another = (
        TRANSFER | {"fill": {"_target_": path, "name": "black"}, "method": {"inner": {"_target_": f"{path}.Cam"}}}
        for path in ("harmonia.fill.Black", "harmonia.features.fill.Black", "harmonia.features.fill.Mean")
    )
    assert not told_apart(old, new)
    assert told_apart(new, another)


@pytest.mark.parametrize(
    ("files", "error"),
    [
        (["hums.parquet", "more.json"], None),  # a kind of evaluation that no module here names
        (["other.parquet", "hums.parquet"], "unfinished: no other.parquet"),
        (["../job/hums.parquet"], "unfinished: no rows"),  # no plain name
        ("hums.parquet", "unfinished: no rows"),
        (None, "unfinished: no rows"),  # an earlier version's that died
    ],
)
def test_a_job_is_finished_when_the_rows_that_it_records_are_there(tmp_path, files, error):
    folder = tmp_path / "job"
    folder.mkdir()
    for name in ("config.yaml", "summary.json", "hums.parquet"):
        (folder / name).write_text("{}")
    (folder / "environment.json").write_text(json.dumps({"files": files}))
    (job,) = find_jobs(tmp_path)
    assert (job.finished, job.error) == (error is None, error)


@pytest.mark.parametrize("name", ["rows.parquet", "localisation.parquet", "scores.parquet"])
@pytest.mark.parametrize("environment", [None, "{}", "[]", "torn"])
def test_a_job_of_a_version_that_recorded_no_files_is_finished_with_the_rows_of_its_kind(tmp_path, name, environment):
    for file in ("config.yaml", "summary.json", name):
        (tmp_path / file).write_text("{}")
    if environment is not None:
        (tmp_path / "environment.json").write_text(environment)
    (job,) = find_jobs(tmp_path)
    assert job.finished
    assert job.rows_file == name
    assert job.started == ""


def test_a_folder_that_cannot_be_read_is_an_unfinished_job_and_links_are_counted(tmp_path, monkeypatch, caplog):
    for name in ("shut", "open"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("source: {name: e7}")
    (tmp_path / "linked").symlink_to("open")
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("shut"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    (tmp_path / "shut" / "config.yaml").unlink()
    jobs = {job.folder.name: job.error for job in find_jobs(tmp_path)}
    assert jobs.keys() == {"open", "shut"}
    assert "shut" in jobs["shut"]
    assert caplog.messages == [f"{tmp_path}: 1 folders are links, which are not followed, first {tmp_path}/linked"]
