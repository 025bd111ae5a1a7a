"""The report that a sweep writes when its last job has ended."""

import logging
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from harmonia.report import print_report, write_report

log = logging.getLogger(__name__)


class ReportAfterSweep(Callback):
    """Hydra callback; a report that fails is a logged error, because the jobs' rows are safe on disk."""

    def __init__(self, arm: str = "soft") -> None:
        self._arm = arm

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            start = OmegaConf.select(config, "hydra.runtime.cwd", throw_on_missing=False) or "."
            print_report(write_report(Path(start, config.hydra.sweep.dir), arm=self._arm))
        except Exception:
            log.exception("The sweep's report failed; make it again with python -m harmonia.report run=FOLDER")
