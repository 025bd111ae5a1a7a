"""Real worker processes on a small real job: random weights of timm's test networks, generated images."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES = ("n01440764", "n02102040", "n02979186", "n03000684")
JOB = [
    "source=timm", "source.arch=test_resnet", "source.weights=random", "source.name=small", "source.input_size=96",
    "target=[self,timm]", "target.timm.arch=test_efficientnet", "target.timm.weights=random", "target.timm.name=other",
    "target.timm.input_size=64",
    "method=ss", "method.steps=2", "method.held_out=1", "method.check_every=2", "method.grid=7", "data=folder",
    "label=predicted", "evaluation.areas=[0.3]", "evaluation.controls.centre=[]", "evaluation.controls.silhouette=[]",
    "trainer=cpu", "logger=none", "store.shard_size=2", "batch_size=4",
]  # fmt: skip


def write_images(folder: Path, count: int) -> Path:
    """Smooth coloured pictures, each different, in class folders."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / CLASSES[number % len(CLASSES)] / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        coarse.resize((96, 80), Image.Resampling.BICUBIC).save(path)
    return folder


@dataclass
class Worker:
    """A process that runs one command; it may be killed."""

    pid: int
    log: Path

    def alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self, number: int = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, timeout_s: float = 300) -> int | None:
        """The exit code; None of a process that was killed."""
        give_up = time.monotonic() + timeout_s
        while self.alive():
            assert time.monotonic() < give_up, f"the worker hangs: {self.text()[-2000:]}"
            time.sleep(0.01)
        end = Path(f"{self.log}.exit")
        return int(end.read_text()) if end.exists() else None

    def text(self) -> str:
        return self.log.read_text(errors="replace")


@pytest.fixture(scope="session")
def zygote():
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    script = Path(__file__).with_name("zygote.py")
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


@contextlib.contextmanager
def workers_in(cwd: Path, zygote: subprocess.Popen, usual_job: list[str]):
    """Gives what the fixture start does, for this folder; the workers die with it."""
    workers = []

    def start(
        folder: str,
        *words: str,
        cache: str = "cache",
        ledger: str | None = None,
        faults: dict | None = None,
        job: list[str] | None = None,
        **env: str,
    ) -> Worker:
        log = cwd / f"log-{len(workers)}"
        # a report costs more than these jobs
        where = () if "-m" in words else (f"hydra.run.dir={folder}", "~hydra.callbacks.report")
        order = {
            "words": [*(usual_job if job is None else job), *where, *words],
            "cwd": str(cwd),
            "env": {"HARMONIA_CACHE": str(cwd / cache), **env},
            "log": str(log),
            "ledger": ledger and str(cwd / ledger),
            "faults": faults or {},
        }
        print(json.dumps(order), file=zygote.stdin, flush=True)
        workers.append(Worker(int(zygote.stdout.readline()), log))
        return workers[-1]

    try:
        yield start
    finally:
        for worker in workers:
            worker.kill()


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", 8)


@pytest.fixture
def small_job(images):
    """The words of the command line."""
    return [*JOB, f"data.root={images}"]


@pytest.fixture
def start(zygote, tmp_path, small_job):
    """start("job", *words, cache=...) starts the small job in a folder of that name; gives a Worker.

    faults: what goes wrong in it, by the names of zygote.py. job: the words of another job than the small one.
    """
    with workers_in(tmp_path, zygote, small_job) as start:
        yield start


@pytest.fixture(scope="session")
def undisturbed_folder(zygote, tmp_path_factory):
    """A folder with the images, the job and the store of a run in which nothing fails."""
    folder = tmp_path_factory.mktemp("undisturbed")
    images = write_images(folder / "images", 8)
    with workers_in(folder, zygote, [*JOB, f"data.root={images}"]) as start:
        worker = start("undisturbed", cache="undisturbed cache")
        assert worker.wait() == 0, worker.text()
    return folder


@pytest.fixture
def computed(tmp_path):
    """computed("ledger"): how often each (kind of batch, model, position) went through a network."""

    def read(ledger: str) -> Counter:
        path = tmp_path / ledger
        return Counter(path.read_text().splitlines()) if path.exists() else Counter()

    return read
