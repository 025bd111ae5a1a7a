"""Scores of the maps of whole images by a metric of harmonia.evaluation.metrics, on the source itself."""

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from harmonia.attribution.smoothing import Smoothed
from harmonia.evaluation.metrics.contract import Metric
from harmonia.evaluation.scorer import REASONS, Scorer, reads_boxes
from harmonia.features.maps import UNREADABLE
from harmonia.job.completion import complete
from harmonia.job.contract import Job
from harmonia.job.plan import Cost, _size
from harmonia.results.rows import SUMMARY
from harmonia.results.scores import read_scores, reasons, summarise_scores, write_scores
from harmonia.store.identity import fingerprint
from harmonia.store.sets import ShardSet

log = logging.getLogger(__name__)


def _score_costs(job: Any) -> Iterator[Cost]:
    scores = job.open_scores(job.evaluation.scoring(job))
    started = time.monotonic()
    passes = job.evaluation(job)[f"network_passes/{job.source.name}"]
    count = job.maps.count
    yield Cost((time.monotonic() - started) / count, passes / count, _size(scores) / count)


@dataclass(frozen=True, kw_only=True)
class MapScores:
    """One row an image and score. Targets and fill play no part."""

    of_images: ClassVar[bool] = True
    on_targets: ClassVar[bool] = False

    metric: Metric

    def __call__(self, job: Job) -> dict[str, Any]:
        """Writes the job's rows; returns its metrics."""
        scores = job.open_scores(self.scoring(job))
        modules: list[Scorer] = []

        def module(progress) -> Scorer:
            modules.append(Scorer(job, self.metric, progress))
            return modules[0]

        title = f"{job.evaluation_name}: {job.method_name} maps of {job.source.name}"
        computed = complete(scores, job.viewed, job.source.view, module, job.make_trainer, title)
        write_scores(job.folder, self._rows(job, scores))
        # an earlier run's, which would pass for that of the rows that have taken their name
        (job.folder / SUMMARY).unlink(missing_ok=True)
        rows = read_scores(job.folder)
        for reason, images in reasons(rows).items():
            log.warning("%s: %d of %d images have no score: %s", title, images, rows["image_id"].nunique(), reason)
        return {
            **summarise_scores(rows),
            "scores_computed": computed,
            "scores_cached": scores.count - computed,
            f"network_passes/{job.source.name}": modules[0].passes if modules else 0,
        }

    @property
    def needs_boxes(self) -> bool:
        """Whether the data set must come with boxes."""
        return reads_boxes(self.metric)

    def scoring(self, job: Job) -> dict[str, Any]:
        """What tells these scores of the job's maps apart."""
        boxes = job.images.boxes
        against = {"boxes": boxes.digest} if self.needs_boxes and boxes is not None else {}
        return {"metric": fingerprint(self.metric), **against}

    def _rows(self, job: Job, scores: ShardSet) -> Iterator[dict[str, list]]:
        """Columns of score_rows.SCHEMA, a shard at a time; an image that cannot be read has no row."""
        names = sorted({name for shard in range(scores.num_shards) for name in scores.read(shard)[0]})
        for shard in range(scores.num_shards):
            arrays, facts = scores.read(shard)
            readable = [row for row, fact in enumerate(facts) if fact["flag"] != UNREADABLE]
            if readable:
                positions = [scores.shard_items(shard)[row] for row in readable]
                # a shard of flagged maps alone, which no metric saw, lacks the names that only a metric gives
                lacking = [name for name in names if name not in arrays]
                arrays |= {name: np.full(len(facts), np.nan) for name in lacking}
                values = {name: arrays[name][readable] for name in names}
                why = [dict.fromkeys(lacking, facts[row]["flag"]) | json.loads(facts[row][REASONS]) for row in readable]
                yield self._columns(job, positions, values, why)

    def _columns(
        self, job: Job, positions: list[int], values: dict[str, np.ndarray], why: list[dict[str, str]]
    ) -> dict[str, list]:
        better = self.metric.better
        maps = job.maps.read_items(positions)[1]
        records = [job.images.records[index] for index in positions]
        describe = getattr(job.method, "layer_of", None)
        constant = {
            "source": job.source.name,
            "method": job.method_name,
            "layer": (describe(job.source) if describe else None) or "",
            "smooth": job.method.k if isinstance(job.method, Smoothed) else 0,
            "label_policy": job.label_name,
            "evaluation": job.evaluation_name,
        }
        of_image = {
            "image_id": [record.image_id for record in records],
            "path": [str(record.path) for record in records],
            "label": [record.class_name for record in records],
            "explained": [fact["explained"] for fact in maps],
            "p_explained": [fact["p_source"] for fact in maps],
        }
        count = len(positions)
        return {
            **{name: [value] * count * len(values) for name, value in constant.items()},
            **{name: column * len(values) for name, column in of_image.items()},
            "metric": [name for name in values for _ in range(count)],
            "better": [better[name.partition("/")[0]] for name in values for _ in range(count)],
            "value": [value for array in values.values() for value in array.tolist()],
            "reason": [of_map.get(name, "") for name in values for of_map in why],
        }
