"""Label policies: which class of each image is explained.

Called with the source's logits (B, K), the true classes as the source's indices (-1 where it lacks the
class) and the images' 64-bit keys; each gives the explained classes (B,).
"""

from typing import Protocol

import numpy as np
import torch

from harmonia.draws import Purpose, counter_hash
from harmonia.errors import InputError, Seed
from harmonia.shapes import Labels, Logits


class LabelPolicy(Protocol):
    def __call__(self, logits: Logits, true: Labels, image_keys: np.ndarray) -> Labels: ...


def best_classes(logits: Logits, count: int) -> torch.Tensor:
    """Indices (..., count) of the most probable classes; of tied ones the first first, as argmax has it.

    topk would take any of them: in half precision one image in a hundred has two classes in front, of which a network
    as source and as target must name the same.
    """
    return logits.sort(dim=-1, descending=True, stable=True).indices[..., :count]


def predicted(logits: Logits, true: Labels, image_keys: np.ndarray) -> Labels:
    """The class that the source predicts. The default: it knows nothing but the network."""
    return logits.argmax(1)


def true(logits: Logits, true: Labels, image_keys: np.ndarray) -> Labels:
    """The ground truth. It leaks the answer: features can beat the image that they come from."""
    if (true < 0).any():
        raise InputError("label=true needs every image's class among the source's classes; use label=predicted")
    return true.to(logits.device)


def runner_up(logits: Logits, true: Labels, image_keys: np.ndarray) -> Labels:
    """The second most probable class."""
    return best_classes(logits, 2)[:, 1]


def random(logits: Logits, true: Labels, image_keys: np.ndarray, *, seed: Seed) -> Labels:
    """Any class but the predicted one, drawn once per image and seed."""
    others = logits.shape[1] - 1
    offsets = 1 + (counter_hash(seed, image_keys, Purpose.RANDOM_LABEL) % np.uint64(others)).astype(np.int64)
    return (logits.argmax(1) + torch.from_numpy(offsets).to(logits.device)) % logits.shape[1]


random.version = 2  # part of the key of what it chose
