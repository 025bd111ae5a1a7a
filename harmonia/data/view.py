"""Which part of an image a model sees, and how a map moves from one model's view to another's.

Coordinates are relative to the stored image: (0, 0) is its top left corner, (1, 1) its bottom right.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_eval
from torch import Tensor

from harmonia.errors import InputError


class Box(NamedTuple):
    """An axis-parallel rectangle in relative image coordinates; may reach beyond the image."""

    left: float
    top: float
    right: float
    bottom: float


Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]
CropMode = Literal["center", "squash", "border"]
MOST_SIDE_PX = 4096
_MOST_PIXELS = 2**26  # of an image while it is resized: 256 MiB, as PIL keeps them
WHOLE_IMAGE = Box(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class View:
    """A model's evaluation transform: timm's own, pixel for pixel."""

    size: int  # side of the square that the network receives, pixels
    crop_pct: float  # share of the resized side that survives the crop
    crop_mode: CropMode  # as timm names them
    interpolation: Interpolation
    mean: tuple[float, ...]  # of each channel that the network receives: three, or one of a grey network
    std: tuple[float, ...]

    def __post_init__(self):
        if self._side > MOST_SIDE_PX:
            raise InputError(
                f"input_size / crop_pct must be at most {MOST_SIDE_PX} pixels, to which images are resized, got "
                f"{self.size} / {self.crop_pct}; write crop_pct=1"
            )

    @cached_property
    def _transform(self):
        options = {name: getattr(self, name) for name in ("crop_pct", "crop_mode", "interpolation")}
        mean = self.mean * 3 if len(self.mean) == 1 else self.mean  # the colour of a border
        # use_prefetcher: timm stops at uint8 and leaves scaling and normalising to the device
        return transforms_imagenet_eval(img_size=self.size, use_prefetcher=True, mean=mean, **options)

    def check_size(self, width: int, height: int) -> None:
        """Refuses an image that would take too much memory: PIL resizes across first, then down."""
        across, down = self._resized(width, height)
        if across * max(down, height) > _MOST_PIXELS:
            raise ValueError(f"it is {width} x {height}, and to resize it takes more than {_MOST_PIXELS:,} pixels")

    def look(self, image: Image.Image) -> Tensor:
        """uint8 (3, size, size)."""
        if self.crop_mode == "border" and 0 in self._with_border(*image.size):
            # timm would resize it to no pixels; this thick, it becomes a line
            thick = math.ceil(max(image.size) / self._side)
            image = image.resize((max(image.width, thick), max(image.height, thick)))
        return torch.as_tensor(self._transform(image))

    def box(self, width: int, height: int) -> Box:
        """The part of a width x height image that the view shows."""
        across, down = self._resized(width, height)
        left, top = self._margin(across), self._margin(down)
        return Box(left / across, top / down, (left + self.size) / across, (top + self.size) / down)

    def _margin(self, resized: int) -> int:
        """Pixels cut off before the view begins, negative where a border is added: rounded as timm does."""
        spare = resized - self.size
        return round(spare / 2) if spare >= 0 else -(-spare // 2)

    @property
    def _side(self) -> int:
        """What timm resizes to before it crops, pixels."""
        return math.floor(self.size / self.crop_pct)

    def _with_border(self, width: int, height: int) -> tuple[int, int]:
        """timm's size of an image that is to be seen whole: 0 pixels where it is very thin."""
        ratio = max(width, height) / self._side
        return round(width / ratio), round(height / ratio)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        side = self._side
        if self.crop_mode == "squash":
            return side, side
        if self.crop_mode == "border":
            resized_width, resized_height = self._with_border(width, height)
            return max(1, resized_width), max(1, resized_height)
        return (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
