"""One job: the stages of an evaluation, then its files and its log.

images, models  ->  stages (sets of the store)  ->  rows in the job's folder  ->  summary.json, W&B
"""

import logging
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from harmonia.errors import InputError
from harmonia.job import folder as job_folder
from harmonia.job.contract import Job
from harmonia.job.device import arithmetic
from harmonia.job.prepare import InMemory, prepare
from harmonia.job.settings import Settings
from harmonia.models.joint import Joint
from harmonia.results import rows, tracking

log = logging.getLogger(__name__)

Summary = dict[str, float | int | None]


def run(settings: Settings, in_memory: InMemory | None = None) -> Summary:
    """The whole job; returns its summary, which is also on disk."""
    folder = Path(settings.paths.job)
    folder.mkdir(parents=True, exist_ok=True)
    job_folder.refuse_foreign(folder)
    with job_folder.sole_writer(folder) as alone:
        if alone:
            return _run(settings, folder, in_memory)
    log.info("another process runs this job in %s: helping it", folder)
    with job_folder.helper_folder(folder) as own, arithmetic(settings.num_threads, settings.precision):
        _compute(settings, own, in_memory)  # for the store: the rows are the other's to write
    with job_folder.sole_writer(folder, wait=True):
        if job_folder.holds_finished_job(folder, settings.resolved):
            return rows.read_summary(folder)
        if (folder / rows.SUMMARY).exists():
            raise InputError(
                f"{folder} must be one job's, and another with other settings has just ended in it; what this one "
                "computed is in the store: start it again with hydra.run.dir= or hydra.sweep.dir= of its own"
            )
        return _run(settings, folder, in_memory)  # the other one has died


def _run(settings: Settings, folder: Path, in_memory: InMemory | None) -> Summary:
    """The job in a folder that no other process writes."""
    try:
        with arithmetic(settings.num_threads, settings.precision):
            job, summary = _compute(settings, folder, in_memory)
        job_folder.seal_files(folder, job.evaluation.files)
        rows.write_summary(folder, summary)
    except Exception as error:
        job_folder.record_failure(folder, error)
        raise
    _track(job, summary)
    return summary


def _compute(settings: Settings, folder: Path, in_memory: InMemory | None) -> tuple[Job, Summary]:
    """Every stage, then the rows; gives the job, its metrics and its counts."""
    started = time.monotonic()
    job = prepare(settings, folder, in_memory=in_memory)
    # only now: a configuration that is refused leaves an earlier result in the folder alone
    files = job.evaluation.files
    job_folder.begin(folder, settings.resolved, files)
    networks: dict[str, dict[str, Any]] = {
        model.name: dict(model.size_facts()) for model in (job.source, *job.targets.values())
    }
    if isinstance(job.source, Joint):
        networks[job.source.name]["voters"] = [member.name for member in job.source.members]
        numbers = {member.digest for member in job.source.members}
        for target in job.targets.values():
            networks[target.name]["voted"] = target.digest in numbers  # whatever it is called here
    job_folder.write_environment(folder, job.device, networks, files)
    scores = evaluate(job)
    job.viewed.say_what_was_not_turned()
    if job.viewed.dim:
        log.warning(
            "%s: no image uses more than a sixteenth of its range, they are nearly black (12 bits stored in 16?)",
            job.images.name,
        )
    return job, {
        **scores,
        "images": len(job.images.records) - len(job.viewed.unreadable),
        "images_unreadable": len(job.viewed.unreadable),
        "images_decoded": job.viewed.decoded,
        "seconds": round(time.monotonic() - started, 3),
    }


def evaluate(job: Job) -> Summary:
    """Completes every stage of the job's evaluation, then writes its rows; gives its metrics and counts."""
    counts: Counter[str] = Counter()
    for stage in job.evaluation.stages(job):
        counts.update(stage.complete().counts)
    return {**job.evaluation.write(job), **counts}


def _track(job: Job, summary: dict[str, Any]) -> None:
    """The job's numbers and pictures in the configured logger; a logger's failure is a warning."""
    logger = None
    try:
        logger = tracking.make_logger(job.settings.logger)
        with tracking.only_warns("the job was not logged"):
            media = partial(job.evaluation.media, job, summary)
            tracking.publish(logger, job.evaluation.logged(summary), dict(job.settings.resolved), media)
    finally:
        tracking.finish(logger)
