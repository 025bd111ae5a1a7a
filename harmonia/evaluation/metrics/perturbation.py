"""Perturbed inputs on their way through a model, and what is read from its answers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import torch
from torch import Tensor

from harmonia.attribution.contract import Model
from harmonia.attribution.head import features_of
from harmonia.attribution.passes import in_passes
from harmonia.errors import InputError
from harmonia.evaluation.metrics.contract import ExplainedImages, Score
from harmonia.shapes import Labels, Logits

Reading = Literal["probability", "logit"]  # of the explained class
NOT_FINITE = "the network's answer is not finite"


def of_explained(reading: Reading) -> Callable[[Logits, Labels], Tensor]:
    """(logits (b, K), classes (b,)) -> the class's probability or its logit, (b,)."""
    numbers = {"probability": lambda logits: logits.softmax(1), "logit": lambda logits: logits}[reading]
    return lambda logits, labels: numbers(logits).gather(1, labels[:, None])[:, 0]


def answers(
    explained: ExplainedImages,
    inputs: Callable[[int, Tensor], Iterable[Tensor]],
    read: Callable[[Logits, Labels], Tensor],
) -> list[Tensor]:
    """What the model answers to the inputs made of each image: of each image (inputs, ...), float64, on the CPU.

    inputs: (row, image (3, H, W) in [0, 1]) -> inputs (3, H, W), made one after the other, so that memory holds those
    of one pass. Images share passes; on a CPU its size depends on no batch size, and so the answers
    are the same bit for bit whatever the batch size.
    """
    of_images: list[list[Tensor]] = [[] for _ in explained.labels]
    stream = (
        (row, shown)
        for row in range(len(explained.labels))
        for shown in inputs(row, explained.pixels[row].to(explained.device).float() / 255)
    )
    waiting: list[tuple[int, Tensor]] = []

    def attempt(size: int) -> Tensor:
        slots = explained.batch_size.pass_size(size, explained.device)
        waiting.extend(islice(stream, max(0, slots - len(waiting))))
        part = waiting[:slots]
        if not part:
            return torch.zeros(0)
        images = torch.stack([shown for _, shown in part])
        with torch.no_grad():
            (logits,) = in_passes(lambda filled: (explained.model(filled),), images, slots)
        return read(logits.double().cpu(), explained.labels[[row for row, _ in part]])

    reported = 0
    while len(read_now := explained.batch_size.fit(attempt)):
        for (row, _), answer in zip(waiting, read_now, strict=False):
            of_images[row].append(answer)
        last = waiting[len(read_now) - 1][0]
        del waiting[: len(read_now)]
        explained.on_progress(last - reported)
        reported = last
    explained.on_progress(len(of_images) - reported)
    return [torch.stack(of_image) if of_image else torch.zeros(0, dtype=torch.float64) for of_image in of_images]


def passes_of(of_images: Sequence[Tensor]) -> Tensor:
    """Network passes of each image, by the answers that it got."""
    return torch.tensor([len(of_image) for of_image in of_images])


def score(values: Tensor, reasons: Sequence[str] | None = None) -> Score:
    """A value with a reason is undefined, and so is one that the network left without a finite answer."""
    values = values.double()
    given = reasons or [""] * len(values)
    why = tuple(
        reason or ("" if finite else NOT_FINITE)
        for reason, finite in zip(given, values.isfinite().tolist(), strict=True)
    )
    return Score(torch.where(torch.tensor([bool(reason) for reason in why]), torch.nan, values), why)


@dataclass(frozen=True)
class Normalisation:
    """A model's own normalisation of intensities, channel by channel: (x - mean) / std, each (3, 1, 1)."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, model: Model, device: torch.device) -> "Normalisation":
        """Read off what becomes of black and of white; the network does not run."""
        levels = torch.tensor([0.0, 1.0], device=device)[:, None, None, None].expand(2, 3, 1, 1)
        black, white = features_of(model, "input", levels)
        std = 1 / (white - black)
        return cls(-black * std, std)


def at_least(least: float, **options: float) -> None:
    """InputError for the first option of a metric that is below the least it can be."""
    for name, value in options.items():
        if value < least:
            raise InputError(f"evaluation.metric.{name} must be at least {least}, got {value}")
