"""What the Python interface gives back: maps of images, and what has come of a transfer."""

import base64
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from harmonia.arms import SOFT_ARM
from harmonia.data.imagenet import readable
from harmonia.errors import InputError
from harmonia.features.arms import Explanations, KeepArms
from harmonia.features.fill import compose
from harmonia.features.maps import unpack
from harmonia.job.contract import Job
from harmonia.media import visible
from harmonia.report.contract import ReadJob
from harmonia.report.figures.style import shown, style
from harmonia.report.sections.transfer import TransferSection
from harmonia.report.tables.contrasts import HEADLINE
from harmonia.report.tables.typeset import Typeset, to_csv, to_html
from harmonia.report.write import write_report
from harmonia.report.written import Report
from harmonia.results.jobs import find_jobs
from harmonia.results.rows import TransferRows, read_pieces
from harmonia.shapes import Images, Keep, Size
from harmonia.store.files import write_text

THUMBNAIL_PX = 160
_ANY_BOX = torch.tensor([[0.0, 0.0, 1.0, 1.0]])  # a map in its own source's view is nowhere else


@dataclass(frozen=True)
class ImageMap:
    """One image's map; pictures are in the source's view."""

    image_id: str
    path: Path
    explained: str  # the class that it is about
    predicted: str
    probability: float  # of the explained class, on the whole image
    raw: np.ndarray  # (h, w), float32, signed, at the resolution that the method has
    flag: str  # why there is nothing to see: zero, constant, ...; "" of a sound map
    view: Images  # (3, H, W), in 0..1: what the source sees
    _arms: KeepArms
    _fill: Any

    def keep(self, area: float | None = None) -> np.ndarray:
        """Keep weights (H, W): of exactly that share of the view 1, else 0; without an area the soft map in [0, 1]."""
        return _keep(self._arms, torch.from_numpy(self.raw)[None], self._size, area)[0].numpy()

    @property
    def _size(self) -> tuple[int, int]:
        return self.view.shape[1], self.view.shape[2]

    def feature(self, area: float | None = None) -> Image.Image:
        """Image ⊙ map: what is dropped is filled as the job fills it."""
        keep = torch.from_numpy(self.keep(area))[None, None]
        return _picture(compose(self.view[None], keep, self._fill(self.view[None], keep))[0])

    def heat(self) -> Image.Image:
        """The soft map in colours."""
        return Image.fromarray((colormaps["viridis"](self.keep())[..., :3] * 255).astype(np.uint8))

    def show(self, area: float = 0.3) -> Figure:
        """Image, map and feature side by side."""
        return _drawn([self], area)

    @property
    def about(self) -> str:
        """The image, the class that is explained, how sure the source is of it, and the map's flag."""
        return visible(f"{self.image_id}: {readable(self.explained)} ({self.probability:.2f}) {self.flag}".strip())

    def __repr__(self) -> str:
        return f"ImageMap of {self.about}, raw {' x '.join(map(str, self.raw.shape))}"

    def _repr_html_(self) -> str:
        pictures = (_picture(self.view), self.heat(), self.feature(0.3))
        shown = "".join(f'<img width="{THUMBNAIL_PX}" alt="" src="{_as_url(picture)}"> ' for picture in pictures)
        return f"<div>{shown}<br>{escape(self.about)}</div>"


class ImageMaps(Sequence[ImageMap]):
    """Maps of images in the order given; they lie in the store and are read when asked for."""

    def __init__(self, job: Job, order: Sequence[str] | None = None):
        self._job = job
        ids = [record.image_id for record in job.images.records]
        places = {image_id: position for position, image_id in enumerate(ids)}
        self._positions = [places[image_id] for image_id in (ids if order is None else order)]
        self._facts = job.maps.facts()
        self._arms = job.evaluation.arms(job)  # type: ignore[attr-defined]  # of Transfer, which explain asks for

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        position = self._positions[index]
        fact = self._facts[position]
        arrays, _ = self._job.maps.read_items([position])
        return ImageMap(
            image_id=fact["image_id"],
            path=Path(fact["path"]),
            explained=fact["explained"],
            predicted=fact["predicted"],
            probability=fact["p_source"],
            raw=unpack(arrays)[0],
            flag=fact["flag"],
            view=self._views([position])[0],
            _arms=self._arms,
            _fill=lambda images, keep: self._filled([position], images, keep),
        )

    @property
    def raw(self) -> np.ndarray:
        """(B, h, w), float32."""
        return unpack(self._job.maps.read_items(self._positions)[0])

    def keep(self, area: float | None = None) -> np.ndarray:
        """Keep weights (B, H, W), as of each map."""
        return _keep(self._arms, torch.from_numpy(self.raw), self._job.source.view.size, area).numpy()

    def feature(self, area: float | None = None) -> Tensor:
        """Image ⊙ map, (B, 3, H, W), in 0..1, in the source's view."""
        images, keep = self._views(self._positions), torch.from_numpy(self.keep(area))[:, None]
        return compose(images, keep, self._filled(self._positions, images, keep))

    def show(self, area: float = 0.3, most: int = 5) -> Figure:
        """Image, map and feature of the first so many, side by side."""
        return _drawn(self[:most], area)

    def to_pandas(self) -> pd.DataFrame:
        """A line for each image: what is explained and predicted, how surely, passes, flags."""
        return pd.DataFrame([self._facts[position] for position in self._positions])

    def save(self, folder: str | Path) -> Path:
        """maps.csv; raw/ID.npy, which method=stored reads; keep/ID.png and feature/ID.png, soft."""
        folder = Path(folder)
        for each in self:
            for kind, suffix in (("raw", "npy"), ("keep", "png"), ("feature", "png")):
                (folder / kind / each.image_id).parent.mkdir(parents=True, exist_ok=True)
                path = folder / kind / f"{each.image_id}.{suffix}"
                if kind == "raw":
                    np.save(path, each.raw, allow_pickle=False)
                else:
                    (each.feature() if kind == "feature" else _grey(each.keep())).save(path)
        write_text(folder / "maps.csv", to_csv(self.to_pandas()))
        return folder

    def _views(self, positions: list[int]) -> Images:
        return self._job.viewed.batch(positions, self._job.source.view).pixels.float() / 255

    def _filled(self, positions: list[int], images: Images, keep: Keep) -> Images:
        explained = [self._facts[position]["explained"] for position in positions]

        def another() -> Images:
            pool = self._job.pool(self._job.source.view, False)
            return pool.stand_ins(self._job.images, positions, explained, images.device)

        return self._job.fill(images, keep, another)

    def __repr__(self) -> str:
        lines = [f"{len(self)} maps of {self._job.source.name} by {self._job.settings.method.name}"]
        return "\n  ".join([*lines, *(each.about for each in self[:5]), *(["..."] if len(self) > 5 else [])])

    def _repr_html_(self) -> str:
        rest = f"<p>and {len(self) - 5} more</p>" if len(self) > 5 else ""
        return "".join(each._repr_html_() for each in self[:5]) + rest


class TransferResult:
    """Finished jobs of one source, a method each; tables and figures are the report's."""

    def __init__(self, folder: Path, kept: tempfile.TemporaryDirectory | None = None):
        self.folder = folder
        self._kept = kept  # a temporary folder lives as long as its result
        self._sections: dict[str, TransferSection] = {}  # by arm; intervals take seconds

    def rows(self) -> pd.DataFrame:
        """A line for each image, target and arm: rows.parquet of all jobs."""
        columns = TransferRows.columns_of()
        pieces = [piece for job in find_jobs(self.folder) for piece in read_pieces(job.folder, columns)]
        return pd.concat(pieces, ignore_index=True)

    def section(self, arm: str = SOFT_ARM) -> TransferSection:
        """What the report says of them, about one arm."""
        if arm not in self._sections:
            jobs = find_jobs(self.folder)
            read = [ReadJob(job.folder.name, job, TransferSection.read(job)) for job in jobs]
            self._sections[arm] = TransferSection(read, arm, (), ())
        return self._sections[arm]

    def table(self, stem: str = HEADLINE, arm: str = SOFT_ARM) -> pd.DataFrame:
        """Numbers of one of the report's tables: transfer_above_control, table1, matrix, ...

        In a notebook it shows itself as the report prints it; its columns are the numbers'.
        matrix: accuracy and retention of every target and arm, with intervals.
        """
        section = self.section(arm)
        tables: dict[str, pd.DataFrame] = {
            table.stem: Typeset.of(table.numbers, table.printed) for table in section.tables
        }
        tables |= {stem: numbers.copy() for stem, numbers in section.data.items()}
        return _named(tables, stem, "table")

    def figure(self, stem: str = "accuracy_by_area", arm: str = SOFT_ARM) -> Figure:
        """One of the report's figures: accuracy_by_area, fig1, fig2, transfer_matrix, ..."""
        stems = []
        with style():
            for figure in self.section(arm).make_figures():
                if figure.stem == stem:
                    return shown(figure.drawn)
                stems.append(figure.stem)
        return _named(dict.fromkeys(stems), stem, "figure")

    def report(self, out: str | Path, arm: str = SOFT_ARM) -> Report:
        """Tables, figures and pages to browse, written to a folder; open its index.html."""
        return write_report(self.folder, arm=arm, out=out)

    def __repr__(self) -> str:
        rows = self.rows()
        source, methods, targets = (", ".join(map(str, rows[name].unique())) for name in ("source", "method", "target"))
        return f"TransferResult of {methods}: {source} to {targets}, {len(rows['image_id'].unique())} images"

    def _repr_html_(self) -> str:
        section = self.section()
        return "".join(to_html(table.printed) for table in (*section.headlines, *section.main))


def _named(parts: dict[str, Any], stem: str, what: str) -> Any:
    if stem not in parts:
        raise InputError(f"{what} must be one of {', '.join(parts)}, got {stem!r}; choose one")
    return parts[stem]


def _keep(arms: KeepArms, raw: Tensor, size: Size, area: float | None) -> Keep:
    """(B, H, W): the soft reading of raw maps in their own view, or the equal-area one."""
    boxes = _ANY_BOX.expand(len(raw), -1)
    if area is None:
        return arms.soft(raw, boxes, boxes, size)
    of_area = KeepArms(arms.normalise, (area,))
    keys = np.zeros(len(raw), np.uint64)  # of draws, which no arm here makes
    explanations = Explanations(maps=raw, explained=[""] * len(raw), image_keys=keys, another=lambda same: raw)
    return of_area.weights(explanations, boxes, boxes, size, size)[:, 1]


def _drawn(maps: Sequence[ImageMap], area: float) -> Figure:
    """A row for each map: image, map, feature."""
    with style():
        figure = Figure(figsize=(6.6, 2.4 * len(maps)), layout="constrained")
        for part, each in zip(figure.subfigures(len(maps), 1, squeeze=False)[:, 0], maps, strict=True):
            pictures = {"image": _picture(each.view), "map": each.heat(), f"feature, {area:.0%}": each.feature(area)}
            for axes, (title, picture) in zip(part.subplots(1, 3), pictures.items(), strict=True):
                axes.imshow(picture)
                axes.set_title(title)
                axes.axis("off")
            part.suptitle(each.about)
    return shown(figure)


def _picture(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).mul(255).round().byte().numpy())


def _grey(keep: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(keep * 255).astype(np.uint8))


def _as_url(picture: Image.Image) -> str:
    """Small, since a notebook keeps it."""
    with io.BytesIO() as file:
        picture.resize((THUMBNAIL_PX, THUMBNAIL_PX)).save(file, "JPEG", quality=85)
        return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
