"""GridPG, DiFull and DiPart: how much of an attribution lies in the cell of a mosaic that the class comes from.

S. Rao, M. Böhle, B. Schiele, "Towards Better Understanding Attribution Methods", CVPR 2022, and "Better Understanding
Differences in Attribution Methods via Systematic Evaluations", 2023, https://arxiv.org/abs/2205.10435, 2303.11884.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
import torch

from harmonia.attribution.smoothing import Smoothed, smooth, unsmoothed
from harmonia.errors import Seed, Within
from harmonia.evaluation.mosaics import aggatt
from harmonia.evaluation.mosaics.explain import GridSource
from harmonia.evaluation.mosaics.grids import Grids, Mosaics, draw_grids
from harmonia.evaluation.mosaics.presentation import PartHead, PerCell, Positions, Present, on_mosaics
from harmonia.features.maps import unpack
from harmonia.job.completion import Completed, complete
from harmonia.job.contract import Evaluation, Job, Stage
from harmonia.job.stages import explained_by, image_stage, pending_stage, stage_of_maps
from harmonia.models.classifier import class_indices
from harmonia.results import localisation as results
from harmonia.results import tracking
from harmonia.shapes import Maps, Size, sides
from harmonia.store.sets import ShardSet

log = logging.getLogger(__name__)

FIGURE_PX = 224  # side of AggAtt's maps, to which those of a rectangular view are squashed


@dataclass(frozen=True, kw_only=True)
class Localisation(Evaluation):
    """One row a scored cell. The source's own maps of whole images are not needed, nor are targets."""

    section: ClassVar[str] = "harmonia.report.sections.localisation"
    files: ClassVar[tuple[str, ...]] = (results.LOCALISATION, results.AGGATT, results.MOSAICS)

    protocol: results.MosaicProtocol
    n: Annotated[int, Within(2, 16)] = 2  # images a side
    grids: Annotated[int, Within(1, 10**6)] = 500  # at most
    confidence: Annotated[float, Within(0, 1 - 1e-9)] = 0.99  # least probability of the right class on the whole image
    positions: Positions = "interpolated"  # of a Vision Transformer on a mosaic: interpolated, tiled, downscaled
    seed: Seed = 0

    @property
    def explains_anew(self) -> bool:
        return True

    def stages(self, job: Job) -> Iterator[Stage]:
        """The source on whole images, then its maps of the mosaics that the images it is sure of make."""
        yield image_stage(job, job.source)
        predictions = job.keys.predictions(job.source)
        name = job.settings.evaluation.name
        priced_by = ("mosaics", *explained_by(job), self.protocol, self.n, self.positions)
        if not predictions.missing():
            grids, sure = self.draw(job)
            maps = self._maps(job, grids)
            compute = partial(self._explain, job, grids, sure, maps)
            yield stage_of_maps(job, "mosaics", maps, priced_by, compute, name)
            return
        # at most so many; what else stands in the key of the maps is known: that of one mosaic stands for it
        count = min(self.grids, predictions.count // self.n**2) * len(self.scored)
        alike = self._maps(job, self.any_mosaics(job, 1)).key
        key = ("mosaics", alike, predictions.key, self.grids, self.confidence, self.seed)
        title = f"{job.method_name} of {job.source.name}: {name}"
        yield pending_stage("mosaics", title, key, priced_by, count, predictions.shard_size)

    def write(self, job: Job) -> dict[str, Any]:
        grids, sure = self.draw(job)
        maps = self._maps(job, grids)
        image_ids = [record.image_id for record in job.images.records]
        results.write_mosaics(job.folder, grids.n, grids.scored, grids.placed(image_ids))
        self._write_rows(job, grids, maps)
        rows = results.read_localisation(job.folder)
        return {**results.summarise_localisation(rows), "grids": len(grids.images), "pool": sure}

    def media(self, job: Job, summary: dict[str, Any]) -> tracking.Media:
        return tracking.mosaic_media(results.read_localisation(job.folder))

    def on_any_images(self) -> "Localisation":
        """On mosaics of the first images, sure or not: their maps cost the same."""
        return _OnAnyImages(**{field.name: getattr(self, field.name) for field in fields(self)})

    @property
    def scored(self) -> tuple[int, ...]:
        """Cells of a mosaic, row by row, whose maps are made: of GridPG all, else those of the repeated class."""
        return tuple(range(self.n**2)) if self.protocol == results.GRIDPG else (0, self.n**2 - 1)

    def draw(self, job: Job) -> tuple[Grids, int]:
        """The mosaics that every method sees, of so many sure images; the source's predictions must be complete."""
        pool = self.pool(job)
        labels = [record.class_name or "" for record in job.images.records]
        image_keys = job.images.image_keys(range(len(labels)))
        repeat = self.protocol != results.GRIDPG
        return draw_grids(pool, labels, image_keys, self.n, self.grids, repeat, self.seed), len(pool)

    def pool(self, job: Job) -> list[int]:
        """The images of which the source names the right class with that probability."""
        predictions = job.keys.predictions(job.source)
        labels = class_indices(job.source, [record.class_name or "" for record in job.images.records])
        pool = []
        for shard in range(predictions.num_shards):  # all images' logits at once would grow with their number
            items = predictions.shard_items(shard)
            logits = torch.from_numpy(predictions.read(shard)[0]["logits"]).double()
            p, predicted = logits.softmax(1).max(1)
            sure = (predicted == labels[items.start : items.stop]) & (p >= self.confidence)
            pool += [items[row] for row in sure.nonzero()[:, 0].tolist()]  # NaN, of an unreadable image, is not sure
        return pool

    def any_mosaics(self, job: Job, number: int) -> Grids:
        """So many mosaics of the first images, sure or not."""
        images = np.resize(np.arange(len(job.images.records)), (number, self.n**2))
        return Grids(self.n, images, self.scored)

    def _maps(self, job: Job, grids: Grids) -> ShardSet:
        """The set of these mosaics' maps; smoothing is done on reading, so that one set serves all K."""
        digest = grids.digest(job.images.records)
        shown = {"protocol": self.protocol, "positions": self._positions(job), "grids": digest}
        return job.keys.mosaics(unsmoothed(job.method), f"{self.protocol}-{self.n}x{self.n}", shown, len(grids))

    def _explain(self, job: Job, grids: Grids, sure: int, maps: ShardSet) -> Completed:
        extent = f"{len(grids.images)} mosaics of {self.n} x {self.n} from {sure} sure images"
        log.info("%s: %s", self.protocol, extent)
        if len(grids.images) < self.grids:
            log.warning("%s: %d mosaics were asked for, the images make %s", self.protocol, self.grids, extent)
        return complete(
            maps,
            Mosaics(grids, job.viewed),
            job.source.view,
            lambda advance: GridSource(job, unsmoothed(job.method), grids, self.present(job), advance),
            job.make_trainer,
            f"{self.protocol}: {job.method_name} maps of {job.source.name}",
        )

    def present(self, job: Job) -> Present:
        """The source as the protocol shows mosaics to it; the heads of DiPart share one network."""
        if self.protocol == results.DIFULL:
            return PerCell
        whole = on_mosaics(job.source, self.n, self._positions(job) or "interpolated")
        if self.protocol == results.GRIDPG:
            return lambda classifier, n, cell: whole
        return lambda classifier, n, cell: PartHead(whole.classifier, n, cell, native=classifier)

    def _positions(self, job: Job) -> Positions | None:
        """What becomes of position embeddings; None where there is nothing to decide."""
        adds = isinstance(getattr(job.source.network, "pos_embed", None), torch.Tensor)
        if self.protocol == results.DIPART:
            return "tiled" if adds else None  # a cell's patches must have the positions of a whole image
        return self.positions if self.protocol == results.GRIDPG and (adds or self.positions == "downscaled") else None

    def _write_rows(self, job: Job, grids: Grids, maps: ShardSet) -> None:
        height, width = (grids.n * side for side in sides(job.source.view.size))
        inside, total = np.zeros(len(grids)), np.zeros(len(grids))
        for start in range(0, len(grids), aggatt.BATCH_MAPS):
            items = list(range(start, min(start + aggatt.BATCH_MAPS, len(grids))))
            cells = [grids.item(item)[1] for item in items]
            inside[items], total[items] = positive_attribution(_read(job, maps, items), cells, grids.n, (height, width))
        undefined = ~((total > 0) & np.isfinite(total))
        scores = np.where(undefined, 0.0, inside / np.where(undefined, 1.0, total))
        facts = maps.facts()
        where = [grids.item(item) for item in range(len(grids))]
        shown = [job.images.records[int(grids.images[grid, cell])] for grid, cell in where]
        constant = {"source": job.source.name, "method": job.method_name, "layer": job.layer}
        constant |= {"protocol": self.protocol, "cells": grids.n**2}
        columns: dict[str, Any] = {
            **{name: [value] * len(where) for name, value in constant.items()},
            **{name: [fact[name] for fact in facts] for name in ("predicted", "in_top")},
            "grid": [grid for grid, _ in where],
            "cell": [cell for _, cell in where],
            "image_id": [record.image_id for record in shown],
            "path": [str(record.path) for record in shown],
            "label": [record.class_name for record in shown],
            "p_explained": [fact["p_source"] for fact in facts],
            "localisation": scores,
            "undefined": undefined,
            "mass": np.where(undefined, 0.0, inside),
        }
        results.write_localisation(job.folder, [columns])
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
        results.write_aggatt(
            job.folder,
            {
                "means": aggatt.mean_maps(ranked, lambda items: _read(job, maps, items), FIGURE_PX),
                "examples": aggatt.positive(_read(job, maps, chosen), FIGURE_PX).float().numpy(),
                "pictures": small.round().byte().numpy(),
                "bins": np.array([bin_ for bin_, rank in enumerate(medians) if rank >= 0]),
                "scores": scores[chosen],
            },
        )


class _OnAnyImages(Localisation):
    def draw(self, job: Job) -> tuple[Grids, int]:
        count = len(job.images.records)
        return self.any_mosaics(job, max(1, count // self.n**2)), count


def _read(job: Job, maps: ShardSet, items: list[int]) -> Maps:
    """The raw maps of these cells, smoothed where the job asks for it."""
    raw = torch.from_numpy(unpack(maps.read_items(items)[0]))
    method = job.method
    return smooth(raw, method.k, method.padding) if isinstance(method, Smoothed) else raw


def positive_attribution(maps: Maps, cells: list[int], n: int, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Positive attribution in each map's cell and in all of it, float64: enlarged bilinearly to size, then clamped.

    A map that is not finite has NaN.
    """
    large = torch.nn.functional.interpolate(
        maps.double()[:, None], size=sides(size), mode="bilinear", align_corners=False
    )[:, 0].clamp(min=0)
    of_cells = large.unflatten(2, (n, -1)).unflatten(1, (n, -1)).sum((2, 4)).flatten(1)
    inside = of_cells.gather(1, torch.tensor(cells)[:, None])[:, 0]
    return inside.numpy(), of_cells.sum(1).numpy()
