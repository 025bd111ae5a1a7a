"""Hydra launcher that queues a sweep's jobs on Ray, each with the GPUs and cores that it asks for.

Imported at every start of harmonia.run: nothing heavy may be imported at the top.
"""

import logging
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from harmonia.cli.early import ending_signals
from harmonia.errors import InputError

log = logging.getLogger(__name__)

# a job on another machine must find the same cache, and log no louder, than one here
_HANDED_ON = ("HARMONIA_CACHE", "WANDB_MODE")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def register() -> None:
    """Under the name that conf/hydra/launcher/ray.yaml gives it: Hydra builds those of hydra_plugins alone."""
    Plugins.instance().class_name_to_class["hydra_plugins.harmonia.RayLauncher"] = RayLauncher


class RayLauncher(Launcher):
    """See conf/hydra/launcher/ray.yaml. A process runs one job and ends: memory and GPU are free for the next."""

    def __init__(self, init: Mapping[str, Any], remote: Mapping[str, Any]) -> None:
        self._init = {key: value for key, value in init.items() if value is not None}
        self._remote = dict(remote)
        self._config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._hydra_context, self._task_function, self._config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """The jobs' returns in order; one whose process died for good is a failed job and stops no other."""
        ray = _ray()
        config = self._config
        assert config is not None, "Hydra calls setup first"
        setup_globals()
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        Path(str(config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        handlers = {number: signal.getsignal(number) for number in ending_signals()}
        ray.init(**self._init, log_to_driver=True, logging_level=logging.WARNING)
        # Ray has put handlers of its own, and what a handler raises inside ray.get is lost unless it is this
        for number in handlers:
            signal.signal(number, _interrupt)
        try:
            self._refuse_what_no_machine_has(ray)
            task = ray.remote(max_calls=1, **self._remote)(_run)
            common = ray.put(
                {
                    "context": self._hydra_context,
                    "task_function": self._task_function,
                    "config": config,
                    "singletons": Singleton.get_state(),
                    "folder": os.getcwd(),
                    "environment": {name: os.environ[name] for name in _HANDED_ON if name in os.environ},
                }
            )
            pending = []
            for number, overrides in enumerate(job_overrides, initial_job_idx):
                log.info("\t#%d : %s", number, " ".join(filter_overrides(overrides)))
                pending.append(task.remote(common, list(overrides), number))
            return [self._outcome(ray, reference) for reference in pending]
        finally:
            ray.shutdown()
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _refuse_what_no_machine_has(self, ray: Any) -> None:
        """Ray would wait for it for ever; a cluster that is joined may still grow."""
        if self._init.get("address") != "local":
            return
        for asked, kind in (("num_gpus", "GPU"), ("num_cpus", "CPU")):
            wanted = self._remote.get(asked) or 0
            most = max((node["Resources"].get(kind, 0) for node in ray.nodes() if node["Alive"]), default=0)
            if most < wanted:
                raise InputError(
                    f"hydra.launcher.remote.{asked} must be what a machine of the Ray cluster has, at most {most:g} "
                    f"{kind}, got {wanted}; write hydra.launcher.remote.{asked}={most:g}"
                )

    @staticmethod
    def _outcome(ray: Any, reference: Any) -> JobReturn:
        try:
            return ray.get(reference)
        except ray.exceptions.RayError as error:
            log.error("a job's process died: %s", " ".join(str(error).split()))
            failed = JobReturn(status=JobStatus.FAILED)
            failed.return_value = error
            return failed


def _run(common: dict[str, Any], overrides: list[str], number: int) -> JobReturn:
    """One job, in a process of Ray's."""
    os.chdir(common["folder"])
    os.environ.update(common["environment"])
    setup_globals()
    Singleton.set_state(common["singletons"])
    config = common["context"].config_loader.load_sweep_config(common["config"], overrides)
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
    return run_job(common["task_function"], config, "hydra.sweep.dir", "hydra.sweep.subdir", common["context"])


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError("hydra/launcher=ray needs Ray, which is not installed; pip install '.[ray]'") from error
    return ray
