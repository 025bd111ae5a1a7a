"""The command line: python -m harmonia.fit [-m] source.arch=... data.root=... (see conf/fit.yaml for every key).

harmonia.fit in Python is the function, whoever has imported this module (harmonia/__init__.py).
"""

if __name__ == "__main__":
    from harmonia.cli.early import answer_signals

    answer_signals()

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from harmonia.cli.early import importing, keep_freed_memory
from harmonia.cli.entry import Interrupted, conf_folder
from harmonia.cli.hydra_command import hydra_command
from harmonia.cli.hydra_node import checked_hydra, remove_unbegun
from harmonia.cli.refusal import typed_word
from harmonia.errors import InputError
from harmonia.job.ray_launcher import register


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="fit")
def fit_one(config: DictConfig) -> None:
    try:
        with importing():
            # torch takes seconds to import: --help, --cfg and a wrong setting must not pay for it
            from harmonia.training.settings import fit_settings_of

            settings = fit_settings_of(config)
            from harmonia.training import fit

        keep_freed_memory()
        fit.fit_network(settings)
    except (InputError, OmegaConfBaseException):
        remove_unbegun()
        raise
    except Interrupted as error:
        known = HydraConfig.get()
        key, folder = ("sweep", known.sweep.dir) if known.mode is RunMode.MULTIRUN else ("run", known.run.dir)
        again = f"the same command with {typed_word(f'hydra.{key}.dir', folder)} goes on where it was"
        raise Interrupted(f"interrupted; {again}") from error


def main() -> int:
    register()
    return hydra_command(_jobs, "interrupted; in the same folder the same command goes on where it was", "fit")


def _refuse_foreign(folder: Path) -> None:
    if folder.is_dir():
        from harmonia.training.folder import refuse_others

        refuse_others(folder)


def _jobs() -> int:
    with checked_hydra(_refuse_foreign):
        fit_one()
    return 0


if __name__ == "__main__":
    sys.exit(main())
