"""Transfer of features: a target classifies the image (I) and what a source's map keeps of it (F).

M. A. Kadir, G. Addluri, D. Sonntag, "Harmonizing Feature Attributions Across Deep Learning Architectures",
2023, https://arxiv.org/abs/2307.02150, section 3; beyond it, equal-area arms beside the soft map.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from pytorch_lightning.callbacks import BasePredictionWriter
from torch import Tensor

from harmonia.completion import complete
from harmonia.data.views import ViewBatch
from harmonia.evaluation.contract import Job
from harmonia.keep import KeepArms, clamp, normalisation
from harmonia.maps import unpack
from harmonia.models import Classifier
from harmonia.progress import stage
from harmonia.results import ROWS, RowWriter
from harmonia.shapes import Logits, Maps
from harmonia.target import FeatureTarget, ImageTarget

BATCH_IMAGES = 64  # images that are read from the spool at once


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Keep arms of every map, through every target, one row for each image and arm."""

    areas: tuple[float, ...] = (0.1, 0.2, 0.3, 0.5)
    normalise: str = "auto"  # how a soft map comes into [0, 1]; auto: as its method declares

    def __post_init__(self):
        KeepArms(clamp if self.normalise == "auto" else normalisation(self.normalise), tuple(self.areas))

    def __call__(self, job: Job) -> dict[str, int]:
        """Writes the job's rows; returns counts for the summary."""
        arms = self.arms(job)
        counts: dict[str, int] = {}
        with RowWriter(job.folder / ROWS) as rows:
            for target in job.targets.values():
                passes = self._image_predictions(job, target)
                passes += self._features(job, target, arms, rows.append)
                counts[f"network_passes/{target.name}"] = passes
        return counts

    def arms(self, job: Job) -> KeepArms:
        """How the job's maps are read."""
        name = job.method.normalise if self.normalise == "auto" else self.normalise
        return KeepArms(normalisation(name), tuple(self.areas))

    def _image_predictions(self, job: Job, target: Classifier) -> int:
        predictions = job.open_predictions(target)
        modules: list[ImageTarget] = []

        def module(progress):
            modules.append(ImageTarget(target, job.batch_size, progress))
            return modules[0]

        complete(predictions, job.viewed, target.view, module, job.make_trainer, f"images on {target.name}")
        return modules[0].passes if modules else 0

    def _features(self, job: Job, target: Classifier, arms: KeepArms, append: Callable) -> int:
        count = len(job.images.records)
        batches = [range(start, min(start + BATCH_IMAGES, count)) for start in range(0, count, BATCH_IMAGES)]
        predictions = job.open_predictions(target)
        with stage(f"features on {target.name}", count) as progress:
            module = FeatureTarget(
                target,
                job.batch_size,
                progress,
                arms=arms,
                fill=job.fill,
                source_view=job.source.view,
                explanations=lambda indices: _explanations(job, indices),
                images=job.images,
                replacements=lambda: job.replacements(target.view),
            )

            def write(indices: Tensor, logits_BAK: Logits, kept_BA: Tensor) -> None:
                if len(indices):
                    positions = indices.tolist()
                    image_logits = torch.from_numpy(predictions.read_items(positions)[0]["logits"])
                    logits = torch.cat([image_logits[:, None], logits_BAK], 1)
                    kept = torch.cat([torch.ones(len(positions), 1), kept_BA], 1)
                    append(_rows(job, target, positions, ["image", *arms.names], logits, kept))

            trainer = job.make_trainer(callbacks=[_OnBatch(write)])
            trainer.predict(module, job.viewed.loader(batches, len(batches), target.view), return_predictions=False)
        return module.passes


class _OnBatch(BasePredictionWriter):
    def __init__(self, write: Callable[[Tensor, Logits, Tensor], None]):
        super().__init__(write_interval="batch")
        self._write = write

    def write_on_batch_end(
        self, trainer, pl_module, prediction, batch_indices, batch: ViewBatch, batch_idx, dataloader_idx
    ) -> None:
        self._write(*prediction)


def _explanations(job: Job, indices: list[int]) -> tuple[Maps, list[str]]:
    arrays, facts = job.maps.read_items(indices)
    return torch.from_numpy(unpack(arrays)), [fact["explained"] for fact in facts]


def _rows(
    job: Job, target: Classifier, positions: list[int], arms: list[str], logits_BAK: Logits, kept_BA: Tensor
) -> dict[str, np.ndarray | list]:
    """Columns of results.SCHEMA, images outermost, arms within."""
    facts = job.maps.read_items(positions)[1]
    records = [job.images.records[index] for index in positions]
    names = np.array(target.classes, dtype=object)
    p_BAK = logits_BAK.double().softmax(-1)
    top5 = p_BAK.topk(min(5, p_BAK.shape[-1]), dim=-1).indices.numpy()
    images, each = len(positions), len(arms)

    def per_image(values: list) -> np.ndarray:
        return np.repeat(np.array(values, dtype=object), each)

    def constant(value: str) -> list[str]:
        return [value] * (images * each)

    def p_of(classes: list[str]) -> np.ndarray:
        found = [target.class_index(name) for name in classes]
        index = torch.tensor([0 if one is None else one for one in found])
        p_BA = p_BAK.gather(2, index[:, None, None].expand(images, each, 1))[..., 0]
        known = torch.tensor([one is not None for one in found])[:, None]
        return torch.where(known, p_BA, torch.nan).flatten().float().numpy()

    explained = [fact["explained"] for fact in facts]
    return {
        "image_id": per_image([record.image_id for record in records]),
        "path": per_image([str(record.path) for record in records]),
        "source": constant(job.source.name),
        "method": constant(job.method_name),
        "label_policy": constant(job.label_policy),
        "arm": arms * images,
        "fill": constant(job.fill_name),
        "target": constant(target.name),
        "label": per_image([record.class_name for record in records]),
        "predicted": names[top5[..., 0]].ravel(),
        "top5": list(names[top5].reshape(images * each, -1)),
        "explained": per_image(explained),
        "source_predicted": per_image([fact["predicted"] for fact in facts]),
        "p_label": p_of([record.class_name or "" for record in records]),
        "p_explained": p_of(explained),
        "p_predicted": p_BAK.amax(-1).flatten().float().numpy(),
        "entropy": -torch.special.xlogy(p_BAK, p_BAK).sum(-1).flatten().float().numpy(),
        "kept_area": kept_BA.flatten().float().numpy(),
        "flag": per_image([fact["flag"] for fact in facts]),
    }
