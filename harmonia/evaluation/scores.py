"""Scores of the maps of whole images by a metric of harmonia.evaluation.metrics, on the source itself."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from harmonia.attribution.smoothing import Smoothed
from harmonia.data.manifest import ImageSet
from harmonia.errors import InputError
from harmonia.evaluation.metrics.contract import Metric
from harmonia.evaluation.scorer import REASONS, Scorer, reads_boxes
from harmonia.features.maps import UNREADABLE
from harmonia.job.completion import Completed, complete
from harmonia.job.contract import Evaluation, Job, Stage
from harmonia.job.progress import ProgressBar
from harmonia.job.stages import as_text, counted, explained_by, map_stage, stored_stage
from harmonia.results import tracked_rows, tracking
from harmonia.results.rows import SUMMARY
from harmonia.results.scores import SCORES, read_scores, reasons, summarise_scores, write_scores
from harmonia.store.identity import fingerprint
from harmonia.store.sets import ShardSet

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MapScores(Evaluation):
    """One row an image and score. Targets and fill play no part."""

    section: ClassVar[str] = "harmonia.report.sections.ranking"
    files: ClassVar[tuple[str, ...]] = (SCORES,)

    metric: Metric

    def check(self, images: ImageSet) -> None:
        if reads_boxes(self.metric) and images.boxes is None:
            raise InputError(
                "evaluation.metric needs boxes of the images, got none; give data.boxes=FILE, a CSV file with the "
                "columns path,class_index,x0,y0,x1,y1"
            )

    def stages(self, job: Job) -> Iterator[Stage]:
        yield map_stage(job)
        scoring = self._scoring(job)
        scores = job.keys.scores(scoring)
        title = f"{job.method_name} of {job.source.name}: {job.settings.evaluation.name}"
        priced_by = ("scores", *explained_by(job), as_text(scoring["metric"]))
        yield stored_stage("scores", title, scores, priced_by, partial(self._score, job, scores))

    def write(self, job: Job) -> dict[str, Any]:
        write_scores(job.folder, self._rows(job, job.keys.scores(self._scoring(job))))
        # an earlier run's, which would pass for that of the rows that have taken their name
        (job.folder / SUMMARY).unlink(missing_ok=True)
        rows = read_scores(job.folder)
        for reason, images in reasons(rows).items():
            total = rows["image_id"].nunique()
            log.warning("%s: %d of %d images have no score: %s", _title(job), images, total, reason)
        return summarise_scores(rows)

    def media(self, job: Job, summary: dict[str, Any]) -> tracking.Media:
        return tracked_rows.score_media(read_scores(job.folder))

    def _score(self, job: Job, scores: ShardSet) -> Completed:
        def module(progress: ProgressBar) -> Scorer:
            return Scorer(job, self.metric, progress)

        completed = complete(scores, job.viewed, job.source.view, module, job.make_trainer, _title(job))
        cached = scores.count - completed.items
        return counted(job.source, completed, scores_computed=completed.items, scores_cached=cached)

    def _scoring(self, job: Job) -> dict[str, Any]:
        """What tells these scores of the job's maps apart."""
        boxes = job.images.boxes
        against = {"boxes": boxes.digest} if reads_boxes(self.metric) and boxes is not None else {}
        return {"metric": fingerprint(self.metric), **against}

    def _rows(self, job: Job, scores: ShardSet) -> Iterator[dict[str, list]]:
        """Columns of results.scores.ScoreRows, a shard at a time; an image that cannot be read has no row."""
        names = sorted({name for shard in range(scores.num_shards) for name in scores.read(shard)[0]})
        for shard in range(scores.num_shards):
            arrays, facts = scores.read(shard)
            readable = [row for row, fact in enumerate(facts) if fact["flag"] != UNREADABLE]
            if readable:
                positions = [scores.shard_items(shard)[row] for row in readable]
                # a shard of flagged maps alone, which no metric saw, lacks the names that only a metric gives
                lacking = [name for name in names if name not in arrays]
                values = {name: arrays.get(name, np.full(len(facts), np.nan))[readable] for name in names}
                why = [dict.fromkeys(lacking, facts[row]["flag"]) | json.loads(facts[row][REASONS]) for row in readable]
                yield self._columns(job, positions, values, why)

    def _columns(
        self, job: Job, positions: list[int], values: dict[str, np.ndarray], why: list[dict[str, str]]
    ) -> dict[str, list]:
        better = self.metric.better
        maps = job.maps.read_items(positions)[1]
        records = [job.images.records[index] for index in positions]
        constant = {
            "source": job.source.name,
            "method": job.method_name,
            "layer": job.layer,
            "smooth": job.method.k if isinstance(job.method, Smoothed) else 0,
            "label_policy": job.settings.label.name,
            "evaluation": job.settings.evaluation.name,
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


def _title(job: Job) -> str:
    return f"{job.settings.evaluation.name}: {job.method_name} maps of {job.source.name}"
