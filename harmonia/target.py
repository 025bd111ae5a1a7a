"""A target model on whole images and on features."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from harmonia.data.manifest import ImageSet
from harmonia.data.replacements import Replacements
from harmonia.data.views import ViewBatch
from harmonia.features import compose
from harmonia.fill import Fill
from harmonia.geometry import View
from harmonia.keep import KeepArms, kept_area
from harmonia.maps import UNREADABLE
from harmonia.models import Classifier, refuse_non_finite
from harmonia.progress import Stage
from harmonia.shapes import Images, Logits, Maps


class Target(LightningModule):
    """A classifier that counts what goes through it."""

    def __init__(self, classifier: Classifier, batch_size: int, progress: Stage):
        super().__init__()
        self.classifier = classifier
        self.batch_size = batch_size
        self.passes = 0  # inputs that went through the network
        self._progress = progress

    def transfer_batch_to_device(self, batch: ViewBatch, device: torch.device, dataloader_idx: int) -> ViewBatch:
        """A batch stays on the CPU as uint8; its micro-batches move."""
        return batch

    def logits(self, images: Images) -> Logits:
        self.passes += len(images)
        logits = self.classifier(images).cpu()
        refuse_non_finite(logits, self.classifier.name)
        return logits


class ImageTarget(Target):
    """Logits of whole images, once per target and data set."""

    def predict_step(self, batch: ViewBatch, batch_index: int) -> tuple[dict[str, np.ndarray], list[dict]]:
        """The shard's logits (B, K) and facts, as the store takes them; an unreadable image has NaN logits."""
        logits = torch.full((len(batch.pixels), len(self.classifier.classes)), torch.nan)
        rows = batch.readable.nonzero()[:, 0]
        # split gives one empty part of nothing, which a network need not take
        for part in rows.split(self.batch_size) if len(rows) else ():
            logits[part] = self.logits(batch.pixels[part].to(self.device).float() / 255)
            self._progress.advance(len(part))
        self._progress.advance(len(batch.pixels) - len(rows))
        facts: list[dict] = [{"flag": "" if readable else UNREADABLE} for readable in batch.readable.tolist()]
        return {"logits": logits.numpy()}, facts


class FeatureTarget(Target):
    """Logits of features: every keep arm of an image goes through together."""

    def __init__(
        self,
        classifier: Classifier,
        batch_size: int,
        progress: Stage,
        *,
        arms: KeepArms,
        fill: Fill,
        source_view: View,
        explanations: Callable[[list[int]], tuple[Maps, list[str]]],  # raw maps and the classes they explain
        images: ImageSet,
        replacements: Callable[[], Replacements],
    ):
        super().__init__(classifier, batch_size, progress)
        self._arms = arms
        self._fill = fill
        self._source_view = source_view
        self._explanations = explanations
        self._images = images
        self._replacements = replacements

    def predict_step(self, batch: ViewBatch, batch_index: int) -> tuple[Tensor, Logits, Tensor]:
        """Of the readable images of a batch: positions in the data set, logits (B, A, K), kept area (B, A)."""
        rows = batch.readable.nonzero()[:, 0]
        self._progress.advance(len(batch.pixels) - len(rows))
        if not len(rows):
            nothing = torch.empty(0, len(self._arms.names))
            return batch.indices[:0], nothing[..., None].expand(0, -1, len(self.classifier.classes)), nothing
        logits, areas = [], []
        for part in rows.split(max(1, self.batch_size // len(self._arms.names))):
            part_logits, part_areas = self._features(batch, part)
            logits.append(part_logits)
            areas.append(part_areas)
            self._progress.advance(len(part))
        return batch.indices[rows], torch.cat(logits), torch.cat(areas)

    def _features(self, batch: ViewBatch, part: Tensor) -> tuple[Logits, Tensor]:
        indices = batch.indices[part].tolist()
        view, device = self.classifier.view, self.device
        images_B3HW = batch.pixels[part].to(device).float() / 255
        source_boxes = torch.tensor(
            [self._source_view.box(*size) for size in batch.sizes[part].tolist()], device=device
        )
        maps, explained = self._explanations(indices)
        keep_BAHW = self._arms.weights(
            maps.to(device),
            source_boxes,
            batch.boxes[part].to(device),
            self._source_view.size,
            view.size,
        )
        another = cache(lambda: self._replacements().stand_ins(self._images, indices, explained, device))
        features = [
            compose(images_B3HW, keep_B1HW, self._fill(images_B3HW, keep_B1HW, another))
            for keep_B1HW in keep_BAHW.split(1, dim=1)
        ]
        logits_BAK = self.logits(torch.stack(features, 1).flatten(0, 1)).unflatten(0, keep_BAHW.shape[:2])
        return logits_BAK, kept_area(keep_BAHW).cpu()
