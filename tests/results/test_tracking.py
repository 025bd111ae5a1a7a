import csv
import json
import logging

import numpy as np
import pandas as pd
import pytest
import wandb
import yaml
from omegaconf import OmegaConf
from paths import CONF
from pytorch_lightning.loggers import CSVLogger, WandbLogger

from harmonia.results.rows import read_summary, write_summary
from harmonia.results.trackers import wandb_table
from harmonia.results.tracking import (
    Media,
    finish,
    image_table,
    make_logger,
    metrics,
    mosaic_media,
    publish,
    score_media,
    tracked_rows,
    transfer_media,
)

LOGGERS = CONF / "logger"
SUMMARY = {
    "e6/soft/accuracy": 0.1 + 0.2,
    "e6/soft/retention": None,
    "e6/soft/images": 3929,
    "e6/image/ece": 1e-7,
}
CONFIG = {"source": {"name": "e7", "weights": None}, "seed": 0}


def group(name, folder):
    """The logger config as a job composes it."""
    tracking = {"group": "sweep-1", "job_type": "transfer", "tags": ["e7", "ss"], "name": "e7 ss"}
    node = {
        "logger": OmegaConf.load(LOGGERS / f"{name}.yaml"),
        "paths": {"job": str(folder)},
        "tracking": tracking,
    }
    return OmegaConf.create(node).logger


def job_rows(probabilities=(0.5,), arms=("image", "soft")):
    """One target's rows; images are numbered, the label is dog and an even image's prediction too."""
    count = len(probabilities)
    constant = {"target": "e6", "label": "dog", "explained": "dog", "source_predicted": "dog", "flag": ""}
    parts = [
        pd.DataFrame(
            {
                **constant,
                "image_id": [f"n{number}" for number in range(count)],
                "arm": arm,
                "predicted": ["dog" if number % 2 == 0 else "owl" for number in range(count)],
                "p_label": np.asarray(probabilities) * (1 if arm == "image" else np.nan),
                "p_explained": np.asarray(probabilities),
                "kept_area": 1.0 if arm == "image" else 0.25,
            }
        )
        for arm in arms
    ]
    return pd.concat(parts, ignore_index=True)


def publish_transfer(logger, summary, rows, panel=()):
    publish(logger, summary, CONFIG, lambda: transfer_media(rows, summary, panel))


def panel(count=1):
    return [(f"<b>{number}</b>", np.full((8, 8, 3), number, np.uint8)) for number in range(count)]


def ours(caplog):
    return [one for one in caplog.records if one.name.startswith("harmonia") and one.levelno >= logging.WARNING]


pytestmark = pytest.mark.usefixtures("offline")


@pytest.mark.slow
def test_wandb_holds_the_numbers_of_summary_json(tmp_path, history):
    rng = np.random.default_rng(0)
    many = {f"e6/area{n}/metric{n}": float(value) for n, value in enumerate(rng.uniform(size=2000))}
    write_summary(tmp_path, SUMMARY | many)  # more than one 32 KiB block
    probabilities = np.array([0.05, 0.97, 0.96, np.nan, 1.0])
    logger = make_logger(group("wandb", tmp_path))
    publish_transfer(logger, read_summary(tmp_path), job_rows(probabilities), panel(2))
    finish(logger)

    logged = history(tmp_path)
    defined = {name: value for name, value in read_summary(tmp_path).items() if value is not None}
    assert {name: logged[name] for name in logged if name.startswith("e6/")} == defined
    assert logged["samples//captions"] == ["<b>0</b>", "<b>1</b>"]
    assert sum(logged["histograms/e6/image/p_label//values"]) == 4  # without the NaN
    assert logged["histograms/e6/image/p_label//values"][-1] == 3
    assert not any(name.startswith("histograms/e6/soft") for name in logged)


@pytest.mark.slow
def test_a_wandb_table_has_a_line_per_image_and_target(tmp_path, logged_table):
    rows = job_rows([0.25, np.nan, 0.75])
    logger = make_logger(group("wandb", tmp_path))
    publish_transfer(logger, SUMMARY, pd.concat([rows, rows.assign(target="e5")[:3]]))
    finish(logger)
    table = logged_table(tmp_path, "images").set_index(["target", "image_id"])
    assert list(table.index) == [("e6", "n0"), ("e6", "n1"), ("e6", "n2"), ("e5", "n0"), ("e5", "n1"), ("e5", "n2")]
    assert table.loc[("e6", "n1"), "soft/predicted"] == "owl"
    assert table.loc[("e6", "n2"), "soft/p_explained"] == 0.75
    assert table.loc[("e6", "n0"), "soft/kept_area"] == 0.25
    assert table.loc[[("e6", "n1"), ("e5", "n0")], ["image/p_label", "soft/predicted"]].isna().values.tolist() == [
        [True, False],
        [False, True],
    ]


@pytest.mark.slow
def test_scored_cells_are_a_histogram_and_a_table(tmp_path, history, logged_table):
    cells = pd.DataFrame(
        {"protocol": "gridpg", "image_id": ["n0", "n1"], "localisation": [0.0, 0.97], "undefined": [True, False]}
    )
    logger = make_logger(group("wandb", tmp_path))
    publish(logger, {"e7/gridpg/localisation": 0.485}, CONFIG, lambda: mosaic_media(cells))
    finish(logger)
    logged = history(tmp_path)
    assert logged["e7/gridpg/localisation"] == 0.485
    values = logged["histograms/gridpg/localisation//values"]
    assert (values[0], values[-1], sum(values)) == (1, 1, 2)
    assert logged_table(tmp_path, "cells")["image_id"].tolist() == ["n0", "n1"]


def test_scores_of_maps_are_histograms_and_a_table_with_a_line_per_image(tmp_path, history, logged_table):
    scores = pd.DataFrame(
        {
            "image_id": ["a", "b", "c"] * 2,
            "label": "dog",
            "explained": ["dog", "cat", "dog"] * 2,
            "p_explained": 0.5,
            "evaluation": "road",
            "metric": ["road"] * 3 + ["road_morf"] * 3,
            "value": [-2.0, 3.0, np.nan, 0.5, np.nan, np.nan],
            "reason": ["", "", "zero", "", "no change", "zero"],
        }
    )
    logger = make_logger(group("wandb", tmp_path))
    publish(logger, {"e7/road/road": 0.5, "e7/road/road_morf": None}, CONFIG, lambda: score_media(scores))
    finish(logger)
    logged = history(tmp_path)
    assert logged["e7/road/road"] == 0.5
    assert "e7/road/road_morf" not in logged
    assert sum(logged["histograms/road/road//values"]) == 2
    assert sum(logged["histograms/road/road_morf//values"]) == 1
    table = logged_table(tmp_path, "images").set_index("image_id")
    assert table["road"].tolist()[:2] == [-2.0, 3.0]
    assert table.loc["c", ["road", "road_morf"]].isna().all()
    assert table["reason"].fillna("").tolist() == ["", "no change", "zero"]


def test_wandb_draws_accuracy_and_its_control_over_the_kept_area(tmp_path, history, records):
    rows = job_rows(arms=["image", "area30", "area10", "blobs10"])
    summary = {"e6/area30/accuracy": 0.5, "e6/area10/accuracy": 0.25, "e6/blobs10/accuracy": 0.125}
    summary |= {"e6/area10/above_control": None}
    logger = make_logger(group("wandb", tmp_path))
    publish_transfer(logger, summary, rows)
    finish(logger)
    curves = {name: values for name, values in history(tmp_path).items() if name.startswith("curves/")}
    assert curves == {
        "curves/kept_area": [0.1, 0.3],
        "curves/e6/accuracy": [0.25, 0.5],
        "curves/e6/control": [0.125],
    }
    axes = {record.metric.glob_name or record.metric.name: record.metric for record in records(tmp_path)}
    assert axes["curves/*"].step_metric == "curves/kept_area"


def test_of_many_images_the_table_has_some_from_the_first_to_the_last(monkeypatch):
    monkeypatch.setattr("harmonia.results.tracking.TABLE_IMAGES", 3)
    assert image_table(job_rows(np.linspace(0, 1, 9)))["image_id"].tolist() == ["n0", "n4", "n8"]


def test_rows_of_controls_are_not_read(tmp_path, logged_job):
    logged_job(tmp_path / "0", arms=("image", "soft", "dim", "area30", "blobs30"))
    rows = tracked_rows(tmp_path / "0")
    assert list(rows["arm"].unique()) == ["image", "soft", "area30"]
    assert len(rows) == 3 * 4


def test_of_a_control_only_accuracy_and_retention_are_logged():
    summary = {f"e6/{arm}/{name}": 0.5 for arm in ("soft", "blobs30") for name in ("accuracy", "retention", "ece")}
    logged = metrics(summary | {"images": 4, "network_passes/e6": 8})
    assert set(summary) - set(logged) == {"e6/blobs30/ece"}
    assert logged["network_passes/e6"] == 8


def test_lines_beyond_wandbs_limit_are_left_out_and_said(monkeypatch, caplog):
    monkeypatch.setattr(wandb.Table, "MAX_ARTIFACT_ROWS", 2)
    with caplog.at_level(logging.WARNING, "harmonia"):
        table = wandb_table(pd.DataFrame({"a": [1.5, np.nan, 3]}))
    assert table.data == [[1.5], [None]]
    assert "1 are left out" in caplog.text


def test_a_wandb_run_names_its_sweep_and_config(tmp_path, records):
    logger = make_logger(group("wandb", tmp_path))
    publish_transfer(logger, SUMMARY, job_rows())
    finish(logger)
    wandb_records = records(tmp_path)
    (run,) = (record.run for record in wandb_records if record.HasField("run"))
    assert (run.project, run.display_name, run.run_group, run.job_type, list(run.tags)) == (
        "harmonia",
        "e7 ss",
        "sweep-1",
        "transfer",
        ["e7", "ss"],
    )
    config = {item.key: json.loads(item.value_json) for record in wandb_records for item in record.config.update}
    assert config == CONFIG


def test_two_jobs_in_one_process_are_two_runs(tmp_path, history, records):
    for number in range(2):
        job = tmp_path / str(number)
        job.mkdir()
        logger = make_logger(group("wandb", job))
        try:
            publish_transfer(logger, {"e6/soft/images": number}, job_rows())
        finally:
            finish(logger)
    ids = {record.run.run_id for n in range(2) for record in records(tmp_path / str(n)) if record.HasField("run")}
    assert len(ids) == 2
    assert [history(tmp_path / str(number))["e6/soft/images"] for number in range(2)] == [0, 1]


def test_wandb_mode_is_respected(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = make_logger(group("wandb", tmp_path))
    publish_transfer(logger, SUMMARY, job_rows(), panel())
    finish(logger)
    assert not list(tmp_path.glob("wandb/*run-*"))


def test_wandb_that_cannot_start_is_one_warning(tmp_path, monkeypatch, caplog):
    def unreachable(**kwargs):
        raise wandb.errors.CommError("no route\nto host")

    monkeypatch.setattr(wandb, "init", unreachable)
    write_summary(tmp_path, SUMMARY)
    logger = make_logger(group("wandb", tmp_path))
    with caplog.at_level(logging.WARNING, "harmonia"):
        publish_transfer(logger, SUMMARY, job_rows(), panel())
        finish(logger)
    (warning,) = ours(caplog)
    assert "WandbLogger" in warning.getMessage()
    assert "no route to host" in warning.getMessage()
    assert read_summary(tmp_path) == SUMMARY


def test_wandb_without_a_key_is_one_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", "online")
    for name, value in {"WANDB_API_KEY": "", "HOME": str(tmp_path), "NETRC": str(tmp_path / "none")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    logger = make_logger(group("wandb", tmp_path))
    with caplog.at_level(logging.WARNING, "harmonia"):
        publish_transfer(logger, SUMMARY, job_rows())
        finish(logger)
    assert [record.levelname for record in ours(caplog)] == ["WARNING"]


def test_a_broken_picture_costs_no_number(tmp_path, caplog, history):
    logger = make_logger(group("wandb", tmp_path))
    publish_transfer(logger, SUMMARY, job_rows(), [("broken", "not a picture")])
    finish(logger)
    assert history(tmp_path)["e6/soft/accuracy"] == SUMMARY["e6/soft/accuracy"]
    assert len(ours(caplog)) == 1


def test_the_csv_logger_holds_the_numbers_and_the_config(tmp_path):
    logger = make_logger(group("csv", tmp_path))
    assert isinstance(logger, CSVLogger)
    publish_transfer(logger, SUMMARY, job_rows(), panel())
    finish(logger)
    with (tmp_path / "csv" / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert {name: float(row[name]) for name in SUMMARY if name in row} == {
        name: value for name, value in SUMMARY.items() if value is not None
    }
    assert yaml.safe_load((tmp_path / "csv" / "hparams.yaml").read_text()) == CONFIG


def test_media_are_made_for_no_logger_that_takes_none(tmp_path):
    def media() -> Media:
        raise AssertionError("asked for")

    for name in ("csv", "none"):
        logger = make_logger(group(name, tmp_path))
        publish(logger, SUMMARY, CONFIG, media)
        finish(logger)


def test_media_that_cannot_be_made_cost_one_warning_and_no_number(tmp_path, caplog, history):
    logger = make_logger(group("wandb", tmp_path))
    publish(logger, SUMMARY, CONFIG, lambda: score_media(pd.DataFrame()))
    finish(logger)
    assert history(tmp_path)["e6/soft/accuracy"] == SUMMARY["e6/soft/accuracy"]
    assert len(ours(caplog)) == 1


def test_none_is_no_logger(tmp_path):
    logger = make_logger(group("none", tmp_path))
    assert logger is None
    publish_transfer(logger, SUMMARY, job_rows(), panel())
    finish(logger)
    assert list(tmp_path.iterdir()) == []


def test_a_logger_that_cannot_be_made_is_one_warning(caplog):
    assert make_logger({"_target_": "pytorch_lightning.loggers.CSVLogger", "colour": "red"}) is None
    assert [record.levelname for record in ours(caplog)] == ["WARNING"]


def test_every_logger_config_is_headed_and_offline():
    for path in LOGGERS.glob("*.yaml"):
        assert path.read_text().startswith("# ")
    assert group("wandb", "x").mode == "offline"
    assert isinstance(make_logger(group("wandb", "x")), WandbLogger)
