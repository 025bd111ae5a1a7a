"""Transfer of features: a target classifies the image (I) and what a source's map keeps of it (F).

M. A. Kadir, G. Addluri, D. Sonntag, "Harmonizing Feature Attributions Across Deep Learning Architectures",
2023, https://arxiv.org/abs/2307.02150, section 3; beyond it, equal-area arms beside the soft map, and controls.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
import torch

from harmonia.arms import IMAGE_ARM
from harmonia.data.views import ViewBatch
from harmonia.draws import Purpose, counter_hash
from harmonia.errors import Within
from harmonia.evaluation import answers
from harmonia.features.arms import Explanations, KeepArms
from harmonia.features.controls import Controls, Partners
from harmonia.features.maps import UNREADABLE, unpack
from harmonia.features.normalise import normalisation
from harmonia.job.completion import Completed, complete
from harmonia.job.contract import Evaluation, Job, Stage
from harmonia.job.pictures import sample_panel, small_maps
from harmonia.job.stages import as_text, counted, explained_by, image_stage, map_stage, pending_stage, stored_stage
from harmonia.job.target import FeatureTarget
from harmonia.models.classifier import Classifier
from harmonia.results import tracking
from harmonia.results.maps import MAPS, write_small_maps
from harmonia.results.representations import write_representations
from harmonia.results.rows import REPRESENTATIONS, ROWS, SUMMARY, row_writer
from harmonia.results.summary import summarise_job
from harmonia.shapes import Maps
from harmonia.store.identity import fingerprint
from harmonia.store.sets import ShardSet


@dataclass(frozen=True, kw_only=True)
class Transfer(Evaluation):
    """Keep arms of every map, through every target, one row for each image and arm that the image has."""

    section: ClassVar[str] = "harmonia.report.sections.transfer"
    files: ClassVar[tuple[str, ...]] = (ROWS, MAPS, REPRESENTATIONS)
    uses_targets: ClassVar[bool] = True

    areas: tuple[float, ...] = (0.1, 0.2, 0.3, 0.5)
    normalise: str = "auto"  # how a soft map comes into [0, 1]; auto: as its method declares
    controls: Controls | None = None
    patch_borders: bool = False  # whether arms of a given area are shown in whole patches of each target, too
    # images whose penultimate representations are left in the job's folder
    representations: Annotated[int, Within(0, 10**9)] = 2000

    def __post_init__(self):
        self._arms("clamp" if self.normalise == "auto" else self.normalise)

    def stages(self, job: Job) -> Iterator[Stage]:
        yield map_stage(job)
        for target in job.targets.values():
            yield image_stage(job, target)
            if self.arms(job).of_no_map().names:
                yield self._control_stage(job, target)
            yield self._feature_stage(job, target)

    def write(self, job: Job) -> dict[str, Any]:
        arms = self.arms(job)
        with row_writer(job.folder) as append:
            for target in job.targets.values():
                features = job.keys.features(target, self._reading(job))
                controls = self._controls(job, target) if arms.of_no_map().names else None
                _append_rows(job, target, arms, features, controls, append)
            # an earlier run's, which would pass for that of the rows that now take their name
            (job.folder / SUMMARY).unlink(missing_ok=True)
        if self.representations:
            _leave_representations(job, self.representations)
        write_small_maps(job.folder, small_maps(job, arms))
        return summarise_job(job.folder)

    def logged(self, summary: dict[str, Any]) -> dict[str, Any]:
        return tracking.metrics(summary)

    def media(self, job: Job, summary: dict[str, Any]) -> tracking.Media:
        panel: list = []
        with tracking.only_warns("no sample panel"):
            panel = sample_panel(job, self.arms(job), job.settings.tracking.panel_images)
        return tracking.transfer_media(tracking.tracked_rows(job.folder), summary, panel)

    def arms(self, job: Job) -> KeepArms:
        """How the job's maps are read."""
        return self._arms(job.method.normalise if self.normalise == "auto" else self.normalise)

    @property
    def _seed(self) -> int:
        return (self.controls or Controls()).seed

    def _reading(self, job: Job) -> dict[str, Any]:
        """What of these settings tells answers on features apart."""
        arms = self.arms(job).of_map()
        return {"arms": arms.names, "normalise": arms.normalise.__name__, "seed": self._seed}

    def _controls(self, job: Job, target: Classifier) -> ShardSet:
        return job.keys.controls(target, {"arms": self.arms(job).of_no_map().names, "seed": self._seed})

    def _arms(self, normalise: str) -> KeepArms:
        controls = (self.controls or Controls()).arms()
        return KeepArms(normalisation(normalise), tuple(self.areas), controls, self.patch_borders)

    def _feature_stage(self, job: Job, target: Classifier) -> Stage:
        """A target's answers on features; of maps that are not all there, it lacks every one."""
        reading = self._reading(job)
        answered_by = _answered_by(job, target, reading)
        title = f"{job.method_name} of {job.source.name} on {target.name}"
        priced_by = ("features", *explained_by(job), *answered_by)
        if not job.maps.missing():
            features = job.keys.features(target, reading)
            return stored_stage("features", title, features, priced_by, partial(self._answer, job, target, features))
        key = ("features", job.maps.key, *answered_by, job.images.pool_digest, job.settings.seed)
        return pending_stage("features", title, key, priced_by, job.maps.count, job.maps.shard_size)

    def _answer(self, job: Job, target: Classifier, features: ShardSet) -> Completed:
        explanations = partial(_explanations, job, _partners(job, self._seed))
        module = partial(FeatureAnswers, job, target, self.arms(job).of_map(), explanations)
        title = f"features on {target.name}"
        completed = complete(features, job.viewed, target.view, module, job.make_trainer, title)
        return counted(target, completed)

    def _control_stage(self, job: Job, target: Classifier) -> Stage:
        """A target's answers on regions that no map has a say in."""
        controls, arms = self._controls(job, target), self.arms(job).of_no_map()

        def compute() -> Completed:
            module = partial(ControlAnswers, job, target, arms, partial(_no_explanations, job))
            title = f"controls on {target.name}"
            return counted(target, complete(controls, job.viewed, target.view, module, job.make_trainer, title))

        title = f"in the view of {job.source.name} on {target.name}"
        priced_by = ("controls", *_answered_by(job, target, {"arms": arms.names}), job.settings.batch_size)
        return stored_stage("controls", title, controls, priced_by, compute)


class ControlAnswers(FeatureTarget):
    """What the store keeps of a target's answers on controls: logits, as what is explained differs between jobs."""

    def predict_step(self, batch: ViewBatch, batch_index: int):
        logits_BAK, kept_BA = super().predict_step(batch, batch_index)
        facts = [{"flag": "" if readable else UNREADABLE} for readable in batch.readable.tolist()]
        return {"logits": logits_BAK.numpy(), "kept_area": kept_BA.float().numpy()}, facts


class FeatureAnswers(ControlAnswers):
    """What the store keeps of a target's logits of features."""

    def predict_step(self, batch: ViewBatch, batch_index: int):
        arrays, facts = super().predict_step(batch, batch_index)
        return answers.of_logits(self.job, self.classifier, arrays, batch.indices.tolist()), facts


def _answered_by(job: Job, target: Classifier, reading: dict[str, Any]) -> tuple[str, ...]:
    return as_text(target.identity()), as_text(reading), as_text(fingerprint(job.fill_of(target)[1]))


def _append_rows(
    job: Job, target: Classifier, arms: KeepArms, features: ShardSet, controls: ShardSet | None, append: Callable
) -> None:
    """controls: None where there are none that know no map."""
    predictions = job.keys.predictions(target)
    names = [IMAGE_ARM, *arms.of_map().names, *arms.of_no_map().names]
    order = [names.index(name) for name in [IMAGE_ARM, *arms.names]]
    for shard in range(features.num_shards):
        of_features, facts = features.read(shard)
        readable = [row for row, fact in enumerate(facts) if fact["flag"] != UNREADABLE]
        if readable:
            positions = [features.shard_items(shard)[row] for row in readable]
            parts = [answers.of_logits(job, target, predictions.read_items(positions)[0], positions)]
            parts += [{name: values[readable] for name, values in of_features.items()}]
            if controls is not None:
                parts += [answers.of_logits(job, target, controls.read_items(positions)[0], positions)]
            of_arms = {name: np.concatenate([part[name] for part in parts], 1)[:, order] for name in parts[0]}
            append(answers.rows(job, target, positions, [IMAGE_ARM, *arms.names], of_arms))


def _partners(job: Job, seed: int) -> Partners:
    facts, images = job.maps.facts(), job.images
    return Partners(
        image_keys=images.image_keys(range(len(images.records))),
        explained=np.array([fact["explained"] for fact in facts]),
        usable=np.array([fact["flag"] == "" for fact in facts]),
        contents=np.array([record.digest for record in images.records]),
        seed=seed,
    )


def _explanations(job: Job, partners: Partners, indices: list[int]) -> Explanations:
    maps = torch.from_numpy(unpack(job.maps.read_items(indices)[0]))

    def another(same_class: bool) -> Maps:
        partner_of = {row: partners.of(index, same_class) for row, index in enumerate(indices)}
        partner_of = {row: partner for row, partner in partner_of.items() if partner is not None}
        partners_maps = torch.full_like(maps, torch.nan)
        if partner_of:
            arrays = job.maps.read_items(list(partner_of.values()))[0]
            partners_maps[list(partner_of)] = torch.from_numpy(unpack(arrays))
        return partners_maps

    return Explanations(
        maps=maps,
        image_keys=partners.image_keys[indices],
        another=another,
    )


def _no_explanations(job: Job, indices: list[int]) -> Explanations:
    """For arms that no map has a say in."""
    return Explanations(
        maps=torch.zeros(len(indices), 1, 1),
        image_keys=job.images.image_keys(indices),
        another=lambda same_class: torch.full((len(indices), 1, 1), torch.nan),
    )


def _leave_representations(job: Job, most: int) -> None:
    """Representations of the same images by every target, in every job of a data set, so that they can be compared."""
    sets = {name: job.keys.predictions(target) for name, target in job.targets.items()}
    readable = np.all([[fact["flag"] == "" for fact in predictions.facts()] for predictions in sets.values()], 0)
    image_keys = job.images.image_keys(range(len(readable)))
    order = np.argsort(counter_hash(0, image_keys, Purpose.REPRESENTATIONS), kind="stable")
    positions = np.sort(order[readable[order]][:most]).tolist()

    def of(predictions: ShardSet) -> np.ndarray:
        arrays = predictions.read_items(positions)[0]
        return arrays["representation"].astype(np.float32) * arrays["representation_scale"][:, None]

    image_ids = [job.images.records[index].image_id for index in positions]
    write_representations(job.folder, image_ids, {name: of(predictions) for name, predictions in sets.items()})
