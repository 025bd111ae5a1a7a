"""python -m harmonia.plan [--images N] [--devices N,N] [-m] WORDS: what a run or sweep would still compute, how long.

WORDS are those of python -m harmonia.run. Nothing is written to the store: the calibration works in a temporary one.
"""

if __name__ == "__main__":
    from harmonia.cli.early import answer_signals

    answer_signals()

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from typing import Any

import hydra
from omegaconf import DictConfig

from harmonia.cli.entry import Parser, Refused, conf_folder, exit_code, hydra_words
from harmonia.cli.hydra_node import checked_hydra
from harmonia.cli.refusal import refusal
from harmonia.errors import InputError
from harmonia.media import number_of, terminal


def main(argv: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    return exit_code(
        lambda: _plan(words),
        lambda error: refusal(error, conf_folder(), words),
        "interrupted; nothing was planned or written",
    )


def _plan(argv: Sequence[str]) -> int:
    options, words = _parser().parse_known_args(argv)
    words = hydra_words(words)
    if flags := [word for word in words if word.startswith("-") and word not in ("-m", "--multirun")]:
        raise InputError(
            f"harmonia.plan takes --images, --devices, -m and overrides, got {flags[0]}; Hydra's own flags are "
            "for python -m harmonia.run"
        )

    @cache
    def plan() -> Any:
        # torch takes seconds to import: --help and a wrong word must not pay for it
        from harmonia.job.plan import Plan

        return Plan(options.images)

    @hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
    def look(config: DictConfig) -> None:
        try:
            from harmonia.job.settings import settings_of

            settings = settings_of(config)
            plan().add(settings)
        except Exception as error:
            raise Refused from error  # out of Hydra's hands, which would print lines of its own first

    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra would end the process
    own = [word for word in words if not word.startswith(("hydra/launcher", "hydra.launcher"))]
    before = sys.argv
    with tempfile.TemporaryDirectory() as folder:
        quiet = [f"hydra/{kind}_logging=none" for kind in ("job", "hydra")]
        sys.argv = ["harmonia.plan", *own, *quiet, f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}"]
        try:
            with checked_hydra():
                look()
        finally:
            sys.argv = before
    from harmonia.job.plan import duration

    console = terminal(160)
    console.print(plan().table())
    for devices in options.devices:
        console.print(f"on {number_of(devices, 'device')} like this one: at most {duration(plan().bound_s(devices))}")
    return 0


def _parser() -> argparse.ArgumentParser:
    def counts(text: str) -> list[int]:
        if not re.fullmatch(r"[1-9][0-9]{0,5}(,[1-9][0-9]{0,5})*", text):
            raise argparse.ArgumentTypeError(f"must be numbers from 1 to 999999 parted by commas, got {text}")
        return [int(part) for part in text.split(",")]

    def number(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,6}", text):
            raise argparse.ArgumentTypeError(f"must be a number of images from 0 to 999999, got {text}")
        return int(text)

    parser = Parser(
        prog="python -m harmonia.plan", description="What a run or a sweep would still compute.", allow_abbrev=False
    )
    parser.add_argument(
        "--images", type=number, default=8, help="calibrate on so many; 0: no times (default: %(default)s)"
    )
    parser.add_argument("--devices", type=counts, default=[1, 2, 4, 8], metavar="N,N")
    parser.epilog = "All other words as for python -m harmonia.run, for example -m source=lite0,lite1 method=gc,ss"
    return parser


if __name__ == "__main__":
    sys.exit(main())
