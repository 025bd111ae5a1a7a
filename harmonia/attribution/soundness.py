"""Soundness Saliency: the smallest smooth mask whose content, before other real images, keeps the class.

A. Gupta, N. Saunshi, D. Yu, K. Lyu, S. Arora, "New Definitions and Evaluations for Saliency Methods: Staying
Intrinsic, Complete and Sound", NeurIPS 2022, https://arxiv.org/abs/2211.02912; in the role that Kadir, Addluri,
Sonntag 2023 (https://arxiv.org/abs/2307.02150) give it. For every image, with mask logits w on a coarse grid,

    M   = U sigmoid(w) U^T                                     bilinear upsampling as two matrix products
    x_r = M * x + (1 - M) * b_r                                b_r: random real images of other classes
    minimise  loss(f(x_1), ..., f(x_R)) + area * mean(M) + tv * [sum (d_y M)^2 + sum (d_x M)^2]

by Adam. Images never meet: the objective is summed over them and every random choice is a hash of
(seed, image, step, draw), so a map does not depend on its batch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harmonia.attribution.contract import Explanation, Model, Request
from harmonia.attribution.grad_cam import GradCAM, grad_cam
from harmonia.errors import InputError
from harmonia.geometry import upsampling_matrix
from harmonia.shapes import Images, Keep, Labels, Logits, Maps


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

# Held-out draws are numbered far behind the steps, so that they never meet the backgrounds optimised on.
HELD_OUT_STEP = 2**32


@dataclass(frozen=True, kw_only=True)
class SoundnessSaliency:
    """Mask logits per image, at the resolution of the grid; their sigmoid is the mask."""

    version: ClassVar[int] = 1
    uses_replacements: ClassVar[bool] = True
    normalise: ClassVar[str] = "sigmoid"

    objective: str = "nll"
    grid: int = 14  # cells a side
    steps: int = 60
    draws: int = 1  # R, replacement images per image and step
    learning_rate: float = 0.2
    area: float = 3.0  # weight of the mask's mean
    tv: float = 0.1  # weight of the squared differences of neighbouring pixels, summed
    start: GradCAM | None = None  # begin from this map; None: from 0.5 everywhere
    start_spread: float = 2.0  # logits of the starting map run from -spread to +spread
    held_out: int = 4  # replacement images that judge convergence, never optimised on
    converged_at: float = 0.9  # converged: mean p(class) before held-out images reaches this share of p on the image

    def __post_init__(self):
        if self.objective not in OBJECTIVES:
            raise InputError(f"method.objective must be one of {', '.join(OBJECTIVES)}, got {self.objective!r}")
        at_least = {"grid": 1, "steps": 1, "draws": 1, "held_out": 0, "area": 0, "tv": 0, "converged_at": 0}
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise InputError(f"method.{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("learning_rate", "start_spread"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"method.{name} must be positive and finite, got {getattr(self, name)}")

    def __call__(self, request: Request) -> Explanation:
        size = max(1, request.batch_size // self.draws)
        return Explanation.join([self._explain(part) for part in request.split(size)])

    def _explain(self, request: Request) -> Explanation:
        images = request.images()
        with torch.no_grad():
            logits_BK, labels, mask_logits = self._begin(request, images)
        p_image = logits_BK.softmax(-1).gather(1, labels[:, None])[:, 0]
        mask_logits = self._optimise(request, images, labels, logits_BK, mask_logits)
        with torch.no_grad():
            p_held_out = self._held_out(request, images, labels, mask_logits)
        return Explanation(
            maps=mask_logits.cpu(),
            explained=labels.cpu(),
            predicted=logits_BK.argmax(1).cpu(),
            p_explained=p_image.cpu(),
            passes=torch.full((len(labels),), 1 + self.steps * self.draws + self.held_out),
            converged=(p_held_out >= self.converged_at * p_image).cpu(),
        )

    def _begin(self, request: Request, images: Images) -> tuple[Logits, Labels, Maps]:
        """The model on the whole image, the classes to explain and the first mask logits: one pass."""
        if self.start is None:
            logits = request.model(images)
            labels = request.choose_labels(logits, request.positions)
            return logits, labels, images.new_zeros(len(images), self.grid, self.grid)
        maps, logits, labels = grad_cam(request.model, self.start.layer_of(request.model), request)
        return logits, labels, self.start_spread * _spread(maps, self.grid)

    def _optimise(self, request: Request, images: Images, labels: Labels, logits_BK: Logits, mask_logits: Maps) -> Maps:
        rows = upsampling_matrix(self.grid, images.shape[-2]).to(images)
        columns = upsampling_matrix(self.grid, images.shape[-1]).to(images)
        mask_logits = mask_logits.clone().requires_grad_()
        adam = torch.optim.Adam([mask_logits], lr=self.learning_rate)
        for step in range(self.steps):
            replacements_BR3HW = request.replacements(request.positions, labels, step, self.draws)
            with torch.enable_grad():
                mask_BHW = rows @ mask_logits.sigmoid() @ columns.mT
                objective = self.objective_per_image(
                    request.model, images, replacements_BR3HW, mask_BHW, labels, logits_BK
                )
                # summed, not averaged: Adam's epsilon would tie a mask to the number of its neighbours
                (mask_logits.grad,) = torch.autograd.grad(objective.sum(), mask_logits)
            adam.step()
            request.on_progress(len(images) / self.steps)
        return mask_logits.detach()

    def objective_per_image(
        self,
        model: Model,
        images: Images,
        replacements_BR3HW: Tensor,
        mask_BHW: Keep,
        labels: Labels,
        image_logits: Logits,
    ) -> Tensor:
        """The whole objective J of each image, (B,)."""
        logits_BRK = composite_logits(model, images, replacements_BR3HW, mask_BHW)
        loss = OBJECTIVES[self.objective](logits_BRK, labels, image_logits)
        return loss + self.area * mask_BHW.mean((1, 2)) + self.tv * total_variation(mask_BHW)

    def _held_out(self, request: Request, images: Images, labels: Labels, mask_logits: Maps) -> Tensor:
        """Mean probability of the class on composites with backgrounds that the mask has not seen, (B,)."""
        if self.held_out == 0:
            return torch.full((len(images),), math.inf, device=images.device)
        rows = upsampling_matrix(self.grid, images.shape[-2]).to(images)
        columns = upsampling_matrix(self.grid, images.shape[-1]).to(images)
        mask_BHW = rows @ mask_logits.sigmoid() @ columns.mT
        total = images.new_zeros(len(images))
        for draw in range(self.held_out):
            replacements = request.replacements(request.positions, labels, HELD_OUT_STEP + draw, 1)
            logits_BRK = composite_logits(request.model, images, replacements, mask_BHW)
            total += logits_BRK.softmax(-1).mean(1).gather(1, labels[:, None])[:, 0]
        return total / self.held_out


def composite_logits(model: Model, images: Images, replacements_BR3HW: Tensor, mask_BHW: Keep) -> Tensor:
    """The model on every image's composites M x + (1 - M) b_r, (B, R, K)."""
    mask_B11HW = mask_BHW[:, None, None]
    composites = replacements_BR3HW + mask_B11HW * (images[:, None] - replacements_BR3HW)
    return model(composites.flatten(0, 1)).to(images.dtype).unflatten(0, composites.shape[:2])


def total_variation(mask_BHW: Keep) -> Tensor:
    """Sum of squared differences of neighbours, (B,). In two dimensions it does not depend on the resolution."""
    return mask_BHW.diff(dim=1).square().sum((1, 2)) + mask_BHW.diff(dim=2).square().sum((1, 2))


def _spread(maps: Maps, grid: int) -> Maps:
    """Maps on the grid, from -1 at each image's lowest cell to 1 at its highest; 0 where the map is constant."""
    rows = upsampling_matrix(maps.shape[1], grid).to(maps)
    columns = upsampling_matrix(maps.shape[2], grid).to(maps)
    maps = rows @ maps @ columns.mT
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return torch.where(high > low, 2 * (maps - low) / (high - low) - 1, 0.0)
