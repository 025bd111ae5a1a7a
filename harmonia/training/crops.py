"""Random resized crops and flips (Szegedy et al. 2014), another of each image of a batch, on the device.

torchvision.transforms.v2 draws one crop for a whole batch; its library's roi_align takes one an image.
"""

import math

import torch
from torch import Tensor
from torchvision.ops import roi_align

RATIO = 4 / 3  # of a crop's sides at most, as usual
DRAWS = 5  # numbers in [0, 1) that an image takes: area, ratio, left, top, flip


def cropped(
    images: Tensor, draws: Tensor, ratios: Tensor, size: tuple[int, int], scale: tuple[float, float], flip: float
) -> Tensor:
    """Crops (B, C, *size) of images (B, C, H, W), which may be squashed: ratios (B,) are width by height before.

    draws: (B, DRAWS). scale: least and most share of the area. A crop that reaches beyond the image is cut to its side.
    """
    area = scale[0] + (scale[1] - scale[0]) * draws[:, 0]
    ratio = torch.exp((2 * draws[:, 1] - 1) * math.log(RATIO))
    width, height = (area * ratio / ratios).sqrt().clamp(max=1), (area * ratios / ratio).sqrt().clamp(max=1)
    left, top = (1 - width) * draws[:, 2], (1 - height) * draws[:, 3]
    sides = torch.tensor([images.shape[3], images.shape[2]] * 2, device=images.device)
    boxes = torch.stack([left, top, left + width, top + height], 1) * sides
    numbers = torch.arange(len(images), device=images.device, dtype=boxes.dtype)[:, None]
    crops = roi_align(images, torch.cat([numbers, boxes], 1), size, sampling_ratio=1, aligned=True)
    return torch.where((draws[:, 4] < flip)[:, None, None, None], crops.flip(3), crops)
