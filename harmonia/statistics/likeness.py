"""Pairs of models: how alike they are, and how much of what explains one carries the other.

S. Kornblith, M. Norouzi, H. Lee, G. Hinton, "Similarity of Neural Network Representations Revisited", 2019,
https://arxiv.org/abs/1905.00414, section 3; L. Song, A. Smola, A. Gretton, J. Bedo, K. Borgwardt, "Feature Selection
via Dependence Maximization", 2012.
"""

import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harmonia.arms import is_feature
from harmonia.errors import InputError
from harmonia.results.gathered import CELL, SETTING, CellNames, Setting
from harmonia.results.jobs import JobFolder, flat_options
from harmonia.results.representations import read_representations
from harmonia.statistics.comparison import Comparison, judges
from harmonia.statistics.inference import at_positions, estimates
from harmonia.statistics.ranks import transfer_correlations

MEASURES = {"agreement": "agreement of predictions", "cka": "linear CKA"}


class ModelPairs(CellNames, Setting, estimates="retention control_retention above_control"):
    """A line per source, other target, method and feature arm whose whole images have run."""

    random_weights: bool  # of the source
    within_family: bool
    agreement: float  # share of the whole images for which both predict the same class
    cka: float  # of their penultimate representations, NaN where no job has left both for the same images
    images: int


class Correlations(Setting, text="method variant measure", numbers="rho low high p pairs models"):
    """How one of MEASURES goes with what is left above control: rho, bounds of its 95 % interval, of how many."""


def correlations(pairs: ModelPairs, arm: str) -> Correlations:
    """Of measures with MIN_SIGNIFICANT pairs or more.

    Random-weight sources are left out: they resemble nothing and transfer nothing, and would decide rho alone.
    """
    shown = pairs[(pairs["arm"] == arm) & ~pairs["random_weights"].astype(bool)]
    lines = []
    for names, part in shown.groupby([*SETTING, "method", "variant"], sort=False):
        lines += [(*names, *line) for line in transfer_correlations(part, ("source", "target"), MEASURES)]
    return Correlations.of_lines(lines)


def model_pairs(comparison: Comparison, jobs: Sequence[JobFolder]) -> ModelPairs:
    """How alike source and target are, and how much transfers; jobs: those that wrote the rows."""
    cells = comparison.cells
    others = judges(cells) & cells["arm"].map(is_feature).astype(bool)
    shown = np.flatnonzero(others.to_numpy() & (comparison.image_position >= 0))
    image = comparison.image_position[shown]
    seen = comparison.predicted[:, image] >= 0
    same = (comparison.predicted[:, image] == comparison.source_predicted[:, image]) & seen
    pairs: Any = cells.iloc[shown].reset_index(drop=True)
    likeness = _Likeness(jobs)
    ends = cells.iloc[image][["job", "source", "target"]].itertuples(index=False)
    pairs = pairs[[*CELL, "random_weights"]].assign(
        within_family=pairs["family"] == pairs["target_family"],
        agreement=same.sum(0) / seen.sum(0),
        cka=np.array([likeness.cka(job, source, target) for job, source, target in ends], float),
        images=seen.sum(0),
        **estimates(
            retention=comparison.retention[:, shown],
            control_retention=at_positions(comparison.retention, comparison.control_position[shown]),
            above_control=comparison.above_control[:, shown],
        ),
    )
    return ModelPairs.checked(pairs.assign(**comparison.setting))


class _Likeness:
    """CKA of models by job and name; a model that a job does not show images to may have seen them in another job."""

    def __init__(self, jobs: Sequence[JobFolder]):
        self._jobs = {str(job.folder): job for job in jobs}
        self._with_target: dict[str, list[JobFolder]] = {}  # by the identity of a model on its images
        for job in jobs:
            for entry in job.targets.values():
                self._with_target.setdefault(_identity(job, str(entry.get("name"))), []).append(job)
        self._read = cache(_representations)
        self._known: dict[str, float] = {}

    def cka(self, folder: str, source: str, target: str) -> float:
        job = self._jobs[folder]
        of_source, of_target = (self._representation(job, name) for name in (source, target))
        if of_source is None or of_target is None:
            return math.nan
        key = json.dumps(sorted(_identity(job, name) for name in (source, target)))
        if key not in self._known:
            shared = of_source.index.intersection(of_target.index)
            self._known[key] = linear_cka(of_source.loc[shared].to_numpy(), of_target.loc[shared].to_numpy())
        return self._known[key]

    def _representation(self, job: JobFolder, name: str) -> pd.DataFrame | None:
        if name not in job.models:
            return None
        with_model = self._with_target.get(_identity(job, name), [])
        for candidate in sorted(with_model, key=lambda candidate: candidate.folder != job.folder):
            image_ids, of_models = self._read(candidate.folder)
            if name in of_models:
                return pd.DataFrame(of_models[name], index=image_ids).dropna()
        return None


def _representations(folder: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    try:
        return read_representations(folder)
    except InputError:
        return [], {}  # a torn file costs a job its likeness, and the report nothing


def _identity(job: JobFolder, name: str) -> str:
    """What two jobs share exactly when their models of this name give the same numbers on the same images."""
    model = job.models[name]
    seed = job.config.get("seed") if model.get("weights") == "random" else None
    images = flat_options(job.group("data"))
    facts = json.dumps([model, seed, job.group("trainer").get("precision"), images], default=str)
    return json.dumps(json.loads(facts), sort_keys=True)  # keys that are numbers are text by now


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Debiased linear CKA of two representations (N, D1) and (N, D2) of the same images (Kornblith et al. 2019).

    With the unbiased estimator of HSIC (HSIC_1 of Song et al. 2012), since the biased one calls independent
    representations alike when they have as many dimensions as there are images.
    1 where one is a rotation and scaling of the other, about 0 (also a little below) where they are independent;
    NaN of fewer than four images, where one does not vary, or where the estimate of how it varies is not positive.
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"representations must be (N, D) of the same N images, got {x.shape} and {y.shape}")
    if len(x) < 4 or (x == x[0]).all() or (y == y[0]).all():
        return math.nan
    first, second = _u_centred_gram(x), _u_centred_gram(y)
    within = float((first * first).sum()), float((second * second).sum())
    return math.nan if min(within) <= 0 else float((first * second).sum()) / math.sqrt(within[0] * within[1])


def _u_centred_gram(x: np.ndarray) -> np.ndarray:
    """The linear kernel without its diagonal, centred so that sums of products of two are unbiased.

    The sum of products of two is n (n - 3) times HSIC_1: U-centring, G. Szekely, M. Rizzo 2014, definition 2.
    """
    centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)  # changes nothing but the rounding
    gram = centred @ centred.T
    np.fill_diagonal(gram, 0)
    n = len(x)
    rows = gram.sum(0) / (n - 2)
    gram += gram.sum() / ((n - 1) * (n - 2)) - rows[:, None] - rows
    np.fill_diagonal(gram, 0)
    return gram
