"""Laws of the W&B workspace: its panels name what has been logged, and its code builds it again."""

import re
import sys

import pytest
import wandb

from harmonia.dashboard import main
from harmonia.report.workspace import Logged, workspace_of
from harmonia.report.workspace_code import workspace_code
from harmonia.report.write import write_report

ws = pytest.importorskip("wandb_workspaces.workspaces", reason="the extra dashboard is not installed")

HOSTILE = "a'b\"c\\d\n{e}"
LOGGED = Logged(
    entity="me",
    project="harmonia",
    groups=["sweep-1"],
    arm="area30",
    targets=["e6", HOSTILE],
    areas=True,
    tables=["table1", "matrix", "transfer_above_control"],
    figures=["fig1", "fig2", "transfer_matrix", "accuracy_by_area"],
)


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


def test_the_printed_code_builds_the_same_workspace():
    workspace = workspace_of(LOGGED)
    assert spec(executed(workspace_code(workspace))) == spec(workspace)


def test_curves_and_bars_name_every_targets_metrics():
    workspace = workspace_of(LOGGED)
    curves = [panel for panel in panels(workspace, "Accuracy against area") if hasattr(panel, "y")]
    assert [(panel.x, panel.y) for panel in curves] == [
        ("curves/kept_area", [f"curves/{target}/accuracy", f"curves/{target}/control"]) for target in LOGGED.targets
    ]
    bars = [panel.metrics for panel in panels(workspace, "Transfer matrix") if hasattr(panel, "metrics")]
    assert bars == [[f"{target}/area30/retention"] for target in LOGGED.targets]


@pytest.mark.parametrize("group", ["sweep-1", HOSTILE])
def test_only_the_sweeps_runs_are_shown(group):
    sent = workspace_of(Logged(**{**vars(LOGGED), "groups": [group, "other"]}))._to_model()
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
    assert {f"figures/{path.stem}" for path in (tmp_path / "report").glob("*.png")} | {"samples"} == keys
    shown = {panel.table_name for one in workspace.sections for panel in one.panels if hasattr(panel, "table_name")}
    assert shown == {f"tables/{path.stem}" for path in (tmp_path / "report").glob("*.csv")} | {"images"}
    bars = [panel.metrics for panel in panels(workspace, "Transfer matrix") if hasattr(panel, "metrics")]
    assert bars == [["e6/soft/retention"], ["e5/soft/retention"]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run={none}"], "run must be an existing folder"),
        (["run={empty}"], "finished jobs with logger=wandb, got 0 others"),
        (["run={sweep}", "arm=sfot"], "did you mean 'soft'"),
        (["run={sweep}", "project=a/b"], "project must be a name that W&B takes"),
        (["run={sweep}", "report={empty}"], "make one with python -m harmonia.report"),
        (["run={sweep}", "save=true"], "entity must be given to save"),
        (["run={sweep}", "save=yes"], "save must be true or false"),
    ],
)
def test_a_mistake_is_one_line_with_its_remedy(tmp_path, logged_job, capsys, words, said):
    logged_job(tmp_path / "sweep" / "0")
    report = tmp_path / "sweep" / "report"
    report.mkdir()
    (report / "index.html").touch()
    (tmp_path / "empty").mkdir()
    folders = {name: tmp_path / name for name in ("sweep", "none", "empty")}
    assert main([word.format(**folders) for word in words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_missing_extra_is_named(tmp_path, logged_job, capsys, monkeypatch):
    logged_job(tmp_path / "0")
    write_report(tmp_path)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    assert main([f"run={tmp_path}"]) == 2
    assert "pip install 'harmonia[dashboard]'" in capsys.readouterr().err


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
