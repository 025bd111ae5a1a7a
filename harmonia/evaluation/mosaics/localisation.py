"""GridPG, DiFull and DiPart: how much of an attribution lies in the cell of a mosaic that the class comes from.

S. Rao, M. Böhle, B. Schiele, "Towards Better Understanding Attribution Methods", CVPR 2022, and "Better Understanding
Differences in Attribution Methods via Systematic Evaluations", 2023, https://arxiv.org/abs/2205.10435, 2303.11884.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from harmonia.attribution.contract import Attribution
from harmonia.attribution.smoothing import Smoothed
from harmonia.errors import InputError
from harmonia.evaluation.answers import predict_images
from harmonia.evaluation.mosaics import aggatt
from harmonia.evaluation.mosaics.explain import GridSource
from harmonia.evaluation.mosaics.grids import Grids, Mosaics, draw_grids
from harmonia.evaluation.mosaics.presentation import PartHead, PerCell, Positions, Present, on_mosaics
from harmonia.features.maps import unpack
from harmonia.job.completion import complete
from harmonia.job.contract import Job
from harmonia.job.plan import Cost, Stage, _map_cost, _missing, _of_images, _same, _size
from harmonia.models.classifier import class_indices
from harmonia.results.localisation import (
    read_localisation,
    summarise_localisation,
    write_aggatt,
    write_localisation,
    write_mosaics,
)
from harmonia.shapes import Maps
from harmonia.store.sets import ShardSet

log = logging.getLogger(__name__)


def _mosaic_stages(job: Any, label: str) -> Iterator[tuple[tuple, tuple, Stage]]:
    """At most: how many mosaics there are is known once the source has classified the images."""
    from harmonia.store.identity import fingerprint

    evaluation, predictions = job.evaluation, job.open_predictions(job.source)
    yield _of_images(job, job.source)
    if predictions.missing():
        count = evaluation.most_mosaics(predictions.count) * len(evaluation.scored)
        size = predictions.manifest.shard_size
        lacking = tuple(min(size, count - first) for first in range(0, count, size))
        # what else stands in the key of the maps is known: that of one mosaic stands for it
        alike = evaluation.open_maps(job, _any_mosaics(job, 1)).key
        key = ("mosaics", alike, predictions.key, evaluation.grids, evaluation.confidence, evaluation.seed)
    else:
        maps = evaluation.open_maps(job, evaluation.draw(job, evaluation.pool(job)))
        count, lacking, key = maps.count, _missing(maps), ("mosaics", maps.key)
    shown = (evaluation.protocol, evaluation.n, evaluation.positions)
    stage = Stage("mosaics", f"{label}: {job.evaluation_name}", count, lacking)
    yield key, ("mosaics", _same(job.source.identity()), _same(fingerprint(job.method)), job.batch_size, *shown), stage


def _any_mosaics(job: Any, number: int) -> Any:
    """Of the first images, sure or not."""
    import numpy as np

    from harmonia.evaluation.mosaics.grids import Grids

    evaluation = job.evaluation
    placed = np.resize(np.arange(len(job.images.records)), (number, evaluation.n**2))
    return Grids(evaluation.n, placed, evaluation.scored)


def _mosaic_costs(job: Any) -> Iterator[Cost]:
    """Of mosaics of any images, sure or not: the maps cost the same."""
    evaluation, count = job.evaluation, len(job.images.records)
    started = time.monotonic()
    passes = evaluation.predict(job)
    predictions = job.open_predictions(job.source)
    yield Cost((time.monotonic() - started) / count, passes / count, _size(predictions) / count)
    grids = _any_mosaics(job, max(1, count // evaluation.n**2))
    maps = evaluation.open_maps(job, grids)
    yield _map_cost(maps, lambda: evaluation.explain(job, grids, maps))


BATCH_MAPS = 32  # maps that are read at once
FIGURE_PX = 224  # side of AggAtt's maps


@dataclass(frozen=True, kw_only=True)
class Localisation:
    """One row a scored cell. The source's own maps of whole images are not needed, nor are targets."""

    of_images: ClassVar[bool] = False
    on_targets: ClassVar[bool] = False

    protocol: Literal["gridpg", "difull", "dipart"]
    n: int = 2  # images a side
    grids: int = 500  # at most
    confidence: float = 0.99  # least probability of the right class on the whole image
    positions: Positions = "interpolated"  # of a Vision Transformer on a mosaic: interpolated, tiled, downscaled
    seed: int = 0

    def __post_init__(self):
        if self.n < 2 or self.grids < 1:
            raise InputError(f"evaluation.n must be 2 or more and grids 1 or more, got {self.n} and {self.grids}")
        if not 0 <= self.confidence < 1:
            raise InputError(f"evaluation.confidence must lie in [0, 1), got {self.confidence}")

    def __call__(self, job: Job) -> dict[str, Any]:
        """Writes the job's rows and mean maps; returns its metrics."""
        passes = self.predict(job)
        pool = self.pool(job)
        grids = self.draw(job, pool)
        if describe := getattr(job.method, "layer_of", None):
            log.info("%s on %s looks at layer %s", job.method_name, job.source.name, describe(job.source))
        found = f"{len(grids.images)} mosaics of {self.n} x {self.n} from {len(pool)} sure images"
        log.info("%s: %s", self.protocol, found)
        if len(grids.images) < self.grids:
            log.warning("%s: %d mosaics were asked for, the images make %s", self.protocol, self.grids, found)
        maps = self.open_maps(job, grids)
        write_mosaics(job.folder, grids.n, grids.scored, grids.shown(job.images.records))
        computed = self.explain(job, grids, maps)
        self._write(job, grids, maps)
        facts = maps.facts()
        return {
            **summarise_localisation(read_localisation(job.folder)),
            "maps_computed": computed,
            "maps_cached": len(grids) - computed,
            "maps_flagged": sum(fact["flag"] != "" for fact in facts),
            "maps_not_converged": sum(not fact["converged"] for fact in facts),
            "network_passes/maps": sum(fact["passes"] for fact in facts),
            f"network_passes/{job.source.name}": passes,
            "grids": len(grids.images),
            "pool": len(pool),
        }

    @property
    def scored(self) -> tuple[int, ...]:
        """Cells of a mosaic, row by row, whose maps are made: of GridPG all, else those of the repeated class."""
        return tuple(range(self.n**2)) if self.protocol == "gridpg" else (0, self.n**2 - 1)

    def most_mosaics(self, images: int) -> int:
        """That so many images can make, were the source sure of all."""
        return min(self.grids, images // self.n**2)

    def predict(self, job: Job) -> int:
        """The source's predictions of whole images, complete in the store; gives the network passes spent."""
        return predict_images(job, job.source)

    def pool(self, job: Job) -> list[int]:
        """The images of which the source names the right class with that probability; predict comes first."""
        predictions = job.open_predictions(job.source)
        labels = class_indices(job.source, [record.class_name or "" for record in job.images.records])
        found = []
        for shard in range(predictions.num_shards):  # all images' logits at once would grow with their number
            items = predictions.shard_items(shard)
            logits = torch.from_numpy(predictions.read(shard)[0]["logits"]).double()
            p, predicted = logits.softmax(1).max(1)
            sure = (predicted == labels[items.start : items.stop]) & (p >= self.confidence)
            found += [items[row] for row in sure.nonzero()[:, 0].tolist()]  # NaN, of an unreadable image, is not sure
        return found

    def draw(self, job: Job, pool: list[int]) -> Grids:
        """The mosaics that every method sees."""
        labels = [record.class_name or "" for record in job.images.records]
        keys = np.array([job.images.key(index) for index in range(len(labels))], np.uint64)
        return draw_grids(pool, labels, keys, self.n, self.grids, self.protocol != "gridpg", self.seed)

    def open_maps(self, job: Job, grids: Grids) -> ShardSet:
        """The set of these mosaics' maps; smoothing is done on reading, so that one set serves all K."""
        shown = {"protocol": self.protocol, "positions": self._positions(job)}
        return job.open_grid_maps(
            _unsmoothed(job.method),
            f"{self.protocol}-{self.n}x{self.n}",
            {**shown, "grids": grids.digest(job.images.records)},
            len(grids),
        )

    def explain(self, job: Job, grids: Grids, maps: ShardSet) -> int:
        """The maps that the store lacks; gives the number computed here."""
        return complete(
            maps,
            Mosaics(grids, job.viewed),
            job.source.view,
            lambda progress: GridSource(job, _unsmoothed(job.method), grids, self.present(job), progress),
            job.make_trainer,
            f"{self.protocol}: {job.method_name} maps of {job.source.name}",
        )

    def present(self, job: Job) -> Present:
        """The source as the protocol shows mosaics to it; the heads of DiPart share one network."""
        if self.protocol == "difull":
            return PerCell
        whole = on_mosaics(job.source, self.n, self._positions(job) or "interpolated")
        if self.protocol == "gridpg":
            return lambda classifier, n, cell: whole
        return lambda classifier, n, cell: PartHead(whole.classifier, n, cell)

    def _positions(self, job: Job) -> Positions | None:
        """What becomes of position embeddings; None where there is nothing to decide."""
        adds = isinstance(getattr(job.source.network, "pos_embed", None), torch.Tensor)
        if self.protocol == "dipart":
            return "tiled" if adds else None  # a cell's patches must have the positions of a whole image
        return self.positions if self.protocol == "gridpg" and (adds or self.positions == "downscaled") else None

    def _write(self, job: Job, grids: Grids, maps: ShardSet) -> None:
        size = grids.n * job.source.view.size
        inside, total = np.zeros(len(grids)), np.zeros(len(grids))
        for start in range(0, len(grids), BATCH_MAPS):
            items = list(range(start, min(start + BATCH_MAPS, len(grids))))
            cells = [grids.item(item)[1] for item in items]
            inside[items], total[items] = masses(_read(job, maps, items), cells, grids.n, size)
        undefined = ~((total > 0) & np.isfinite(total))
        scores = np.where(undefined, 0.0, inside / np.where(undefined, 1.0, total))
        facts = maps.facts()
        where = [grids.item(item) for item in range(len(grids))]
        shown = [job.images.records[int(grids.images[grid, cell])] for grid, cell in where]
        describe = getattr(job.method, "layer_of", None)
        constant = {
            "cells": grids.n**2,
            "source": job.source.name,
            "method": job.method_name,
            "protocol": self.protocol,
            "layer": (describe(job.source) if describe else None) or "",
        }
        write_localisation(
            job.folder,
            {name: [value] * len(where) for name, value in constant.items()}
            | {name: [fact[name] for fact in facts] for name in ("predicted", "in_top")}
            | {
                "grid": [grid for grid, _ in where],
                "cell": [cell for _, cell in where],
                "image_id": [record.image_id for record in shown],
                "path": [str(record.path) for record in shown],
                "label": [record.class_name for record in shown],
                "p_explained": [fact["p_source"] for fact in facts],
                "localisation": scores,
                "undefined": undefined,
                "mass": np.where(undefined, 0.0, inside),
            },
        )
        self._write_aggatt(job, grids, maps, scores, inside)

    def _write_aggatt(self, job: Job, grids: Grids, maps: ShardSet, scores: np.ndarray, mass: np.ndarray) -> None:
        """Of the maps of the first cell."""
        mosaics = Mosaics(grids, job.viewed)
        first = np.array([item for item in range(len(grids)) if grids.item(item)[1] == 0])
        ranked = first[aggatt.order(scores[first], mass[first])]
        medians = aggatt.medians(len(ranked))
        chosen = [int(ranked[rank]) for rank in medians if rank >= 0]
        pictures = [mosaics.mosaic(grids.item(item)[0], job.source.view).float()[None] for item in chosen]
        small = torch.nn.functional.interpolate(torch.cat(pictures), size=(FIGURE_PX, FIGURE_PX), mode="area")
        write_aggatt(
            job.folder,
            {
                "means": aggatt.mean_maps(ranked, lambda items: _read(job, maps, items), FIGURE_PX),
                "examples": aggatt.positive(_read(job, maps, chosen), FIGURE_PX).float().numpy(),
                "pictures": small.round().byte().numpy(),
                "bins": np.array([bin_ for bin_, rank in enumerate(medians) if rank >= 0]),
                "scores": scores[chosen],
            },
        )


def _unsmoothed(method: Attribution) -> Attribution:
    return method.inner if isinstance(method, Smoothed) else method


def _read(job: Job, maps: ShardSet, items: list[int]) -> Maps:
    """The raw maps of these cells, smoothed where the job asks for it."""
    found = torch.from_numpy(unpack(maps.read_items(items)[0]))
    return job.method.smooth(found) if isinstance(job.method, Smoothed) else found


def masses(maps: Maps, cells: list[int], n: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Positive attribution in each map's cell and in all of it, float64: enlarged bilinearly to size, then clamped.

    A map that is not finite has NaN.
    """
    large = torch.nn.functional.interpolate(
        maps.double()[:, None], size=(size, size), mode="bilinear", align_corners=False
    )[:, 0].clamp(min=0)
    of_cells = large.unflatten(2, (n, -1)).unflatten(1, (n, -1)).sum((2, 4)).flatten(1)
    inside = of_cells.gather(1, torch.tensor(cells)[:, None])[:, 0]
    return inside.numpy(), of_cells.sum(1).numpy()
