"""Superpixels: connected regions of like colour. scikit-image's SLIC and SLICO.

R. Achanta, A. Shaji, K. Smith, A. Lucchi, P. Fua, S. Süsstrunk, "SLIC Superpixels Compared to State-of-the-Art
Superpixel Methods", TPAMI 2012.
"""

import numpy as np
import torch
from skimage.segmentation import slic
from torch import Tensor


def superpixels(image: Tensor, segments: int, compactness: float = 10, adaptive: bool = False) -> Tensor:
    """(H, W), numbered from 0, of an image (C, H, W) in [0, 1]: about so many, and fewer where SLIC joins small ones.

    adaptive: SLICO, in which every superpixel finds its own compactness.

    >>> superpixels(torch.zeros(3, 64, 64), segments=4).unique().tolist()
    [0, 1, 2, 3]
    """
    channels_last = image.permute(1, 2, 0).double().cpu().numpy()
    labelled = slic(
        channels_last, n_segments=segments, compactness=compactness, slic_zero=adaptive, start_label=0, channel_axis=-1
    )
    return torch.from_numpy(np.unique(labelled, return_inverse=True)[1]).view(labelled.shape)
