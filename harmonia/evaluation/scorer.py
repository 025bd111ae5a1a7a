"""The scoring stage: a metric and the stored maps of a source give numbers for each image, kept in the store."""

import json
import time
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from harmonia.attribution.contract import Model, Request
from harmonia.attribution.passes import BatchSize
from harmonia.data.manifest import ImageRecord
from harmonia.data.views import ViewBatch
from harmonia.evaluation.metrics.contract import ExplainedImages, Metric, Scores
from harmonia.features.maps import UNREADABLE, unpack
from harmonia.job.completion import CountingModule
from harmonia.job.contract import Job
from harmonia.job.progress import ProgressBar
from harmonia.job.source import BatchImages
from harmonia.models.classifier import class_indices
from harmonia.shapes import Images, Labels, Maps

REASONS = "reasons"  # the fact of an image that holds, as JSON, why which of its scores is undefined


def reads_boxes(metric: Metric) -> bool:
    """Whether the images' boxes are part of what its scores depend on."""
    return getattr(metric, "needs_boxes", False)


class Scorer(CountingModule):
    """A source and a metric; a predict batch is a shard of images."""

    def __init__(self, job: Job, metric: Metric, progress: ProgressBar):
        super().__init__()
        self.classifier = job.source
        self.batch_size = BatchSize(job.batch_size)  # one for all shards: what memory allowed once, it allows again
        self._job, self._metric, self._progress = job, metric, progress

    def predict_step(self, batch: ViewBatch, batch_index: int) -> tuple[dict[str, np.ndarray], list[dict]]:
        """The shard's arrays, one float64 for each score and image, and facts, as the store takes them.

        A flagged map is not shown to the metric: its scores are NaN, and the flag is the reason.
        """
        started = time.monotonic()
        arrays, facts = self._job.maps.read_items(batch.indices.tolist())
        flags = [
            fact["flag"] if readable else UNREADABLE
            for fact, readable in zip(facts, batch.readable.tolist(), strict=True)
        ]
        usable = [row for row, flag in enumerate(flags) if not flag]
        self._progress.advance(len(flags) - len(usable))
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
        job = self._job
        of_batch = BatchImages(job, batch.indices[usable], self.device)
        positions = torch.arange(len(usable))
        image_keys = of_batch.image_keys(positions)
        names = [self.classifier.classes[label] for label in labels.tolist()]

        again = torch.zeros(len(usable), dtype=torch.long)  # passes of maps that the metric had made

        def explain(model: Model, images: Images, rows: Tensor) -> Maps:
            explanation = job.method(
                Request(
                    model=model,
                    pixels=_levels(images),
                    choose_labels=lambda logits, positions: labels[positions].to(logits.device),
                    replacements=of_batch.replacements,
                    device=self.device,
                    batch_size=self.batch_size,
                    positions=rows,
                    image_keys=image_keys[rows.numpy()],
                    on_progress=lambda images: None,
                )
            )
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
                on_progress=self._progress.advance,
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
