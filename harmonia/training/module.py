"""The network in training, as Lightning runs it. All that is drawn hangs on the seed and the epoch, so it resumes."""

import math
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
import torch.nn.functional as F
from timm.optim import param_groups_weight_decay  # pyright: ignore[reportPrivateImportUsage]
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader

from harmonia.draws import Purpose, counter_hash, image_key
from harmonia.errors import InputError
from harmonia.models.classifier import Classifier
from harmonia.shapes import sides
from harmonia.training.crops import DRAWS, cropped
from harmonia.training.images import Pixels, class_of
from harmonia.training.settings import FitSettings

Row = dict[str, float | int]
ACCURACY = "accuracy"  # of the images that judge, a fraction
SCORE = "score"  # what the best epoch is told by: right answers, of as many the smaller loss
EMA_GAMMA = 4  # of ModelEmaV3: the average begins over few steps, and grows to 1 % of 1,000, 3 % of 3,000


class Fit(lightning.LightningModule):
    """A classifier, its average, and the images; state that Lightning's checkpoints hold is all that changes."""

    def __init__(
        self,
        classifier: Classifier,
        learned: Pixels,
        judged: Pixels,
        settings: FitSettings,
        tell: Callable[[list[Row]], None],
    ):
        """tell: is given the rows of all epochs so far, after each."""
        super().__init__()
        self.classifier, self.learned, self.judged, self.settings, self.tell = (
            classifier,
            learned,
            judged,
            settings,
            tell,
        )
        self.ema = (
            ModelEmaV3(classifier, settings.ema, use_warmup=True, warmup_gamma=EMA_GAMMA) if settings.ema else None
        )
        self.history: list[Row] = []
        self.labels: Tensor
        self.ratios: Tensor
        self.true: Tensor
        self.draws: Tensor
        self.sums: Tensor
        labels = labels_of(learned, classifier)
        labels = shuffled(labels, learned, settings.seed) if settings.shuffled_labels else labels
        for name, values in (
            ("labels", labels),
            ("ratios", learned.ratios),
            ("true", labels_of(judged, classifier)),
            ("draws", torch.zeros(len(learned), DRAWS)),
            ("sums", torch.zeros(3)),  # of losses in training; of losses and right answers of images that judge
        ):
            self.register_buffer(name, values, persistent=False)
        classifier.train()

    @property
    def judge(self) -> Classifier:
        """The averaged network, where there is one."""
        return self.classifier if self.ema is None else self.ema.module  # pyright: ignore

    @property
    def batches(self) -> int:
        """In an epoch: a smaller last batch is left out, unless it is the only one."""
        return max(1, len(self.learned) // self.settings.batch_size)

    def configure_optimizers(self) -> Any:
        options, network = self.settings, self.classifier.network
        groups = param_groups_weight_decay(network, options.weight_decay)
        optimizer = torch.optim.AdamW(groups, options.lr, fused=self.device.type == "cuda")
        steps = self.batches * options.epochs
        schedule = OneCycleLR(optimizer, options.lr, steps, pct_start=options.warmup, cycle_momentum=False)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        for pixels in (self.learned, self.judged):
            pixels.to(self.device)

    def train_dataloader(self) -> DataLoader:
        order = torch.randperm(len(self.learned), generator=self._generator(Purpose.TRAINING_ORDER))
        return self._loader(self.learned, order.split(self.settings.batch_size)[: self.batches])

    def val_dataloader(self) -> DataLoader:
        return self._loader(self.judged, torch.arange(len(self.judged)).split(2 * self.settings.batch_size))

    def _loader(self, pixels: Pixels, batches: Any) -> DataLoader:
        workers = 0 if pixels.kept is not None else min(8, os.cpu_count() or 1)
        return DataLoader(pixels, batch_size=None, sampler=batches, num_workers=workers)

    def on_train_epoch_start(self) -> None:
        self.started = time.monotonic()
        self.sums.zero_()
        self.draws.copy_(torch.rand(self.draws.shape, generator=self._generator(Purpose.TRAINING_CROPS)))

    def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
        torch.manual_seed(self._word(Purpose.TRAINING_DROPS, self.global_step))
        positions, pixels = batch
        view, options = self.classifier.view, self.settings
        crop = self.draws[positions], self.ratios[positions], sides(view.size), options.crop_scale, options.flip
        logits = self.classifier(cropped(pixels.float() / 255, *crop))
        loss = F.cross_entropy(logits, self.labels[positions], label_smoothing=options.label_smoothing)
        self.sums[0] += loss.detach()
        return loss

    def on_train_batch_end(self, *of_batch: Any) -> None:
        if self.ema is not None:
            self.ema.update(self.classifier, self.global_step)

    def validation_step(self, batch: tuple[Tensor, Tensor], number: int) -> None:
        positions, pixels = batch
        logits, true = self.judge(pixels.float() / 255), self.true[positions]
        self.sums[1] += F.cross_entropy(logits, true, reduction="sum")
        self.sums[2] += (logits.argmax(1) == true).sum()

    def on_validation_epoch_end(self) -> None:
        learned, judged, right = self.sums.tolist()
        if not math.isfinite(learned):
            raise InputError(
                f"{self.classifier.name}: the loss must be finite, got {learned} in epoch {self.current_epoch + 1}; "
                f"write lr={self.settings.lr / 10:g}"
            )
        self.log(SCORE, right + 1 / (1 + judged / len(self.judged)))
        row = {
            "epoch": self.current_epoch + 1,
            "loss": learned / self.batches,
            "val_loss": judged / len(self.judged),
            ACCURACY: right / len(self.judged),
            "seconds": round(time.monotonic() - self.started, 3),
        }
        self.history.append(row)
        self.tell(self.history)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = list(checkpoint["history"])

    def _generator(self, purpose: Purpose) -> torch.Generator:
        return torch.Generator().manual_seed(self._word(purpose, self.current_epoch))

    def _word(self, purpose: Purpose, number: int) -> int:
        return int(counter_hash(self.settings.seed, Purpose(purpose) + number)) >> 1


def labels_of(pixels: Pixels, classifier: Classifier) -> Tensor:
    """Class indices (N,), int64."""
    return torch.tensor([classifier.class_index(class_of(record)) for record in pixels.records])


def shuffled(labels: Tensor, pixels: Pixels, seed: int) -> Tensor:
    """The same labels in the order of random ranks, which hang on the seed and on all images."""
    keys = np.array([image_key(record.image_id) for record in pixels.records], np.uint64)
    return labels[torch.from_numpy(np.argsort(counter_hash(seed, keys, Purpose.SHUFFLED_LABELS)))]
