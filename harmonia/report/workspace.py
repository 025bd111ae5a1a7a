"""A W&B workspace over the runs of a sweep and of its report; it holds no number."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmonia.arms import SOFT_ARM
from harmonia.errors import InputError
from harmonia.report.contract import Section, find_sections
from harmonia.report.own_files import DATA, FIGURES, TABLES, OwnFiles
from harmonia.report.panels import RUNS, Panels, needs_extra
from harmonia.results.jobs import JobFolder, find_jobs, logged_to_wandb

NO_ENTITY = "YOUR-NAME"


@dataclass(frozen=True)
class Logged:
    """What there is to show: jobs that have logged, and stems of their report's tables and figures."""

    entity: str
    project: str
    groups: list[str]
    arm: str
    jobs: dict[type[Section], list[JobFolder]]
    tables: list[str]
    figures: list[str]


def find_logged(
    run: str,
    arm: str = SOFT_ARM,
    report: str | None = None,
    entity: str | None = None,
    project: str | None = None,
    sections: Iterable[str] = (),
) -> Logged:
    """What the jobs below a folder and their report have logged to W&B."""
    folder = Path(run)
    if not folder.is_dir():
        raise InputError(f"run must be an existing folder, got {run!r}; name a sweep's or a job's")
    finished = [job for job in find_jobs(folder) if job.finished]
    jobs = logged_to_wandb(finished)
    if not jobs:
        raise InputError(f"run must hold finished jobs with logger=wandb, got {len(finished)} others; run them with it")
    of_sections = {
        known: [job for job in jobs if job.rows_file == known.rows_file] for known in find_sections(sections)
    }
    written = OwnFiles(Path(report) if report is not None else folder / "report")
    if not any(written.stems.values()):
        raise InputError(
            f"report must be a report's folder, got {str(written.folder)!r}; "
            "make one with python -m harmonia.report run=FOLDER logger=wandb"
        )
    logger = jobs[0].group("logger")
    return Logged(
        entity=str(entity or logger.get("entity") or NO_ENTITY),
        project=_checked_project(str(project or logger.get("project"))),
        groups=list(dict.fromkeys(str(job.group("tracking").get("group")) for job in jobs)),
        arm=arm,
        jobs={known: of_section for known, of_section in of_sections.items() if of_section},
        tables=sorted(written.stems[TABLES] + written.stems[DATA]),
        figures=sorted(written.stems[FIGURES]),
    )


def _checked_project(project: str) -> str:
    import wandb
    from wandb.errors import UsageError

    try:
        wandb.Settings(project=project)
    except UsageError as error:
        raise InputError(f"project must be a name that W&B takes: {error}; give project=NAME") from error
    return project


def workspace_of(logged: Logged) -> Any:
    """The workspace, a wandb_workspaces.workspaces.Workspace that has not been saved."""
    with needs_extra():
        import wandb_workspaces.workspaces as ws
    panels = Panels(logged.tables, logged.figures)
    sections: dict[str, list[Any]] = {}
    for known, jobs in logged.jobs.items():
        for heading, shown in known.panels(jobs, logged.arm, panels).items():
            sections.setdefault(heading, []).extend(shown)
    sections["Tables"] = panels.other_tables()
    groups = ", ".join(repr(group) for group in logged.groups)
    return ws.Workspace(
        entity=logged.entity,
        project=logged.project,
        name=f"harmonia, arm {logged.arm}",
        sections=[
            ws.Section(name=name, panels=shown, is_open=number < 3, layout_settings=ws.SectionLayoutSettings(columns=2))
            for number, (name, shown) in enumerate(sections.items())
            if shown
        ],
        settings=ws.WorkspaceSettings(max_runs=RUNS),
        runset_settings=ws.RunsetSettings(filters=f"Metric('Group') in [{groups}]"),
        auto_generate_panels=True,  # every histogram and metric beneath these
    )


def save(workspace: Any) -> None:
    """The workspace on the W&B server."""
    from wandb.errors import Error

    if workspace.entity == NO_ENTITY:
        raise InputError("entity must be given to save, got none; write entity=NAME, your W&B user or team")
    try:
        workspace.save()
    except (Error, OSError, ValueError) as error:
        where = f"{workspace.entity}/{workspace.project}"
        raise InputError(
            f"save: W&B did not take the workspace of {where!r}: {error}; check wandb login, entity= and project=, "
            "or leave save out"
        ) from error
