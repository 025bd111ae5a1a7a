"""Laws of a report's W&B run, read from the file that wandb writes offline."""

import json
import logging
import re

import pandas as pd
import pytest
import wandb
import yaml
from paths import REPOSITORY
from PIL import Image
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args
from wandb.sdk.lib.config_util import save_config_file_from_dict

from harmonia.report.__main__ import main
from harmonia.report.wandb_run import track_report
from harmonia.report.write import write_report
from harmonia.results.jobs import find_jobs

pytestmark = pytest.mark.usefixtures("offline", "blank_figures")


@pytest.mark.usefixtures("drawn_figures")
def test_a_reports_run_holds_its_tables_figures_and_headline(
    tmp_path, logged_job, history, logged_table, records, capsys
):
    logged_job(tmp_path / "0")
    assert main([f"run={tmp_path}", "logger=wandb"]) == 0
    report = tmp_path / "report"
    lines = [line for line in capsys.readouterr().out.splitlines() if "W&B" in line]
    assert len(lines) == 1
    assert lines[0].endswith(str(next(report.glob("wandb/offline-run-*"))))

    logged = history(report)
    written = {path.stem for path in report.glob("*.csv")}
    tables = {name.removeprefix("tables/").partition("//")[0] for name in logged if name.startswith("tables/")}
    assert tables == written
    matrix = pd.read_csv(report / "transfer_matrix.csv")
    pd.testing.assert_frame_equal(
        logged_table(report, "tables/transfer_matrix")[["arm", "retention", "above_control"]],
        matrix[["arm", "retention", "above_control"]],
        check_dtype=False,
    )
    assert logged["e7/ss/soft/above_control"] == matrix.set_index("arm").loc["soft", "above_control"] == 0.25

    figures = {name.removeprefix("figures/").partition("//")[0] for name in logged if name.startswith("figures/")}
    assert figures == {path.stem for path in report.glob("*.png")}
    (kept,) = report.glob(f"wandb/offline-run-*/files/{logged['figures/transfer_matrix//path']}")
    with Image.open(kept) as copy, Image.open(report / "transfer_matrix.png") as drawn:
        assert copy.tobytes() == drawn.tobytes()

    logged = records(report)
    (run,) = (record.run for record in logged if record.HasField("run"))
    assert (run.project, run.run_group, run.job_type, list(run.tags)) == (
        "harmonia",
        "sweep",
        "report",
        ["e7", "ss", "woof"],
    )
    (tables,) = (record.artifact for record in logged if record.artifact.name == "report-tables")
    files = {path.name for kind in ("csv", "md", "tex") for path in report.glob(f"*.{kind}")}
    assert {entry.path for entry in tables.manifest.contents} == files - {"README.md"}
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["arm"] == "soft"


def test_wandb_that_fails_costs_the_report_one_warning(tmp_path, logged_job, monkeypatch, caplog):
    logged_job(tmp_path / "0")

    def unreachable(**kwargs):
        raise wandb.errors.CommError("no route to host")

    monkeypatch.setattr(wandb, "init", unreachable)
    report = write_report(tmp_path)
    with caplog.at_level(logging.WARNING, "harmonia"):
        track_report(report)
    (warning,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert "no route to host" in warning.getMessage()
    assert (tmp_path / "report" / "table1.md").is_file()


def test_a_wandb_run_beneath_a_report_is_no_job(tmp_path, logged_job):
    logged_job(tmp_path / "0")
    files = tmp_path / "report" / "wandb" / "run-1" / "files"
    files.mkdir(parents=True)
    (files / "config.yaml").write_text("wandb_version: 1")
    assert [job.folder.name for job in find_jobs(tmp_path)] == ["0"]


def test_an_unknown_logger_is_refused(tmp_path, logged_job, capsys):
    logged_job(tmp_path / "0")
    assert main([f"run={tmp_path}", "logger=csv"]) == 2
    assert "logger must be none or wandb, got 'csv'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_job_of_a_wandb_sweep_runs_as_the_agent_types_it_and_logs_what_the_sweep_asks_for(
    cli, tmp_path, monkeypatch, history, records, needs_samples
):
    text = (REPOSITORY / "docs" / "wandb.md").read_text()
    (block,) = re.findall(r"^```yaml\n(program.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    sweep = yaml.safe_load(block)
    first = {name: {"value": values["values"][0]} for name, values in sweep["parameters"].items()}
    agents = {name: words for name, words in create_sweep_command_args({"args": first}).items() if name != "args_dict"}
    agents |= {"env": [], "interpreter": ["python"], "program": [sweep["program"]]}
    words = [word for part in sweep["command"] for word in agents.get(part[2:-1], [part])]
    assert words[:3] == ["python", "-m", "harmonia.run"]
    save_config_file_from_dict(str(tmp_path / "sweep.yaml"), first)  # as the agent does, and its environment
    for name, value in {
        "SWEEP_ID": "sweep7",
        "RUN_ID": "run7",
        "SWEEP_PARAM_PATH": str(tmp_path / "sweep.yaml"),
    }.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    wandb.teardown()  # it reads the environment once a process
    small = ["data.limit=3", "source.input_size=96", "target.lite1.input_size=192", "hydra.run.dir=job"]
    code, _, err = cli(*words[3:], *small)
    wandb.teardown()
    assert code == 0, err
    assert sweep["metric"]["name"] in history(tmp_path / "job")
    (run,) = (record.run for record in records(tmp_path / "job") if record.HasField("run"))
    assert (run.run_id, run.sweep_id) == ("run7", "sweep7")
