"""What a run or a sweep would still compute: the sets that it needs in the store, what they lack, what that costs."""

import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.filesize import decimal
from rich.table import Table

from harmonia.errors import InputError
from harmonia.job.contract import Stage
from harmonia.job.prepare import prepare
from harmonia.job.settings import Settings, Store
from harmonia.media import number_of, say, visible
from harmonia.store.sets import ShardSet


@dataclass(frozen=True)
class Cost:
    """Of one image, as calibrated on this machine; NaN where nothing was calibrated."""

    seconds: float = math.nan
    passes: float = math.nan
    num_bytes: float = math.nan


@dataclass(frozen=True)
class PlannedStage:
    """A stage of some job, and what an item of it costs."""

    stage: Stage
    cost: Cost = Cost()

    @property
    def missing(self) -> int:
        """Items."""
        return sum(self.stage.missing)

    def total(self, quantity: str) -> float:
        """Of all missing items: seconds, passes or num_bytes."""
        return self.missing * getattr(self.cost, quantity) if self.missing else 0.0

    def bound_s(self, devices: int) -> float:
        """Upper bound of its time on these devices (Graham 1966, list scheduling); no two workers divide a shard."""
        longest = max(self.stage.missing) * self.cost.seconds if self.missing else 0.0
        return self.total("seconds") / devices + longest * (1 - 1 / devices)


@dataclass
class Plan:
    """The sets that a sweep needs, each once, however many of its jobs share it."""

    calibration_images: int
    jobs: int = 0
    stages: dict[tuple, PlannedStage] = field(default_factory=dict)  # by what makes them the same set of the store
    _costs: dict[tuple, Cost] = field(default_factory=dict)  # by Stage.priced_by

    def add(self, settings: Settings) -> None:
        self.jobs += 1
        undecoded = replace(settings, store=replace(settings.store, spool_gb=0))  # looking at a job decodes nothing
        with tempfile.TemporaryDirectory() as folder:
            job = prepare(undecoded, Path(folder), ShardSet.peek)
            needed = [stage for stage in job.evaluation.stages(job) if stage.key not in self.stages]
            unpriced = [stage for stage in needed if stage.missing and stage.priced_by not in self._costs]
            if unpriced and self.calibration_images:
                timed = f"{number_of(len(unpriced), 'stage')} of {job.method_name} on {job.source.name}"
                images = number_of(self.calibration_images, "image")
                say(f"timing {timed}, up to {images} each; --images 0 times nothing", sys.stderr)  # stdout has results
                self._costs |= calibrated(settings, Path(folder), self.calibration_images)
        for stage in needed:
            self.stages[stage.key] = PlannedStage(stage, self._costs.get(stage.priced_by, Cost()))

    def table(self) -> Table:
        """One row for each set, and their sum."""
        table = Table(
            "kind", "name", "images", "cached", "missing", "passes", "bytes", "time", title=number_of(self.jobs, "job")
        )
        for planned in self.stages.values():
            stage = planned.stage
            numbers = [f"{number:,}" for number in (stage.count, stage.count - planned.missing, planned.missing)]
            table.add_row(stage.kind, visible(stage.title), *numbers, *_amounts([planned]))
        table.add_section()
        all_stages = list(self.stages.values())
        missing, images = sum(each.missing for each in all_stages), sum(each.stage.count for each in all_stages)
        table.add_row("all", "", f"{images:,}", f"{images - missing:,}", f"{missing:,}", *_amounts(all_stages))
        return table

    def bound_s(self, devices: int) -> float:
        """The same of all stages one after the other; devices: how many, all like this one."""
        return sum(stage.bound_s(devices) for stage in self.stages.values())


def _amounts(stages: Sequence[PlannedStage]) -> list[str]:
    totals = {name: sum(stage.total(name) for stage in stages) for name in ("passes", "num_bytes", "seconds")}
    return [
        "?" if math.isnan(totals["passes"]) else f"{totals['passes']:,.0f}",
        "?" if math.isnan(totals["num_bytes"]) else decimal(round(totals["num_bytes"])),
        duration(totals["seconds"]),
    ]


def calibrated(settings: Settings, folder: Path, images: int) -> dict[tuple, Cost]:
    """What an item of each of this job's stages costs, from doing them for a few images in a store of their own."""
    limit = min(images, settings.data.options.get("limit") or images)
    few = replace(
        settings,
        data=settings.data.with_options(limit=limit),
        store=Store(shard_size=images, spool_gb=1.0),
        paths=replace(settings.paths, cache=str(folder / "cache")),
    )
    try:
        job = prepare(few, folder)
    except InputError:  # all images are no such: these few may lack what some have, as maps from elsewhere
        return {}
    costs = {}
    for stage in job.evaluation.on_any_images().stages(job):
        started = time.monotonic()
        completed = stage.complete()
        seconds = time.monotonic() - started
        shards = stage.shards
        assert shards is not None, "every stage before it is complete"
        size = sum(shards.shard_path(shard).stat().st_size for shard in range(shards.num_shards))
        costs[stage.priced_by] = Cost(seconds / stage.count, completed.passes / stage.count, size / stage.count)
    return costs


def duration(seconds: float) -> str:
    """In the unit that a person would take; ? where it is not known."""
    if math.isnan(seconds):
        return "?"
    for name, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {name}"
    return f"{seconds:.1f} s"
