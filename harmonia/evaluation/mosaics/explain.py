"""The map stage on mosaics: a presented source and a method give one raw map per scored cell, kept in the store."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harmonia.attribution.contract import Attribution
from harmonia.evaluation.mosaics.grids import Grids, MosaicBatch
from harmonia.evaluation.mosaics.presentation import Present, paste
from harmonia.features.maps import pack
from harmonia.job.completion import Advance
from harmonia.job.contract import Job
from harmonia.job.source import BatchImages, Explaining
from harmonia.models.classifier import refuse_non_finite
from harmonia.shapes import Labels, Logits, Maps


class GridSource(Explaining):
    """The explained class of a scored cell is its image's label. A predict batch is a shard of scored cells."""

    def __init__(self, job: Job, method: Attribution, grids: Grids, present: Present, advance: Advance):
        super().__init__(job, advance, grids.n**2)  # a mosaic is n * n images
        self.presented = torch.nn.ModuleDict({str(cell): present(job.source, grids.n, cell) for cell in grids.scored})
        self._method, self._grids = method, grids

    def predict_step(self, batch: MosaicBatch, batch_index: int) -> tuple[dict[str, np.ndarray], list[dict]]:
        """The shard's arrays and facts, as the store takes them."""
        items = [self._grids.item(index) for index in batch.indices.tolist()]
        of_rows: dict[int, tuple[Tensor, dict]] = {}
        # cells in the same place share a presentation
        for cell in dict.fromkeys(cell for _, cell in items):
            rows = [row for row, item in enumerate(items) if item[1] == cell]
            maps, facts = self._explain(batch.pixels[rows], [items[row][0] for row in rows], cell)
            of_rows |= zip(rows, zip(maps, facts, strict=True), strict=True)
        maps, facts = zip(*(of_rows[row] for row in range(len(items))), strict=True)
        self.passes += sum(fact["passes"] for fact in facts)
        return pack(torch.stack(maps).numpy()), list(facts)

    def _explain(self, pixels: Tensor, grids: list[int], cell: int) -> tuple[Maps, list[dict]]:
        started, n = time.monotonic(), self._grids.n
        # one image stands in one mosaic, and the draws of its cell are its own
        images = BatchImages(self._job, torch.from_numpy(self._grids.images[grids, cell]), self.device)
        labels = images.labels(torch.arange(len(grids)))
        in_top = torch.zeros(len(grids), dtype=torch.bool)  # whether the label is among the top n * n classes

        def choose_labels(logits: Logits, rows: Tensor) -> Labels:
            refuse_non_finite(logits, self.classifier.name)
            top = logits.topk(min(n * n, logits.shape[1]), dim=1).indices.cpu()
            in_top[rows] = (top == labels[rows][:, None]).any(1)
            return labels[rows].to(logits.device)

        def replacements(rows: Tensor, explained: Labels, steps: Tensor | None, draws: int) -> Tensor:
            cells = images.replacements(rows, explained, steps, draws * n * n)  # in every cell another image
            return paste(cells.flatten(0, 1), n).unflatten(0, (len(rows), draws))

        request = self.request(images, pixels, choose_labels)
        model: Any = self.presented[str(cell)]
        request = replace(request, model=model, replacements=replacements, images_per_input=n * n)
        explanation = self._method(request)
        facts = images.facts(explanation, time.monotonic() - started)
        for fact, grid, top in zip(facts, grids, in_top.tolist(), strict=True):
            fact |= {"grid": grid, "cell": cell, "in_top": top}
        return explanation.maps, facts
