"""The report that a sweep writes when its last job has ended, well or badly, and a single run that went well."""

import logging
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from harmonia.arms import SOFT_ARM
from harmonia.errors import InputError, one_line

log = logging.getLogger(__name__)
_due: list[tuple[Path, str, list[str]]] = []  # reports to be written: folder, arm, classes of the user's own packages


class ReportAfterSweep(Callback):
    """Hydra callback that remembers which sweep has started or which run is done; report_sweep does the rest."""

    def __init__(self, arm: str = SOFT_ARM) -> None:
        self._arm = arm

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._remember(config, config.hydra.sweep.dir)

    def on_run_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        # not on_run_start: a refused configuration leaves the folder with an earlier run's rows, or none
        if job_return.status is JobStatus.COMPLETED:
            self._remember(config, config.hydra.run.dir)

    def _remember(self, config: DictConfig, folder: str) -> None:
        start = OmegaConf.select(config, "hydra.runtime.cwd", throw_on_missing=False) or "."
        # those of harmonia are known without torch, which their evaluations import; others are no code to be run
        packages = OmegaConf.select(config, "packages") or ()
        own = [name for name in _evaluations(config) if name.partition(".")[0] in packages]
        _due.append((Path(start, folder), self._arm, list(dict.fromkeys(own))))


def _evaluations(config: DictConfig) -> Iterator[str]:
    """Classes of the evaluation that is configured and of those that are swept."""
    if configured := OmegaConf.select(config, "evaluation._target_", throw_on_missing=False):
        yield str(configured)
    words = list(OmegaConf.select(config, "hydra.overrides.task") or ())
    words += [f"{key}={values}" for key, values in (OmegaConf.select(config, "hydra.sweeper.params") or {}).items()]
    swept = [word for word in words if word.startswith("evaluation=")]
    hydra = GlobalHydra.instance()
    loader = hydra.config_loader() if hydra.is_initialized() else None  # for globs
    overrides = [word for word in OverridesParser.create(loader).parse_overrides(swept) if word.is_sweep_override()]
    options = [f"evaluation/{option}" for override in overrides for option in override.sweep_string_iterator()]
    for option, source in product(options, loader.get_sources() if loader else ()):  # on all of Hydra's search path
        if source.is_config(option) and (target := OmegaConf.select(source.load_config(option).config, "_target_")):
            yield str(target)


def report_sweep() -> int:
    """The report of the sweep or run that this process has done, if any; 1 if one failed, when the jobs' rows are
    safe, or found no job."""
    code = 0
    while _due:
        folder, arm, evaluations = _due.pop()
        if not folder.is_dir():
            continue  # refused before it could be made, and said so
        try:
            # pandas takes a second to import: --help must not pay for it
            from harmonia.report.wandb_run import track_report
            from harmonia.report.write import write_report
            from harmonia.report.written import print_report
            from harmonia.results.jobs import logged_to_wandb

            own = map(get_class, evaluations)
            sections = [evaluation.section for evaluation in own if hasattr(evaluation, "section")]
            report = write_report(folder, arm=arm, sections=sections)
            if logged_to_wandb(report.jobs):
                track_report(report)  # first: the terminal ends with the answer
            print_report(report)
            code = max(code, int(not report.complete or not (report.jobs or report.left_out)))
        except Exception as error:
            code = 1
            known = isinstance(error, InputError | OSError | MemoryError)
            remedy = f"the jobs' rows are kept; make it again with python -m harmonia.report run={folder}"
            log.error("the report failed (%s); %s", one_line(error), remedy, exc_info=not known)
    return code
