"""Maps of images, as the Python interface gives them back."""

import base64
import copy
import io
from collections.abc import Callable, Sequence
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

from harmonia.api.asked import as_before
from harmonia.data.imagenet import readable
from harmonia.errors import InputError, home
from harmonia.features.arms import Explanations, KeepArms
from harmonia.features.fill import compose
from harmonia.features.maps import UNREADABLE, unpack
from harmonia.job.contract import Job
from harmonia.media import number_of, visible
from harmonia.report.figures.style import shown, style
from harmonia.report.tables.typeset import to_csv
from harmonia.shapes import Images, Keep, Maps, Size, in_rgb
from harmonia.store.files import write_text

THUMBNAIL_PX = 160
_ANY_BOX = torch.tensor([[0.0, 0.0, 1.0, 1.0]])  # a map in its own source's view is nowhere else


@dataclass(frozen=True, eq=False)
class ImageMap:
    """One image's map; pictures are in the source's view."""

    image_id: str
    path: Path
    explained: str  # the class that it is about
    predicted: str
    probability: float  # of the explained class, on the whole image
    raw: np.ndarray  # (h, w), float32, signed, at the resolution that the method has
    flag: str  # why there is nothing to see: zero, constant, ...; "" of a sound map
    view: Images  # (C, H, W), in 0..1: what the source sees
    _arms: KeepArms
    _fill: Any

    def keep(self, area: float | None = None) -> np.ndarray:
        """Keep weights (H, W): of exactly that share of the view 1, else 0; without an area the soft map in [0, 1].

        Of an image that cannot be read nothing is kept.
        """
        return _keep(self._arms, self.raw[None], [self.flag], self._size, area)[0].numpy()

    @property
    def normalise(self) -> Callable[[Maps], Keep]:
        """From raw maps (B, h, w) to [0, 1], as the method declares."""
        return self._arms.normalise

    @property
    def _size(self) -> tuple[int, int]:
        return self.view.shape[1], self.view.shape[2]

    def feature(self, area: float | None = None) -> Image.Image:
        """Image ⊙ map: what is dropped is filled as the job fills it."""
        keep = torch.from_numpy(self.keep(area))[None, None]
        return picture_of(compose(self.view[None], keep, self._fill(self.view[None], keep))[0])

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
        pictures = (picture_of(self.view), self.heat(), self.feature(0.3))
        shown = "".join(f'<img width="{THUMBNAIL_PX}" alt="" src="{_as_url(picture)}"> ' for picture in pictures)
        return f"<div>{shown}<br>{escape(self.about)}</div>"


class ImageMaps(Sequence[ImageMap]):
    """Maps of images in the order given; they lie in the store and are read when asked for."""

    def __init__(self, job: Job, order: Sequence[str] | None = None):
        self._job = job
        ids = [record.image_id for record in job.images.records]
        places = {image_id: position for position, image_id in enumerate(ids)}
        self._positions = [places[image_id] for image_id in (ids if order is None else order)]
        # nobody has seen an unreadable image: the network was shown black
        unseen = {"explained": "", "predicted": "", "p_source": float("nan"), "passes": 0}
        self._facts = [fact | (unseen if fact["flag"] == UNREADABLE else {}) for fact in job.maps.facts()]
        self._arms = job.evaluation.arms(job)  # type: ignore[attr-defined]  # of Transfer, which explain asks for

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            part = copy.copy(self)
            part._positions = self._positions[index]
            return part
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
        flags = [self._facts[position]["flag"] for position in self._positions]
        return _keep(self._arms, self.raw, flags, self._job.source.view.size, area).numpy()

    def feature(self, area: float | None = None) -> Tensor:
        """Image ⊙ map, (B, C, H, W), in 0..1, in the source's view."""
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
        folder = home(folder)
        if folder.exists() and not folder.is_dir():
            raise InputError(f"maps are saved to a folder, got the file {str(folder)!r}; name a new folder")
        for each in self:
            for kind, suffix in (("raw", "npy"), ("keep", "png"), ("feature", "png")):
                (folder / kind / each.image_id).parent.mkdir(parents=True, exist_ok=True)
                path = folder / kind / f"{each.image_id}.{suffix}"
                if kind == "raw":
                    np.save(path, each.raw, allow_pickle=False)
                else:
                    grey = np.rint(each.keep() * 255).astype(np.uint8)
                    (each.feature() if kind == "feature" else Image.fromarray(grey)).save(path)
        write_text(folder / "maps.csv", to_csv(self.to_pandas()))
        return folder

    @as_before()
    def _views(self, positions: list[int]) -> Images:
        return self._job.viewed.batch(positions, self._job.source.view).pixels.float() / 255

    @as_before()
    def _filled(self, positions: list[int], images: Images, keep: Keep) -> Images:
        explained = [self._facts[position]["explained"] for position in positions]

        def another() -> Images:
            pool = self._job.pool(self._job.source.view, False)
            return pool.stand_ins(self._job.images, positions, explained, images.device)

        return self._job.fill(images, keep, another)

    def __repr__(self) -> str:
        lines = [f"{number_of(len(self), 'map')} of {self._job.source.name} by {self._job.settings.method.name}"]
        return "\n  ".join([*lines, *(each.about for each in self[:5]), *(["..."] if len(self) > 5 else [])])

    def _repr_html_(self) -> str:
        rest = f"<p>and {len(self) - 5} more</p>" if len(self) > 5 else ""
        return "".join(each._repr_html_() for each in self[:5]) + rest


@as_before()
def _keep(arms: KeepArms, raw: np.ndarray, flags: Sequence[str], size: Size, area: float | None) -> Keep:
    """(B, H, W): the soft reading of raw maps in their own view, or the equal-area one."""
    maps, boxes = torch.from_numpy(raw), _ANY_BOX.expand(len(raw), -1)
    if area is None:
        keep = arms.soft(maps, boxes, boxes, size)
    else:
        if not isinstance(area, int | float) or not 0 < area < 1:
            raise InputError(f"area must be a share of the image between 0 and 1, got {area!r}; give area=0.3")
        of_area = KeepArms(arms.normalise, (area,))
        keys = np.zeros(len(raw), np.uint64)  # of draws, which no arm here makes
        explanations = Explanations(maps=maps, image_keys=keys, another=lambda same: maps)
        keep = of_area.weights(explanations, boxes, boxes, size, size)[:, 1]
    keep[[flag == UNREADABLE for flag in flags]] = 0
    return keep


def _drawn(maps: Sequence[ImageMap], area: float) -> Figure:
    """A row for each map: image, map, feature."""
    if not maps:
        raise InputError("show needs at least one map, got none; give most=5")
    with style():
        figure = Figure(figsize=(6.6, 2.4 * len(maps)), layout="constrained")
        for part, each in zip(figure.subfigures(len(maps), 1, squeeze=False)[:, 0], maps, strict=True):
            pictures = {"image": picture_of(each.view), "map": each.heat(), f"feature, {area:.0%}": each.feature(area)}
            for axes, (title, picture) in zip(part.subplots(1, 3), pictures.items(), strict=True):
                axes.imshow(picture)
                axes.set_title(title)
                axes.axis("off")
            part.suptitle(each.about)
    return shown(figure)


def picture_of(image: Tensor) -> Image.Image:
    """(C, H, W), in 0..1."""
    return Image.fromarray(in_rgb(image).permute(1, 2, 0).mul(255).round().byte().numpy())


def _as_url(picture: Image.Image) -> str:
    """Small, since a notebook keeps it."""
    with io.BytesIO() as file:
        picture.resize((THUMBNAIL_PX, THUMBNAIL_PX)).save(file, "JPEG", quality=85)
        return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
