"""Maps that do not look at the network: what any method must beat."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from harmonia.attribution.contract import PartByPart, Request
from harmonia.draws import Purpose, uniform
from harmonia.errors import Seed, Within
from harmonia.shapes import Labels, Logits, Maps


@dataclass(frozen=True, kw_only=True)
class NullMap(PartByPart):
    """Maps made without the network; one pass says which class is explained."""

    def maps(self, part: Request) -> Maps:
        raise NotImplementedError

    @torch.no_grad()
    def explain(self, part: Request) -> tuple[Maps, Logits, Labels, int]:
        logits = part.model(part.images())
        return self.maps(part), logits, part.choose_labels(logits, part.positions), 1


@dataclass(frozen=True, kw_only=True)
class Random(NullMap, version=1, normalise="minmax"):
    """Uniform numbers in (0, 1), a hash of (seed, image, cell)."""

    cells: Annotated[int, Within(1, 1024)] = 14  # a side
    seed: Seed = 0

    def maps(self, part: Request) -> Maps:
        numbers = uniform(self.seed, part.image_keys[:, None], Purpose.RANDOM_MAP, np.arange(self.cells**2))
        return torch.from_numpy(numbers).view(-1, self.cells, self.cells)


@dataclass(frozen=True, kw_only=True)
class Centre(NullMap, version=1, normalise="minmax"):
    """1 in the middle of the view, falling with the distance to 0 in its corners."""

    cells: Annotated[int, Within(2, 1024)] = 32  # a side

    def maps(self, part: Request) -> Maps:
        axis = torch.linspace(-1, 1, self.cells)
        map_hw = 1 - torch.hypot(axis[:, None], axis) / 2**0.5
        return map_hw.expand(len(part.pixels), -1, -1)


class Edges(NullMap, version=1, normalise="percentile"):
    """Length of the brightness's gradient by central differences: an edge detector (Adebayo et al. 2018)."""

    def maps(self, part: Request) -> Maps:
        down, right = torch.gradient(part.images().mean(1), dim=(1, 2))
        return torch.hypot(down, right)
