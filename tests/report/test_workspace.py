"""Laws of the W&B workspace: its panels name what has been logged, and its code builds it again."""

import re
import sys

import pytest
import wandb
from planted_jobs import plant_scores

from harmonia.dashboard import main
from harmonia.report.workspace import make_workspace, workspace_code
from harmonia.report.write import write_report
from harmonia.store.whole import REPORT

pytestmark = pytest.mark.usefixtures("blank_figures")
ws = pytest.importorskip("wandb_workspaces.workspaces", reason="the extra dashboard is not installed")

HOSTILE = "a'b\"c\\d\n{e}"


@pytest.fixture
def logged(tmp_path, logged_job):
    """logged(groups): the workspace of two jobs and their report, one of them with hostile names."""

    def look(*groups):
        for number, (target, group) in enumerate(zip(("e6", HOSTILE), groups or ("sweep-1",) * 2, strict=True)):
            logged_job(tmp_path / str(number), target=target, group=group)
        with REPORT.in_place_of(tmp_path / "report") as report:
            for name in ("table1.csv", "matrix.csv", "transfer_above_control.csv"):
                (report / name).touch()
            for stem in ("fig1", "fig2", "transfer_matrix"):
                (report / f"{stem}.png").touch()
        return make_workspace(str(tmp_path), (), "area30", entity="me")

    return look


def spec(workspace):
    """What W&B would be sent, without the random names of panels."""
    sent = workspace._to_model().model_dump_json(by_alias=True, exclude_none=True)
    return re.sub(r'"__id__":"[a-z0-9]+"', "", sent)


def panels(workspace, section):
    (found,) = (one for one in workspace.sections if one.name == section)
    return found.panels


def executed(code):
    namespace = {"__name__": "printed"}
    exec(compile(code, "printed.py", "exec"), namespace)
    return namespace["workspace"]


def test_the_printed_code_builds_the_same_workspace(logged):
    workspace = logged()
    assert spec(executed(workspace_code(workspace))) == spec(workspace)


def test_curves_and_bars_name_every_targets_metrics(logged):
    workspace = logged()
    curves = [panel for panel in panels(workspace, "Accuracy against area") if hasattr(panel, "y")]
    assert [(panel.x, panel.y) for panel in curves] == [
        ("curves/kept_area", [f"curves/{target}/accuracy", f"curves/{target}/control"]) for target in ("e6", HOSTILE)
    ]
    bars = [panel.metrics for panel in panels(workspace, "Transfer matrix") if hasattr(panel, "metrics")]
    assert bars == [[f"{target}/area30/retention"] for target in ("e6", HOSTILE)]


@pytest.mark.parametrize("group", ["sweep-1", HOSTILE])
def test_only_the_sweeps_runs_are_shown(logged, group):
    sent = logged(group, "other")._to_model()
    (chosen,) = sent.spec.section.run_sets[0].filters["filters"]
    assert (chosen["key"], chosen["op"], chosen["value"]) == (
        {"section": "run", "name": "group"},
        "IN",
        [group, "other"],
    )


def test_the_command_prints_code_that_shows_what_the_report_has(tmp_path, logged_job, capsys):
    logged_job(tmp_path / "0")
    logged_job(tmp_path / "1", target="e5")
    write_report(tmp_path)
    assert main([f"run={tmp_path}", "arm=soft", "entity=me"]) == 0
    workspace = executed(capsys.readouterr().out)
    assert (workspace.entity, workspace.project) == ("me", "harmonia")
    keys = {
        key for section in workspace.sections for panel in section.panels for key in getattr(panel, "media_keys", [])
    }
    assert {f"figures/{path.stem}" for path in (tmp_path / "report").glob("*.png")} | {"samples"} == keys | {
        "figures/answer"
    }
    shown = {panel.table_name for one in workspace.sections for panel in one.panels if hasattr(panel, "table_name")}
    assert shown == {f"tables/{path.stem}" for path in (tmp_path / "report").glob("*.csv")} | {"images"}
    bars = [panel.metrics for panel in panels(workspace, "Transfer matrix") if hasattr(panel, "metrics")]
    assert bars == [["e6/soft/retention"], ["e5/soft/retention"]]


def test_jobs_that_scored_maps_have_a_workspace_too(tmp_path, capsys):
    logger = {"_target_": "pytorch_lightning.loggers.WandbLogger", "project": "harmonia"}
    for method in ("gc", "ss"):
        plant_scores(tmp_path / method, "lite0", method, {"deletion": [0.1, 0.2]}, logger=logger)
    write_report(tmp_path)
    assert main([f"run={tmp_path}"]) == 0
    workspace = executed(capsys.readouterr().out)
    keys = [key for panel in panels(workspace, "Metrics of maps") for key in getattr(panel, "media_keys", [])]
    assert keys == ["figures/ranking"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run={none}"], "run must be an existing folder"),
        (["run={empty}"], "finished jobs with logger=wandb, got 0 others"),
        (["run={sweep}", "arm=sfot"], "did you mean 'soft'"),
        (["run={sweep}", "project=a/b"], "project must be a name that W&B takes"),
        (
            ["run={sweep}", "report={empty}"],
            "make one with python -m harmonia.report run={sweep} out={empty} logger=wandb",
        ),
        (["run={sweep}", "save=true"], "entity must be given to save"),
        (["run={sweep}", "save=yes"], "save must be true or false"),
    ],
)
def test_a_mistake_is_one_line_with_its_remedy(tmp_path, logged_job, capsys, words, message):
    logged_job(tmp_path / "sweep" / "0")
    with REPORT.in_place_of(tmp_path / "sweep" / "report"):
        pass
    (tmp_path / "empty").mkdir()
    folders = {name: tmp_path / name for name in ("sweep", "none", "empty")}
    assert main([word.format(**folders) for word in words]) == 2
    error = capsys.readouterr().err
    assert message.format(**folders) in error
    assert error.count("\n") == 1


def test_a_missing_extra_is_named(tmp_path, logged_job, capsys, monkeypatch):
    logged_job(tmp_path / "0")
    write_report(tmp_path)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    assert main([f"run={tmp_path}"]) == 2
    assert "pip install '.[dashboard]'" in capsys.readouterr().err


def test_a_project_that_wandb_does_not_know_is_named(tmp_path, logged_job, capsys, monkeypatch):
    logged_job(tmp_path / "0")
    write_report(tmp_path)

    def unknown(workspace):
        raise wandb.errors.CommError("project not found")

    monkeypatch.setattr(ws.Workspace, "save", unknown)
    assert main([f"run={tmp_path}", "entity=me", "project=nowhere", "save=true"]) == 2
    error = capsys.readouterr().err
    assert "'me/nowhere'" in error
    assert "project not found" in error


def test_a_torn_job_beside_a_good_one_is_left_out_by_name(logged, tmp_path, caplog):
    logged()
    (tmp_path / "0" / "rows.parquet").write_bytes(b"torn")
    assert panels(make_workspace(str(tmp_path), (), "area30", entity="me"), "Above control")
    assert f"left out: {tmp_path / '0'}" in caplog.text
