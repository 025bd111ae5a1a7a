"""A W&B workspace over the runs of a sweep and of its report, and Python code that builds it; it holds no number."""

import logging
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harmonia.arms import SOFT_ARM
from harmonia.errors import InputError, one_line, refused
from harmonia.media import visible
from harmonia.report.contract import RUNS, Panels, Section, find_sections
from harmonia.results.jobs import JobFolder, find_jobs, logged_to_wandb
from harmonia.store.whole import REPORT

NO_ENTITY = "YOUR-NAME"
_LOGGED = (r"[^/]+\.csv", r"[^/]+\.png")  # a report's tables and figures


def make_workspace(
    run: str,
    sections: Iterable[str],
    arm: str = SOFT_ARM,
    report: str | None = None,
    entity: str | None = None,
    project: str | None = None,
) -> Any:
    """Of what the jobs below a folder and their report have logged: a wandb_workspaces Workspace, not yet saved."""
    folder = Path(run)
    if not folder.is_dir():
        raise InputError(f"run must be an existing folder, got {run!r}; name a sweep's or a job's")
    finished = [job for job in find_jobs(folder) if job.finished]
    jobs = logged_to_wandb(finished)
    if not jobs:
        raise InputError(f"run must hold finished jobs with logger=wandb, got {len(finished)} others; run them with it")
    written = Path(report) if report is not None else folder / "report"
    if (names := REPORT.own_names(written)) is None:
        out = "" if report is None else f" out={shlex.quote(report)}"
        remedy = f"make one with python -m harmonia.report run={shlex.quote(run)}{out} logger=wandb"
        raise InputError(f"report must be a report's folder, got {str(written)!r}; {remedy}")
    tables, figures = (sorted(Path(name).stem for name in names if re.fullmatch(kind, name)) for kind in _LOGGED)
    logger = jobs[0].group("logger")
    project = str(project or logger.get("project"))
    try:
        import wandb
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
        from wandb.errors import UsageError
    except ImportError as error:
        raise InputError(
            f"the extra dashboard must be installed, got no module {error.name}; pip install '.[dashboard]'"
        ) from error
    with refused("project must be a name that W&B takes, got", "give project=NAME", UsageError):
        wandb.Settings(project=project)
    panels = Panels(wr, tables, figures)
    by_heading: dict[str, list[Any]] = {}
    for section in find_sections(sections):
        if of_section := [job for job in jobs if job.rows_file == section.rows_file and _is_readable(job, section)]:
            for heading, shown in section.panels(of_section, arm, panels).items():
                by_heading.setdefault(heading, []).extend(shown)
    by_heading["Tables"] = panels.tables(*tables)
    groups = dict.fromkeys(str(job.group("tracking").get("group")) for job in jobs)
    return ws.Workspace(
        entity=str(entity or logger.get("entity") or NO_ENTITY),
        project=project,
        name=f"harmonia, arm {arm}",
        sections=[
            ws.Section(name=name, panels=shown, is_open=number < 3, layout_settings=ws.SectionLayoutSettings(columns=2))
            for number, (name, shown) in enumerate(by_heading.items())
            if shown
        ],
        settings=ws.WorkspaceSettings(max_runs=RUNS),
        runset_settings=ws.RunsetSettings(filters=f"Metric('Group') in [{', '.join(map(repr, groups))}]"),
        auto_generate_panels=True,  # every histogram and metric beneath these
    )


def _is_readable(job: JobFolder, section: type[Section]) -> bool:
    try:
        return section.read(job) is not None
    except Exception as error:  # as in a report
        logging.getLogger(__name__).warning("left out: %s: %s", job.folder, one_line(error))
        return False


def save_workspace(workspace: Any) -> None:
    from wandb.errors import Error

    if workspace.entity == NO_ENTITY:
        raise InputError("entity must be given to save, got none; write entity=NAME, your W&B user or team")
    rule = f"save: W&B did not take the workspace of {f'{workspace.entity}/{workspace.project}'!r}"
    remedy = "check wandb login, entity= and project=, or leave save out"
    with refused(rule, remedy, Error, OSError, ValueError):
        workspace.save()


_HEAD = """\
# {name}
# Python with wandb-workspaces (pip install wandb-workspaces); saving takes an account, see wandb login.
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

workspace = {literal}

if __name__ == "__main__":
    workspace.save()
"""


def workspace_code(workspace: Any) -> str:
    """A module that binds an equal workspace to `workspace`; run as a script, it saves it."""
    return _HEAD.format(name=visible(workspace.name), literal=_literal(workspace, ""))


def _literal(value: Any, indent: str) -> str:
    deeper = indent + "    "
    if isinstance(value, list):
        items = "".join(f"{deeper}{_literal(item, deeper)},\n" for item in value)
        return f"[\n{items}{indent}]" if items else "[]"
    if not hasattr(value, "__pydantic_fields__"):
        return repr(value)
    lines = ""
    for attribute, field in type(value).__pydantic_fields__.items():
        name = field.alias or attribute  # that the constructor takes
        given = getattr(value, attribute)
        # what differs from its default, by their text: metrics build a filter out of ==
        if not name.startswith("_") and repr(given) != repr(field.get_default(call_default_factory=True)):
            lines += f"{deeper}{name}={_literal(given, deeper)},\n"
    package = "ws" if type(value).__module__.startswith("wandb_workspaces.workspaces") else "wr"
    return f"{package}.{type(value).__name__}(\n{lines}{indent})"
