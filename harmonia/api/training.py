"""From Python what python -m harmonia.fit does."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmonia.api.asked import as_before, checked_options, in_one_line
from harmonia.cli.composed import composed_conf
from harmonia.cli.network_file import NETWORK
from harmonia.errors import InputError, home
from harmonia.job.folder import LOCK
from harmonia.models.named import source_words
from harmonia.training import fit as training
from harmonia.training.settings import fit_settings_of

_OF_ARGUMENTS = ("source", "source.arch", "data", "data.root", "seed", "paths.job")
_OF_COMMANDS = ("study", "logger", "tracking", "hydra")


@dataclass(frozen=True)
class Fitted:
    """A network that was trained, and where it lies."""

    folder: Path
    summary: dict[str, Any]  # accuracy of the images that judge, a fraction; best_epoch, epochs, images, parameters

    @property
    def file(self) -> Path:
        """What harmonia.classifier and source=fitted source.weights= take."""
        return self.folder / NETWORK


def fit(
    network: str, data: str | Path, folder: str | Path, *, seed: int = 0, options: Sequence[str] = ()
) -> Fitted | None:
    """A network trained on a folder of classes; one that was stopped goes on, a finished one is not trained again.

    network: a name, of a yaml in conf/source or KIND:ARCH. data: train/ and val/ with a folder per class in each, or
    class folders. folder: for what is left, among it model.safetensors. options: further words of the command line,
    "epochs=10", "source.input_size=128", "source.weights=hub". None: another process trains in this folder.
    ValueError, in one line, for what the caller can mend. docs/fitting.md has the recipe.

    >>> import harmonia
    >>> fitted = harmonia.fit("timm:test_resnet", PHOTOS, NETWORK, options=["epochs=10"])  # doctest: +SKIP
    >>> harmonia.explain(harmonia.classifier(fitted.file), PHOTOS)  # doctest: +SKIP
    """
    words = [
        *source_words(network),
        f"seed={seed}",
        "logger=none",
        *checked_options(options, _OF_ARGUMENTS, _OF_COMMANDS),
    ]
    with in_one_line(words, "fit"), as_before():
        config = composed_conf(words, "fit")
        config.data.root, config.paths.job, config.tracking.group = str(data), str(home(folder)), None
        was_there = home(folder).exists()
        try:
            summary = training.fit_network(fit_settings_of(config))
        except InputError:
            if not was_there and [path.name for path in home(folder).glob("*")] == [LOCK]:
                shutil.rmtree(home(folder))
            raise
    return None if summary is None else Fitted(home(folder), summary)
