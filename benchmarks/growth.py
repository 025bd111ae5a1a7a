"""What one more image, target or area costs a whole job: seconds of CPU over those of a bare forward.

Grad-CAM of Lite0 on the sample images, each job in an empty cache, from its settings to its summary; without the
start of the process and without a report. A further target is the same network with a hair's breadth of another crop,
so that it costs as much and shares nothing; its loading is part of what it costs.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from unittest.mock import patch

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import open_dict
from side_by_side import CONF, bare

from harmonia.job.pipeline import run
from harmonia.job.settings import settings_of
from harmonia.models.classifier import Classifier

WORDS = [
    "source=lite0", "target=self", "method=gc", "data=samples", "trainer=cpu", "num_threads=1", "logger=none",
    "evaluation.representations=0", "tracking.group=none",
]  # fmt: skip
AREAS = (0.3, 0.2, 0.4, 0.5, 0.1)

Size = tuple[int, int, int]  # images, targets, areas


def rows(classifier: Classifier, images: int, points: int, forwards: int, turns: int) -> Iterator[list[str]]:
    """What grows, how often there is of it, each job's cost, how bent the line is, its slope, the slope counted.

    forwards: bare ones before and after each job. A job's cost is the median of its turns'.
    """
    lines: dict[str, list[Size]] = {
        "images": [(images * (2 * number + 1), 1, 1) for number in range(points)],
        "targets": [(2 * images, number + 1, 1) for number in range(points)],
        "areas": [(2 * images, 1, 2 * number + 1) for number in range(points)],
    }
    bare(classifier, forwards)
    sizes_of_all = dict.fromkeys(size for sizes in lines.values() for size in sizes)
    of_turns = [{size: cost(size, classifier, forwards) for size in sizes_of_all} for _ in range(turns)]
    costs = {size: np.median([costs[size] for costs in of_turns], 0) for size in sizes_of_all}
    for place, (what, sizes) in enumerate(lines.items()):
        numbers = np.array([size[place] for size in sizes])
        spent, shown = np.array([costs[size] for size in sizes]).T
        slope, start = np.polyfit(numbers, spent, 1)
        bend = np.abs(slope * numbers + start - spent).max() / (spent[-1] - spent[0])
        counted = np.polyfit(numbers, shown, 1)[0]
        listed = [", ".join(f"{number:.0f}" for number in column) for column in (numbers, spent)]
        yield [what, *listed, f"{100 * bend:.0f} %", f"{slope:.1f}", f"{counted:.1f}", f"{slope / counted:.2f}"]


def cost(size: Size, classifier: Classifier, forwards: int) -> tuple[float, int]:
    """Of a job: seconds over those of a forward just before and after, and inputs that networks are shown."""
    shown: list[int] = []
    normalised = Classifier._normalised

    def noted(model, images):
        shown.append(len(images))
        return normalised(model, images)

    before = seconds(lambda: bare(classifier, forwards))
    with patch.object(Classifier, "_normalised", noted):
        spent = seconds(lambda: job(size, classifier.view.size))
    forward = (before + seconds(lambda: bare(classifier, forwards))) / (2 * forwards)
    return spent / forward, sum(shown)


def seconds(program: Callable[[], object]) -> float:
    started = time.process_time()
    program()
    return time.process_time() - started


def job(size: Size, input_size: int) -> None:
    images, targets, areas = size
    shares = list(AREAS[:areas])
    with tempfile.TemporaryDirectory() as folder, initialize_config_dir(str(CONF), version_base="1.3"):
        places = [f"paths.cache={folder}/cache", f"paths.job={folder}/job", f"source.input_size={input_size}"]
        config = compose("config", [*WORDS, *places, f"evaluation.areas={shares}", f"data.limit={images}"])
        with open_dict(config):
            for number in range(1, targets):
                name = f"lite0_{number}"
                config.target[name] = {**config.source, "name": name, "crop_pct": 0.875 + number / 1000}
        run(settings_of(config))
