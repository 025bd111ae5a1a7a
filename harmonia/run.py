"""The command line: python -m harmonia.run [-m] source=... method=... (see conf/ for every key)."""

import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig

from harmonia.cli.entry import Interrupted, Refused, conf_folder, interruptible, quote_true, sweep_first
from harmonia.cli.refusal import refusal
from harmonia.job.ray_launcher import RayLauncher
from harmonia.report.after_sweep import report_sweep


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
def job(config: DictConfig) -> None:
    # torch takes seconds to import: --help and --cfg must not pay for it
    from harmonia.job import pipeline
    from harmonia.job.settings import settings_of

    try:
        pipeline.run(settings_of(config))
    except Exception as error:
        if HydraConfig.get().mode is RunMode.RUN and refusal(error, conf_folder()) is not None:
            # out of Hydra's hands, which would print a line of its own first; in a sweep it must go on with the rest
            raise Refused from error
        raise


def main() -> int:
    """0: done; 2: the user can mend it, in one line; 130: interrupted; 1: anything else, with its traceback."""
    # Hydra would print its own errors in several lines and end with 1; so they come here
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Hydra builds launchers of the package hydra_plugins alone: the name that conf/hydra/launcher/ray.yaml gives ours
    Plugins.instance().class_name_to_class["hydra_plugins.harmonia.RayLauncher"] = RayLauncher
    program, *words = sys.argv
    sys.argv = [program, *quote_true(sweep_first(words))]
    try:
        with interruptible():
            try:
                job()
            except (Exception, Refused):
                report_sweep()  # of the jobs that did not fail; one that is interrupted waits for no report
                raise
            report_sweep()
    except (KeyboardInterrupt, Interrupted):
        print("harmonia: interrupted; the same command resumes, finished shards are kept", file=sys.stderr)
        return 130
    except (Exception, Refused) as error:
        line = refusal(error, conf_folder(), words)
        if line is None:
            raise
        print(f"harmonia: {line}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
