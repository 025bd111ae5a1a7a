"""A command whose words Hydra reads: harmonia.run, harmonia.fit."""

import os
import sys
from collections.abc import Callable

from harmonia.cli.entry import conf_folder, exit_code, hydra_words
from harmonia.cli.refusal import refusal


def hydra_command(jobs: Callable[[], int], interrupted: str, main: str = "config") -> int:
    """The exit code. jobs: gives it where nothing fails; interrupted: what is said then; main: the yaml in conf/."""
    # Hydra would print its own errors in several lines and end with 1; so they come here
    os.environ["HYDRA_FULL_ERROR"] = "1"
    program, *words = sys.argv
    sys.argv = [program, *hydra_words(words)]
    return exit_code(jobs, lambda error: refusal(error, conf_folder(), words, main), interrupted)
