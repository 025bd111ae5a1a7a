import csv
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import wandb
import yaml
from omegaconf import OmegaConf
from pytorch_lightning.loggers import CSVLogger, WandbLogger

from harmonia.results import read_summary, write_summary
from harmonia.tracking import finish, make_logger, publish

CONF = Path(__file__).parents[1] / "conf" / "logger"
SUMMARY = {
    "e6/soft/accuracy": 0.1 + 0.2,
    "e6/soft/retention": None,
    "e6/soft/images": 3929,
    "e6/image/ece": 1e-7,
}
CONFIG = {"source": {"name": "e7", "weights": None}, "seed": 0}


def group(name, folder):
    """The logger config as a job composes it."""
    tracking = {"group": "sweep-1", "job_type": "transfer", "tags": ["e7", "ss"]}
    node = {
        "logger": OmegaConf.load(CONF / f"{name}.yaml"),
        "paths": {"job": str(folder)},
        "tracking": tracking,
    }
    return OmegaConf.create(node).logger


def panel(count=1):
    return [(f"<b>{number}</b>", np.full((8, 8, 3), number, np.uint8)) for number in range(count)]


def ours(caplog):
    return [one for one in caplog.records if one.name.startswith("harmonia") and one.levelno >= logging.WARNING]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    wandb.finish()


def test_wandb_holds_the_numbers_of_summary_json(tmp_path, history):
    rng = np.random.default_rng(0)
    many = {f"e6/arm{n}/metric{n}": float(value) for n, value in enumerate(rng.uniform(size=2000))}
    write_summary(tmp_path, SUMMARY | many)  # more than one 32 KiB block
    probabilities = np.array([0.05, 0.97, 0.96, np.nan, 1.0])
    logger = make_logger(group("wandb", tmp_path))
    histograms = {"e6/image": probabilities, "e6/soft": np.array([np.nan])}
    publish(logger, read_summary(tmp_path), CONFIG, panel(2), histograms)
    finish(logger)

    logged = history(tmp_path)
    defined = {name: value for name, value in read_summary(tmp_path).items() if value is not None}
    assert {name: logged[name] for name in logged if name.startswith("e6/")} == defined
    assert logged["samples//captions"] == ["<b>0</b>", "<b>1</b>"]
    assert sum(logged["histograms/e6/image//values"]) == 4  # without the NaN
    assert logged["histograms/e6/image//values"][-1] == 3
    assert not any(name.startswith("histograms/e6/soft") for name in logged)


def test_a_wandb_run_names_its_sweep_and_config(tmp_path, records):
    logger = make_logger(group("wandb", tmp_path))
    publish(logger, SUMMARY, CONFIG, [], {})
    finish(logger)
    found = records(tmp_path)
    (run,) = (record.run for record in found if record.HasField("run"))
    assert (run.project, run.run_group, run.job_type, list(run.tags)) == (
        "harmonia",
        "sweep-1",
        "transfer",
        ["e7", "ss"],
    )
    config = {item.key: json.loads(item.value_json) for record in found for item in record.config.update}
    assert config == CONFIG


def test_two_jobs_in_one_process_are_two_runs(tmp_path, history, records):
    for number in range(2):
        job = tmp_path / str(number)
        job.mkdir()
        logger = make_logger(group("wandb", job))
        try:
            publish(logger, {"e6/soft/images": number}, CONFIG, [], {})
        finally:
            finish(logger)
    ids = {record.run.run_id for n in range(2) for record in records(tmp_path / str(n)) if record.HasField("run")}
    assert len(ids) == 2
    assert [history(tmp_path / str(number))["e6/soft/images"] for number in range(2)] == [0, 1]


def test_wandb_mode_is_respected(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = make_logger(group("wandb", tmp_path))
    publish(logger, SUMMARY, CONFIG, panel(), {})
    finish(logger)
    assert not list(tmp_path.glob("wandb/*run-*"))


def test_wandb_that_cannot_start_is_one_warning(tmp_path, monkeypatch, caplog):
    def unreachable(**kwargs):
        raise wandb.errors.CommError("no route\nto host")

    monkeypatch.setattr(wandb, "init", unreachable)
    write_summary(tmp_path, SUMMARY)
    logger = make_logger(group("wandb", tmp_path))
    with caplog.at_level(logging.WARNING, "harmonia"):
        publish(logger, SUMMARY, CONFIG, panel(), {})
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
        publish(logger, SUMMARY, CONFIG, [], {})
        finish(logger)
    assert [record.levelname for record in ours(caplog)] == ["WARNING"]


def test_a_broken_picture_costs_no_number(tmp_path, caplog, history):
    logger = make_logger(group("wandb", tmp_path))
    publish(logger, SUMMARY, CONFIG, [("broken", "not a picture")], {})
    finish(logger)
    assert history(tmp_path)["e6/soft/accuracy"] == SUMMARY["e6/soft/accuracy"]
    assert len(ours(caplog)) == 1


def test_the_csv_logger_holds_the_numbers_and_the_config(tmp_path):
    logger = make_logger(group("csv", tmp_path))
    assert isinstance(logger, CSVLogger)
    publish(logger, SUMMARY, CONFIG, panel(), {"e6/image": np.array([0.5])})
    finish(logger)
    with (tmp_path / "csv" / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert {name: float(row[name]) for name in SUMMARY if name in row} == {
        name: value for name, value in SUMMARY.items() if value is not None
    }
    assert yaml.safe_load((tmp_path / "csv" / "hparams.yaml").read_text()) == CONFIG


def test_none_is_no_logger(tmp_path):
    logger = make_logger(group("none", tmp_path))
    assert logger is None
    publish(logger, SUMMARY, CONFIG, panel(), {})
    finish(logger)
    assert list(tmp_path.iterdir()) == []


def test_a_logger_that_cannot_be_made_is_one_warning(caplog):
    assert make_logger({"_target_": "pytorch_lightning.loggers.CSVLogger", "colour": "red"}) is None
    assert [record.levelname for record in ours(caplog)] == ["WARNING"]


def test_every_logger_config_is_headed_and_offline():
    for path in CONF.glob("*.yaml"):
        assert path.read_text().startswith("# ")
    assert group("wandb", "x").mode == "offline"
    assert isinstance(make_logger(group("wandb", "x")), WandbLogger)
