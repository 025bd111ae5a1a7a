"""LiMA: superpixels in the order in which a greedy search from both ends takes them.

R. Chen, S. Liang, J. Li, S. Liu, L. Liu, H. Zhang, X. Cao, "Less is More: Efficient Black-box Attribution via Minimal
Interpretable Subset Selection", 2025, https://arxiv.org/abs/2504.00470. It follows R. Chen, H. Zhang, S. Liang, J. Li,
X. Cao, "Less is More: Fewer Interpretable Region via Submodular Subset Selection", ICLR 2024,
https://arxiv.org/abs/2402.09164. Of an image's regions V, the class's probability p and the entropy H of all K,

    F(S) = consistency p(S) + collaboration (1 - p(V - S)) + confidence (1 - H(S) / log K)

where the regions in brackets are shown and the others are black. Terms and search are those of the authors' code for
single networks (github.com/RuoyuChen10/LIMA), weights and ``pending`` those of its ablation script. Left out, there
too, is the effectiveness score, a distance between the features of regions. Ours: superpixels are scikit-image's, not
OpenCV's; a region's value is its rank.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from harmonia.attribution.contract import Explanation, PartByPart, Request
from harmonia.attribution.passes import in_passes
from harmonia.errors import Within
from harmonia.features.areas import descending
from harmonia.features.superpixels import superpixels
from harmonia.shapes import Labels, Logits

SetFunction = Callable[[list[list[int]]], Tensor]  # of lists of regions; NaN where the network answers NaN
_Weight = Annotated[float, Within(0, 10**6)]


@dataclass(frozen=True, kw_only=True)
class LiMA(PartByPart, version=1, normalise="minmax"):
    """Of each pixel the rank of its superpixel, (B, H, W): 1 in the one that is chosen first, 1/n in the last of n.

    NaN where an answer of the network is NaN.
    """

    segments: Annotated[int, Within(2, 1000)] = 49  # about as many superpixels, of SLICO
    pending: Annotated[int, Within(1, 1000)] = 8  # superpixels that each round tries for the last place
    consistency: Annotated[float, Within(1e-6, 10**6)] = 20
    collaboration: _Weight = 5
    confidence: _Weight = 0.05

    @torch.no_grad()
    def __call__(self, request: Request) -> Explanation:
        def whole(part: Request) -> tuple[Logits, Labels]:
            logits = part.model(part.images())
            return logits, part.choose_labels(logits, part.positions)

        logits, labels = (tensor.cpu() for tensor in request.in_batches(whole))
        maps, passes = [], []
        for row, label in enumerate(labels.tolist()):
            search = Search(self, request.take(torch.tensor([row])), label)
            maps.append(search.ranks()[search.regions])
            passes.append(1 + search.passes)
        return Explanation.of(torch.stack(maps), logits, labels, torch.tensor(passes))


class Search:
    """The order of one image's superpixels; passes: how many inputs the network has seen for it."""

    def __init__(self, method: LiMA, request: Request, label: int):
        self.method, self.request, self.label = method, request, label
        self.image = request.images()[0]
        self.regions = superpixels(self.image, method.segments, adaptive=True)
        self.passes, self.answered = 0, True

    def ranks(self) -> Tensor:
        """Of each region, in (0, 1], float32."""
        count = int(self.regions.max()) + 1

        def score(subsets: list[list[int]]) -> Tensor:
            scores = self.scores(subsets)
            self.request.on_progress(1 / count)  # each search places one region, and none is left for the last
            return scores

        ranks = torch.empty(count)
        ranks[greedy(score, count, self.method.pending)] = torch.arange(count, 0, -1) / count
        self.request.on_progress(1 / count)
        return ranks if self.answered else torch.full_like(ranks, torch.nan)

    def scores(self, subsets: list[list[int]]) -> Tensor:
        """F of each subset, float64 on the CPU. Two passes a subset, of this image alone: none depends on another."""
        keep = torch.zeros(len(subsets), int(self.regions.max()) + 1, dtype=torch.bool)
        for row, subset in zip(keep, subsets, strict=True):
            row[subset] = True
        keep = torch.cat([keep, ~keep])
        self.passes += len(keep)
        regions = self.regions.to(self.image.device)

        def network(part: Tensor) -> tuple[Logits]:
            return (self.request.model(self.image * part.to(regions.device)[:, regions][:, None]),)

        def attempt(size: int) -> Tensor:
            return in_passes(network, keep, self.request.pass_size(size, len(keep)))[0]

        p, p_without = self.request.batch_size.fit(attempt).double().cpu().softmax(1).chunk(2)
        confidence = 1 - torch.special.entr(p).sum(1) / math.log(max(2, p.shape[1]))  # of a single class 1
        method, of_class = self.method, (slice(None), self.label)
        shown, without = method.consistency * p[of_class], method.collaboration * (1 - p_without[of_class])
        scores = shown + without + method.confidence * confidence
        self.answered = self.answered and not scores.isnan().any()
        return scores


def greedy(score: SetFunction, count: int, pending: int) -> list[int]:
    """So many regions, from the most important to the least.

    Each round tries every region that is left beside those in front, and the best joins them. Of the others the
    ``pending`` worst are tried beside those at the back, where the worst joins. Once no more than ``pending`` are left,
    all go to the front.

    >>> worth = torch.tensor([0.1, 0.5, 0.2, 0.3])
    >>> greedy(lambda subsets: torch.stack([worth[subset].sum() for subset in subsets]), 4, pending=1)
    [1, 3, 2, 0]
    """

    def ranked(regions: list[int], beside: list[int]) -> list[int]:
        """From the highest score to the lowest; ties in no order of places."""
        order = descending(score([[*beside, region] for region in regions])[None, None])[0]
        return [regions[place] for place in order.tolist()]

    front: list[int] = []
    back: list[int] = []
    left = list(range(count))
    while len(left) > 1:
        best, *others = ranked(left, front)
        front.append(best)
        if len(left) > pending:
            worst = ranked(others[-pending:], back)[-1]
            back.append(worst)
            others.remove(worst)
        left = sorted(others)
    return front + left + back[::-1]
