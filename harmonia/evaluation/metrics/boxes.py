"""Does a map point at the object? Three scores against boxes of the explained class.

Pointing game: J. Zhang, S. A. Bargal, Z. Lin, J. Brandt, X. Shen, S. Sclaroff, "Top-down Neural Attention by Excitation
Backprop", IJCV 126, 2018, https://arxiv.org/abs/1608.00507, section 4.1. Energy pointing game: H. Wang et al.,
"Score-CAM", CVPR Workshops 2020, https://arxiv.org/abs/1910.01279, section 4.3. IoU at matched area: ours; it needs no
threshold, which would decide between methods.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from harmonia.errors import Within
from harmonia.evaluation.metrics.contract import ExplainedImages, Score, Scores
from harmonia.features.areas import in_view, top_fractions
from harmonia.shapes import Size, sides

NO_BOX = "no box of the explained class in the view"
NO_MASS = "no positive attribution"


@dataclass(frozen=True, kw_only=True)
class BoxScores:
    """Maps enlarged bilinearly to the view, against the union of an image's boxes, without a network pass.

    pointing_game: the share of the map's highest pixels, where several are equal, that lie inside; mostly 0 or 1.
    energy_pointing_game: positive attribution inside over all of it. box_iou: intersection over union of the boxes and
    as many of the highest pixels. box_area: the share of the view that is inside, what a map that knows nothing has of
    the first two.
    """

    version: ClassVar[int] = 1
    needs_boxes: ClassVar[bool] = True
    # a box's area is the image's, not the map's
    better: ClassVar[Mapping[str, str]] = {
        "pointing_game": "higher",
        "energy_pointing_game": "higher",
        "box_iou": "higher",
        "box_area": "",
    }

    # of the pointing game: a highest pixel so far from a pixel inside is a hit; Zhang et al. have 15
    tolerance_px: Annotated[float, Within(0, 10**4)] = 0.0

    def __call__(self, explained: ExplainedImages) -> Scores:
        size = explained.size
        values = {name: torch.full((len(explained.maps),), torch.nan, dtype=torch.float64) for name in self.better}
        reasons = {name: [NO_BOX] * len(explained.maps) for name in self.better}
        for row, (map_hw, boxes) in enumerate(zip(explained.maps, explained.boxes, strict=True)):
            inside = union(boxes, size)
            if inside.any():
                of_map = self._score(in_view(map_hw[None], size)[0], inside)
                for name, value in of_map.items():
                    values[name][row] = value
                    reasons[name][row] = NO_MASS if value.isnan() else ""
            explained.on_progress(1)
        return Scores({name: Score.of(values[name], reasons[name]) for name in values})

    def _score(self, map_HW: Tensor, inside_HW: Tensor) -> dict[str, Tensor]:
        near_HW = torch.from_numpy(np.asarray(distance_transform_edt(~inside_HW.numpy())) <= self.tolerance_px)
        highest, positive = map_HW == map_HW.max(), map_HW.double().clamp(min=0)
        area = inside_HW.sum()
        top = top_fractions(map_HW[None], [(area / inside_HW.numel()).item()])[0, 0].bool()
        shared = (top & inside_HW).sum()
        return {
            "pointing_game": near_HW[highest].double().mean(),
            "energy_pointing_game": positive[inside_HW].sum() / positive.sum(),  # 0/0 is NaN
            "box_iou": shared.double() / (2 * area - shared),
            "box_area": inside_HW.double().mean(),
        }


def union(boxes: Tensor, size: Size) -> Tensor:
    """(H, W) bool: the pixels whose centre lies in one of the half-open boxes (n, 4)."""
    rows, columns = (torch.arange(side) + 0.5 for side in sides(size))
    left, top, right, bottom = boxes.double()[..., None].unbind(1)
    within_rows, within_columns = (top <= rows) & (rows < bottom), (left <= columns) & (columns < right)
    return (within_rows[:, :, None] & within_columns[:, None]).any(0)
