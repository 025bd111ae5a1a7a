"""What a metric of attribution maps is given and what it gives back.

A metric is a frozen dataclass of its settings; calling it scores a batch of maps. Like a method it sees a callable
model and tensors, never configurations, files or names of architectures. Adding one takes a module here and a yaml in
conf/evaluation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from harmonia.attribution.contract import Model
from harmonia.attribution.passes import BatchSize
from harmonia.features.areas import in_view
from harmonia.shapes import Images, Labels, Maps

NOT_FINITE = "the network's answer is not finite"


@dataclass(frozen=True, kw_only=True)
class ExplainedImages:
    """Images with the stored maps that explain one class of each; no map is constant, zero or non-finite."""

    model: Model
    pixels: Tensor  # B 3 H W, uint8, on the CPU, the source's view
    maps: Maps  # B h w on the CPU, raw and signed, at the resolution that the method really has
    labels: Labels  # B, the explained classes
    # of each image (n, 4): left, top, right, bottom of the explained class, in pixels of the view; n may be 0. Half
    # open: a pixel is inside whose centre is
    boxes: tuple[Tensor, ...]
    image_keys: np.ndarray  # B, uint64: the images' numbers for whatever is drawn for them (harmonia.draws)
    device: torch.device
    batch_size: BatchSize  # inputs that go through the model at once
    # (model, images (b, 3, H, W) in [0, 1], rows of them in this batch) -> raw maps of the same method, same classes
    explain: Callable[[Model, Images, Tensor], Maps]
    on_progress: Callable[[float], None]  # images finished since the last call; fractions are fine

    def map_in_view(self, row: int) -> Tensor:
        """An image's map enlarged bilinearly to the view's pixels, (H, W), on the device."""
        return in_view(self.maps[row : row + 1].to(self.device), self.size)[0]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the source's view, pixels."""
        return self.pixels.shape[2], self.pixels.shape[3]


@dataclass(frozen=True)
class Score:
    """One number for each map of a batch."""

    values: Tensor  # B, float64; NaN where undefined
    reasons: tuple[str, ...]  # B: why it is undefined, "" where it is not

    def __post_init__(self):
        if [bool(reason) for reason in self.reasons] != self.values.isnan().tolist():
            raise ValueError(f"a score must be NaN exactly where it has a reason, got {self.values}, {self.reasons}")

    @classmethod
    def of(cls, values: Tensor, reasons: Sequence[str] = ()) -> "Score":
        """A value with a reason is undefined, and so is one that the network left without a finite answer."""
        values, reasons = values.double().cpu(), reasons or [""] * len(values)
        finite = values.isfinite().tolist()
        why = tuple(reason or ("" if known else NOT_FINITE) for reason, known in zip(reasons, finite, strict=True))
        return cls(torch.where(torch.tensor([bool(reason) for reason in why]), torch.nan, values), why)


@dataclass(frozen=True)
class Scores:
    """What a metric gives: its scores by name, and the network passes that each image took."""

    scores: Mapping[str, Score]  # those of Metric.better in every batch, and name/part where a score has parts (layers)
    passes: Tensor | int = 0  # B, int64; those of ExplainedImages.explain are counted by the caller


class Metric(Protocol):
    """One that reads ExplainedImages.boxes says ``needs_boxes: ClassVar[bool] = True``: else it is given none.

    One that calls ExplainedImages.explain says ``explains_anew: ClassVar[bool] = True``: maps from elsewhere are no
    method that it could ask.
    """

    version: ClassVar[int]  # raised whenever the arithmetic changes: it is part of a score's key

    @property
    def better(self) -> Mapping[str, str]: ...  # of each score "higher", "lower" or "" (neither: it describes)

    def __call__(self, explained: ExplainedImages) -> Scores: ...
