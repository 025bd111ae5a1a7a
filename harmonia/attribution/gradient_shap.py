"""GradientSHAP, or expected gradients: integrated gradients from other real images.

S. Lundberg, S.-I. Lee, "A Unified Approach to Interpreting Model Predictions", NeurIPS 2017,
https://arxiv.org/abs/1705.07874; G. Erion, J. Janizek, P. Sturmfels, S. Lundberg, S.-I. Lee, "Improving performance of
deep learning models with axiomatic attribution priors and expected gradients", 2021, https://arxiv.org/abs/1906.10670.
"""

from dataclasses import dataclass, field
from typing import Annotated

import torch

from harmonia.attribution.contract import Backgrounds
from harmonia.attribution.head import FromHead, Head, HeadBatch, features_of
from harmonia.draws import Purpose, uniform
from harmonia.errors import Seed, Within
from harmonia.shapes import Maps


@dataclass(frozen=True, kw_only=True)
class GradientSHAP(FromHead, version=2, normalise="percentile", auto="input"):
    """Mean over draws of (x - b) times the gradient at b + u (x - b), summed over channels.

    b is another real image's features, u uniform in (0, 1), both a hash of (seed, image, draw). Sums to the logit less
    its mean over such images, up to the draws.
    """

    draws: Annotated[int, Within(1, 10**6)] = 20
    seed: Seed = 0
    backgrounds: Backgrounds = field(default_factory=lambda: Backgrounds(any_class=True))

    def passes(self, head: Head) -> int:
        # the other images run in front of the layer alone, the mixtures behind it: together a pass a draw
        return head.own_passes + self.draws

    def maps(self, part: HeadBatch) -> Maps:
        request, features = part.request, part.head.features
        total = torch.zeros_like(features)
        for draw in range(self.draws):
            steps = torch.full_like(request.positions, draw)
            others = request.replacements(request.positions, part.labels.cpu(), steps, 1)[:, 0]
            base = features_of(request.model, part.head.layer, others)
            share = torch.from_numpy(uniform(self.seed, request.image_keys, Purpose.GRADIENT_SHAP + draw)).to(features)
            total += (features - base) * part.gradient(torch.lerp(base, features, share[:, None, None, None]))
        return (total / self.draws).sum(1)
