"""What an evaluation protocol is and is given: a frozen dataclass of its settings, called with a Job."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pytorch_lightning import Trainer

from harmonia.attribution.contract import Attribution
from harmonia.data.manifest import ImageSet
from harmonia.data.replacements import Replacements
from harmonia.data.views import ViewedImages
from harmonia.features.arms import KeepArms
from harmonia.features.fill import Fill
from harmonia.models.classifier import Classifier
from harmonia.models.labels import LabelPolicy
from harmonia.store.sets import ShardSet


class Evaluation(Protocol):
    """One that reads the images' boxes has needs_boxes, true: without boxes it is refused."""

    of_images: ClassVar[bool]  # whether it evaluates the maps of whole images; else it makes maps of its own
    on_targets: ClassVar[bool]  # whether it shows their features to targets and leaves rows.parquet

    def __call__(self, job: "Job") -> dict[str, Any]:
        """Writes the job's rows; returns counts, and metrics that are not those of rows.parquet, for the summary."""
        ...

    def arms(self, job: "Job") -> KeepArms: ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """One cell of the grid: a source, a method, the targets, the images and what else their maps depend on."""

    folder: Path  # where rows.parquet goes
    images: ImageSet
    viewed: ViewedImages
    source: Classifier
    targets: dict[str, Classifier]  # by model name, in the order asked for; the source alone where none are
    maps: ShardSet
    method: Attribution
    method_name: str
    label_policy: LabelPolicy
    label_name: str
    fill: Fill
    fill_name: str
    replacements: Callable[..., Replacements]  # (view, random_crops=False)
    open_predictions: Callable[[Classifier], ShardSet]  # of whole images
    # (target, how its features are made of the maps): of features; the rest of their identity is known to the job
    open_features: Callable[[Classifier, Mapping[str, Any]], ShardSet]
    # (method, protocol's name, what it shows, number of maps): of mosaics
    open_grid_maps: Callable[[Attribution, str, Mapping[str, Any], int], ShardSet]
    # (how the maps are scored): of the scores; the rest of their identity is known to the job
    open_scores: Callable[[Mapping[str, Any]], ShardSet]
    evaluation: Evaluation
    evaluation_name: str
    make_trainer: Callable[..., Trainer]
    batch_size: int
