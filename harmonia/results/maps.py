"""maps.parquet in a job's folder: its maps small and in bytes, for whoever looks at them.

The store keeps maps exact, for computing; it may be pruned, and reading it takes the job's models. Regions are those
that were evaluated (harmonia.features.areas), not ranked anew.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from harmonia.arms import area_of, is_equal_area, percent
from harmonia.errors import InputError
from harmonia.store.guarded import is_there
from harmonia.store.parquet import ParquetFile, reading, texts, writing

MAPS = "maps.parquet"
SIDE = 32  # cells a side of soft maps at most; Grad-CAM has 7 to 19, Soundness Saliency 14
BATCH_IMAGES = 256  # in memory beside those that are kept
REGION_SIDE = 112  # places a side of regions: a pixel of a thumbnail is about half of one, of Fig. 1 exactly half

_STACKS = ["soft", "smallest_areas"]
_EDGES = ["left", "top", "right", "bottom"]


@dataclass(frozen=True)
class SmallMaps:
    """Maps over what their source sees of each image."""

    image_ids: list[str]
    soft: np.ndarray  # n h w uint8: the soft arm's keep weights, 255 keeps
    smallest_areas: np.ndarray  # n r r uint8: of each place the smallest area, in percent, whose region holds it
    areas: tuple[int, ...]  # percent, those that were evaluated; none of a job that an earlier version left
    boxes: np.ndarray  # n 4 float32: left, top, right, bottom in relative image coordinates
    digests: list[str] = field(default_factory=list)  # n, SHA-256 of the images' files; none of an earlier version

    def region(self, row: int, arm: str) -> np.ndarray | None:
        """Which places the equal-area arm keeps, bool (r, r); None where maps.parquet does not hold its region."""
        area = percent(area_of(arm) or 0)
        return self.smallest_areas[row] <= area if is_equal_area(arm) and area in self.areas else None

    def soft_in(self, boxes: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Soft maps in these boxes of their images, read bilinearly at SIDE x SIDE places: (n, SIDE, SIDE), 0..255.

        boxes (n, 4) as the maps' own, and within these.
        """
        height, width = self.soft.shape[1:]
        y, x = (at - 0.5 for at in self._places(boxes, rows, SIDE, (height, width)))
        y, x = y.clip(0, height - 1), x.clip(0, width - 1)
        above, left = y.astype(int), x.astype(int)
        lines, columns = (above, np.minimum(above + 1, height - 1)), (left, np.minimum(left + 1, width - 1))
        down, across = (y - above)[:, :, None], (x - left)[:, None]
        upper, lower = (
            self._at(self.soft, rows, line, columns[0]) * (1 - across)
            + self._at(self.soft, rows, line, columns[1]) * across
            for line in lines
        )
        # rounded: equal cells must stay equal, or rounding ranks a plateau
        return (upper * (1 - down) + lower * down).round(4)

    def region_in(self, boxes: np.ndarray, rows: np.ndarray, arm: str) -> np.ndarray | None:
        """What the arm keeps in these boxes, at REGION_SIDE x REGION_SIDE places, bool; None as region says."""
        if not len(rows) or self.region(0, arm) is None:
            return None
        y, x = (
            at.astype(int).clip(0, REGION_SIDE - 1)
            for at in self._places(boxes, rows, REGION_SIDE, (REGION_SIDE, REGION_SIDE))
        )
        return self._at(self.smallest_areas, rows, y, x) <= percent(area_of(arm) or 0)

    def _places(
        self, boxes: np.ndarray, rows: np.ndarray, count: int, cells: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where the middles of count places a side lie in the maps, in cells: down and across, (n, count)."""
        own, middles = self.boxes[rows].astype(float), (np.arange(count) + 0.5) / count
        start, extent = own[:, :2], own[:, 2:] - own[:, :2]
        low, high = boxes[:, :2], boxes[:, 2:]
        places = (low[..., None] + middles * (high - low)[..., None] - start[..., None]) / extent[..., None]
        # rounded: the rounding of the boxes must not mix a neighbour into a cell met exactly
        return (places[:, 1] * cells[0]).round(6), (places[:, 0] * cells[1]).round(6)

    @staticmethod
    def _at(maps: np.ndarray, rows: np.ndarray, lines: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return maps[rows[:, None, None], lines[:, :, None], columns[:, None]]


def write_small_maps(job_folder: str | Path, maps: SmallMaps) -> None:
    """The job's maps.parquet, whole or not at all."""
    facts = {"shape": " ".join(map(str, maps.soft.shape[1:])), "areas": " ".join(map(str, maps.areas))}
    kinds = dict.fromkeys(_STACKS, pa.binary()) | dict.fromkeys(_EDGES, pa.float32())
    kinds = {"image_id": pa.string()} | ({"digest": pa.string()} if maps.digests else {}) | kinds
    with writing(Path(job_folder) / MAPS, pa.schema(kinds, facts)) as file:
        # in parts: a copy of all regions would be most of a job's memory
        for start in range(0, len(maps.image_ids), BATCH_IMAGES):
            part = slice(start, start + BATCH_IMAGES)
            columns = {"image_id": texts(maps.image_ids[part]), "digest": texts(maps.digests[part])}
            columns |= {name: [map_.tobytes() for map_ in getattr(maps, name)[part]] for name in _STACKS}
            columns |= dict(zip(_EDGES, maps.boxes[part].T, strict=True))
            file.write_table(pa.table([columns[name] for name in kinds], file.schema))


def read_small_maps(job_folder: str | Path) -> SmallMaps:
    """What write_small_maps wrote; of an earlier version, which kept no regions, the rest."""
    path = Path(job_folder) / MAPS
    if not is_there(path.parent, MAPS):
        raise InputError(f"{path} must be there for maps to be shown; run the job again, its maps are in the store")
    with reading(path) as file:
        facts = file.stored.metadata or {}
        shape = tuple(int(number) for number in facts[b"shape"].split())
        areas = tuple(int(number) for number in facts.get(b"areas", b"").split())
        if len(shape) != 2 or min(shape) < 1 or not all(0 <= area <= 100 for area in areas):
            raise ValueError("maps without two sides, or areas beyond 0..100 %")
        table = file.read([name for name in file.stored.names if name not in _STACKS])
        if table["image_id"].null_count or len(table["image_id"].unique()) < len(table):
            raise ValueError("images without a name of their own")
        regions = np.full((len(table), 1, 1), 255, np.uint8)
        if b"areas" in facts:
            regions = _stack(file, "smallest_areas", (REGION_SIDE, REGION_SIDE))
        boxes = np.stack([table[name].to_numpy() for name in _EDGES], axis=1)
        if not np.isfinite(boxes).all() or not (boxes[:, :2] <= boxes[:, 2:]).all():
            raise ValueError("boxes that are none")
        return SmallMaps(
            table["image_id"].to_pylist(),
            _stack(file, "soft", shape),
            regions,
            areas,
            boxes,
            table["digest"].fill_null("").to_pylist() if "digest" in table.column_names else [],
        )


def _stack(file: ParquetFile, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Of all images, read in the parts in which they were written."""
    stack = file.room((file.metadata.num_rows, *shape))
    start = 0
    for group in range(file.num_row_groups):
        maps = file.read_row_groups([group], [name])[name].to_pylist()
        stack[start : start + len(maps)] = np.frombuffer(b"".join(maps), np.uint8).reshape(len(maps), *shape)
        start += len(maps)
    if start < len(stack):
        raise ValueError("fewer maps than images")
    return stack
