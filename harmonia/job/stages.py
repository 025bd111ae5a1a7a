"""The stages that evaluations share: maps of whole images, and a model's answers on whole images."""

import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from harmonia.errors import InputError
from harmonia.features.maps import UNREADABLE
from harmonia.job.completion import Completed, complete
from harmonia.job.contract import Job, Stage
from harmonia.job.source import Source
from harmonia.job.target import ImageTarget
from harmonia.models.classifier import Classifier
from harmonia.store.identity import fingerprint
from harmonia.store.sets import ShardSet

log = logging.getLogger(__name__)


def map_stage(job: Job) -> Stage:
    def compute() -> Completed:
        title = f"{job.method_name} maps of {job.source.name}"
        completed = complete(job.maps, job.viewed, job.source.view, partial(Source, job), job.make_trainer, title)
        if len(job.viewed.unreadable) == job.maps.count:
            name, count = job.images.name, job.maps.count
            raise InputError(f"data: of {name} no image can be read, all {count} are left out; the log names each")
        return completed

    return stage_of_maps(job, "maps", job.maps, ("maps", *explained_by(job)), compute)


def stage_of_maps(
    job: Job, kind: str, maps: ShardSet, priced_by: tuple, compute: Callable[[], Completed], title: str = ""
) -> Stage:
    """Maps that compute completes; says which layer they look at, and counts them for summary.json."""

    def completed() -> Completed:
        if job.layer:
            log.info("%s on %s looks at layer %s", job.method_name, job.source.name, job.layer)
        computed = compute()
        facts = [fact for fact in maps.facts() if fact["flag"] != UNREADABLE]
        if unconverged := sum(not fact["converged"] for fact in facts):
            log.warning("%d of %d maps still changed when their steps (method.steps) ran out", unconverged, maps.count)
        counts = {
            "maps_computed": computed.items,
            "maps_cached": maps.count - computed.items,
            "maps_flagged": sum(fact["flag"] != "" for fact in facts),
            "maps_not_converged": unconverged,
            "network_passes/maps": sum(fact["passes"] for fact in facts),
        }
        return Completed(computed.items, computed.passes, counts)

    name = f"{job.method_name} of {job.source.name}"
    return stored_stage(kind, f"{name}: {title}" if title else name, maps, priced_by, completed)


def image_stage(job: Job, model: Classifier) -> Stage:
    predictions = job.keys.predictions(model)

    def compute() -> Completed:
        module = partial(ImageTarget, model, job.batch_size(model, False))
        title = f"images on {model.name}"
        return counted(model, complete(predictions, job.viewed, model.view, module, job.make_trainer, title))

    priced_by = ("images", as_text(model.identity()), job.settings.batch_size)
    return stored_stage("images", f"on {model.name}", predictions, priced_by, compute)


def stored_stage(kind: str, title: str, shards: ShardSet, priced_by: tuple, compute: Callable[[], Completed]) -> Stage:
    """A stage whose set is known; what it lacks is looked up now."""
    return Stage(
        kind=kind,
        title=title,
        key=(kind, shards.key),
        priced_by=priced_by,
        count=shards.count,
        missing=tuple(len(shards.shard_items(shard)) for shard in shards.missing()),
        shards=shards,
        complete=compute,
    )


def pending_stage(kind: str, title: str, key: tuple, priced_by: tuple, count: int, shard_size: int) -> Stage:
    """A stage of so many items whose set is known once an earlier stage is complete; until then it lacks all."""
    missing = tuple(min(shard_size, count - first) for first in range(0, count, shard_size))
    return Stage(kind=kind, title=title, key=key, priced_by=priced_by, count=count, missing=missing)


def counted(model: Classifier, completed: Completed, **counts: int) -> Completed:
    """With the passes of the model's network among the counts."""
    return Completed(completed.items, completed.passes, {f"network_passes/{model.name}": completed.passes, **counts})


def explained_by(job: Job) -> tuple:
    """What the cost of a map goes by."""
    return as_text(job.source.identity()), as_text(fingerprint(job.method)), job.settings.batch_size


def as_text(facts: Mapping[str, Any] | Any) -> str:
    """Equal for equal facts."""
    return json.dumps(facts, sort_keys=True, default=str)
