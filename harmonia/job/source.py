"""The mask-generation stage: a source model and a method give one raw map per image, kept in the store."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from harmonia.attribution.contract import Attribution, Explanation, Request
from harmonia.attribution.passes import BatchSize
from harmonia.data.manifest import ImageRecord, ImageSet
from harmonia.data.replacements import Replacements
from harmonia.data.views import ViewBatch
from harmonia.features.maps import UNREADABLE, flag_of, pack
from harmonia.job.completion import CountingModule
from harmonia.job.contract import Job
from harmonia.job.progress import ProgressBar
from harmonia.models.classifier import Classifier, class_indices, refuse_non_finite
from harmonia.shapes import Labels, Logits


class Source(CountingModule):
    """A job's classifier and attribution method; a predict batch is a shard of images.

    Needs Trainer(inference_mode=False): inside inference mode no graph can be built.
    """

    def __init__(self, job: Job, progress: ProgressBar):
        super().__init__()
        self.classifier = job.source
        self.batch_size = BatchSize(job.batch_size)  # one for all shards: what memory allowed once, it allows again
        self._job = job
        self._progress = progress

    def predict_step(self, batch: ViewBatch, batch_index: int) -> tuple[dict[str, np.ndarray], list[dict]]:
        """The shard's arrays and facts, as the store takes them."""
        started = time.monotonic()
        images = batch_images(self._job, batch.indices, self.device)
        positions = torch.arange(len(batch.pixels))
        explanation = self._job.method(
            Request(
                model=self.classifier,
                pixels=batch.pixels,
                choose_labels=partial(self._choose_labels, images, batch.readable),
                replacements=images.replacements,
                device=self.device,
                batch_size=self.batch_size,
                positions=positions,
                keys=images.keys(positions),
                on_progress=self._progress.advance,
            )
        )
        self.passes += int(explanation.passes.sum())
        return self._shard(batch, explanation, time.monotonic() - started)

    def _choose_labels(
        self, images: "BatchImages", readable: torch.Tensor, logits: Logits, positions: torch.Tensor
    ) -> Labels:
        refuse_non_finite(logits, self.classifier.name)
        true = class_indices(self.classifier, [record.class_name or "" for record in images.records(positions)])
        # an unreadable image must not stop a policy that needs the class of every image: its map is dropped anyway
        true = torch.where(readable[positions], true, true.clamp(min=0))
        return self._job.label_policy(logits, true, images.keys(positions)).to(logits.device)

    def _shard(
        self, batch: ViewBatch, explanation: Explanation, seconds: float
    ) -> tuple[dict[str, np.ndarray], list[dict]]:
        maps = explanation.maps.numpy()
        maps[~batch.readable.numpy()] = np.nan
        classes = self.classifier.classes
        facts = []
        for row, index in enumerate(batch.indices.tolist()):
            record = self._job.images.records[index]
            facts.append(
                {
                    "image_id": record.image_id,
                    "path": str(record.path),
                    "label": record.class_name,
                    "explained": classes[explanation.explained[row]],
                    "predicted": classes[explanation.predicted[row]],
                    "p_source": float(explanation.p_explained[row]),
                    "passes": int(explanation.passes[row]),
                    "seconds": seconds / len(batch.pixels),
                    "converged": bool(explanation.converged[row]),
                    "flag": flag_of(maps[row]) if batch.readable[row] else UNREADABLE,
                }
                | {name: values[row].item() for name, values in explanation.facts.items()}
            )
        return pack(maps), facts


def batch_images(job: Job, indices: torch.Tensor, device: torch.device) -> "BatchImages":
    """The images at these positions in a job's data set, as its source sees them."""
    return BatchImages(job.source, job.method, job.images, partial(job.pool, job.source.view), indices, device)


@dataclass(frozen=True)
class BatchImages:
    """What a method asks of a batch's images beside their pixels, by position in the batch."""

    classifier: Classifier
    method: Attribution
    images: ImageSet
    pool: Callable[[bool], Replacements]  # randomly cropped or not
    indices: torch.Tensor  # B, positions in the data set
    device: torch.device

    def replacements(
        self, positions: torch.Tensor, labels: Labels, steps: torch.Tensor | None, draws: int
    ) -> torch.Tensor:
        """Other real images (B, R, 3, H, W), as Request has it."""
        backgrounds = self.method.backgrounds
        assert backgrounds is not None, "a method that draws replacement images declares its backgrounds"
        pool = self.pool(backgrounds.random_crops)
        classes = self.classifier.classes
        avoid = [None if backgrounds.any_class else classes[label] for label in labels.tolist()]
        numbers = None if steps is None else steps.numpy()
        picked = pool.draw(self.records(positions), self.keys(positions), avoid, numbers, draws)
        return pool.take(picked, self.device)

    def records(self, positions: torch.Tensor) -> list[ImageRecord]:
        return [self.images.records[index] for index in self.indices[positions].tolist()]

    def keys(self, positions: torch.Tensor) -> np.ndarray:
        return np.array([self.images.key(index) for index in self.indices[positions].tolist()], np.uint64)
