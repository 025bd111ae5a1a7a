"""Soundness Saliency: the smallest smooth mask whose content, before other real images, keeps the class.

A. Gupta, N. Saunshi, D. Yu, K. Lyu, S. Arora, "New Definitions and Evaluations for Saliency Methods: Staying
Intrinsic, Complete and Sound", NeurIPS 2022, https://arxiv.org/abs/2211.02912; in the role that Kadir, Addluri,
Sonntag 2023 (https://arxiv.org/abs/2307.02150) give it. For every image, with mask logits w on a coarse grid,

    M   = U sigmoid(w) U^T                                     bilinear upsampling as two matrix products
    x_r = M * x + (1 - M) * b_r                                b_r: random real images
    minimise  loss(f(x_1), ..., f(x_R)) + area * mean(M) + tv * [sum (d_y M)^2 + sum (d_x M)^2]

by Adam. Of several networks the loss is the mean of each one's own on the same composites: of their mean logits it
would be another, as it normalises again. Images share passes and nothing else: every image has its own optimiser state
and its own count of steps, leaves when it has converged and makes room for the next; every random choice is a hash of
(seed, image, step, draw), a shift of (image, step).
The map is the polynomial-decay average of the steps' logits (O. Shamir, T. Zhang, ICML 2013), smoothed if asked.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from harmonia.attribution.cam import GradCAM
from harmonia.attribution.contract import Backgrounds, Explanation, Model, Request, joint_logits, voters_of
from harmonia.attribution.jitter import jittered
from harmonia.attribution.layer import ClassGradient, class_gradient
from harmonia.attribution.objectives import OBJECTIVES
from harmonia.attribution.passes import in_passes
from harmonia.attribution.smoothing import gaussian_matrix
from harmonia.errors import InputError, Within
from harmonia.features.resample import upsampling_matrix
from harmonia.shapes import Images, Keep, Labels, Logits, Maps

FACTS = ("area", "p_composite", "p_complement", "p_hadamard")
_Weight = Annotated[float, Within(0, 10**6)]
_Positive = Annotated[float, Within(1e-9, 1000)]
BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam; Kingma, Ba 2015


@dataclass(frozen=True, kw_only=True)
class SoundnessSaliency:
    """Mask logits per image, at the resolution of the grid; their sigmoid is the mask."""

    version: ClassVar[int] = 3
    normalise: ClassVar[str] = "sigmoid"

    objective: str = "nll"
    grid: Annotated[int, Within(1, 2048)] = 14  # cells a side
    steps: Annotated[int, Within(1, 10**6)] = 56  # at most
    draws: Annotated[int, Within(1, 10**4)] = 1  # R, replacement images per image and step
    learning_rate: _Positive = 0.2
    area: _Weight = 6.0  # of the mask's mean
    tv: _Weight = 1.0  # of the squared differences of neighbouring pixels, summed
    start: GradCAM | None = None  # begin from this map; None: from 0.5 everywhere
    start_spread: _Positive = 1.0  # logits of the starting map run from -spread to +spread
    # power of the polynomial-decay average of the steps' logits; None: the last step's
    average: Annotated[float | None, Within(0, 1000)] = 3.0
    held_out: Annotated[int, Within(1, 10**4)] = 4  # replacement images that judge a mask, never optimised on
    check_every: Annotated[int, Within(1, 10**6)] = 14  # steps between judgements
    # converged: J on held-out images moved by less between judgements; None: every image does all steps
    tolerance: Annotated[float | None, Within(0, 10**6)] = 0.2
    backgrounds: Backgrounds = field(default_factory=Backgrounds)
    jitter: Annotated[float, Within(0, 0.5)] = field(default=0.0, metadata={"later": True})  # of a side; jittered()
    # cells to each side over which a Gaussian smooths the finished logits: of 2 as smooth.k=5 smooths maps
    smooth: Annotated[int, Within(0, 100)] = field(default=0, metadata={"later": True})

    def __post_init__(self):
        if self.objective not in OBJECTIVES:
            known = ", ".join(OBJECTIVES)
            raise InputError(f"method.objective must be one of {known}, got {self.objective!r}; nll is usual")

    def __call__(self, request: Request) -> Explanation:
        return Optimisation(self, request).finish()

    def objective_per_image(self, logits_BRK: Tensor, mask_BHW: Keep, labels: Labels, image_logits: Logits) -> Tensor:
        """The whole objective J of each image, (B,)."""
        loss = OBJECTIVES[self.objective](logits_BRK, labels, image_logits)
        return loss + self.area * mask_BHW.mean((1, 2)) + self.tv * total_variation(mask_BHW)


class Optimisation:
    """One request under way. Tensors have one entry per image of the request, in its order."""

    def __init__(self, method: SoundnessSaliency, request: Request):
        self.method, self.request, self.voters = method, request, voters_of(request.model)
        self.pixels = request.pixels.to(request.device)
        (count, _, *sides), grid = request.pixels.shape, method.grid
        self.up = [upsampling_matrix(grid, side).to(request.device, torch.float32) for side in sides]
        self.moments = torch.zeros(2, count, grid, grid, device=request.device)  # Adam's, first and second
        self.steps = torch.zeros(count, dtype=torch.long)
        voters = len(self.voters)
        self.passes = torch.full((count,), 2 * voters if voters > 1 and method.start else voters)
        self.unfinished = torch.ones(count, dtype=torch.bool)
        self.converged = torch.zeros(count, dtype=torch.bool)
        self.held_out_objective = torch.full((count,), math.inf)  # at the last judgement
        self.facts = {name: torch.full((count,), math.nan) for name in FACTS}
        self.mask_logits, self.image_logits_BVK, self.labels = request.in_batches(self._begin)
        self.average = self.mask_logits.clone()
        self.p_image = joint_logits(self.image_logits_BVK).softmax(-1).gather(1, self.labels[:, None])[:, 0].cpu()

    def _begin(self, request: Request) -> tuple[Maps, Logits, Labels]:
        """First mask logits, each network on the whole images and the classes to explain."""
        method, labels = self.method, None
        if method.start is None or len(self.voters) > 1:
            with torch.no_grad():
                logits_BVK = logits_of_each(self.voters, request.images())
            labels = request.choose_labels(joint_logits(logits_BVK), request.positions)
            if method.start is None:
                return logits_BVK.new_zeros(len(logits_BVK), method.grid, method.grid), logits_BVK, labels
            request = replace(request, choose_labels=lambda *_: labels)
        starts = [self._start(replace(request, model=voter), method.start) for voter in self.voters]
        cells = torch.stack([scaled_to_grid(method.start.maps(at_layer), method.grid) for at_layer in starts])
        logits_BVK = torch.stack([at_layer.logits for at_layer in starts], 1)
        return method.start_spread * cells.mean(0), logits_BVK, starts[0].labels

    @staticmethod
    def _start(request: Request, start: GradCAM) -> ClassGradient:
        try:
            layer = start.layer_of(request.model)
        except InputError as error:
            raise InputError(f"{error}, here method.start.layer=NAME, or method.start=null") from error
        return class_gradient(request, layer)

    def finish(self) -> Explanation:
        """Steps until every image has left."""
        method = self.method
        while self.unfinished.any():
            rows = self.request.batch_size.fit(self.step)
            self.request.on_progress(len(rows) / method.steps)
            due = rows[(self.steps[rows] % method.check_every == 0) | (self.steps[rows] == method.steps)]
            if len(due):
                self._judge(due)
        return Explanation(
            maps=self._maps().cpu(),
            explained=self.labels.cpu(),
            predicted=joint_logits(self.image_logits_BVK).argmax(1).cpu(),
            p_explained=self.p_image,
            passes=self.passes,
            converged=self.converged,
            facts=self.facts | {"steps": self.steps},
        )

    def _maps(self) -> Maps:
        maps = self.mask_logits if self.method.average is None else self.average
        kernel = gaussian_matrix(self.method.grid, 2 * self.method.smooth + 1, "replicate").to(maps)
        return resized(maps, kernel, kernel) if self.method.smooth else maps

    def step(self, size: int) -> Tensor:
        """One step of Adam for as many unfinished images as fit into a batch, the first ones; gives their rows."""
        method = self.method
        slots = max(1, self.request.whole_passes(size) // method.draws)
        rows = self.unfinished.nonzero()[:slots, 0]
        gradients = self._gradients(rows, size)
        on_device, taken = rows.to(gradients.device), (self.steps[rows] + 1).to(gradients.device)[:, None, None]
        beta_1, beta_2 = BETAS
        first = beta_1 * self.moments[0, on_device] + (1 - beta_1) * gradients
        second = beta_2 * self.moments[1, on_device] + (1 - beta_2) * gradients.square()
        mean, square = first / (1 - beta_1**taken), second / (1 - beta_2**taken)
        stepped = self.mask_logits[on_device] - method.learning_rate * mean / (square.sqrt() + EPSILON)
        power = method.average or 0.0
        newest = (power + 1) / (taken + power)
        average = (1 - newest) * self.average[on_device] + newest * stepped
        # all is computed before anything is written: a step that runs out of memory is taken again
        self.mask_logits[on_device], self.average[on_device] = stepped, average
        self.moments[0, on_device], self.moments[1, on_device] = first, second
        self.steps[rows] += 1
        self.passes[rows] += method.draws * len(self.voters)
        return rows

    def _gradients(self, rows: Tensor, size: int) -> Maps:
        """Of the objective by the mask logits, (rows, grid, grid)."""
        method, on_device = self.method, rows.to(self.pixels.device)
        replacements_BR3HW = self._replacements(rows, self.steps[rows], method.draws)
        mask_logits = self.mask_logits[on_device].requires_grad_()
        with torch.enable_grad():
            mask_BHW = self._mask(mask_logits)
            composites = composite(self._images(on_device), mask_BHW, replacements_BR3HW)
            keys = self.request.image_keys[rows.numpy()]
            composites = jittered(composites, keys, self.steps[rows], method.jitter)
            objective = self._objective(self._logits(composites, size), mask_BHW, on_device)
            # summed, not averaged: Adam's epsilon would tie a mask to the number of its neighbours
            return torch.autograd.grad(objective.sum(), mask_logits)[0]

    def _judge(self, rows: Tensor) -> None:
        """Before held-out images: whose objective stands still, or whose steps are done, leaves."""
        method = self.method
        p_composite, objective = self._measure(rows, method.held_out, lambda mask: mask)
        moved = (objective - self.held_out_objective[rows]).abs()
        self.held_out_objective[rows] = objective
        last = self.steps[rows] == method.steps
        converged = last if method.tolerance is None else moved < method.tolerance
        leave = converged | last
        self.converged[rows] = converged
        if leave.any():
            self._leave(rows[leave], p_composite[leave])

    def _leave(self, rows: Tensor, p_composite: Tensor) -> None:
        """Room for the next images, and what the index says about these."""
        self.unfinished[rows] = False
        self.request.on_progress((1 - self.steps[rows] / self.method.steps).sum().item())
        self.facts["area"][rows] = self._mask(self._maps()[rows.to(self.pixels.device)]).mean((1, 2)).cpu()
        self.facts["p_composite"][rows] = p_composite
        self.facts["p_complement"][rows] = self._measure(rows, self.method.held_out, lambda mask: 1 - mask)[0]
        self.facts["p_hadamard"][rows] = self._measure(rows, 0, lambda mask: mask)[0]

    @torch.no_grad()
    def _measure(self, rows: Tensor, held_out: int, keep: Callable[[Keep], Keep]) -> tuple[Tensor, Tensor]:
        """Mean probability of the class over so many held-out composites, and the objective there; both (rows,).

        Without any, the image alone before black.
        """
        shown = max(1, held_out)
        p, objectives = torch.empty(len(rows)), torch.empty(len(rows))
        first = 0

        def attempt(size: int) -> int:
            last = first + max(1, self.request.whole_passes(size) // shown)
            chosen = rows[first:last]
            on_device = chosen.to(self.pixels.device)
            images, labels = self._images(on_device), self.labels[on_device]
            mask_BHW = keep(self._mask(self._maps()[on_device]))
            behind = self._replacements(chosen, None, held_out) if held_out else torch.zeros_like(images)[:, None]
            logits_BRVK = self._logits(composite(images, mask_BHW, behind), size)
            p_BRK = joint_logits(logits_BRVK.flatten(0, 1)).softmax(-1).unflatten(0, logits_BRVK.shape[:2])
            p[first:last] = p_BRK.mean(1).gather(1, labels[:, None])[:, 0].cpu()
            objectives[first:last] = self._objective(logits_BRVK, mask_BHW, on_device).cpu()
            return last

        while first < len(rows):
            first = self.request.batch_size.fit(attempt)
        self.passes[rows] += shown * len(self.voters)
        return p, objectives

    def _objective(self, logits_BRVK: Tensor, mask_BHW: Keep, rows: Tensor) -> Tensor:
        """The mean over the networks of each one's whole objective, (rows,)."""
        each = zip(logits_BRVK.unbind(2), self.image_logits_BVK[rows].unbind(1), strict=True)
        of_one, labels = self.method.objective_per_image, self.labels[rows]
        return torch.stack([of_one(logits, mask_BHW, labels, on_image) for logits, on_image in each]).mean(0)

    def _images(self, rows: Tensor) -> Images:
        return self.pixels[rows].float() / 255

    def _replacements(self, rows: Tensor, steps: Tensor | None, draws: int) -> Tensor:
        return self.request.replacements(
            self.request.positions[rows], self.labels[rows.to(self.labels.device)], steps, draws
        )

    def _mask(self, mask_logits: Maps) -> Keep:
        # one by one: behind the last full vector of a batch's cells torch rounds differently
        return resized(torch.stack([cells.sigmoid() for cells in mask_logits]), *self.up)

    def _logits(self, composites_BR3HW: Tensor, size: int) -> Tensor:
        """Each network on every composite, (B, R, V, K), in graphs of at most ``size``, rounded up to whole passes."""
        inputs, model = composites_BR3HW.flatten(0, 1), partial(logits_of_each, self.voters)
        slots, size = self.request.pass_size(size, len(inputs)), self.request.whole_passes(size)
        # one image's draws may not fit: parts are computed again for the gradient, so that one graph lives at a time
        through = model if len(inputs) <= size else partial(checkpoint, model, use_reentrant=False)
        (logits,) = in_passes(lambda filled: (through(filled),), inputs, slots)
        return logits.float().unflatten(0, composites_BR3HW.shape[:2])


def logits_of_each(voters: Sequence[Model], images: Images) -> Tensor:
    """Logits (B, V, K) of several networks."""
    return torch.stack([voter(images) for voter in voters], 1)


def composite(images: Images, mask_BHW: Keep, replacements_BR3HW: Tensor) -> Tensor:
    """M x + (1 - M) b_r, (B, R, 3, H, W)."""
    # no lerp: behind the last full vector of a batch it rounds differently
    mask_B11HW = mask_BHW[:, None, None]
    return mask_B11HW * images[:, None] + (1 - mask_B11HW) * replacements_BR3HW


def total_variation(mask_BHW: Keep) -> Tensor:
    """Sum of squared differences of neighbours, (B,). In two dimensions it does not depend on the resolution."""
    return mask_BHW.diff(dim=1).square().sum((1, 2)) + mask_BHW.diff(dim=2).square().sum((1, 2))


def scaled_to_grid(maps: Maps, grid: int) -> Maps:
    """Maps (B, h, w) on the grid (B, grid, grid), from -1 at each one's lowest cell to 1 at its highest.

    A constant map becomes 0.
    """
    maps = resized(maps, *(upsampling_matrix(cells, grid).to(maps) for cells in maps.shape[1:]))
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return torch.where(high > low, 2 * (maps - low) / (high - low) - 1, 0.0)


def resized(maps: Maps, rows: Tensor, columns: Tensor) -> Maps:
    """rows @ map @ columns^T of each map, as one product each.

    A matrix times a batch becomes a single product of all columns, whose rounding depends on where a map stands.
    """
    count = len(maps)
    return torch.bmm(torch.bmm(rows.expand(count, -1, -1), maps), columns.mT.expand(count, -1, -1))
