"""A report's tables and figures as a W&B run of its own, beside those of its jobs: a copy of what the rows gave."""

import os
from pathlib import Path
from typing import Any

from harmonia.media import say
from harmonia.report.answer import ANSWER
from harmonia.report.written import Report, answer_lines
from harmonia.results.jobs import logged_to_wandb
from harmonia.results.trackers import wandb_table
from harmonia.results.tracking import only_warns
from harmonia.store.whole import REPORT


def track_report(report: Report) -> None:
    """The report's tables, figures and headline numbers in one W&B run, and where it lies if it was kept offline.

    Project and group are those of the first job that logged to W&B. A failure of W&B is a warning.
    """
    if report.folder is None or not report.jobs:
        return
    kept = None
    os.environ.setdefault("WANDB_SILENT", "true")
    with only_warns("W&B did not take the whole report"), REPORT.lock(report.folder):
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")  # W&B names those it knows
        run = wandb.init(
            dir=report.folder,
            job_type="report",
            name=f"report {report.arm}",
            notes="\n\n".join(line for section in report.sections for line in answer_lines(section)) or None,
            config={"run": report.run.resolve().name, "arm": report.arm, "jobs": len(report.jobs)},
            mode=mode,
            settings=wandb.Settings(init_timeout=30, finish_timeout=300),  # s, as conf/logger/wandb.yaml
            **_place(report),
        )
        folder = Path(run.dir).parent if run.offline and not run.disabled else None
        try:
            run.log(_content(report))
            run.log_artifact(_tables(report))
        finally:
            run.finish()
        kept = folder
    if kept:
        say(f"W&B: the report is kept offline in {kept}")


def _place(report: Report) -> dict[str, Any]:
    """Project, group and tags."""
    first, *_ = [*logged_to_wandb(report.jobs), *report.jobs]
    logger, tracking = (first.group(name) for name in ("logger", "tracking"))
    named = [job.group(name).get("name") for name in ("source", "method", "data") for job in report.jobs]
    return {
        "project": str(logger.get("project") or "harmonia"),
        "entity": logger.get("entity"),
        "group": str(tracking.get("group") or report.run.resolve().name),
        "tags": list(dict.fromkeys(str(name) for name in named if name)),
    }


def _tables(report: Report) -> Any:
    """The files of all tables: what a paper or another program takes from the server."""
    import wandb

    folder = report.folder or Path()
    artifact = wandb.Artifact("report-tables", type="report", metadata={"arm": report.arm})
    stems = [*(table.stem for table in report.tables), *(stem for section in report.sections for stem in section.data)]
    stems += [ANSWER] if any(section.answers for section in report.sections) else []
    for file in (folder / f"{stem}.{kind}" for stem in stems for kind in ("csv", "md", "tex")):
        if file.is_file():
            artifact.add_file(str(file))
    return artifact


def _content(report: Report) -> dict[str, Any]:
    import wandb

    folder = report.folder or Path()
    tables = {table.stem: table.numbers for table in report.tables}
    metrics: dict[str, Any] = {}
    for section in report.sections:
        tables |= section.data
        metrics |= section.metrics
    content: dict[str, Any] = {f"tables/{stem}": wandb_table(table) for stem, table in tables.items()}
    for figure in report.figures:
        file, caption = str(folder / f"{figure.stem}.png"), f"{figure.title} {figure.caption}"
        content[f"figures/{figure.stem}"] = wandb.Image(file, caption=caption)
    return content | metrics
