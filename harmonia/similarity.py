"""How alike two models are on the same images, and whether likeness goes with transfer.

S. Kornblith, M. Norouzi, H. Lee, G. Hinton, "Similarity of Neural Network Representations Revisited", 2019,
https://arxiv.org/abs/1905.00414, section 3 (linear CKA); here with the unbiased estimator of HSIC of L. Song,
A. Smola, A. Gretton, J. Bedo, K. Borgwardt, "Feature Selection via Dependence Maximization", 2012, theorem 5:
the biased one calls independent representations alike when they have as many dimensions as there are images.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from harmonia.errors import InputError
from harmonia.finished_jobs import Job, section
from harmonia.representations import read_representations
from harmonia.results import IMAGE_ARM, matched_control, summarise
from harmonia.tables import SETTING


def agreement(p: Sequence[str], q: Sequence[str]) -> float:
    """Share of the images on which two models predict the same class; NaN without an image."""
    one, other = np.asarray(p, object), np.asarray(q, object)
    if one.shape != other.shape:
        raise ValueError(f"predictions must be about the same images, got {len(one)} and {len(other)}")
    return float((one == other).mean()) if len(one) else math.nan


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Debiased linear CKA of two representations (N, D1) and (N, D2) of the same images.

    1 where one is a rotation and scaling of the other, about 0 (also a little below) where they are independent;
    NaN where one of them does not vary, or varies so little that its own estimate is not positive.
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"representations must be (N, D) of the same N images, got {x.shape} and {y.shape}")
    if len(x) < 4:
        raise ValueError(f"the unbiased estimator needs at least 4 images, got {len(x)}")
    first, second = _u_centred_gram(x), _u_centred_gram(y)
    within = float((first * first).sum()), float((second * second).sum())
    if min(within) <= 0:
        return math.nan
    return float((first * second).sum()) / math.sqrt(within[0] * within[1])


def _u_centred_gram(x: np.ndarray) -> np.ndarray:
    """The linear kernel without its diagonal, centred so that sums of products of two are unbiased.

    tr(AB) of two such matrices is n (n - 3) times Song's estimate (Szekely, Rizzo 2014, proposition 1).
    """
    centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)  # changes nothing but the rounding
    gram = centred @ centred.T
    np.fill_diagonal(gram, 0)
    n = len(x)
    rows = gram.sum(0) / (n - 2)
    gram += gram.sum() / ((n - 1) * (n - 2)) - rows[:, None] - rows
    np.fill_diagonal(gram, 0)
    return gram


PAIR_COLUMNS = ["source", "target", "method", *SETTING, "variant", "within_family"]
PAIR_COLUMNS += ["agreement", "cka", "retention", "control_retention", "transfer", "images"]


def model_pairs(
    rows: pd.DataFrame, jobs: Sequence[Job], arm: str = "area30", control: str | None = None
) -> pd.DataFrame:
    """One line per source, other target, method and setting: how alike the two are, and how much transfers.

    rows are as `tables.gather` gives them, jobs those that wrote them. agreement: share of the whole images for
    which both predict the same class. cka: debiased linear CKA of their penultimate representations, NaN where no
    job has left both for the same images. transfer: retention of the arm above that of its control (by default the
    matched one), NaN where either is missing. within_family: whether both models name the same family. Fractions.
    """
    control = control or matched_control(arm)
    if control is None:
        raise InputError(f"arm {arm!r} has no matched control; name one, such as blobs30")
    shown: Any = rows[rows["arm"].isin([IMAGE_ARM, arm, control]) & (rows["source"] != rows["target"])]
    likeness = _Likeness(jobs)
    lines = []
    for names, part in shown.groupby(["source", "target", "method", *SETTING, "variant"], sort=False):
        source, target = names[:2]
        whole = part[part["arm"] == IMAGE_ARM]
        if whole.empty:
            continue
        job = whole["job"].iloc[0]
        metrics = summarise(part)
        kept, without = (metrics.get(f"{target}/{one}/retention") for one in (arm, control))
        kept, without = (math.nan if value is None else value for value in (kept, without))
        lines.append(
            dict(
                zip(
                    PAIR_COLUMNS,
                    [
                        *names,
                        likeness.same_family(job, source, target),
                        agreement(whole["source_predicted"].tolist(), whole["predicted"].tolist()),
                        likeness.cka(job, source, target),
                        kept,
                        without,
                        kept - without,
                        len(whole),
                    ],
                    strict=True,
                )
            )
        )
    return pd.DataFrame(lines, columns=PAIR_COLUMNS)


class _Likeness:
    """CKA of models by job and name; a model that a job does not show images to may have seen them in another job."""

    def __init__(self, jobs: Sequence[Job]):
        self._jobs = {str(job.folder): job for job in jobs}
        self._of_model: dict[str, list[str]] = {}  # the jobs that have it as a target
        for folder, job in self._jobs.items():
            for name in _targets(job):
                self._of_model.setdefault(_identity(job, name), []).append(folder)
        self._read: dict[str, tuple[list[str], dict[str, np.ndarray]]] = {}
        self._known: dict[tuple[str, str, str], float] = {}

    def same_family(self, job: str, source: str, target: str) -> bool:
        models = _models(self._jobs[job])
        return models[source].get("family") == models[target].get("family")

    def cka(self, job: str, source: str, target: str) -> float:
        one, other = (self._representation(job, name) for name in (source, target))
        if one is None or other is None:
            return math.nan
        identities = sorted(_identity(self._jobs[job], name) for name in (source, target))
        key = (*identities, json.dumps(section(self._jobs[job].config, "data"), default=str))
        if key not in self._known:
            shared = one.index.intersection(other.index)
            both = (frame.loc[shared].to_numpy() for frame in (one, other))
            self._known[key] = linear_cka(*both) if len(shared) >= 4 else math.nan
        return self._known[key]

    def _representation(self, job: str, name: str) -> pd.DataFrame | None:
        data = section(self._jobs[job].config, "data")
        others = self._of_model.get(_identity(self._jobs[job], name), [])
        for folder in sorted(others, key=lambda folder: folder != job):
            if section(self._jobs[folder].config, "data") == data:
                if folder not in self._read:
                    self._read[folder] = read_representations(folder)
                image_ids, found = self._read[folder]
                if name in found:
                    return pd.DataFrame(found[name], index=image_ids).dropna()
        return None


def _targets(job: Job) -> list[str]:
    return [str(entry.get("name")) for entry in section(job.config, "target").values() if isinstance(entry, dict)]


def _models(job: Job) -> dict[str, Mapping[str, Any]]:
    """The configurations of a job's models by name."""
    entries = [section(job.config, "source"), *section(job.config, "target").values()]
    return {str(entry.get("name")): entry for entry in entries if isinstance(entry, dict)}


def _identity(job: Job, name: str) -> str:
    """What two jobs share exactly when their models of this name give the same numbers."""
    model = _models(job)[name]
    seed = job.config.get("seed") if model.get("weights") == "random" else None
    precision = section(job.config, "trainer").get("precision")
    return json.dumps([model, seed, precision], sort_keys=True, default=str)


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rho over so many pairs; NaN where it is undefined."""

    rho: float
    low: float
    high: float
    pairs: int


def rank_correlation(
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> RankCorrelation:
    """Spearman's rho with a percentile bootstrap interval over pairs (Efron 1979); pairs with a NaN are left out.

    Pairs of models that share a model are not independent, so that the interval is too narrow rather than too wide.
    Resamples in which one variable does not vary have no rho and are left out.
    """
    first, second = np.asarray(x, float), np.asarray(y, float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"x and y must be equally long lists, got shapes {first.shape} and {second.shape}")
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    if len(first) < 3:
        return RankCorrelation(math.nan, math.nan, math.nan, len(first))
    rho = float(_spearman(first[None], second[None])[0])
    drawn = np.random.default_rng(seed).integers(len(first), size=(resamples, len(first)))
    of_resamples = _spearman(first[drawn], second[drawn])
    of_resamples = of_resamples[np.isfinite(of_resamples)]
    tail = (1 - level) / 2
    low, high = np.quantile(of_resamples, [tail, 1 - tail]) if len(of_resamples) else (math.nan, math.nan)
    return RankCorrelation(rho, float(low), float(high), len(first))


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of each row; NaN where one variable does not vary."""
    ranks = [rankdata(values, axis=1) for values in (x, y)]
    one, other = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    scale = np.sqrt((one**2).sum(1) * (other**2).sum(1))
    return np.divide((one * other).sum(1), scale, out=np.full(len(x), math.nan), where=scale > 0)
