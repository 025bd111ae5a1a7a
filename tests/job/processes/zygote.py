"""A process that has imported harmonia and forks one worker for every line on stdin.

Hundreds of real processes are started and killed here; importing PyTorch in each would take minutes a test.
A line is JSON: words (of the command line), cwd, env, log, ledger (None: nothing is counted) and faults (below, with
their argument). The answer is the worker's process id; it leaves its exit code in <log>.exit, unless it is killed.
"""

import contextlib
import functools
import gc
import io
import itertools
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
from PIL import Image

from harmonia import run
from harmonia.evaluation.mosaics.explain import GridSource
from harmonia.evaluation.scores import Scorer
from harmonia.evaluation.transfer import ControlAnswers, FeatureAnswers
from harmonia.job.source import Source
from harmonia.job.target import ImageTarget
from harmonia.models import load as models
from harmonia.models.classifier import Classifier
from harmonia.results import tracking


def count_in(ledger: str) -> None:
    """Every batch that goes through a network adds a line for each image: kind of batch, model, position."""
    for kind in (Source, ImageTarget, ControlAnswers, FeatureAnswers, Scorer, GridSource):
        kind.predict_step = _counted(kind.predict_step, kind.__name__, ledger)


def _counted(step, name: str, ledger: str):
    @functools.wraps(step)
    def predict_step(module, batch, batch_index):
        done = step(module, batch, batch_index)
        if type(module).__name__ != name:  # a step within that of a kind which inherits it: counted there
            return done
        model = module.classifier.spec.name
        text = "".join(f"{name} {model} {position}\n" for position in batch.indices.tolist())
        with open(ledger, "ab", buffering=0) as file:  # one write: lines of several processes do not mix
            file.write(text.encode())
        return done

    return predict_step


def jumping_clock(seconds: float) -> None:
    """The wall clock jumps to and fro with every look at it."""
    real, looks = time.time, itertools.count()
    time.time = lambda: real() + (seconds if next(looks) % 2 else -seconds)


def after_listing(path: str, change: str) -> None:
    """An image vanishes or becomes another one when the data set has been listed, before any is decoded."""
    load_job = models.load_job

    def changed(*arguments):
        if change == "vanish":
            Path(path).unlink()
        else:
            Image.new("RGB", (60, 60), "red").save(path)
        return load_job(*arguments)

    models.load_job = changed


def little_memory(images: int) -> None:
    """More images than that at once are out of memory."""
    for name in ("forward", "represent"):
        setattr(Classifier, name, _cramped(getattr(Classifier, name), images))


def _cramped(step, most: int):
    @functools.wraps(step)
    def forward(self, images):
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return step(self, images)

    return forward


def lost_logger(seconds: float) -> None:
    """W&B's own process is killed so long after it has started."""
    make_logger = tracking.make_logger

    def make_and_kill(config):
        logger = make_logger(config)
        assert logger is not None
        assert logger.experiment.id
        cores = [pid for pid in _children() if b"wandb-core" in Path("/proc", pid, "cmdline").read_bytes()]
        assert cores, "W&B has no process of its own any more: this fault hits nothing"
        for pid in cores:
            os.kill(int(pid), signal.SIGKILL)
        time.sleep(seconds)
        return logger

    tracking.make_logger = make_and_kill


def _children() -> set[str]:
    """Process ids of this one's children; W&B's has a session of its own."""
    children = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if stat.read_text().rpartition(")")[2].split()[1] == str(os.getpid()):
                children.add(stat.parent.name)
    return children


FAULTS = {fault.__name__: fault for fault in (jumping_clock, after_listing, little_memory, lost_logger)}


def work(order: dict) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(order["cwd"])
    os.environ.update(order["env"])
    sys.argv = ["harmonia.run", *order["words"]]
    torch.set_num_threads(1)
    if order["ledger"]:
        count_in(order["ledger"])
    for name, given in order["faults"].items():
        FAULTS[name](*given)
    code = 70
    try:
        code = run.main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        Path(f"{order['log']}.exit").write_text(str(code))
        os._exit(code)


def compose_once() -> None:
    """Hydra's plugins and the parser of its grammar are there, then, for every worker."""
    sys.argv = ["harmonia.run", "source=timm", "method=ss", "target=[self,timm]", "data=folder", "--cfg=job"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert run.main() == 0


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are reaped, so that a process id says who lives
    compose_once()
    gc.collect()
    gc.freeze()  # a collection in a worker would copy the page of every object that it counts
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            work(json.loads(line))
        print(pid, flush=True)


if __name__ == "__main__":
    main()
