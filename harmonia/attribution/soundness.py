"""Soundness Saliency: the smallest smooth mask whose content, before other real images, keeps the class.

A. Gupta, N. Saunshi, D. Yu, K. Lyu, S. Arora, "New Definitions and Evaluations for Saliency Methods: Staying
Intrinsic, Complete and Sound", NeurIPS 2022, https://arxiv.org/abs/2211.02912; in the role that Kadir, Addluri,
Sonntag 2023 (https://arxiv.org/abs/2307.02150) give it. For every image, with mask logits w on a coarse grid,

    M   = U sigmoid(w) U^T                                     bilinear upsampling as two matrix products
    x_r = M * x + (1 - M) * b_r                                b_r: random real images
    minimise  loss(f(x_1), ..., f(x_R)) + area * mean(M) + tv * [sum (d_y M)^2 + sum (d_x M)^2]

by Adam. Images share passes and nothing else: every image has its own optimiser state and its own count of steps,
leaves when it has converged and makes room for the next; every random choice is a hash of (seed, image, step, draw).
The map is the polynomial-decay average of the steps' logits: O. Shamir, T. Zhang, "Stochastic Gradient Descent for
Non-smooth Optimization", ICML 2013.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from harmonia.attribution.contract import Backgrounds, Explanation, Request, fill_up
from harmonia.attribution.grad_cam import GradCAM, grad_cam
from harmonia.attribution.objectives import OBJECTIVES
from harmonia.errors import InputError
from harmonia.geometry import upsampling_matrix
from harmonia.shapes import Images, Keep, Labels, Logits, Maps

# Held-out draws are numbered far behind the steps, so that they never meet the backgrounds optimised on.
HELD_OUT_STEP = 2**32
FACTS = ("area", "p_composite", "p_complement", "p_hadamard")
BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam; Kingma, Ba 2015


@dataclass(frozen=True, kw_only=True)
class SoundnessSaliency:
    """Mask logits per image, at the resolution of the grid; their sigmoid is the mask.

    tolerance None: a course of fixed length. Every image does all steps, and there is nothing to converge.
    """

    version: ClassVar[int] = 2
    normalise: ClassVar[str] = "sigmoid"

    objective: str = "nll"
    grid: int = 14  # cells a side
    steps: int = 56  # at most
    draws: int = 1  # R, replacement images per image and step
    learning_rate: float = 0.2
    area: float = 6.0  # weight of the mask's mean
    tv: float = 1.0  # weight of the squared differences of neighbouring pixels, summed
    start: GradCAM | None = None  # begin from this map; None: from 0.5 everywhere
    start_spread: float = 1.0  # logits of the starting map run from -spread to +spread
    average: float | None = 3.0  # polynomial-decay average of the steps' logits with this power; None: the last step's
    held_out: int = 4  # replacement images that judge a mask, never optimised on
    check_every: int = 14  # steps between judgements
    tolerance: float | None = 0.2  # converged: J on held-out images fell by less since the one before; None: above
    sufficient: float = 0.9  # ... and p(class) there has this share of p on the image, or half of the steps are done
    backgrounds: Backgrounds = field(default_factory=Backgrounds)

    def __post_init__(self):
        if self.objective not in OBJECTIVES:
            raise InputError(f"method.objective must be one of {', '.join(OBJECTIVES)}, got {self.objective!r}")
        at_least = {"grid": 1, "steps": 1, "draws": 1, "held_out": 1, "check_every": 1}
        at_least |= {"area": 0, "tv": 0, "average": 0, "tolerance": 0, "sufficient": 0}
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise InputError(f"method.{name} must be finite and at least {least}, got {value}")
        for name in ("learning_rate", "start_spread"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"method.{name} must be positive and finite, got {getattr(self, name)}")

    def __call__(self, request: Request) -> Explanation:
        return Optimisation(self, request).finish()

    def objective_per_image(self, logits_BRK: Tensor, mask_BHW: Keep, labels: Labels, image_logits: Logits) -> Tensor:
        """The whole objective J of each image, (B,)."""
        loss = OBJECTIVES[self.objective](logits_BRK, labels, image_logits)
        return loss + self.area * mask_BHW.mean((1, 2)) + self.tv * total_variation(mask_BHW)


class Optimisation:
    """One request under way. Every tensor has one entry per image of the request, in its order."""

    def __init__(self, method: SoundnessSaliency, request: Request):
        self.method, self.request = method, request
        self.pixels = request.pixels.to(request.device)
        count, grid = len(request.pixels), method.grid
        self.up = [
            upsampling_matrix(grid, size).to(request.device, torch.float32) for size in request.pixels.shape[-2:]
        ]
        self.moments = torch.zeros(2, count, grid, grid, device=request.device)  # of the gradient, Adam's
        self.steps = torch.zeros(count, dtype=torch.long)
        self.passes = torch.ones(count, dtype=torch.long)
        self.unfinished = torch.ones(count, dtype=torch.bool)
        self.converged = torch.zeros(count, dtype=torch.bool)
        self.held_out_objective = torch.full((count,), math.inf)  # at the last judgement
        self.facts = {name: torch.full((count,), math.nan) for name in FACTS}
        self.mask_logits, self.image_logits, self.labels = request.in_batches(self._begin, even=True)
        self.average = self.mask_logits.clone()
        self.p_image = self.image_logits.softmax(-1).gather(1, self.labels[:, None])[:, 0].cpu()

    def _begin(self, request: Request) -> tuple[Maps, Logits, Labels]:
        """First mask logits, the model on the whole images and the classes to explain: one pass."""
        method, model = self.method, request.model
        if method.start is not None:
            maps, logits, labels = grad_cam(model, method.start.layer_of(model), request)
            return method.start_spread * spread(maps, method.grid), logits, labels
        with torch.no_grad():
            logits = model(request.images())
        labels = request.choose_labels(logits, request.positions)
        return logits.new_zeros(len(logits), method.grid, method.grid), logits, labels

    def finish(self) -> Explanation:
        """Steps until every image has left."""
        while self.unfinished.any():
            rows = self.request.batch_size.fit(self.step)
            self.request.on_progress(len(rows) / self.method.steps)
            for row in rows.tolist():
                if self.steps[row] % self.method.check_every == 0 or self.steps[row] == self.method.steps:
                    self._judge(row)
        return Explanation(
            maps=(self.mask_logits if self.method.average is None else self.average).cpu(),
            explained=self.labels.cpu(),
            predicted=self.image_logits.argmax(1).cpu(),
            p_explained=self.p_image,
            passes=self.passes,
            converged=self.converged,
            facts=self.facts | {"steps": self.steps},
        )

    def step(self, size: int) -> Tensor:
        """One step of Adam for as many unfinished images as fit into a batch, the first ones; gives their rows."""
        method = self.method
        slots = min(max(1, size // method.draws), len(self.steps))
        rows = self.unfinished.nonzero()[:slots, 0]
        gradients = self._gradients(fill_up(rows, slots), size)[: len(rows)]
        self.steps[rows] += 1
        self.passes[rows] += method.draws
        taken = self.steps[rows].to(gradients.device)[:, None, None]
        on_device = rows.to(gradients.device)
        first, second = (
            beta * moment[on_device] + (1 - beta) * power
            for beta, moment, power in zip(BETAS, self.moments, (gradients, gradients.square()), strict=True)
        )
        self.moments[0, on_device], self.moments[1, on_device] = first, second
        mean, square = first / (1 - BETAS[0] ** taken), second / (1 - BETAS[1] ** taken)
        stepped = self.mask_logits[on_device] - method.learning_rate * mean / (square.sqrt() + EPSILON)
        self.mask_logits[on_device] = stepped
        if method.average is not None:
            newest = (method.average + 1) / (taken + method.average)
            self.average[on_device] = torch.lerp(self.average[on_device], stepped, newest)
        return rows

    def _gradients(self, rows: Tensor, size: int) -> Maps:
        """Of the objective by the mask logits."""
        method, on_device = self.method, rows.to(self.pixels.device)
        replacements_BR3HW = self._replacements(rows, self.steps[rows], method.draws)
        mask_logits = self.mask_logits[on_device].requires_grad_()
        labels, image_logits = self.labels[on_device], self.image_logits[on_device]
        with torch.enable_grad():
            mask_BHW = self._mask(mask_logits)
            composites = composite(self._images(on_device), mask_BHW, replacements_BR3HW)
            logits_BRK = self._logits(composites, size)
            objective = method.objective_per_image(logits_BRK, mask_BHW, labels, image_logits)
            # summed, not averaged: Adam's epsilon would tie a mask to the number of its neighbours
            return torch.autograd.grad(objective.sum(), mask_logits)[0]

    def _judge(self, row: int) -> None:
        """Before held-out images: the objective, whether the image has converged, and what the index says about it.

        All passes of a judgement have one shape, whatever the other images do.
        """
        method, rows = self.method, torch.tensor([row])
        on_device = rows.to(self.pixels.device)
        replacements_BR3HW = self._replacements(rows, torch.full((1,), HELD_OUT_STEP), method.held_out)
        image, label = self._images(on_device), self.labels[on_device]
        with torch.no_grad():
            mask_BHW = self._mask((self.mask_logits if method.average is None else self.average)[on_device])

            def p_of(composites_BR3HW: Tensor) -> tuple[float, Tensor]:
                logits_BRK = self.request.batch_size.fit(lambda size: self._logits(composites_BR3HW, size))
                self.passes[row] += logits_BRK.shape[1]
                return logits_BRK.softmax(-1)[0, :, label].mean().item(), logits_BRK

            p_composite, logits_BRK = p_of(composite(image, mask_BHW, replacements_BR3HW))
            objective = method.objective_per_image(logits_BRK, mask_BHW, label, self.image_logits[on_device]).item()
            fell = self.held_out_objective[row].item() - objective
            self.held_out_objective[row] = objective
            last = self.steps[row] == method.steps
            if method.tolerance is None:
                self.converged[row] = last
            else:
                enough = p_composite >= method.sufficient * self.p_image[row] or 2 * self.steps[row] >= method.steps
                self.converged[row] = enough and fell < method.tolerance
            if not self.converged[row] and not last:
                return
            self.unfinished[row] = False
            self.request.on_progress(1 - self.steps[row].item() / method.steps)
            found = {
                "area": mask_BHW.mean().item(),
                "p_composite": p_composite,
                "p_complement": p_of(composite(image, 1 - mask_BHW, replacements_BR3HW))[0],
                "p_hadamard": p_of(composite(image, mask_BHW, torch.zeros_like(image)[:, None]))[0],
            }
            for name, value in found.items():
                self.facts[name][row] = value

    def _images(self, rows: Tensor) -> Images:
        return self.pixels[rows].float() / 255

    def _replacements(self, rows: Tensor, steps: Tensor, draws: int) -> Tensor:
        return self.request.replacements(
            self.request.positions[rows], self.labels[rows.to(self.labels.device)], steps, draws
        )

    def _mask(self, mask_logits: Maps) -> Keep:
        rows, columns = self.up
        return rows @ mask_logits.sigmoid() @ columns.mT

    def _logits(self, composites_BR3HW: Tensor, size: int) -> Tensor:
        """The model on every composite, (B, R, K), at most ``size`` at once."""
        inputs, model = composites_BR3HW.flatten(0, 1), self.request.model
        if len(inputs) <= size:
            logits = model(inputs)
        else:
            # one image's draws do not fit: parts are computed again for the gradient, so that one graph lives at a time
            logits = torch.cat([checkpoint(model, part, use_reentrant=False) for part in inputs.split(size)])
        return logits.float().unflatten(0, composites_BR3HW.shape[:2])


def composite(images: Images, mask_BHW: Keep, replacements_BR3HW: Tensor) -> Tensor:
    """M x + (1 - M) b_r, (B, R, 3, H, W)."""
    return torch.lerp(replacements_BR3HW, images[:, None], mask_BHW[:, None, None])


def total_variation(mask_BHW: Keep) -> Tensor:
    """Sum of squared differences of neighbours, (B,). In two dimensions it does not depend on the resolution."""
    return mask_BHW.diff(dim=1).square().sum((1, 2)) + mask_BHW.diff(dim=2).square().sum((1, 2))


def spread(maps: Maps, grid: int) -> Maps:
    """Maps on the grid, from -1 at each image's lowest cell to 1 at its highest; 0 where the map is constant."""
    rows = upsampling_matrix(maps.shape[1], grid).to(maps)
    columns = upsampling_matrix(maps.shape[2], grid).to(maps)
    maps = rows @ maps @ columns.mT
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return torch.where(high > low, 2 * (maps - low) / (high - low) - 1, 0.0)
