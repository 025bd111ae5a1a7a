"""A process that has imported harmonia and forks one worker for every line on stdin.

Hundreds of real processes are started and killed here; importing PyTorch in each would take minutes a test.
A line is JSON: words (of the command line), cwd, env, log and ledger (None: nothing is counted). The answer is the
worker's process id; the worker leaves its exit code in <log>.exit, unless it is killed.
"""

import functools
import json
import os
import signal
import sys
from pathlib import Path

import torch

from harmonia import run
from harmonia.report import write_report  # noqa: F401 (imported before the forks)
from harmonia.source import Source
from harmonia.target import FeatureTarget, ImageTarget


def count_in(ledger: str) -> None:
    """Every batch that goes through a network adds a line for each image: kind of batch, model, position."""
    for kind in (Source, ImageTarget, FeatureTarget):
        kind.predict_step = _counted(kind.predict_step, kind.__name__, ledger)


def _counted(step, name: str, ledger: str):
    @functools.wraps(step)
    def predict_step(module, batch, batch_index):
        done = step(module, batch, batch_index)
        model = module.classifier.spec.name
        text = "".join(f"{name} {model} {position}\n" for position in batch.indices.tolist())
        with open(ledger, "ab", buffering=0) as file:  # one write: lines of several processes do not mix
            file.write(text.encode())
        return done

    return predict_step


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


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are reaped, so that a process id says who lives
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            work(json.loads(line))
        print(pid, flush=True)


if __name__ == "__main__":
    main()
