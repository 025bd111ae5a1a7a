"""Maps that were computed elsewhere: they go through whatever follows a method's own."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from harmonia.attribution.contract import PartByPart, Request
from harmonia.shapes import Labels, Logits, Maps


@dataclass(frozen=True, kw_only=True)
class Stored(PartByPart, version=1, normalise="minmax"):
    """The maps of a folder or file, as the job has read them; NaN of an image without one.

    One pass says how sure the network is of the explained class, which the label policy chooses: that the maps explain
    this class is the user's word. Raw maps may have any sign and range.
    """

    maps: Path = field(compare=False)  # their bytes are part of the key, not their place
    over: Literal["view", "image"] = "view"  # what a map covers: what the source sees, or the whole image

    @torch.no_grad()
    def explain(self, part: Request) -> tuple[Maps, Logits, Labels, int]:
        assert part.given is not None, "a job reads the maps of this method"
        logits = part.model(part.images())
        return part.given(part.positions), logits, part.choose_labels(logits, part.positions), 1
