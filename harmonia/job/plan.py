"""What a run or a sweep would still compute: the sets that it needs in the store, what they lack, what that costs."""

import copy
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.filesize import decimal
from rich.table import Table

# heavy imports stand in the functions: --help must not pay for them


@dataclass(frozen=True)
class Cost:
    """Of one image, as calibrated on this machine; NaN where nothing was calibrated."""

    seconds: float = math.nan
    passes: float = math.nan
    num_bytes: float = math.nan


@dataclass(frozen=True)
class Stage:
    """One set of the store: maps, scores of them, answers on images, or answers on features."""

    kind: str
    name: str
    images: int
    missing: tuple[int, ...]  # images of each shard that is not there
    cost: Cost = Cost()

    def total(self, quantity: str) -> float:
        """Of all missing images: seconds, passes or num_bytes."""
        return sum(self.missing) * getattr(self.cost, quantity) if self.missing else 0.0

    def bound_s(self, devices: int) -> float:
        """So long at most on so many devices: Graham 1966, list scheduling of shards, which no two workers divide."""
        longest = max(self.missing, default=0) * self.cost.seconds if self.missing else 0.0
        return self.total("seconds") / devices + longest * (1 - 1 / devices)


@dataclass
class Plan:
    """The sets that a sweep needs, each once, however many of its jobs share it."""

    calibration_images: int
    jobs: int = 0
    stages: dict[tuple, Stage] = field(default_factory=dict)  # by what makes them the same set of the store
    _costs: dict[tuple, Cost] = field(default_factory=dict)

    def add(self, settings: dict[str, Any]) -> None:
        """One job, its configuration resolved."""
        from harmonia.cli.options import check_root
        from harmonia.job import pipeline
        from harmonia.store.sets import ShardSet

        check_root(settings)
        self.jobs += 1
        settings = copy.deepcopy(settings)
        settings["store"]["spool_gb"] = 0  # looking at a job decodes nothing
        with tempfile.TemporaryDirectory() as folder:
            job, _ = pipeline.prepare(settings, Path(folder), ShardSet.peek)
            needed = [found for found in _stages(job) if found[0] not in self.stages]
            lacking = [priced for _, priced, stage in needed if stage.missing and priced not in self._costs]
            if lacking and self.calibration_images:
                self._costs |= _calibrated(settings, Path(folder), self.calibration_images)
        for key, priced, stage in needed:
            self.stages[key] = replace(stage, cost=self._costs.get(priced, Cost()))

    def table(self) -> Table:
        """One row for each set, and their sum."""
        table = Table(
            "kind", "name", "images", "cached", "missing", "passes", "bytes", "time", title=f"{self.jobs} jobs"
        )
        for stage in self.stages.values():
            missing = sum(stage.missing)
            numbers = [f"{number:,}" for number in (stage.images, stage.images - missing, missing)]
            table.add_row(stage.kind, stage.name, *numbers, *_amounts([stage]))
        table.add_section()
        stages = list(self.stages.values())
        missing, images = sum(sum(stage.missing) for stage in stages), sum(stage.images for stage in stages)
        table.add_row("all", "", f"{images:,}", f"{images - missing:,}", f"{missing:,}", *_amounts(stages))
        return table

    def bound_s(self, devices: int) -> float:
        """All stages one after the other, each on so many devices like this one."""
        return sum(stage.bound_s(devices) for stage in self.stages.values())


def _amounts(stages: Sequence[Stage]) -> list[str]:
    passes, num_bytes, seconds = (
        sum(stage.total(quantity) for stage in stages) for quantity in ("passes", "num_bytes", "seconds")
    )
    return [
        "?" if math.isnan(passes) else f"{passes:,.0f}",
        "?" if math.isnan(num_bytes) else decimal(round(num_bytes)),
        duration(seconds),
    ]


def _stages(job: Any) -> Iterator[tuple[tuple, tuple, Stage]]:
    """With what makes it the same set for any jobs, and what its cost goes by."""
    from harmonia.evaluation.mosaics.localisation import _mosaic_stages
    from harmonia.store.identity import fingerprint

    maps, label = job.maps, f"{job.method_name} of {job.source.name}"
    of_source = (_same(job.source.identity()), _same(fingerprint(job.method)), job.batch_size)
    if not job.evaluation.of_images:
        yield from _mosaic_stages(job, label)
        return
    yield ("maps", maps.key), ("maps", *of_source), Stage("maps", label, maps.count, _missing(maps))
    if hasattr(job.evaluation, "scoring"):
        scoring = job.evaluation.scoring(job)
        scores = job.open_scores(scoring)
        stage = Stage("scores", f"{label}: {job.evaluation_name}", scores.count, _missing(scores))
        yield ("scores", scores.key), ("scores", *of_source, str(scoring["metric"])), stage
        return
    for target in job.targets.values():
        yield _of_images(job, target)
        if not hasattr(job.evaluation, "reading"):
            continue  # a protocol without features
        reading = job.evaluation.reading(job)
        answered = (_same(target.identity()), str(reading), _same(fingerprint(job.fill)))
        if _missing(maps):  # of maps that are not all there, no feature is
            key = ("features", maps.key, *answered, job.images.pool_digest)
            lacking = tuple(len(maps.shard_items(shard)) for shard in range(maps.num_shards))
        else:
            features = job.open_features(target, reading)
            key, lacking = ("features", features.key), _missing(features)
        stage = Stage("features", f"{label} on {target.name}", maps.count, lacking)
        yield key, ("features", *of_source, *answered), stage


def _of_images(job: Any, model: Any) -> tuple[tuple, tuple, Stage]:
    stored = job.open_predictions(model)
    stage = Stage("images", f"on {model.name}", stored.count, _missing(stored))
    return ("images", stored.key), ("images", _same(model.identity()), job.batch_size), stage


def _same(facts: Any) -> str:
    return json.dumps(facts, sort_keys=True, default=str)


def _missing(stored: Any) -> tuple[int, ...]:
    return tuple(len(stored.shard_items(shard)) for shard in stored.missing())


def _calibrated(settings: dict[str, Any], folder: Path, images: int) -> dict[tuple, Cost]:
    """What this job's stages cost an image, from doing them for a few images in a store of their own."""
    from harmonia.evaluation.mosaics.localisation import _mosaic_costs
    from harmonia.evaluation.scores import _score_costs
    from harmonia.evaluation.transfer import _target_costs
    from harmonia.job import pipeline

    few = copy.deepcopy(settings)
    few["data"]["limit"] = min(images, few["data"].get("limit") or images)
    few["store"] |= {"shard_size": images, "spool_gb": 1.0}
    few["paths"]["cache"] = str(folder / "cache")
    job, _ = pipeline.prepare(few, folder)
    priced = [price for _, price, _ in _stages(job)]
    if not job.evaluation.of_images:
        return dict(zip(priced, _mosaic_costs(job), strict=True))
    of_maps = _map_cost(job.maps, lambda: pipeline.make_maps(job))
    costs = [of_maps, *(_score_costs(job) if hasattr(job.evaluation, "scoring") else _target_costs(job))]
    return dict(zip(priced, costs, strict=True))


def _map_cost(maps: Any, make: Callable[[], Any]) -> Cost:
    started = time.monotonic()
    make()
    seconds, passes = time.monotonic() - started, sum(fact["passes"] for fact in maps.facts())
    return Cost(seconds / maps.count, passes / maps.count, _size(maps) / maps.count)


def _size(stored: Any) -> int:
    return sum(stored.shard_path(shard).stat().st_size for shard in range(stored.num_shards))


def duration(seconds: float) -> str:
    """In the unit that a person would take; ? where it is not known."""
    if math.isnan(seconds):
        return "?"
    for name, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {name}"
    return f"{seconds:.1f} s"
