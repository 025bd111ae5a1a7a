"""Programs that take turns in one run, so that a busy machine slows all of them."""

import argparse
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from harmonia.models.spec import ModelSpec

CONF = Path(__file__).parents[1] / "conf"


def header(options: argparse.Namespace) -> None:
    """What ran, where and when."""
    if options.threads:
        torch.set_num_threads(options.threads)
    print(f"python {shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}")
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {cpu()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    print(f"torch {torch.__version__}, load over the last minute {os.getloadavg()[0]:.1f}")


def spec_of(model: str, weights: str | None, size: int | None = None) -> ModelSpec:
    """Of a yaml of conf/source, or of a timm name."""
    if (CONF / "source" / f"{model}.yaml").is_file():
        with initialize_config_dir(str(CONF), version_base="1.3"):
            source = compose("config", overrides=[f"source={model}"]).source
        settings = OmegaConf.to_container(source, resolve=True)
    else:
        settings = {"name": model, "arch": model, "family": "any", "weights": "random"}
    if weights:
        settings |= {"weights": weights}
    if size:
        settings |= {"input_size": size}
    return ModelSpec(**settings)


def alternate(
    programs: dict[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of every program in every turn; one turn before counts for nothing."""
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(-1, repeats):
        # whoever follows the largest user of memory pays for it: everyone in turn
        names = list(programs)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            started = clock()
            programs[name]()
            if turn >= 0:
                seconds[name].append(clock() - started)
    return seconds


def ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))


def cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
