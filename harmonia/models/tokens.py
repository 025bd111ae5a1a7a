"""Token networks without some of their patches: what is left out never enters, and nothing stands in its place.

S. Jain, H. Salman, E. Wong, P. Zhang, V. Vineet, S. Vemprala, A. Madry, "Missingness Bias in Model Debugging", ICLR
2022, https://arxiv.org/abs/2204.08945, section 2.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from harmonia.attribution.rollout import LISTS
from harmonia.errors import InputError, refused
from harmonia.models.classifier import Classifier
from harmonia.models.contract import Structure
from harmonia.shapes import Images, Keep, Logits


@dataclass(frozen=True)
class Tokens:
    """Where a network's patches enter its blocks, each with its position in the whole image."""

    module: str  # the blocks
    prefix: int  # class token, registers
    grid: tuple[int, int]  # rows and columns of patches
    answers_nothing: bool = True  # whether it has logits where no patch is left, as with a class token

    def whole(self, keep: Keep) -> Keep:
        """Weights (B, A, H, W), 1 in patches whose mean weight is at least one half, else 0.

        NaN stays, and comes where no patch is left for a network that needs one.
        """
        height, width = keep.shape[-2:]
        means = adaptive_avg_pool2d(keep, self.grid)
        kept = (means >= 0.5).to(keep).where(~means.isnan(), torch.nan)
        if not self.answers_nothing:
            kept = kept.where(kept.sum((2, 3), keepdim=True) != 0, torch.nan)
        rows, columns = self.grid
        return kept.repeat_interleave(height // rows, -2).repeat_interleave(width // columns, -1)

    def logits(self, classifier: Classifier, images: Images, keep: Keep) -> Logits:
        """Of images (B, C, H, W), each without the patches that keep (B, 1, H, W), of whole patches, drops; (B, K).

        One after the other: each has its own number of patches.
        """
        kept = adaptive_avg_pool2d(keep, self.grid).flatten(1) >= 0.5
        return torch.cat(
            [self._one(classifier, image[None], tokens) for image, tokens in zip(images, kept, strict=True)]
        )

    def _one(self, classifier: Classifier, image: Images, kept: Tensor) -> Logits:
        with classifier.network.get_submodule(self.module).register_forward_pre_hook(partial(self._enter, kept)):
            return classifier(image)

    def _enter(self, kept: Tensor, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        tokens, *others = args
        return torch.cat([tokens[:, : self.prefix], tokens[:, self.prefix :][:, kept]], 1), *others


def tokens_of(classifier: Classifier) -> Tokens:
    """Where patches can be left out of a network, as a probe shows; InputError of one that needs them all.

    Such are networks without patches, with patches that overlap, and those whose blocks know where a patch lies by its
    place among the others (windows, convolutions, relative positions).
    """
    structure = classifier.structure
    tokens = _entrance(structure)
    channels = max(3, classifier.mean.shape[1])  # a grey network takes colours
    generator = torch.Generator().manual_seed(0)
    cells = (torch.rand(1, 1, *tokens.grid, generator=generator) < 0.4).float()
    keep = nn.functional.interpolate(cells, (structure.height, structure.width)).to(classifier.mean)
    image = torch.rand(1, channels, structure.height, structure.width, generator=generator).to(keep)
    with refused(f"{structure.arch}: its blocks need every patch", "use fill=black"), torch.no_grad():
        shown, without = (tokens.logits(classifier, changed, keep) for changed in (image, image * keep))
        nothing = tokens.logits(classifier, image, torch.zeros_like(keep))
    if not torch.equal(shown, without):
        raise InputError(f"{structure.arch}: patches that are left out still tell on the others; use fill=black")
    return replace(tokens, answers_nothing=bool(nothing.isfinite().all()))


def patch_grid(classifier: Classifier) -> tuple[int, int] | None:
    """Rows and columns of the patches that a network's blocks take; None of a network without."""
    try:
        return _entrance(classifier.structure).grid
    except InputError:
        return None


def _entrance(structure: Structure) -> Tokens:
    """The first list of blocks, or block of one, that takes a grid of patches."""
    seen: list[tuple[str, Any]] = []

    def note(name: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        seen.append((name, args[0] if args else None))

    network: nn.Module = structure.network
    with ExitStack() as hooks, structure.tried(), torch.no_grad():
        for name, module in network.named_modules():
            if name and (
                isinstance(module, LISTS) or isinstance(network.get_submodule(name.rpartition(".")[0]), LISTS)
            ):
                hooks.enter_context(module.register_forward_pre_hook(partial(note, name)))
        structure.logits(structure.probe())
    for name, tokens in seen:
        if isinstance(tokens, Tensor) and tokens.ndim == 3 and len(tokens) == 1:
            prefix = structure.prefix_tokens(tokens.shape[1])
            patches = tokens.shape[1] - prefix
            grid = structure.token_grid(patches)
            whole = structure.height % grid[0] == structure.width % grid[1] == 0
            if patches > 1 and whole and structure.token_order(patches) is None:
                return Tokens(name, prefix, grid)
    raise InputError(f"{structure.arch}: it has no blocks that take patches; use fill=black")
