"""The report that a sweep writes when its last job has ended, well or badly."""

import logging
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

log = logging.getLogger(__name__)

_started: list[tuple[Path, str]] = []


class ReportAfterSweep(Callback):
    """Hydra callback that remembers which sweep has started; report_sweep does the rest."""

    def __init__(self, arm: str = "soft") -> None:
        self._arm = arm

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        start = OmegaConf.select(config, "hydra.runtime.cwd", throw_on_missing=False) or "."
        _started.append((Path(start, config.hydra.sweep.dir), self._arm))


def report_sweep() -> None:
    """The report of the sweep that has started in this process, if one has.

    A report that fails is a logged error, because the jobs' rows are safe on disk.
    """
    while _started:
        folder, arm = _started.pop()
        try:
            # pandas takes a second to import: --help must not pay for it
            from harmonia.report import print_report, write_report

            print_report(write_report(folder, arm=arm))
        except Exception:
            log.exception("the sweep's report failed; make it again with python -m harmonia.report run=%s", folder)
