"""Class activation maps without gradients: Ablation-CAM and Score-CAM. One pass a channel: hundreds to thousands.

S. Desai, H. Ramaswamy, "Ablation-CAM", WACV 2020; H. Wang, Z. Wang, M. Du, F. Yang, Z. Zhang, S. Ding, P. Mardziel,
X. Hu, "Score-CAM", CVPR Workshops 2020, https://arxiv.org/abs/1910.01279. Kept before their ReLU, as Grad-CAM's.
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from harmonia.attribution.head import FromHead, Head, HeadBatch
from harmonia.shapes import Maps, Size, sides


class AblationCAM(FromHead, version=2, normalise="positive_minmax", auto="final"):
    """Channels weighted by the class logit's drop when they are set to 0, summed.

    The paper divides the drop by the logit, a factor an image that turns the map around where the logit is negative;
    it is left out.
    """

    def passes(self, head: Head) -> int:
        return head.own_passes + head.features.shape[1]

    def maps(self, part: HeadBatch) -> Maps:
        features = part.head.features
        whole = part.head.logits.gather(1, part.labels[:, None])[:, 0]
        maps = torch.zeros_like(features[:, 0])
        for channel in range(features.shape[1]):
            without = features.clone()
            without[:, channel] = 0
            maps += (whole - part.score(without))[:, None, None] * features[:, channel]
        return maps


class ScoreCAM(FromHead, version=3, normalise="positive_minmax", auto="final"):
    """Channels weighted by the softmax over channels of the class's logit on the image times the channel, summed.

    Each channel is enlarged to the image and brought into [0, 1]; a constant one masks nothing away and has no weight.
    It is enlarged bilinearly with the centres of the positions on those of their pixels (align_corners=False), as in
    the authors' code; pytorch-grad-cam aligns the corners.
    The normalised image is multiplied: what is masked turns into the mean colour.
    """

    def passes(self, head: Head) -> int:
        return 2 + head.features.shape[1]

    def maps(self, part: HeadBatch) -> Maps:
        features = part.head.features
        images = Head(part.request.model, "input", part.request.images())
        images.on_pass = part.head.on_pass
        scores = torch.full(features.shape[:2], -torch.inf, device=features.device)
        structured = torch.zeros(len(features), dtype=torch.bool, device=features.device)
        for channel in range(features.shape[1]):
            mask, varies = unit_range(features[:, channel], (images.features.shape[2], images.features.shape[3]))
            logits = images(images.features * mask[:, None], part.rows).gather(1, part.labels[:, None])[:, 0]
            scores[:, channel] = torch.where(varies, logits, -torch.inf)
            structured |= varies
        # where no channel varies the softmax is 0/0, and the map would be constant; a NaN of the logits stays one
        weights = torch.where(structured[:, None], scores.softmax(1), 0.0)
        return (weights[:, :, None, None] * features).sum(1)


def unit_range(channel: Maps, size: Size) -> tuple[Tensor, Tensor]:
    """A channel enlarged bilinearly to size and scaled to [0, 1] per image; whether it varies, (B,)."""
    # asked before it is enlarged: bilinear weights do not sum to 1 exactly, and rounding is no structure
    varies = channel.amax((1, 2)) > channel.amin((1, 2))
    large = interpolate(channel[:, None], size=sides(size), mode="bilinear", align_corners=False)[:, 0]
    low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    return torch.where(varies[:, None, None], (large - low) / (high - low), 0.0), varies
