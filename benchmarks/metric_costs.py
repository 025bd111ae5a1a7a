"""What each metric of maps costs with its defaults: seconds of CPU over those of as many bare forwards."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from side_by_side import CONF, bare

from harmonia.job.prepare import prepare
from harmonia.job.settings import settings_of
from harmonia.models.classifier import Classifier

WORDS = [
    "source=lite0", "target=self", "method=gc", "data=samples", "trainer=cpu", "num_threads=1", "logger=none",
    "tracking.group=none",
]  # fmt: skip


def rows(classifier: Classifier, images: int, forwards: int) -> Iterator[list[str]]:
    """Metric, passes an image, seconds of CPU an image, and their ratio to so many bare forwards before and after."""
    bare(classifier, forwards)
    with tempfile.TemporaryDirectory() as folder:
        for name in of_maps():
            passes, seconds, forward = cost(Path(folder), classifier, images, name, forwards)
            over = f"{seconds / (passes * forward):.2f}" if passes else "–"
            yield [name, f"{passes / images:.0f}", f"{seconds / images:.2f} s", over]


def of_maps() -> list[str]:
    """The evaluations that score maps; the samples have no boxes."""
    files = (CONF / "evaluation").glob("*.yaml")
    return sorted(file.stem for file in files if "\nmetric:" in file.read_text() and file.stem != "boxes")


def cost(folder: Path, classifier: Classifier, images: int, name: str, forwards: int) -> tuple[int, float, float]:
    """Of scoring maps that are there: passes, seconds, and those of a forward."""
    (folder / name).mkdir()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        places = [f"paths.cache={folder}/cache", f"paths.job={folder / name}", f"data.limit={images}"]
        places += [f"source.input_size={classifier.view.size}"]
        config = compose("config", [*WORDS, f"evaluation={name}", *places])
    job = prepare(settings_of(config), folder / name)
    passes = spent = forward = 0
    for stage in job.evaluation.stages(job):  # maps, then their scores
        moments = [time.process_time()]
        for work in (lambda: bare(classifier, forwards), stage.complete, lambda: bare(classifier, forwards)):
            done = work()
            passes = done.passes if done is not None else passes
            moments.append(time.process_time())
        before, spent, after = np.diff(moments)
        forward = (before + after) / (2 * forwards)
    return passes, spent, forward
