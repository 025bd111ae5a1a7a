"""Which part of an image a model sees, and how a map moves from one model's view to another's.

Coordinates are relative to the stored image: (0, 0) is its top left corner, (1, 1) its bottom right.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_eval
from torch import Tensor

from harmonia.data.choices import CropMode, Interpolation
from harmonia.errors import InputError
from harmonia.shapes import Size, sides, size_of


class Box(NamedTuple):
    """An axis-parallel rectangle in relative image coordinates; may reach beyond the image."""

    left: float
    top: float
    right: float
    bottom: float


MOST_SIDE_PX = 4096
_MOST_PIXELS = 2**26  # of an image while it is resized: 256 MiB, as PIL keeps them
WHOLE_IMAGE = Box(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class View:
    """A model's evaluation transform: timm's own, pixel for pixel."""

    size: Size  # of what the network receives, pixels: the side of a square, or height and width
    crop_pct: float  # share of the resized sides that survives the crop
    crop_mode: CropMode  # as timm names them
    interpolation: Interpolation
    mean: tuple[float, ...]  # of each channel that the network receives: one of a grey network, else the image's
    std: tuple[float, ...]

    def __post_init__(self):
        # one view, one key: a command line's crop_pct=1 is 1.0
        same = {"size": size_of(*sides(self.size)), "crop_pct": float(self.crop_pct)}
        for name, value in (same | {name: tuple(map(float, getattr(self, name))) for name in ("mean", "std")}).items():
            object.__setattr__(self, name, value)
        if self.channels != 3 and self.crop_mode == "border":
            raise InputError(
                f"crop_mode=border must be of RGB or grey images, got {self.channels} channels; use center"
            )
        if max(self.scale) > MOST_SIDE_PX:
            raise InputError(
                f"input_size / crop_pct must be at most {MOST_SIDE_PX} pixels, to which images are resized, got "
                f"{self.size} / {self.crop_pct}; write crop_pct=1"
            )

    @property
    def channels(self) -> int:
        """Of the images as they are shown: RGB to a grey network too, which sees their luma."""
        return 3 if len(self.mean) == 1 else len(self.mean)

    @property
    def height(self) -> int:
        """Pixels."""
        return sides(self.size)[0]

    @property
    def width(self) -> int:
        """Pixels."""
        return sides(self.size)[1]

    @cached_property
    def _transform(self):
        options = {name: getattr(self, name) for name in ("crop_pct", "crop_mode", "interpolation")}
        mean = self.mean if len(self.mean) == 3 else self.mean[:1] * 3  # the colour of a border
        # use_prefetcher: timm stops at uint8 and leaves scaling and normalising to the device
        return transforms_imagenet_eval(img_size=self.size, use_prefetcher=True, mean=mean, **options)

    def check_size(self, width: int, height: int) -> None:
        """Refuses an image that would take too much memory: PIL resizes across first, then down."""
        across, down = self._resized(width, height)
        if across * max(down, height) > _MOST_PIXELS:
            raise ValueError(f"it is {width} x {height}, and to resize it takes more than {_MOST_PIXELS:,} pixels")

    def look_at(self, channels: Sequence[Image.Image]) -> Tensor:
        """uint8 (C, height, width), of one picture in RGB or of a grey one for each channel."""
        looks = [self.look(each) for each in channels]
        return looks[0] if len(looks) == 1 else torch.cat(looks)

    def look(self, image: Image.Image) -> Tensor:
        """uint8 (3, height, width); of a grey picture (1, height, width)."""
        if self.crop_mode == "border" and 0 in self._with_border(*image.size):
            # timm would resize it to no pixels; this thick, it becomes a line
            thick = math.ceil(self._longest(*image.size))
            image = image.resize((max(image.width, thick), max(image.height, thick)))
        return torch.as_tensor(self._transform(image))

    def box(self, width: int, height: int) -> Box:
        """The part of a width x height image that the view shows."""
        across, down = self._resized(width, height)
        left, top = _margin(across, self.width), _margin(down, self.height)
        return Box(left / across, top / down, (left + self.width) / across, (top + self.height) / down)

    @property
    def scale(self) -> tuple[int, int]:
        """Height and width that timm resizes to before it crops, pixels."""
        return math.floor(self.height / self.crop_pct), math.floor(self.width / self.crop_pct)

    def _longest(self, width: int, height: int) -> float:
        """How many times an image is as large as what timm resizes to, along the axis where it is largest."""
        return max(height / self.scale[0], width / self.scale[1])

    def _with_border(self, width: int, height: int) -> tuple[int, int]:
        """timm's size of an image that is to be seen whole: 0 pixels where it is very thin."""
        ratio = self._longest(width, height)
        return round(width / ratio), round(height / ratio)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        down, across = self.scale
        if self.crop_mode == "squash":
            return across, down
        if self.crop_mode == "border":
            resized_width, resized_height = self._with_border(width, height)
            return max(1, resized_width), max(1, resized_height)
        if down != across:  # timm keeps the ratio in another way than torchvision: it rounds
            ratio = min(height / down, width / across)
            return round(width / ratio), round(height / ratio)
        return (across, int(down * height / width)) if width <= height else (int(across * width / height), down)


def _margin(resized: int, seen: int) -> int:
    """Pixels cut off before the view begins, negative where a border is added: rounded as timm does."""
    spare = resized - seen
    return round(spare / 2) if spare >= 0 else -(-spare // 2)
