"""The map stage on mosaics: a presented source and a method give one raw map per scored cell, kept in the store."""

import time

import numpy as np
import torch
from torch import Tensor

from harmonia.attribution.contract import Attribution, Explanation, Request
from harmonia.attribution.passes import BatchSize
from harmonia.evaluation.mosaics.grids import Grids, MosaicBatch
from harmonia.evaluation.mosaics.presentation import Present, paste
from harmonia.features.maps import flag_of, pack
from harmonia.job.completion import CountingModule
from harmonia.job.contract import Job
from harmonia.job.progress import ProgressBar
from harmonia.models.classifier import class_indices, refuse_non_finite
from harmonia.shapes import Labels, Logits


class GridSource(CountingModule):
    """The explained class of a scored cell is its image's label. A predict batch is a shard of scored cells.

    Needs Trainer(inference_mode=False): inside inference mode no graph can be built.
    """

    def __init__(self, job: Job, method: Attribution, grids: Grids, present: Present, progress: ProgressBar):
        super().__init__()
        self.classifier = job.source
        self.presented = torch.nn.ModuleDict({str(cell): present(job.source, grids.n, cell) for cell in grids.scored})
        self.batch_size = BatchSize(max(1, job.batch_size // grids.n**2))  # a mosaic is n * n images
        self._job, self._method, self._grids, self._progress = job, method, grids, progress

    def predict_step(self, batch: MosaicBatch, batch_index: int) -> tuple[dict[str, np.ndarray], list[dict]]:
        """The shard's arrays and facts, as the store takes them."""
        started = time.monotonic()
        items = [self._grids.item(index) for index in batch.indices.tolist()]
        maps: Tensor | None = None
        facts: list[dict] = [{} for _ in items]
        # cells in the same place share a presentation
        for cell in dict.fromkeys(cell for _, cell in items):
            rows = torch.tensor([row for row, item in enumerate(items) if item[1] == cell])
            explanation, in_top = self._explain(batch, rows, [items[row] for row in rows.tolist()], cell)
            if maps is None:
                maps = torch.empty(len(items), *explanation.maps.shape[1:])
            maps[rows] = explanation.maps
            for place, row in enumerate(rows.tolist()):
                facts[row] = self._facts(items[row], explanation, place) | {"in_top": bool(in_top[place])}
        assert maps is not None, "a shard has at least one item"
        seconds = (time.monotonic() - started) / len(items)
        for fact, map_ in zip(facts, maps.numpy(), strict=True):
            fact |= {"seconds": seconds, "flag": flag_of(map_)}
        self.passes += sum(fact["passes"] for fact in facts)
        return pack(maps.numpy()), facts

    def _explain(
        self, batch: MosaicBatch, rows: Tensor, items: list[tuple[int, int]], cell: int
    ) -> tuple[Explanation, Tensor]:
        """Of the rows with the scored cell in one place; and whether the label is among the top n * n classes."""
        images, n = self._job.images, self._grids.n
        shown = [int(self._grids.images[item]) for item in items]
        records = [images.records[index] for index in shown]
        labels = class_indices(self.classifier, [record.class_name or "" for record in records])
        # one image stands in one mosaic, and the draws of its cell are its own
        keys = np.array([images.key(index) for index in shown], np.uint64)
        in_top = torch.zeros(len(rows), dtype=torch.bool)

        def choose_labels(logits: Logits, positions: Tensor) -> Labels:
            refuse_non_finite(logits, self.classifier.name)
            top = logits.topk(min(n * n, logits.shape[1]), dim=1).indices.cpu()
            in_top[positions] = (top == labels[positions][:, None]).any(1)
            return labels[positions].to(logits.device)

        def replacements(positions: Tensor, explained: Labels, steps: Tensor | None, draws: int) -> Tensor:
            backgrounds = self._method.backgrounds
            assert backgrounds is not None, "a method that draws replacement images declares its backgrounds"
            pool = self._job.pool(self.classifier.view, backgrounds.random_crops)
            classes = self.classifier.classes
            avoid = [None if backgrounds.any_class else classes[label] for label in explained.tolist()]
            chosen = positions.tolist()
            numbers = None if steps is None else steps.numpy()
            picked = pool.draw([records[row] for row in chosen], keys[chosen], avoid, numbers, draws * n * n)
            cells = pool.take(picked, self.device)  # B (R n n) 3 S S: every cell of a mosaic is another image
            return paste(cells.flatten(0, 1), n).unflatten(0, (len(chosen), draws))

        explanation = self._method(
            Request(
                model=self.presented[str(cell)],  # type: ignore[arg-type]  # a ModuleDict gives modules
                pixels=batch.pixels[rows],
                choose_labels=choose_labels,
                replacements=replacements,
                device=self.device,
                batch_size=self.batch_size,
                positions=torch.arange(len(rows)),
                keys=keys,
                on_progress=self._progress.advance,
                images_per_input=n * n,
            )
        )
        return explanation, in_top

    def _facts(self, item: tuple[int, int], explanation: Explanation, place: int) -> dict:
        grid, cell = item
        record = self._job.images.records[int(self._grids.images[grid, cell])]
        classes = self.classifier.classes
        return {
            "image_id": record.image_id,
            "path": str(record.path),
            "grid": grid,
            "cell": cell,
            "label": record.class_name,
            "explained": classes[explanation.explained[place]],
            "predicted": classes[explanation.predicted[place]],
            "p_source": float(explanation.p_explained[place]),
            "passes": int(explanation.passes[place]),
            "converged": bool(explanation.converged[place]),
        } | {name: values[place].item() for name, values in explanation.facts.items()}
