"""A W&B workspace over the runs of a sweep and of its report; it holds no number."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmonia.arms import IMAGE_ARM, SOFT_ARM, is_control, is_equal_area
from harmonia.cli.arguments import did_you_mean
from harmonia.errors import InputError
from harmonia.results.jobs import find_jobs, logged_to_wandb, section
from harmonia.results.localisation import LOCALISATION
from harmonia.results.rows import read_rows

MODULE = "harmonia.dashboard"

NO_ENTITY = "YOUR-NAME"
RUNS = 100  # of jobs, that a panel shows at most


@dataclass(frozen=True)
class Logged:
    """What there is to show: names under which jobs and their report have logged."""

    entity: str
    project: str
    groups: list[str]
    arm: str
    targets: list[str]
    areas: bool  # whether equal-area arms have run
    tables: list[str]
    figures: list[str]
    cells: bool = False  # whether cells of mosaics were scored


def find_logged(
    run: str, arm: str = SOFT_ARM, report: str | None = None, entity: str | None = None, project: str | None = None
) -> Logged:
    """What the jobs below a folder and their report have logged to W&B."""
    folder = Path(run)
    if not folder.is_dir():
        raise InputError(f"run must be an existing folder, got {run!r}; name a sweep's or a job's")
    finished = [job for job in find_jobs(folder) if job.finished]
    jobs = logged_to_wandb(finished)
    if not jobs:
        raise InputError(f"run must hold finished jobs with logger=wandb, got {len(finished)} others; run them with it")
    targets: dict[str, None] = {}
    arms: dict[str, None] = {}
    mosaics = [job for job in jobs if (job.folder / LOCALISATION).is_file()]
    for job in jobs:
        if job in mosaics:
            continue
        rows = read_rows(job.folder, ["target", "arm"])
        targets |= dict.fromkeys(rows["target"])
        arms |= dict.fromkeys(rows["arm"])
    arms.pop(IMAGE_ARM, None)
    if len(mosaics) < len(jobs) and arm not in arms:
        raise InputError(f"arm must be one of {', '.join(arms)}, got {arm!r}; {did_you_mean(arm, list(arms), MODULE)}")
    written = Path(report) if report is not None else folder / "report"
    if not (written / "index.html").is_file():
        raise InputError(
            f"report must be a report's folder, got {str(written)!r}; "
            "make one with python -m harmonia.report run=FOLDER logger=wandb"
        )
    logger = section(jobs[0].config, "logger")
    return Logged(
        entity=str(entity or logger.get("entity") or NO_ENTITY),
        project=_checked_project(str(project or logger.get("project"))),
        groups=list(dict.fromkeys(str(section(job.config, "tracking").get("group")) for job in jobs)),
        arm=arm,
        targets=list(targets),
        areas=any(map(is_equal_area, arms)),
        tables=sorted([path.stem for path in written.glob("*.md")]),
        figures=sorted(path.stem for path in written.glob("*.png")),
        cells=bool(mosaics),
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
    with _needs_extra():
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws

    def bars(metric: str, arm: str) -> list[Any]:
        return [
            wr.BarPlot(
                title=f"{metric.replace('_', ' ')}, {target}",
                metrics=[f"{target}/{arm}/{metric}"],
                title_x=f"arm {arm}",
                max_runs_to_show=RUNS,
            )
            for target in logged.targets
        ]

    def tables(*stems: str) -> list[Any]:
        return [wr.WeavePanelSummaryTable(table_name=f"tables/{stem}") for stem in stems]

    def figures(*stems: str) -> list[Any]:
        return [
            wr.MediaBrowser(title=figure, media_keys=[f"figures/{figure}"], num_columns=1)
            for figure in logged.figures
            if figure.startswith(stems)
        ]

    curves = [
        wr.LinePlot(
            title=f"accuracy and its control, {target}",
            x="curves/kept_area",
            title_x="kept area",
            y=[f"curves/{target}/accuracy", f"curves/{target}/control"],
            range_y=(0, 1),
            max_runs_to_show=RUNS,
        )
        for target in logged.targets
    ]
    first = [stem for stem in ("matrix", "transfer_above_control") if stem in logged.tables]
    others = [stem for stem in [*logged.tables, "transfer_matrix"] if stem not in first]
    sections = {
        "Transfer matrix": figures("transfer_matrix") + tables(*first) + bars("retention", logged.arm),
        "Above control": [] if is_control(logged.arm) else bars("above_control", logged.arm),
        "Accuracy against area": (curves if logged.areas else []) + figures("accuracy_by_area"),
        "Class probability": figures("fig2"),
        "Images": [
            *figures("fig1"),
            wr.MediaBrowser(title="samples", media_keys=["samples"], num_columns=1),
            wr.WeavePanelSummaryTable(table_name="images"),
        ],
        "Areas and likeness": figures("area_distributions", "likeness"),
        "Localisation": [
            *figures("localisation"),
            *figures("aggatt"),
            *([wr.WeavePanelSummaryTable(table_name="cells")] if logged.cells else []),
        ],
        "Tables": tables(*others),
    }
    groups = ", ".join(repr(group) for group in logged.groups)
    return ws.Workspace(
        entity=logged.entity,
        project=logged.project,
        name=f"harmonia, arm {logged.arm}",
        sections=[
            ws.Section(
                name=name, panels=panels, is_open=number < 3, layout_settings=ws.SectionLayoutSettings(columns=2)
            )
            for number, (name, panels) in enumerate(sections.items())
            if panels
        ],
        settings=ws.WorkspaceSettings(max_runs=RUNS),
        runset_settings=ws.RunsetSettings(filters=f"Metric('Group') in [{groups}]"),
        auto_generate_panels=True,  # every histogram and metric beneath these
    )


@contextlib.contextmanager
def _needs_extra():
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"the extra dashboard must be installed, got no module {error.name}; pip install 'harmonia[dashboard]'"
        ) from error


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
