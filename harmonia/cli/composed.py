"""Files of conf/ as Hydra composes them, beside a Hydra that runs already; what its yamls can say besides."""

import threading
from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from harmonia.cli.entry import conf_folder, hydra_words

ONE_AT_A_TIME = threading.RLock()  # Hydra is one a process


def yamls(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


def composed_conf(words: Sequence[str], name: str = "config") -> DictConfig:
    """A file of conf/ with these words; a Hydra that the caller has set up stays as it is."""
    with ONE_AT_A_TIME:
        running, state = GlobalHydra.instance().hydra, GlobalHydra.instance()
        state.hydra = None
        try:
            with initialize_config_dir(str(conf_folder()), version_base="1.3"):
                return compose(name, hydra_words(words))
        finally:
            state.hydra = running
