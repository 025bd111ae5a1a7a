"""What a job is asked to do: every key of conf/config.yaml, typed once."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from omegaconf import DictConfig, OmegaConf

from harmonia.cli.early import import_libraries
from harmonia.cli.options import Group, dotted, import_target, read_settings
from harmonia.data.choices import Unreadable
from harmonia.errors import InputError, Seed, Within, home
from harmonia.features.choices import check_areas
from harmonia.models.spec import CropPct, ModelSpec

T = TypeVar("T")


@dataclass(frozen=True)
class Smooth:
    """A Gaussian on raw maps."""

    k: Annotated[int | None, Within(1, 9999, 129)]  # the kernel's side in cells of the map; None: no smoothing
    padding: Literal["reflect", "zero", "replicate"]


@dataclass(frozen=True)
class Paths:
    cache: str | Path  # the store, downloads, decoded images
    job: str | Path  # the job's folder
    weights: str | Path | None


@dataclass(frozen=True)
class Store:
    shard_size: Annotated[int | None, Within(1, 10**6)]  # images; None: as the device has it
    spool_gb: Annotated[float, Within(0, 10**6)]  # disk for decoded images, GiB


@dataclass(frozen=True)
class Tracking:
    name: str | None
    group: str | None
    job_type: str | None
    tags: list[str]
    panel_images: Annotated[int, Within(0, 10**4)]  # images in the panel of samples


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Held against their types in this order: a model's option may repeat one of the keys before it."""

    packages: list[str]  # whose classes are built beside harmonia's
    seed: Seed
    batch_size: Annotated[Literal["auto"] | int, Within(1, 2**16)]
    compile: bool
    num_threads: Annotated[int | None, Within(1, 1024)]  # OpenMP crashes for many more
    unreadable: Unreadable
    crop_pct: CropPct
    layer: str
    smooth: Smooth
    paths: Paths
    store: Store
    source: ModelSpec
    target: dict[str, ModelSpec]
    method: Group
    data: Group
    label: Group
    fill: Group
    evaluation: Group
    trainer: Group
    logger: Mapping[str, Any] | None
    tracking: Tracking
    resolved: Mapping[str, Any]  # all of it as config.yaml and the logger have it

    def __post_init__(self):
        if not self.target:
            raise InputError("target must name at least one model, got none; add 'target=[self]'")
        if "precision" not in self.trainer.options:
            raise InputError("trainer.precision must be given, it has no default; add trainer.precision=32-true")

    @property
    def precision(self) -> Any:
        """Inside the networks."""
        return self.trainer.options["precision"]


def settings_of(config: DictConfig) -> Settings:
    """A composed configuration, resolved; what does not fit is refused in one line."""
    groups = ("source", "target", "method", "data", "label", "fill", "evaluation", "trainer")
    return read_configuration(config, Settings, groups)


def read_configuration(config: DictConfig, settings_type: type[T], groups: Sequence[str]) -> T:
    """The same for any dataclass of settings, whose field resolved takes all of it."""
    values: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    packages = values.get("packages")
    packages = [name for name in packages if isinstance(name, str)] if isinstance(packages, list) else []
    targets = list(_targets(values))
    for key, options in targets:
        _refuse_foreign(key, options, lambda named: named["_target_"].partition(".")[0], ("harmonia", *packages))
    _check_logger(values.get("logger"))
    _check_paths_and_areas(values)
    settings = read_settings(settings_type, {**dict.fromkeys(groups), **values, "resolved": values})
    import_libraries()  # only now, as it imports torch, for which a wrong number need not wait
    for key, options in targets:
        _refuse_foreign(key, options, partial(_defined_in, key), ("harmonia", *packages))
    return settings


_PATHS = r"data\.(root|labels|class_map|pool|boxes)|method\.maps"
_AREAS = r"evaluation\.(areas|controls\.(?!seed)\w+)"


def _check_paths_and_areas(values: Mapping[str, Any], above: str = "") -> None:
    """Of harmonia's own classes, which check them again: a wrong one need not wait for torch, either."""
    for name, value in values.items():
        key = dotted(above, name)
        if isinstance(value, Mapping) and str(value.get("_target_", "harmonia.")).startswith("harmonia."):
            _check_paths_and_areas(value, key)
        elif isinstance(value, list) and re.fullmatch(_AREAS, key):
            check_areas(key, [area for area in value if isinstance(area, int | float)])
        elif isinstance(value, str) and re.fullmatch(_PATHS, key) and not os.path.exists(home(value)):
            raise InputError(f"{key}: {value} does not exist or cannot be reached; set {key}=PATH to what is there")


def _check_logger(options: Any, key: str = "logger") -> None:
    """Ranges of its numbers, which other libraries take."""
    for name, value in options.items() if isinstance(options, Mapping) else ():
        Within(0, 10**6).check(f"{key}.{name}", value)
        _check_logger(value, f"{key}.{name}")


# beside harmonia's own, what conf/ names: exactly these, as others of their package read pickles
_BUILT_TOO = (
    "pytorch_lightning.Trainer",
    "pytorch_lightning.loggers.WandbLogger",
    "pytorch_lightning.loggers.CSVLogger",
    "pytorch_lightning.loggers.TensorBoardLogger",
    "pytorch_lightning.loggers.MLFlowLogger",
    "lightning_fabric.plugins.environments.LightningEnvironment",
)


def _targets(values: Any, key: str = "") -> Iterator[tuple[str, Mapping]]:
    """What has a _target_, by its key. Text with a NUL, which ends a path for the system, and keys that are no text
    are refused.
    """
    if isinstance(values, str) and "\0" in values:
        raise InputError(f"{key} must be text without NUL, got {values!r}; leave it out")
    if isinstance(values, list | tuple):
        values = {str(place): value for place, value in enumerate(values)}
    if not isinstance(values, Mapping):
        return
    for name, value in values.items():
        if not isinstance(name, str):
            raise InputError(f"{key or 'the configuration'} must have text as keys, got {name!r}; write \"'{name}'\"")
        yield from _targets(value, dotted(key, name))
    if isinstance(values.get("_target_"), str):
        yield key, values


def _refuse_foreign(key: str, options: Mapping, package_of: Callable[[Mapping], str], packages: Sequence[str]) -> None:
    """Refuses a _target_ that is not of harmonia or of these packages, before it is imported and before it is called.

    Anything that Python can import may be called through a _target_: torch.load, which reads pickles, too.
    """
    if options["_target_"] not in _BUILT_TOO and package_of(options) not in packages:
        raise InputError(
            f"{key}._target_ must lie in {' or '.join(packages)}, got {options['_target_']!r}; "
            "code of your own runs by 'packages=[NAME]'"
        )


def _defined_in(key: str, options: Mapping) -> str:
    """What a module of a package has merely imported is not the package's."""
    return str(getattr(import_target(key, options), "__module__", "")).partition(".")[0]
