"""Convolutional networks that see no dropped place, in any layer: a mask goes through with the image.

S. Balasubramanian, S. Feizi, "Towards Improved Input Masking for Convolutional Neural Networks", ICCV 2023,
https://arxiv.org/abs/2211.14646, section 3. Before each convolution dropped places become the mean of those beside
them, ring by ring (neighbour padding); behind it they are 0; the last pooling is over the places that are left. Here
each resolution has one mask: a cell is left where one of its pixels is. In the paper's it grows by a place in each
convolution, until a residual connection takes that back.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from timm.layers.adaptive_avgmax_pool import FastAdaptiveAvgPool
from timm.layers.grn import GlobalResponseNorm
from torch import Tensor, nn
from torch.nn import functional as F

from harmonia.errors import InputError, refused
from harmonia.models.classifier import Classifier
from harmonia.shapes import Images, Keep, Logits

_WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)  # what may mix places
_OVER_ALL = (nn.GroupNorm, nn.InstanceNorm2d, GlobalResponseNorm)  # whose statistics are those of all places


@dataclass(frozen=True)
class LayerMask:
    """Of a network of which layer_mask_of has seen that it can be masked so."""

    def whole(self, keep: Keep) -> Keep:
        """Weights (B, A, H, W), 1 where they are at least one half, else 0; NaN stays, and comes where none is."""
        kept = (keep >= 0.5).to(keep).where(~keep.isnan(), torch.nan)
        return kept.where(kept.sum((2, 3), keepdim=True) != 0, torch.nan)

    def logits(self, classifier: Classifier, images: Images, keep: Keep, at_dropped: float | None = None) -> Logits:
        """Of images (B, C, H, W), each without the places that keep (B, 1, H, W), 0 or 1, drops; (B, K).

        at_dropped: what convolutions give at dropped places, which must tell on nothing; None, whatever they do.
        """
        if keep.all():
            return classifier(images)
        with _masked(classifier.network, {_size(keep): keep}, at_dropped):
            return classifier(images)


def layer_mask_of(classifier: Classifier) -> LayerMask:
    """InputError of a network in which other modules than convolutions and pooling mix places before the last mean.

    Such are attention, squeeze and excitation, norms over all places, pooling by a function instead of a module, and
    heads that do more than average.
    """
    structure, masked = classifier.structure, LayerMask()
    channels = max(3, classifier.mean.shape[1])  # a grey network takes colours
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, channels, structure.height, structure.width, generator=generator).to(classifier.mean)
    keep = torch.zeros(1, 1, structure.height, structure.width).to(image)
    keep[..., : structure.height // 2, : structure.width // 3] = 1
    with refused(f"{structure.arch}: it cannot be masked", "use fill=black"), torch.no_grad():
        _refuse_other_mixing(classifier, image)
        of_images = [masked.logits(classifier, changed, keep) for changed in (image, image * keep)]
        of_layers = [masked.logits(classifier, image, keep, at_dropped) for at_dropped in (0, 1)]
    if not torch.equal(*of_images) or not torch.equal(*of_layers):
        raise InputError(f"{structure.arch}: places that are dropped still tell on the others; use fill=black")
    return masked


def _refuse_other_mixing(classifier: Classifier, image: Images) -> None:
    passed: list[tuple[nn.Module, int]] = []  # modules, and how many places each has seen, in order

    def note(module: nn.Module, args: tuple[Any, ...]) -> None:
        is_map = bool(args) and isinstance(args[0], Tensor) and args[0].ndim == 4
        passed.append((module, args[0].shape[2:].numel() if is_map else 0))

    with ExitStack() as hooks:
        for module in classifier.network.modules():
            if isinstance(module, (nn.Linear, nn.Conv1d, nn.MultiheadAttention, *_WINDOWS)) or _is_last_mean(module):
                hooks.enter_context(module.register_forward_pre_hook(note))
        classifier(image)
    means = [at for at, (module, _) in enumerate(passed) if _is_last_mean(module)]
    over_all = [module for module, places in passed[: means[0] if means else None] if places < 2]
    over_all += [module for module in classifier.network.modules() if isinstance(module, _OVER_ALL)]
    if over_all or len(means) != 1 or any(places > 1 for _, places in passed[means[0] + 1 :]):
        name = type(over_all[0]).__name__ if over_all else ""
        what = f"its {name} works on all places at once" if name else "its head must be one mean over all places"
        raise InputError(f"{classifier.structure.arch}: {what}; use fill=black")


def _is_last_mean(module: nn.Module) -> bool:
    return isinstance(module, FastAdaptiveAvgPool) or (
        isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1))
    )


@contextmanager
def _masked(network: nn.Module, masks: dict[tuple[int, ...], Keep], at_dropped: float | None) -> Iterator[None]:
    """masks: by rows and columns, the image's at first, those of smaller maps as they come."""

    def before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        inputs, *others = args
        mask = masks[_size(inputs)].to(inputs)
        if _is_last_mean(module):
            inputs = inputs * (mask / mask.mean((2, 3), keepdim=True))
        elif isinstance(module, nn.MaxPool2d):
            inputs = inputs.masked_fill(mask == 0, -torch.inf)
        elif isinstance(module, nn.AvgPool2d):
            inputs = inputs * mask
        elif isinstance(module, nn.Conv2d) and (rings := _reach(module)):
            inputs = _padded(inputs, mask, rings)
        return inputs, *others

    def behind(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        before = masks[_size(args[0])]
        if (size := _size(output)) not in masks:
            masks[size] = F.adaptive_max_pool2d(before, size)
        if isinstance(module, nn.Conv2d):  # what it has at dropped places is masked before it can tell on others
            return output if at_dropped is None else output.masked_fill(masks[size].to(output) == 0, at_dropped)
        if isinstance(module, nn.AvgPool2d):  # over the places that are left
            share = module.forward(before.to(output))
            output = output / share.where(share > 0, 1)
        # of a window that has nothing left the largest is -inf, although the cell may be left for a place beside it
        return output.masked_fill((masks[size].to(output) == 0) | output.isneginf(), 0)

    with ExitStack() as hooks:
        for module in network.modules():
            if isinstance(module, _WINDOWS) or _is_last_mean(module):
                hooks.enter_context(module.register_forward_pre_hook(before))
            if isinstance(module, _WINDOWS):
                hooks.enter_context(module.register_forward_hook(behind))
        yield


def _reach(convolution: nn.Conv2d) -> int:
    """How far from what is left a place may lie that still tells on a cell of the output that is left; no less.

    A cell is left for the places that are its share of the map. Where the stride does not divide the map, they lie up
    to a step beside those that the convolution reads.
    """
    across = [rate * (side - 1) for rate, side in zip(convolution.dilation, convolution.kernel_size, strict=True)]
    if convolution.stride == (1, 1) and [2 * places for places in convolution.padding] == across:
        return max(across) // 2  # a cell of the output lies in the middle of those that it reads
    return max(*across) + 2 * max(step - 1 for step in convolution.stride)


def _padded(inputs: Tensor, mask: Tensor, rings: int) -> Tensor:
    """Dropped places are 0, but for those beside what is left: they become its mean, then those beside these."""
    inputs, (height, width) = inputs * mask, _size(mask)
    for _ in range(rings):
        grown = F.max_pool2d(mask, 3, 1, 1)
        image, row, column = (grown > mask)[:, 0].nonzero(as_tuple=True)
        total, count = (inputs.new_zeros(len(image), width, dtype=torch.float32) for width in (inputs.shape[1], 1))
        for down, right in product((-1, 0, 1), repeat=2):
            rows, columns = row + down, column + right
            inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
            rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
            total += inputs[image, :, rows, columns] * inside[:, None]
            count += mask[image, :, rows, columns] * inside[:, None]
        inputs[image, :, row, column] = (total / count).to(inputs)
        mask = grown
    return inputs


def _size(tensor: Tensor) -> tuple[int, int]:
    height, width = tensor.shape[-2:]
    return height, width
