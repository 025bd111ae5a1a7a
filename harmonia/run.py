"""The command line: python -m harmonia.run [-m] source=... method=... (see conf/ for every key)."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig

from harmonia.refusal import refusal
from harmonia.sweep_report import report_sweep
from hydra_plugins.harmonia_ray.launcher import RayLauncher


def conf_folder() -> Path:
    """conf/ lies inside the package in a wheel and beside it in a checkout."""
    package = Path(__file__).parent
    shipped = package / "conf"
    return shipped if (shipped / "config.yaml").is_file() else package.parent / "conf"


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
def job(config: DictConfig) -> None:
    # torch takes seconds to import: --help and --cfg must not pay for it
    from harmonia import pipeline

    try:
        pipeline.run(config)
    except Exception as error:
        if HydraConfig.get().mode is RunMode.RUN and refusal(error, conf_folder()) is not None:
            # out of Hydra's hands, which would print a line of its own first; in a sweep it must go on with the rest
            raise Refused from error
        raise


class Refused(BaseException):
    """Passes through Hydra unseen; its cause is for the user to mend."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM. Lightning ends the process on a KeyboardInterrupt and ignores SIGTERM; this passes through."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Both signals raise Interrupted in the main thread; the handlers found are put back."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def quote_true(words: list[str]) -> list[str]:
    """``label=true`` as Hydra must see it: bare, it reads a boolean, which is no option's name."""
    bare = re.compile(r"(?<=[=,\[])true(?=[,\]]|$)")
    return [bare.sub("'true'", word) if word.startswith("label=") else word for word in words]


def sweep_first(words: list[str]) -> list[str]:
    """-m before the overrides: between two of them argparse would take the second for a mistake."""
    flags = [word for word in words if word in ("-m", "--multirun")]
    return [*flags, *(word for word in words if word not in flags)]


def main() -> int:
    """0: done; 2: the user can mend it, in one line; 130: interrupted; 1: anything else, with its traceback."""
    # Hydra would print its own errors in several lines and end with 1; so they come here
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Hydra looks for plugins in folders, of which an editable installation has none
    Plugins.instance().register(RayLauncher)
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
