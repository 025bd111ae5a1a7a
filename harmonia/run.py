"""The command line: python -m harmonia.run [-m] source=... method=... (see conf/ for every key)."""

if __name__ == "__main__":
    from harmonia.cli.early import answer_signals

    answer_signals()

import os
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from harmonia.cli.entry import conf_folder, exit_code, hydra_words
from harmonia.cli.hydra_node import checked_hydra, remove_unbegun
from harmonia.cli.refusal import refusal
from harmonia.errors import InputError
from harmonia.job.ray_launcher import register
from harmonia.report.after_sweep import report_sweep


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
def job(config: DictConfig) -> None:
    # torch takes seconds to import: --help, --cfg and a wrong setting must not pay for it
    from harmonia.job.settings import settings_of

    try:
        settings = settings_of(config)
        from harmonia.job import pipeline

        pipeline.run(settings)
    except InputError:
        remove_unbegun()
        raise


def main() -> int:
    # Hydra would print its own errors in several lines and end with 1; so they come here
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register()
    program, *words = sys.argv
    sys.argv = [program, *hydra_words(words)]
    return exit_code(
        _jobs_and_report,
        lambda error: refusal(error, conf_folder(), words),
        "interrupted; the same command resumes, finished shards are kept",
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
