"""A target model on whole images and on features."""

from collections.abc import Callable

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
from harmonia.models import Classifier
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
        return self.classifier(images).float().cpu()


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
        facts = [{"readable": readable} for readable in batch.readable.tolist()]
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
        read_maps: Callable[[list[int]], Maps],
        images: ImageSet,
        replacements: Callable[[], Replacements],
    ):
        super().__init__(classifier, batch_size, progress)
        self._arms = arms
        self._fill = fill
        self._source_view = source_view
        self._read_maps = read_maps
        self._images = images
        self._make_replacements = replacements
        self._replacements: Replacements | None = None

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
        keep_BAHW = self._arms.weights(
            self._read_maps(indices).to(device),
            source_boxes,
            batch.boxes[part].to(device),
            self._source_view.size,
            view.size,
        )
        features = [
            compose(images_B3HW, keep_B1HW, self._fill(images_B3HW, keep_B1HW, lambda: self._another(indices)))
            for keep_B1HW in keep_BAHW.split(1, dim=1)
        ]
        logits_BAK = self.logits(torch.stack(features, 1).flatten(0, 1)).unflatten(0, keep_BAHW.shape[:2])
        return logits_BAK, kept_area(keep_BAHW).cpu()

    def _another(self, indices: list[int]) -> Images:
        """One replacement image for each, the same for every arm and target."""
        if self._replacements is None:
            self._replacements = self._make_replacements()
        records = [self._images.records[index] for index in indices]
        keys = np.array([self._images.key(index) for index in indices], np.uint64)
        picked = self._replacements.draw(records, keys, [record.class_name or "" for record in records], 0, 1)
        return self._replacements.take(picked[:, 0], self.device)
