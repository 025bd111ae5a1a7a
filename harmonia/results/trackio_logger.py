"""Trackio, a tracker of Hugging Face's with W&B's interface, as a logger of Lightning's: it has none of its own."""

from argparse import Namespace
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from typing import Any

from pytorch_lightning.loggers.logger import Logger


class TrackioLogger(Logger):
    """One run, kept on this machine unless space_id names a Space of the hub's. Its start and end print nothing.

    ModuleNotFoundError without the extra trackio.
    """

    def __init__(self, project: str, name: str | None = None, group: str | None = None, space_id: str | None = None):
        super().__init__()
        self.library = import_module("trackio")
        self._run, self._config = None, {}
        self._of_run = {"project": project, "name": name, "group": group, "space_id": space_id}

    @property
    def name(self) -> str:
        return str(self._of_run["project"])

    @property
    def version(self) -> str:
        return str(self._of_run["name"])

    @property
    def experiment(self) -> Any:
        """Trackio's run, which starts when it is first asked for: then the configuration is known."""
        if self._run is None:
            still = {"embed": False, "auto_log_cpu": False, "auto_log_gpu": False}
            with redirect_stdout(StringIO()):
                self._run = self.library.init(**self._of_run, config=self._config, **still)
        return self._run

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        self._config = dict(vars(params) if isinstance(params, Namespace) else params)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self.experiment.log(dict(metrics), step=step)

    def finalize(self, status: str) -> None:
        if self._run is not None:
            with redirect_stdout(StringIO()):
                self.library.finish()
