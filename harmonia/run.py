"""The command line: python -m harmonia.run [-m] source=... method=... (see conf/ for every key)."""

if __name__ == "__main__":
    from harmonia.cli.early import answer_signals

    answer_signals()

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from harmonia.cli.early import importing, keep_freed_memory
from harmonia.cli.entry import conf_folder
from harmonia.cli.hydra_command import hydra_command
from harmonia.cli.hydra_node import checked_hydra, remove_unbegun
from harmonia.errors import InputError
from harmonia.job.ray_launcher import register
from harmonia.report.after_sweep import report_sweep


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
def job(config: DictConfig) -> None:
    try:
        with importing():
            # torch takes seconds to import: --help, --cfg and a wrong setting must not pay for it
            from harmonia.job.settings import settings_of

            settings = settings_of(config)
            from harmonia.job import pipeline

        keep_freed_memory()
        pipeline.run(settings)
    except (InputError, OmegaConfBaseException):
        remove_unbegun()
        raise


def main() -> int:
    register()
    return hydra_command(
        _jobs_and_report,
        "interrupted; the same command resumes from whole shards (store.shard_size images, fewer lose less)",
    )


def _refuse_foreign(folder: Path) -> None:
    if folder.is_dir():
        from harmonia.job.folder import refuse_foreign

        refuse_foreign(folder)


def _jobs_and_report() -> int:
    try:
        with checked_hydra(_refuse_foreign):
            job()
    except Exception:
        report_sweep()  # of the jobs that did not fail; one that is interrupted waits for no report
        raise
    return report_sweep()


if __name__ == "__main__":
    sys.exit(main())
