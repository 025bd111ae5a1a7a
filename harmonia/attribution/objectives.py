"""What a Soundness Saliency mask is judged by: losses of the network on an image's composites.

Each takes logits (B, R, K) of R composites an image, the explained classes (B,) and the logits (B, K) of the whole
image, and gives one number an image, (B,), smaller where the class is kept better.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from harmonia.shapes import Labels, Logits


def released(logits_BRK: Tensor, labels: Labels, image_logits: Logits) -> Tensor:
    """Cross-entropy of the mean probabilities read as logits, as the authors' release computes it.

    The second softmax makes it nearly linear: a constant minus the mean probability of the class.
    """
    mean_BK = logits_BRK.softmax(-1).mean(1)
    return -mean_BK.log_softmax(-1).gather(1, labels[:, None])[:, 0]


def nll(logits_BRK: Tensor, labels: Labels, image_logits: Logits) -> Tensor:
    """Mean over draws of -log p(class)."""
    log_p_BRK = logits_BRK.log_softmax(-1)
    return -log_p_BRK.mean(1).gather(1, labels[:, None])[:, 0]


def soft(logits_BRK: Tensor, labels: Labels, image_logits: Logits) -> Tensor:
    """Cross-entropy against the model's own distribution on the whole image."""
    return -(image_logits.softmax(-1)[:, None] * logits_BRK.log_softmax(-1)).sum(-1).mean(1)


def entropy_mean(logits_BRK: Tensor, labels: Labels, image_logits: Logits) -> Tensor:
    """Entropy of the mean probabilities; knows no label."""
    mean_BK = logits_BRK.softmax(-1).mean(1)
    # not xlogy, whose gradient is NaN where a probability underflows to 0
    return -(mean_BK * mean_BK.clamp(min=torch.finfo(mean_BK.dtype).tiny).log()).sum(-1)


def entropy(logits_BRK: Tensor, labels: Labels, image_logits: Logits) -> Tensor:
    """Mean entropy, literally as Kadir et al. write it. Degenerate: an empty mask leaves a confident other image."""
    log_p_BRK = logits_BRK.log_softmax(-1)
    return -(log_p_BRK.exp() * log_p_BRK).sum(-1).mean(1)


OBJECTIVES: dict[str, Callable[[Tensor, Labels, Logits], Tensor]] = {
    function.__name__: function for function in (released, nll, soft, entropy_mean, entropy)
}
