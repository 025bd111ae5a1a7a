"""What a model's yaml says: a classifier, its weights, and what is to differ from its own transform."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from harmonia.data.choices import CropMode, Interpolation
from harmonia.errors import Within

CropPct = Annotated[float | None, Within(0.01, 1, 1)]  # 1 sees the whole shorter side
Kind = Literal["timm", "torchvision", "huggingface", "python", "fitted", "joint", "vote"]


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One yaml of conf/source: a classifier, and what overrides its own evaluation transform (None keeps it)."""

    name: str
    arch: str  # the kind's name of it; timm's with its tag for hub weights
    family: str
    kind: Kind = "timm"
    factory: str | None = None  # package.module:function that makes the network, of kind python
    reshape: str | None = None  # package.module:function, a layer's activations -> (B, C, h, w), of kind python
    networks: tuple[str, ...] = ()  # of kind joint or vote: those that explain together
    weights: str | Path = "hub"
    weights_folder: str | Path | None = None  # looked into before the hub
    names_in_order: bool = False  # the file holds timm's tensors in timm's order under other names
    classes: str | Path | tuple[str, ...] | None = (
        None  # a list, or a text file, one name a line; default: ImageNet-1k's WordNet ids
    )
    input_size: Annotated[int | tuple[int, int] | None, Within(1, 2048, 224)] = None  # a side, or height and width
    crop_pct: CropPct = None
    crop_mode: CropMode | None = None
    interpolation: Interpolation | None = None
    mean: Annotated[tuple[float, ...] | None, Within(-1000, 1000)] = None  # a number a channel
    std: Annotated[tuple[float, ...] | None, Within(1e-6, 1000, 0.5)] = None

    def overrides(self) -> dict:
        names = ("crop_pct", "crop_mode", "interpolation", "mean", "std")
        size = {} if self.input_size is None else {"size": self.input_size}
        return {name: value for name in names if (value := getattr(self, name)) is not None} | size
