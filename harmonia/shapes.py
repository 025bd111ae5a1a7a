"""Axis letters and the tensors that cross module borders.

B  image in a batch          C  channel                H W  pixel rows and columns of a model's view
h w  cells of a raw map      K  class of a model       R    replacement draw
A  keep arm                  N  image of a data set

Inside arithmetic a name carries its axes as a suffix (``maps_Bhw``).
"""

from typing import TypeAlias

from torch import Tensor

Images: TypeAlias = (
    Tensor  # B C H W, float, C = 3 unless networks read other channels, intensities in [0, 1], before any normalisation
)
Logits: TypeAlias = Tensor  # B K, float, before softmax
Labels: TypeAlias = Tensor  # B, int64, class indices of the model at hand
Maps: TypeAlias = Tensor  # B h w, float, raw and signed: larger means more relevant
Keep: TypeAlias = Tensor  # B H W or B A H W, float in [0, 1]: 1 keeps the pixel, 0 drops it
Size: TypeAlias = int | tuple[int, int]  # pixels or cells: the side of a square, or height and width


def in_rgb(images: Images) -> Images:
    """For the eye: of images of other channels the first three or, of two, the first."""
    return images[..., :3, :, :] if images.shape[-3] >= 3 else images[..., [0] * 3, :, :]


def sides(size: Size) -> tuple[int, int]:
    """Height and width."""
    return (size, size) if isinstance(size, int) else size


def size_of(height: int, width: int) -> Size:
    """The one form that a size has in keys."""
    return height if height == width else (height, width)


def fits(grid: Size, size: Size) -> bool:
    """Whether so many rows and columns of cells may lie over a view of this size.

    Of a square view they are a square. Else the ratio is the view's, up to the two cells that a stride which does not
    divide the view, or borders without padding, may cost.
    """
    (rows, columns), (height, width) = sides(grid), sides(size)
    slack = 0 if height == width else 2 * max(height, width)
    return abs(rows * width - columns * height) <= slack
