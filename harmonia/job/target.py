"""A target model on whole images and on features."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harmonia.arms import DIM_ARM, NOTHING_ARM
from harmonia.attribution.passes import BatchSize, in_passes
from harmonia.data.views import ViewBatch
from harmonia.features.arms import Explanations, KeepArms
from harmonia.features.fill import compose
from harmonia.features.maps import UNREADABLE, pack
from harmonia.job.completion import Advance, CountingModule
from harmonia.job.contract import Job, Removal
from harmonia.job.device import compiled
from harmonia.models.classifier import Classifier, refuse_non_finite
from harmonia.models.tokens import patch_grid
from harmonia.shapes import Images, Keep, Logits


class Target(CountingModule):
    """A classifier that counts what goes through it."""

    def __init__(self, classifier: Classifier, batch_size: BatchSize, advance: Advance):
        super().__init__()
        self.classifier = classifier
        self.batch_size = batch_size
        self._advance = advance

    def parts(self, rows: Tensor, compute: Callable[[Tensor], Any]) -> Iterator[tuple[Tensor, Any]]:
        """The rows in parts of whole passes that fit into memory, each with what compute gives for it."""

        def attempt(size: int, rest: Tensor) -> tuple[Tensor, Any]:
            part = rest[: self.batch_size.whole_passes(size, self.device)]
            return part, compute(part)

        while len(rows):
            # compute may be called again for fewer of them
            part, computed = self.batch_size.fit(partial(attempt, rest=rows))
            yield part, computed
            self._advance(len(part))
            rows = rows[len(part) :]

    def show(self, network: Callable[[Images], tuple[Tensor, ...]], images: Images) -> tuple[Tensor, ...]:
        """What the network gives for images, in passes whose size on a CPU depends on no batch size (ADR 9)."""
        return in_passes(network, images, self.batch_size.pass_size(len(images), self.device))

    def count(self, logits: Logits) -> Logits:
        """The logits on the CPU, counted, and refused where they are not finite."""
        self.passes += len(logits)
        logits = logits.cpu()
        refuse_non_finite(logits, self.classifier.name)
        return logits


class ImageTarget(Target):
    """Logits and penultimate representations of whole images, once per target and data set."""

    def predict_step(self, batch: ViewBatch, batch_index: int) -> tuple[dict[str, np.ndarray], list[dict]]:
        """The shard's arrays and facts, as the store takes them; an unreadable image has NaN.

        logits (B, K); representation (B, D), float16 in -1..1, times representation_scale (B,).
        """
        rows = batch.readable.nonzero()[:, 0]
        logits = torch.full((len(batch.pixels), len(self.classifier.classes)), torch.nan)
        representations = torch.full((len(batch.pixels), self.classifier.representation_size), torch.nan)

        def represent(part: Tensor) -> tuple[Logits, Tensor]:
            images = batch.pixels[part].to(self.device).float() / 255
            part_logits, part_representations = self.show(self.classifier.represent, images)
            return self.count(part_logits), part_representations.cpu()

        for part, answers in self.parts(rows, represent):
            logits[part], representations[part] = answers
        self._advance(len(batch.pixels) - len(rows))
        facts: list[dict] = [{"flag": "" if readable else UNREADABLE} for readable in batch.readable.tolist()]
        packed = pack(representations[:, None].numpy())
        representation = {"representation": packed["maps"][:, 0], "representation_scale": packed["scale"]}
        return {"logits": logits.numpy(), **representation}, facts


class FeatureTarget(Target):
    """Logits of features. Inputs of one arm go through together, so that the other arms change none of its numbers."""

    def __init__(
        self,
        job: Job,
        classifier: Classifier,
        arms: KeepArms,
        explanations: Callable[[list[int]], Explanations],
        advance: Advance,
    ):
        super().__init__(classifier, job.batch_size(classifier, False), advance)
        self.job, self._arms, self._explanations = job, arms, explanations
        self._fill, self._removal = job.fill_of(classifier)[1], job.removals[classifier.name]
        self._patches = patch_grid(classifier) if arms.patch_borders else None
        self._answer = compiled(classifier) if job.settings.compile else classifier

    def predict_step(self, batch: ViewBatch, batch_index: int) -> tuple[Logits, Tensor]:
        """Logits (B, A, K), kept area (B, A); both are NaN where an image cannot be read or lacks an arm."""
        rows = batch.readable.nonzero()[:, 0]
        self._advance(len(batch.pixels) - len(rows))
        logits = torch.full((len(batch.pixels), len(self._arms.names), len(self.classifier.classes)), torch.nan)
        areas = torch.full(logits.shape[:2], torch.nan)
        for part, answers in self.parts(rows, partial(self._features, batch)):
            logits[part], areas[part] = answers
        return logits, areas

    def _features(self, batch: ViewBatch, part: Tensor) -> tuple[Logits, Tensor]:
        indices = batch.indices[part].tolist()
        view, device = self.classifier.view, self.device
        images_B3HW = batch.pixels[part].to(device).float() / 255
        source_view = self.job.source.view
        source_boxes = torch.tensor([source_view.box(*size) for size in batch.sizes[part].tolist()], device=device)
        explanations = self._explanations(indices)
        boxes = batch.boxes[part].to(device)
        views = (source_boxes, boxes, source_view.size, view.size)
        keep_BAHW = self._arms.weights(explanations.to(device), *views, self._patches)
        if self._removal:
            keep_BAHW = self._removal.whole(keep_BAHW)
            # one weight for all places drops all or none of them: no control
            keep_BAHW[:, [name == DIM_ARM for name in self._arms.names]] = torch.nan
        areas_BA = keep_BAHW.mean((2, 3)).cpu()  # the share of the image's light that is let through
        logits_BAK = torch.full((*areas_BA.shape, len(self.classifier.classes)), torch.nan)

        @cache
        def another() -> Images:
            pool = self.job.pool(view, False)
            explained = [fact["explained"] for fact in self.job.maps.read_items(indices)[1]]
            return pool.stand_ins(self.job.images, indices, explained, device)

        for arm, shows_image in enumerate(self._arms.show_image):
            keep_B1HW, present = keep_BAHW[:, arm, None], ~areas_BA[:, arm].isnan()
            if shows_image:
                features = compose(images_B3HW, keep_B1HW, self._fill(images_B3HW, keep_B1HW, another))
            else:
                features = keep_B1HW.expand_as(images_B3HW)
            if not present.any():
                continue
            there = present.to(device)
            of_image = slice(None)
            if self._removal and shows_image:
                logits_PK = self._without(self._removal, images_B3HW[there], keep_B1HW[there])
            else:
                pictures = features[there]
                if self._arms.names[arm] == NOTHING_ARM:  # often one picture of all images: on black
                    pictures, of_picture = pictures.unique(dim=0, return_inverse=True)
                    of_image = of_picture.cpu()
                (logits_PK,) = self.show(lambda shown: (self._answer(shown),), pictures)
            logits_BAK[present, arm] = self.count(logits_PK)[of_image]
        return logits_BAK, areas_BA

    def _without(self, removal: Removal, images: Images, keep: Keep) -> Logits:
        """Whole images as they are without a fill, bit for bit."""
        whole = (keep == 1).flatten(1).all(1)
        logits = torch.zeros(len(images), len(self.classifier.classes), device=images.device)
        if whole.any():
            (logits[whole],) = self.show(lambda shown: (self.classifier(shown),), images[whole])
        if not whole.all():
            both = torch.cat([images, keep], 1)[~whole]  # a pass holds images with their weights
            answer = lambda shown: (removal.logits(self.classifier, shown[:, :-1], shown[:, -1:]),)  # noqa: E731
            (logits[~whole],) = self.show(answer, both)
        return logits
