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
from operator import truediv
from pathlib import Path
from typing import NamedTuple

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from harmonia.attribution.passes import CPU_PASS
from harmonia.models.classifier import Classifier
from harmonia.models.spec import ModelSpec

CONF = Path(__file__).parents[1] / "conf"


def header(options: argparse.Namespace) -> None:
    """What ran, where and when."""
    if options.threads:
        torch.set_num_threads(options.threads)
    print(f"python {shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}")
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {cpu()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    print(f"torch {torch.__version__}, load over the last minute {os.getloadavg()[0]:.1f}")


def spec_of(model: str, weights: str | None, input_size: int | None = None) -> ModelSpec:
    """Of a yaml of conf/source, or of a timm name; input_size: None for the network's own."""
    if (CONF / "source" / f"{model}.yaml").is_file():
        with initialize_config_dir(str(CONF), version_base="1.3"):
            source = compose("config", overrides=[f"source={model}"]).source
        settings = OmegaConf.to_container(source, resolve=True)
    else:
        settings = {"name": model, "arch": model, "family": "any", "weights": "random"}
    if weights:
        settings |= {"weights": weights}
    return ModelSpec(**settings | {"input_size": input_size})


class Seconds(NamedTuple):
    cpu: float  # of this process, all its threads
    wall: float


def alternate(programs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[Seconds]]:
    """Seconds of every program in every turn; one turn before counts for nothing, unless one is all."""
    seconds: dict[str, list[Seconds]] = {name: [] for name in programs}
    for turn in range(-1 if repeats > 1 else 0, repeats):
        # whoever follows the largest user of memory pays for it: everyone in turn
        names = list(programs)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            worked, started = time.process_time(), time.perf_counter()
            programs[name]()
            if turn >= 0:
                seconds[name].append(Seconds(time.process_time() - worked, time.perf_counter() - started))
    return seconds


def bare(classifier: Classifier, count: int) -> None:
    """As many inputs that are there already, in passes of as many as a job has."""
    images = torch.rand(CPU_PASS, 3, classifier.view.size, classifier.view.size)
    with torch.no_grad():
        for _ in range(-(-count // CPU_PASS)):
            classifier(images)


def ratio(ours: list[Seconds], theirs: list[Seconds]) -> Seconds:
    """Medians of the turns' ratios."""
    return median([Seconds(*map(truediv, mine, other)) for mine, other in zip(ours, theirs, strict=True)])


def median(turns: list[Seconds]) -> Seconds:
    return Seconds(*map(statistics.median, zip(*turns, strict=True)))


def both(seconds: Seconds | None) -> str:
    return f"{seconds.cpu:.2f} ({seconds.wall:.2f})" if seconds else "–"


def cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
