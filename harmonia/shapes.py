"""Axis letters and the tensors that cross module borders.

B  image in a batch          C  channel                H W  pixel rows and columns of a model's view
h w  cells of a raw map      K  class of a model       R    replacement draw
A  keep arm                  N  image of a data set

Inside arithmetic a name carries its axes as a suffix (``maps_Bhw``).
"""

from typing import TypeAlias

from torch import Tensor

Images: TypeAlias = Tensor  # B 3 H W, float, intensities in [0, 1], before any normalisation
Logits: TypeAlias = Tensor  # B K, float, before softmax
Labels: TypeAlias = Tensor  # B, int64, class indices of the model at hand
Maps: TypeAlias = Tensor  # B h w, float, raw and signed: larger means more relevant
Keep: TypeAlias = Tensor  # B H W or B A H W, float in [0, 1]: 1 keeps the pixel, 0 drops it
