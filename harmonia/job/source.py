"""The mask-generation stage: a source model and a method give one raw map per image, kept in the store."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harmonia.attribution.contract import ChooseLabels, Explanation, Request
from harmonia.data.manifest import ImageRecord
from harmonia.data.views import ViewBatch
from harmonia.features.maps import UNREADABLE, flag_of, pack
from harmonia.job.completion import Advance, CountingModule
from harmonia.job.contract import Job
from harmonia.models.classifier import class_indices, refuse_non_finite
from harmonia.shapes import Labels, Logits, Maps


class Explaining(CountingModule):
    """A job's source, which an attribution method explains.

    Needs Trainer(inference_mode=False): inside inference mode no graph can be built.
    """

    def __init__(self, job: Job, advance: Advance, images_per_input: int = 1):
        super().__init__()
        self.classifier = job.source
        # one for all shards: what memory allowed once, it allows again
        self.batch_size = job.batch_size(job.source, True, images_per_input)
        self._job, self._advance = job, advance

    def request(
        self, images: "BatchImages", pixels: Tensor, choose_labels: ChooseLabels, positions: Tensor | None = None
    ) -> Request:
        """What a method is asked about the images at these positions in the batch, without any about all."""
        positions = torch.arange(len(pixels)) if positions is None else positions
        return Request(
            model=self.classifier,
            pixels=pixels,
            choose_labels=choose_labels,
            replacements=images.replacements,
            device=self.device,
            batch_size=self.batch_size,
            positions=positions,
            image_keys=images.image_keys(positions),
            on_progress=self._advance,
            given=images.given,
        )


class Source(Explaining):
    """Maps by the job's method; a predict batch is a shard of images."""

    def predict_step(self, batch: ViewBatch, batch_index: int) -> tuple[dict[str, np.ndarray], list[dict]]:
        """The shard's arrays and facts, as the store takes them."""
        started = time.monotonic()
        images = BatchImages(self._job, batch.indices, self.device)

        def choose_labels(logits: Logits, rows: Tensor) -> Labels:
            refuse_non_finite(logits, self.classifier.name)
            true = images.labels(rows)
            # an unreadable image must not stop a policy that needs the class of every image: its map is dropped anyway
            true = torch.where(batch.readable[rows], true, true.clamp(min=0))
            return self._job.label_policy(logits, true, images.image_keys(rows)).to(logits.device)

        explanation = self._job.method(self.request(images, batch.pixels, choose_labels))
        self.passes += int(explanation.passes.sum())
        explanation.maps[~batch.readable] = torch.nan
        facts = images.facts(explanation, time.monotonic() - started)
        for fact, readable in zip(facts, batch.readable.tolist(), strict=True):
            fact["flag"] = fact["flag"] if readable else UNREADABLE
        return pack(explanation.maps.numpy()), facts


@dataclass(frozen=True)
class BatchImages:
    """What a method asks of a batch's images beside their pixels, by position in the batch; the facts of its maps."""

    job: Job
    indices: Tensor  # B, positions in the job's data set
    device: torch.device

    def replacements(self, positions: Tensor, labels: Labels, steps: Tensor | None, draws: int) -> Tensor:
        """Other real images in the source's view (B, R, 3, H, W), as Request has it."""
        backgrounds = self.job.method.backgrounds
        assert backgrounds is not None, "a method that draws replacement images declares its backgrounds"
        pool = self.job.pool(self.job.source.view, backgrounds.random_crops)
        classes = self.job.source.classes
        avoid = [None if backgrounds.any_class else classes[label] for label in labels.tolist()]
        numbers = None if steps is None else steps.numpy()
        picked = pool.draw(self.records(positions), self.image_keys(positions), avoid, numbers, draws)
        return pool.take(picked, self.device)

    def given(self, positions: Tensor) -> Maps:
        """Maps from elsewhere (B, h, w); of images that were decoded."""
        given, view = self.job.given, self.job.source.view
        assert given is not None, "a method of such maps has a job that reads them"
        boxes = self.job.viewed.boxes(self.indices[positions].tolist(), view)
        return given.take([record.image_id for record in self.records(positions)], boxes, view.size)

    def records(self, positions: Tensor) -> list[ImageRecord]:
        return [self.job.images.records[index] for index in self.indices[positions].tolist()]

    def labels(self, positions: Tensor) -> Labels:
        """The true classes as the source's indices, -1 where it lacks the class."""
        return class_indices(self.job.source, [record.class_name or "" for record in self.records(positions)])

    def image_keys(self, positions: Tensor) -> np.ndarray:
        return self.job.images.image_keys(self.indices[positions].tolist())

    def facts(self, explanation: Explanation, seconds: float) -> list[dict]:
        """What the index says of every image's map."""
        classes = self.job.source.classes
        return [
            {
                "image_id": record.image_id,
                "path": str(record.path),
                "label": record.class_name,
                "explained": classes[explanation.explained[row]],
                "predicted": classes[explanation.predicted[row]],
                "p_source": float(explanation.p_explained[row]),
                "passes": int(explanation.passes[row]),
                "seconds": seconds / len(self.indices),
                "converged": bool(explanation.converged[row]),
                "flag": flag_of(explanation.maps[row].numpy()),
            }
            | {name: values[row].item() for name, values in explanation.facts.items()}
            for row, record in enumerate(self.records(torch.arange(len(self.indices))))
        ]
