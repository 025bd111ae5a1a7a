"""Curves of a class's probability while pixels are exchanged in the order of a map."""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from harmonia.errors import InputError
from harmonia.evaluation.metrics.contract import ExplainedImages
from harmonia.evaluation.metrics.perturbation import answers
from harmonia.features.areas import descending, in_view
from harmonia.shapes import Labels, Logits


def exchanged(start: Tensor, end: Tensor, order: Tensor, counts: Sequence[int]) -> Iterator[Tensor]:
    """start (3, H, W) with the first counts[0], counts[1], ... pixels of the order as end has them; counts ascend."""
    shown, source = start.flatten(1).clone(), end.flatten(1)
    done = 0
    for count in counts:
        new = order[done:count]
        shown[:, new] = source[:, new]
        done = count
        yield shown.clone().view_as(start)


def pixel_order(explained: ExplainedImages, row: int) -> Tensor:
    """Pixels of an image's view from the most relevant to the least, (H * W,) indices.

    The map is enlarged bilinearly. Ties come in one random order, fixed for all maps: plateaus are not read row by row.
    """
    maps = explained.maps[row : row + 1].to(explained.device)
    return descending(in_view(maps, explained.pixels.shape[-1]))[0]


def step_counts(explained: ExplainedImages, steps: int) -> list[int]:
    """Pixels that are exchanged after 0, 1, ..., steps steps of equal size: none at first, all at last."""
    pixels = explained.pixels.shape[-1] * explained.pixels.shape[-2]
    if steps > pixels:
        raise InputError(f"evaluation.metric.steps must be at most the view's {pixels} pixels, got {steps}")
    return [round(pixels * step / steps) for step in range(steps + 1)]


def curves(
    explained: ExplainedImages,
    counts: Sequence[int],
    ends: Callable[[Tensor], tuple[Tensor, Tensor]],
    read: Callable[[Logits, Labels], Tensor],
) -> list[Tensor]:
    """Of each image what is read after each count, (counts, ...).

    ends: from an image to what is shown first and last.
    """

    def inputs(row: int, image: Tensor) -> Iterator[Tensor]:
        return exchanged(*ends(image), pixel_order(explained, row), counts)

    return answers(explained, inputs, read)


def area_under(curve: Tensor) -> Tensor:
    """By the trapezoidal rule over [0, 1]; the points are equally far apart."""
    return ((curve[:-1] + curve[1:]) / 2).mean(0)
