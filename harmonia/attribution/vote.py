"""The mean rank of the maps of several networks: source=vote source.networks=[lite0,deit_tiny] method=gc."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from harmonia.attribution.contract import Attribution, Backgrounds, Explanation, Request, joint_logits, voters_of
from harmonia.attribution.stored import Stored
from harmonia.errors import InputError
from harmonia.features.resample import enlarged
from harmonia.shapes import Labels, Logits, Maps


@dataclass(frozen=True, kw_only=True)
class Vote:
    """Each network explains the class that they predict together; maps meet at the finest one's resolution."""

    version: ClassVar[int] = 1

    of: Attribution

    def __post_init__(self):
        if isinstance(self.of, Stored):
            raise InputError("source=vote must be of a method that explains, got method=stored; choose another method")

    @property
    def normalise(self) -> str:
        return "minmax"

    @property
    def backgrounds(self) -> Backgrounds | None:
        return self.of.backgrounds

    def __call__(self, request: Request) -> Explanation:
        voters = voters_of(request.model)

        def answer(part: Request) -> tuple[Logits, Labels]:
            with torch.no_grad():
                logits = joint_logits(torch.stack([voter(part.images()) for voter in voters], 1))
            return logits, part.choose_labels(logits, part.positions)

        logits, labels = (tensor.cpu() for tensor in request.in_batches(answer))
        label_of = torch.zeros(int(request.positions.max()) + 1, dtype=labels.dtype).scatter(
            0, request.positions, labels
        )
        asked = replace(
            request,
            choose_labels=lambda own, positions: label_of[positions].to(own.device),
            on_progress=lambda images: request.on_progress(images / len(voters)),
        )
        each = [self.of(replace(asked, model=voter)) for voter in voters]
        height, width = max(explanation.maps.shape[1:] for explanation in each)
        ranked = [ranks(enlarged(explanation.maps.float(), (height, width))) for explanation in each]
        passes, converged = (torch.stack([getattr(of, name) for of in each]) for name in ("passes", "converged"))
        explanation = Explanation.of(torch.stack(ranked).mean(0), logits, labels, passes.sum(0) + len(voters))
        return replace(explanation, converged=converged.all(0))


def ranks(maps: Maps) -> Tensor:
    """Of each place of maps (B, h, w) the share of places below it, equal ones counted half; NaN of a map with NaN."""
    values = maps.flatten(1).contiguous()
    ordered = values.sort(1).values
    below, up_to = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    shares = (below + up_to).float() / (2 * values.shape[1])
    return torch.where(values.isnan().any(1, keepdim=True), torch.nan, shares).view_as(maps)
