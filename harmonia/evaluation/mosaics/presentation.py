"""Three ways of showing a mosaic of images to a classifier: whole (GridPG), cell by cell (DiFull), in part (DiPart).

S. Rao, M. Böhle, B. Schiele, "Towards Better Understanding Attribution Methods", CVPR 2022, section 3,
https://arxiv.org/abs/2205.10435. Each is a model as an attribution method sees one; its images are mosaics.
"""

import copy
import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from harmonia.errors import InputError, refused
from harmonia.models.classifier import Classifier
from harmonia.shapes import Images, Logits, sides

# what a network with position embeddings does with a mosaic: they are resampled to it (timm), repeated in every cell,
# or the mosaic is reduced to the network's own size
Positions = Literal["interpolated", "tiled", "downscaled"]


class Presentation(nn.Module):
    """A classifier, place about mosaics; layers keep their names and their feature maps cover the mosaic."""

    def __init__(self, classifier: Classifier, n: int, cell: int = 0, native: Classifier | None = None):
        """cell: the scored one, which some look at alone. native: the classifier before it was made to take mosaics."""
        super().__init__()
        self.classifier, self.n, self.cell = classifier, n, cell
        # places are found at the size that it was trained for; not the module itself, which would be a part of this one
        self._layer_name = (native or classifier).layer_name

    def forward(self, images: Images) -> Logits:
        return self.classifier(images)

    def layer(self, name: str) -> nn.Module:
        return self.classifier.layer(name)

    def layer_name(self, place: str) -> str:
        return self._layer_name(place)

    def spatial(self, activations: Tensor) -> Tensor:
        return self.classifier.spatial(activations)

    def unspatial(self, maps: Tensor, like: Tensor) -> Tensor:
        return self.classifier.unspatial(maps, like)


class Downscaled(Presentation):
    """The mosaic at the network's own size."""

    def forward(self, images: Images) -> Logits:
        size = sides(self.classifier.view.size)
        return self.classifier(interpolate(images, size=size, mode="bilinear", antialias=True))


class PerCell(Presentation):
    """DiFull: every cell goes through the network alone, with its own borders, positions and class token.

    The logits are those of one cell: nothing outside of it can reach them. A layer's feature maps are computed cell by
    cell and put side by side.
    """

    def forward(self, images: Images) -> Logits:
        return self.classifier(cut(images, self.n)).unflatten(0, (-1, self.n**2))[:, self.cell]

    def spatial(self, activations: Tensor) -> Tensor:
        return paste(self.classifier.spatial(activations), self.n)

    def unspatial(self, maps: Tensor, like: Tensor) -> Tensor:
        return self.classifier.unspatial(cut(maps, self.n), like)


class PartHead(Presentation):
    """DiPart: the network sees the whole mosaic, its head only the last feature map of one cell.

    Where the network has no head over feature maps but tokens, the head reads their mean over the cell.
    """

    def layer_name(self, place: str) -> str:
        # the head reads the cell's tokens themselves: their scale matters
        return super().layer_name("final" if place == "normalised" else place)

    def forward(self, images: Images) -> Logits:
        classifier = self.classifier
        features = classifier.features(images)
        maps = classifier.spatial(features)
        odd = [side for side in maps.shape[-2:] if side % self.n]
        if odd:
            raise InputError(
                f"dipart: {classifier.name}'s last feature map has {odd[0]} cells a side for {self.n} images a "
                "side; give a source.input_size that its stride divides"
            )
        cells = cut(maps, self.n).unflatten(0, (-1, self.n**2))[:, self.cell]
        if features.ndim == 3:
            # whichever token the head reads, class or patch, it is the mean of the cell's
            prefix = features.shape[1] - maps.shape[2] * maps.shape[3]
            return classifier.head(cells.mean((2, 3))[:, None].expand(-1, prefix + 1, -1))
        return classifier.head(classifier.unspatial(cells, features))


def cut(images: Tensor, n: int) -> Tensor:
    """Mosaics (B, C, n h, n w) as their cells (B n n, C, h, w), row by row."""
    rows = images.unflatten(3, (n, -1)).unflatten(2, (n, -1))
    return rows.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def paste(cells: Tensor, n: int) -> Tensor:
    """The way back from cut."""
    rows = cells.unflatten(0, (-1, n, n))
    return rows.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def on_mosaics(classifier: Classifier, n: int, positions: Positions) -> Presentation:
    """GridPG: the network on the whole mosaic, n times its side. Convolutional networks take it as they are."""
    if positions == "downscaled":
        return Downscaled(classifier, n)
    enlarged = classifier
    if hasattr(classifier.network, "set_input_size"):
        enlarged = _enlarge(classifier, n, positions)
    height, width = (n * side for side in sides(classifier.view.size))
    rule = f"evaluation: {classifier.spec.arch} must take a mosaic of {height} x {width}, got"
    remedy = "use evaluation=difull, or ++evaluation.positions=downscaled in gridpg"
    with refused(rule, remedy, AssertionError, IndexError, RuntimeError, ValueError), torch.no_grad():
        enlarged(torch.zeros(1, classifier.view.channels, height, width, device=classifier.mean.device))
    return Presentation(enlarged, n, native=classifier)


def _enlarge(classifier: Classifier, n: int, positions: Positions) -> Classifier:
    network = copy.deepcopy(classifier.network)
    height, width = (n * side for side in sides(classifier.view.size))
    # of Swin, which would enlarge its windows with the image
    windows = getattr(network, "_ref_window_sizes", None)
    keeps = windows and "window_size" in inspect.signature(network.set_input_size).parameters
    network.set_input_size(img_size=(height, width), **({"window_size": windows} if keeps else {}))
    if positions == "tiled":
        tile_positions(network, classifier, n)
    known = classifier.spec, classifier.view, classifier.classes, classifier.digest, classifier.precision
    return Classifier(network, *known, classifier.arch, classifier.structure_of).to(classifier.mean.device)


def tile_positions(network: Any, classifier: Classifier, n: int) -> None:
    """Every cell of the mosaic has the position embeddings of a whole image."""
    embedding = getattr(classifier.network, "pos_embed", None)
    if not isinstance(embedding, Tensor) or embedding.ndim != 3:
        raise InputError(
            f"evaluation.positions=tiled: {classifier.spec.arch} adds no position embeddings to tokens; use "
            "interpolated"
        )
    rows, columns = classifier.network.patch_embed.grid_size
    prefix = embedding.shape[1] - rows * columns
    patches = embedding[:, prefix:].unflatten(1, (rows, columns)).repeat(1, n, n, 1).flatten(1, 2)
    tiled = torch.cat([embedding[:, :prefix], patches], 1)
    network.pos_embed = nn.Parameter(tiled, requires_grad=False)
    if getattr(network, "rope", None) is not None:
        network.rope = TiledRotation(classifier.network.rope, rows, columns, n)


class TiledRotation(nn.Module):
    """Rotary positions (..., tokens, D) of a mosaic: in every cell those of a whole image."""

    def __init__(self, rotation: nn.Module, rows: int, columns: int, n: int):
        super().__init__()
        self.rotation = copy.deepcopy(rotation)
        self.feat_shape = n * rows, n * columns  # timm asks for the positions of a known grid
        self._grid, self._n = (rows, columns), n

    def get_embed(self, shape: Any = None) -> Tensor:
        rotation: Any = self.rotation
        known = getattr(rotation, "feat_shape", None) is not None
        cell = rotation.get_embed() if known else rotation.get_embed(shape=self._grid)
        grid = cell.unflatten(-2, self._grid)
        return torch.cat([torch.cat([grid] * self._n, -2)] * self._n, -3).flatten(-3, -2)


Present = Callable[[Classifier, int, int], Presentation]  # classifier, n, scored cell
