"""Scores of the maps of whole images by a metric of harmonia.evaluation.metrics, on the source itself."""

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from harmonia.attribution.contract import Model
from harmonia.attribution.smoothing import Smoothed
from harmonia.data.manifest import ImageRecord, ImageSet
from harmonia.data.views import ViewBatch
from harmonia.errors import InputError
from harmonia.evaluation.metrics.contract import ExplainedImages, Metric, Scores
from harmonia.features.maps import UNREADABLE, unpack
from harmonia.job.completion import Advance, Completed, complete
from harmonia.job.contract import Evaluation, Job, Stage
from harmonia.job.source import BatchImages, Explaining
from harmonia.job.stages import as_text, counted, explained_by, map_stage, stored_stage
from harmonia.models.classifier import class_indices
from harmonia.results import tracking
from harmonia.results.rows import SUMMARY
from harmonia.results.scores import SCORES, read_scores, reasons, summarise_scores, write_scores
from harmonia.shapes import Images, Labels, Logits, Maps
from harmonia.store.identity import fingerprint
from harmonia.store.sets import ShardSet

log = logging.getLogger(__name__)

REASONS = "reasons"  # the fact of an image that holds, as JSON, why which of its scores is undefined


def reads_boxes(metric: Metric) -> bool:
    """Whether the images' boxes are part of what its scores depend on."""
    return getattr(metric, "needs_boxes", False)


@dataclass(frozen=True, kw_only=True)
class MapScores(Evaluation):
    """One row an image and score. Targets and fill play no part."""

    section: ClassVar[str] = "harmonia.report.sections.ranking"
    files: ClassVar[tuple[str, ...]] = (SCORES,)

    metric: Metric

    @property
    def explains_anew(self) -> bool:
        return getattr(self.metric, "explains_anew", False)

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
        return tracking.score_media(read_scores(job.folder))

    def _score(self, job: Job, scores: ShardSet) -> Completed:
        module = partial(Scorer, job, self.metric)
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
        constant: dict[str, Any] = {"source": job.source.name, "method": job.method_name, "layer": job.layer}
        constant |= {"label_policy": job.settings.label.name, "evaluation": job.settings.evaluation.name}
        constant["smooth"] = job.method.k if isinstance(job.method, Smoothed) else 0
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


class Scorer(Explaining):
    """A source and a metric; a predict batch is a shard of images."""

    def __init__(self, job: Job, metric: Metric, advance: Advance):
        super().__init__(job, advance)
        self._metric = metric

    def predict_step(self, batch: ViewBatch, batch_index: int) -> tuple[dict[str, np.ndarray], list[dict]]:
        """The shard's arrays, one float64 for each score and image, and facts, as the store takes them.

        A flagged map is not shown to the metric: its scores are NaN, and the flag is the reason.
        """
        started = time.monotonic()
        arrays, facts = self._job.maps.read_items(batch.indices.tolist())
        of_images = zip(facts, batch.readable.tolist(), strict=True)
        flags = [fact["flag"] if readable else UNREADABLE for fact, readable in of_images]
        usable = [row for row, flag in enumerate(flags) if not flag]
        self._advance(len(flags) - len(usable))
        scores, passes = Scores({}), np.zeros(len(flags), int)
        if usable:
            labels = class_indices(self.classifier, [facts[row]["explained"] for row in usable])
            scores = self._score(batch, torch.tensor(usable), torch.from_numpy(unpack(arrays))[usable], labels)
            passes[usable] = np.asarray(scores.passes)
        values = {name: np.full(len(flags), np.nan) for name in [*self._metric.better, *scores.scores]}
        why = [dict.fromkeys(values, flag) if flag else {} for flag in flags]
        for name, score in scores.scores.items():
            values[name][usable] = score.values.numpy()
            for row, reason in zip(usable, score.reasons, strict=True):
                why[row] |= {name: reason} if reason else {}
        self.passes += int(passes.sum())
        seconds = (time.monotonic() - started) / len(flags)
        return values, [
            {"flag": flag, "passes": count, "seconds": seconds, REASONS: json.dumps(reasons)}
            for flag, count, reasons in zip(flags, passes.tolist(), why, strict=True)
        ]

    def _score(self, batch: ViewBatch, usable: Tensor, maps: Maps, labels: Labels) -> Scores:
        of_batch = BatchImages(self._job, batch.indices[usable], self.device)
        positions = torch.arange(len(usable))
        image_keys = of_batch.image_keys(positions)
        names = [self.classifier.classes[label] for label in labels.tolist()]

        again = torch.zeros(len(usable), dtype=torch.long)  # passes of maps that the metric had made

        def explained_classes(logits: Logits, positions: Tensor) -> Labels:
            return labels[positions].to(logits.device)

        def explain(model: Model, images: Images, rows: Tensor) -> Maps:
            assert self._job.given is None, "a metric that explains anew says so: maps from elsewhere are no method"
            request = self.request(of_batch, _levels(images), explained_classes, rows)
            explanation = self._job.method(replace(request, model=model, on_progress=lambda images: None))
            again[rows] += explanation.passes
            return explanation.maps

        scores = self._metric(
            ExplainedImages(
                model=self.classifier,
                pixels=batch.pixels[usable],
                maps=maps,
                labels=labels,
                boxes=self._boxes(batch, usable, of_batch.records(positions), names),
                image_keys=image_keys,
                device=self.device,
                batch_size=self.batch_size,
                explain=explain,
                on_progress=self._advance,
            )
        )
        return replace(scores, passes=scores.passes + again)

    def _boxes(
        self, batch: ViewBatch, rows: Tensor, records: list[ImageRecord], names: list[str]
    ) -> tuple[Tensor, ...]:
        """Of each image those of the explained class; none for a metric whose key does not hold them."""
        boxes = self._job.images.boxes
        if boxes is None or not reads_boxes(self._metric):
            return tuple(torch.zeros(0, 4) for _ in records)
        return tuple(
            boxes.in_view(record.image_id, name, (width, height), self._job.source.view)
            for record, name, (width, height) in zip(records, names, batch.sizes[rows].tolist(), strict=True)
        )


def _levels(images: Images) -> Tensor:
    """Intensities as the levels 0..255 that Request divides by 255, on the CPU: whole where an image has whole ones.

    So an image that is shown as it is comes out the same bit for bit.
    """
    levels = 255 * images.cpu()
    whole = levels.round()
    return torch.where(whole / 255 == images.cpu(), whole, levels)
