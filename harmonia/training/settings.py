"""What a fit is asked to do: every key of conf/fit.yaml, typed once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig

from harmonia.cli.options import Group
from harmonia.data.choices import Unreadable
from harmonia.errors import InputError, Seed, Within
from harmonia.job.settings import Paths, Tracking, read_configuration
from harmonia.models.spec import CropPct, ModelSpec

Share = Annotated[float, Within(0, 1)]


@dataclass(frozen=True)
class TrainingData:
    """A folder of classes."""

    root: str | Path
    class_map: str | Path | None
    held_out: Annotated[float, Within(0.001, 0.9, 0.1)]  # share of each class, where there is no val folder
    seed: Seed  # of that share
    per_class: Annotated[int | None, Within(1, 10**9)]
    memory_gb: Annotated[float, Within(0, 10**6)]  # GiB


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    packages: list[str]
    seed: Seed
    num_threads: Annotated[int | None, Within(1, 1024)]
    unreadable: Unreadable
    crop_pct: CropPct
    epochs: Annotated[int, Within(1, 10**5)]
    batch_size: Annotated[int, Within(2, 2**16)]
    lr: Annotated[float, Within(1e-9, 100, 0.002)]
    weight_decay: Annotated[float, Within(0, 100)]
    warmup: Annotated[float, Within(0, 0.9, 0.1)]
    clip: Annotated[float, Within(1e-6, 10**6, 1.0)]
    label_smoothing: Annotated[float, Within(0, 0.99, 0.1)]
    crop_scale: Annotated[tuple[float, float], Within(0.01, 1)]
    flip: Share
    ema: Annotated[float, Within(0, 0.999999, 0.999)]
    patience: Annotated[int | None, Within(1, 10**5)]
    shuffled_labels: bool
    paths: Paths
    data: TrainingData
    source: ModelSpec
    trainer: Group
    logger: Mapping[str, Any] | None
    tracking: Tracking
    resolved: Mapping[str, Any]  # all of it as fit.yaml and the logger have it

    def __post_init__(self):
        if self.crop_scale[0] > self.crop_scale[1]:
            raise InputError(
                f"crop_scale must rise, got {list(self.crop_scale)}; write 'crop_scale=[{self.crop_scale[1]},1]'"
            )
        if self.precision not in (known := ("auto", "32-true", "tf32", "bf16-mixed", "16-mixed")):
            raise InputError(f"trainer.precision must be one of {', '.join(known)}, got {self.precision!r}; write auto")
        if self.precision == "16-mixed":
            raise InputError(
                "trainer.precision must not be 16-mixed in training, whose small gradients it loses, got it; write "
                "trainer.precision=bf16-mixed"
            )

    @property
    def precision(self) -> Any:
        return self.trainer.options.get("precision", "auto")


def fit_settings_of(config: DictConfig) -> FitSettings:
    """A composed configuration, resolved; what does not fit is refused in one line."""
    return read_configuration(config, FitSettings, ("source", "trainer", "data"))
