"""What a target answers on a feature, as the store keeps it, and the rows that it becomes."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from harmonia.job.contract import Job
from harmonia.models.classifier import Classifier, class_indices
from harmonia.models.labels import best_classes
from harmonia.shapes import Logits

Answers = Mapping[str, np.ndarray]


def _of_arms(job: Job, target: Classifier, logits_BAK: Logits, positions: Sequence[int]) -> Answers:
    """Of every image and arm: top (B, A, 5), the target's indices of its best classes; probabilities and entropy in
    nats (B, A). NaN where the target lacks the class, and where an image lacks the arm (logits NaN).
    """
    p_BAK = logits_BAK.double().softmax(-1)
    top_BA5 = best_classes(logits_BAK, 5)

    def p_of(classes: Sequence[str]) -> np.ndarray:
        index_BA = class_indices(target, classes)[:, None].expand(p_BAK.shape[:2])
        p_BA = p_BAK.gather(2, index_BA.clamp(min=0)[..., None])[..., 0]
        return torch.where(index_BA >= 0, p_BA, torch.nan).float().numpy()

    return {
        "top": top_BA5.int().numpy(),
        "p_label": p_of([job.images.records[index].class_name or "" for index in positions]),
        "p_explained": p_of([fact["explained"] for fact in job.maps.read_items(positions)[1]]),
        "p_predicted": p_BAK.amax(-1).float().numpy(),
        "entropy": -torch.special.xlogy(p_BAK, p_BAK).sum(-1).float().numpy(),
    }


def of_logits(job: Job, target: Classifier, arrays: Mapping[str, np.ndarray], positions: Sequence[int]) -> Answers:
    """The answers that logits (B, K), of whole images, or (B, A, K) are; NaN of an unreadable image."""
    logits = torch.from_numpy(arrays["logits"])
    of_arms = _of_arms(job, target, logits if logits.ndim == 3 else logits[:, None], positions)
    return {**of_arms, "kept_area": arrays.get("kept_area", np.ones((len(positions), 1), np.float32))}


def rows(
    job: Job, target: Classifier, positions: Sequence[int], arms: Sequence[str], of_arms: Answers
) -> dict[str, np.ndarray | list]:
    """Columns of results.rows.TransferRows, images outermost, arms within; no row for an arm that an image lacks."""
    facts = job.maps.read_items(positions)[1]
    records = [job.images.records[index] for index in positions]
    names = np.array(target.classes, dtype=object)
    present_BA = ~np.isnan(of_arms["kept_area"])
    image_R, arm_R = present_BA.nonzero()
    of_row = {name: values[present_BA] for name, values in of_arms.items()}

    def per_image(values: list) -> np.ndarray:
        return np.array(values, dtype=object)[image_R]

    def constant(value: str) -> list[str]:
        return [value] * len(image_R)

    return {
        "image_id": per_image([record.image_id for record in records]),
        "path": per_image([str(record.path) for record in records]),
        "source": constant(job.source.name),
        "method": constant(job.method_name),
        "label_policy": constant(job.settings.label.name),
        "arm": np.array(arms, dtype=object)[arm_R],
        "fill": constant(job.fill_of(target)[0]),
        "target": constant(target.name),
        "label": per_image([record.class_name for record in records]),
        "predicted": names[of_row["top"][:, 0]],
        "top5": list(names[of_row["top"]]),
        "explained": per_image([fact["explained"] for fact in facts]),
        "source_predicted": per_image([fact["predicted"] for fact in facts]),
        "p_label": of_row["p_label"],
        "p_explained": of_row["p_explained"],
        "p_predicted": of_row["p_predicted"],
        "entropy": of_row["entropy"],
        "kept_area": of_row["kept_area"],
        "flag": per_image([fact["flag"] for fact in facts]),
    }
