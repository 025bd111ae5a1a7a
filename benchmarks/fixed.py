"""What commands cost: whole processes, each in an empty cache. Of one job what it costs beside its images.

The sample images, Grad-CAM of Lite0 on itself. A straight line through jobs of few and of more images: where it meets
no image is the fixed cost.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median

from side_by_side import Seconds

ROOT = Path(__file__).parents[1]
WORDS = ["source=lite0", "target=self", "method=gc", "data=samples", "trainer=cpu", "num_threads=1"]
NO_REPORT = "~hydra.callbacks.report"
IMPORTS = """
from harmonia.cli.early import import_libraries, importing
with importing():
    import_libraries()
    import harmonia.run, harmonia.job.pipeline, harmonia.evaluation.transfer, harmonia.attribution.cam
"""


def rows(few: int, more: int, repeats: int) -> Iterator[list[str]]:
    """A part and its seconds, medians: imports, the rest of a job, its report, all three; then what an image costs
    and what W&B adds, offline.
    """
    jobs = {
        "few": [f"data.limit={few}", "logger=none"],
        "more": [f"data.limit={more}", "logger=none"],
        "bare": [f"data.limit={few}", "logger=none", NO_REPORT],
        "wandb": [f"data.limit={few}", "logger=wandb"],
    }
    turns = [
        {"imports": seconds(["-c", IMPORTS])} | {name: job(words) for name, words in jobs.items()}
        for _ in range(repeats)
    ]
    spent = {name: median(turn[name] for turn in turns) for name in turns[0]}
    image = (spent["more"] - spent["few"]) / (more - few)
    fixed, report = spent["few"] - few * image, spent["few"] - spent["bare"]
    parts = {
        "imports": spent["imports"],
        "the rest of the job": fixed - report - spent["imports"],
        "its report": report,
        "together": fixed,
        "an image more": image,
        "W&B offline, more": spent["wandb"] - spent["few"],
    }
    for part, cost in parts.items():
        yield [part, f"{cost:.2f}"]


def job(words: Sequence[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        places = [f"paths.cache={folder}/cache", f"hydra.run.dir={folder}/job"]
        return seconds(["-m", "harmonia.run", *WORDS, *words, *places])


def quickstart(words: Sequence[str]) -> Seconds:
    with tempfile.TemporaryDirectory() as folder:
        places = [f"paths.cache={folder}/cache", f"hydra.sweep.dir={folder}/jobs"]
        return spent(["-m", "harmonia.run", "experiment=quickstart", *words, *places])


def seconds(words: Sequence[str]) -> float:
    """Of the CPU, one thread."""
    return spent(words, OMP_NUM_THREADS="1").cpu


def spent(words: Sequence[str], **variables: str) -> Seconds:
    """By a Python process with all that it waits for; its modules are compiled once, as after an installation."""
    left_out = ("PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment |= {"WANDB_MODE": "offline"} | variables
    before, started = getrusage(RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *words], env=environment, cwd=ROOT, capture_output=True, check=True)
    after, ended = getrusage(RUSAGE_CHILDREN), time.perf_counter()
    return Seconds(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ended - started)


if __name__ == "__main__":
    for line in rows(4, 12, 3):
        print(*line, sep="\t")
