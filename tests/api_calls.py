"""What tests of networks in memory share: two of the caller's own, calls that stay on one thread, and a job of one."""

import harmonia
from harmonia.api.asked import Asked
from harmonia.job.prepare import prepare

CLASSES = ["cat", "dog", "owl"]
TRANSFORM = {"size": 32, "crop_pct": 1.0, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
ONLY = ["evaluation.controls=null", "trainer=cpu", "num_threads=1"]
MODULE = """
import torch
from torch import nn

def network(seed, width):
    torch.manual_seed(seed)
    parts = nn.Conv2d(3, width, 3, 2), nn.ReLU(), nn.Conv2d(width, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*parts, nn.Linear(8, 3))

def first():
    return network(1, 6)

def second():
    return network(2, 4)
"""


def explain(model, images, cache, **options):
    return harmonia.explain(model, images, cache=cache, options=["trainer=cpu", "num_threads=1"], **options)


def job_of(model, images, folder, *words):
    """A job of one network on class folders, ready for its stages."""
    folder.mkdir()
    asked = Asked([model], images, None, None, 0, folder / "cache")
    config = asked.config(["target=[self]", "trainer=cpu", "num_threads=1", *words])
    return prepare(asked.settings(config, folder), folder, in_memory=asked.in_memory)


def done(job):
    """What the job's evaluation says when its stages are done and its files are written."""
    for stage in job.evaluation.stages(job):
        stage.complete()
    return job.evaluation.write(job)
