"""Pairs of models: how alike they are, and how much of what explains one carries the other."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from harmonia.errors import InputError
from harmonia.finished_jobs import Job, section
from harmonia.representations import read_representations
from harmonia.results import IMAGE_ARM, matched_control, summarise
from harmonia.similarity import agreement, linear_cka
from harmonia.tables import SETTING

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
        self._known: dict[str, float] = {}

    def same_family(self, job: str, source: str, target: str) -> bool:
        models = _models(self._jobs[job])
        return models[source].get("family") == models[target].get("family")

    def cka(self, job: str, source: str, target: str) -> float:
        one, other = (self._representation(job, name) for name in (source, target))
        if one is None or other is None:
            return math.nan
        identities = sorted(_identity(self._jobs[job], name) for name in (source, target))
        key = json.dumps([identities, section(self._jobs[job].config, "data")], default=str)
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
