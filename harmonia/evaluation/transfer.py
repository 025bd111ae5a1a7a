"""Transfer of features: a target classifies the image (I) and what a source's map keeps of it (F).

M. A. Kadir, G. Addluri, D. Sonntag, "Harmonizing Feature Attributions Across Deep Learning Architectures",
2023, https://arxiv.org/abs/2307.02150, section 3; beyond it, equal-area arms beside the soft map, and controls.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from pytorch_lightning.callbacks import BasePredictionWriter
from torch import Tensor

from harmonia.completion import complete
from harmonia.controls import Controls, Partners
from harmonia.counter import counter_hash
from harmonia.data.views import ViewBatch
from harmonia.errors import InputError
from harmonia.evaluation.contract import Job
from harmonia.keep import Explanations, KeepArms, check_areas, normalisation
from harmonia.maps import unpack
from harmonia.models import Classifier, class_indices
from harmonia.progress import stage
from harmonia.representations import write_representations
from harmonia.results import ROWS, RowWriter
from harmonia.shapes import Logits, Maps
from harmonia.store.sets import ShardSet
from harmonia.target import FeatureTarget, ImageTarget

BATCH_IMAGES = 64  # images that are read from the spool at once
REPRESENTATION_STEP = 2**36  # purpose of a draw, numbered as those of controls.py


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Keep arms of every map, through every target, one row for each image and arm that the image has."""

    of_images: ClassVar[bool] = True

    areas: tuple[float, ...] = (0.1, 0.2, 0.3, 0.5)
    normalise: str = "auto"  # how a soft map comes into [0, 1]; auto: as its method declares
    controls: Controls | None = None
    representations: int = 2000  # images whose penultimate representations are left in the job's folder

    def __post_init__(self):
        if self.representations < 0:
            raise InputError(f"evaluation.representations must not be negative, got {self.representations}; 0: none")
        check_areas("evaluation.areas", self.areas)
        self._arms("clamp" if self.normalise == "auto" else self.normalise)

    def __call__(self, job: Job) -> dict[str, int]:
        """Writes the job's rows and representations; returns counts for the summary."""
        arms = self.arms(job)
        explanations = partial(_explanations, job, _partners(job, (self.controls or Controls()).seed))
        counts: dict[str, int] = {}
        with RowWriter(job.folder / ROWS) as rows:
            for target in job.targets.values():
                passes = self._image_predictions(job, target)
                passes += self._features(job, target, arms, explanations, rows.append)
                counts[f"network_passes/{target.name}"] = passes
        if self.representations:
            _leave_representations(job, self.representations)
        return counts

    def arms(self, job: Job) -> KeepArms:
        """How the job's maps are read."""
        return self._arms(job.method.normalise if self.normalise == "auto" else self.normalise)

    def _arms(self, normalise: str) -> KeepArms:
        return KeepArms(normalisation(normalise), tuple(self.areas), (self.controls or Controls()).arms())

    def _image_predictions(self, job: Job, target: Classifier) -> int:
        predictions = job.open_predictions(target)
        modules: list[ImageTarget] = []

        def module(progress):
            modules.append(ImageTarget(target, job.batch_size, progress))
            return modules[0]

        complete(predictions, job.viewed, target.view, module, job.make_trainer, f"images on {target.name}")
        return modules[0].passes if modules else 0

    def _features(self, job: Job, target: Classifier, arms: KeepArms, explanations: Callable, append: Callable) -> int:
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
                explanations=explanations,
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


def _partners(job: Job, seed: int) -> Partners:
    facts, images = job.maps.facts(), job.images
    return Partners(
        keys=np.array([images.key(index) for index in range(len(images.records))], np.uint64),
        explained=np.array([fact["explained"] for fact in facts]),
        usable=np.array([fact["flag"] == "" for fact in facts]),
        contents=np.array([record.digest for record in images.records]),
        seed=seed,
    )


def _explanations(job: Job, partners: Partners, indices: list[int]) -> Explanations:
    arrays, facts = job.maps.read_items(indices)
    maps = torch.from_numpy(unpack(arrays))

    def another(same_class: bool) -> Maps:
        chosen = [partners.of(index, same_class) for index in indices]
        rows = [row for row, partner in enumerate(chosen) if partner is not None]
        found = torch.full_like(maps, torch.nan)
        if rows:
            arrays = job.maps.read_items([partner for partner in chosen if partner is not None])[0]
            found[rows] = torch.from_numpy(unpack(arrays))
        return found

    return Explanations(
        maps=maps,
        explained=[fact["explained"] for fact in facts],
        keys=partners.keys[indices],
        another=another,
    )


def _leave_representations(job: Job, most: int) -> None:
    """Representations of the same images by every target, in every job of a data set, so that they can be compared."""
    sets = {name: job.open_predictions(target) for name, target in job.targets.items()}
    readable = np.all([[fact["flag"] == "" for fact in predictions.facts()] for predictions in sets.values()], 0)
    keys = np.array([job.images.key(index) for index in range(len(readable))], np.uint64)
    order = np.argsort(counter_hash(0, keys, REPRESENTATION_STEP), kind="stable")
    positions = np.sort(order[readable[order]][:most]).tolist()

    def of(predictions: ShardSet) -> np.ndarray:
        arrays = predictions.read_items(positions)[0]
        return arrays["representation"].astype(np.float32) * arrays["representation_scale"][:, None]

    image_ids = [job.images.records[index].image_id for index in positions]
    write_representations(job.folder, image_ids, {name: of(predictions) for name, predictions in sets.items()})


def _rows(
    job: Job, target: Classifier, positions: list[int], arms: list[str], logits_BAK: Logits, kept_BA: Tensor
) -> dict[str, np.ndarray | list]:
    """Columns of results.SCHEMA, images outermost, arms within; none for an arm that an image lacks (kept area NaN)."""
    facts = job.maps.read_items(positions)[1]
    records = [job.images.records[index] for index in positions]
    names = np.array(target.classes, dtype=object)
    present_BA = ~kept_BA.isnan()
    image_R, arm_R = (index.numpy() for index in present_BA.nonzero(as_tuple=True))
    p_RK = logits_BAK[present_BA].double().softmax(-1)
    top5 = p_RK.topk(min(5, p_RK.shape[-1])).indices.numpy()

    def per_image(values: list) -> np.ndarray:
        return np.array(values, dtype=object)[image_R]

    def constant(value: str) -> list[str]:
        return [value] * len(image_R)

    def p_of(classes: list[str]) -> np.ndarray:
        index_R = class_indices(target, classes)[image_R]
        p_R = p_RK.gather(1, index_R.clamp(min=0)[:, None])[:, 0]
        return torch.where(index_R >= 0, p_R, torch.nan).float().numpy()

    explained = [fact["explained"] for fact in facts]
    return {
        "image_id": per_image([record.image_id for record in records]),
        "path": per_image([str(record.path) for record in records]),
        "source": constant(job.source.name),
        "method": constant(job.method_name),
        "label_policy": constant(job.label_policy),
        "arm": np.array(arms, dtype=object)[arm_R],
        "fill": constant(job.fill_name),
        "target": constant(target.name),
        "label": per_image([record.class_name for record in records]),
        "predicted": names[top5[:, 0]],
        "top5": list(names[top5]),
        "explained": per_image(explained),
        "source_predicted": per_image([fact["predicted"] for fact in facts]),
        "p_label": p_of([record.class_name or "" for record in records]),
        "p_explained": p_of(explained),
        "p_predicted": p_RK.amax(-1).float().numpy(),
        "entropy": -torch.special.xlogy(p_RK, p_RK).sum(-1).float().numpy(),
        "kept_area": kept_BA[present_BA].float().numpy(),
        "flag": per_image([fact["flag"] for fact in facts]),
    }
