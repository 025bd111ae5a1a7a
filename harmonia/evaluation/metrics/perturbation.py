"""Perturbed inputs on their way through a model, what removed pixels become, and what is read from the answers."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Literal

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import conv2d

from harmonia.attribution.head import features_of
from harmonia.attribution.passes import in_passes
from harmonia.evaluation.metrics.contract import ExplainedImages
from harmonia.shapes import Labels, Logits

Reading = Literal["probability", "logit"]  # of the explained class
# zero: the colour that the model's normalisation turns into 0, RISE's and Gupta's; mean: the image's own mean colour
Baseline = Literal["zero", "black", "mean", "blur"]


def reader_of(reading: Reading) -> Callable[[Logits, Labels], Tensor]:
    """(logits (b, K), classes (b,)) -> the class's probability or its logit, (b,)."""
    numbers = {"probability": lambda logits: logits.softmax(1), "logit": lambda logits: logits}[reading]
    return lambda logits, labels: numbers(logits).gather(1, labels[:, None])[:, 0]


def read_answers(
    explained: ExplainedImages,
    inputs: Callable[[int, Tensor], Iterable[Tensor]],
    read: Callable[[Logits, Labels], Tensor],
) -> list[Tensor]:
    """What the model answers to the inputs made of each image: of each image (inputs, ...), float64, on the CPU.

    inputs: (row, image (3, H, W) in [0, 1]) -> inputs (3, H, W), made one after the other, so that memory holds those
    of one pass. Images share passes; on a CPU its size depends on no batch size, and so the answers
    are the same bit for bit whatever the batch size.
    """
    of_images: list[list[Tensor]] = [[] for _ in explained.labels]
    stream = (
        (row, shown)
        for row in range(len(explained.labels))
        for shown in inputs(row, explained.pixels[row].to(explained.device).float() / 255)
    )
    waiting: list[tuple[int, Tensor]] = []

    def attempt(size: int) -> Tensor:
        slots = explained.batch_size.pass_size(size, explained.device)
        waiting.extend(islice(stream, max(0, slots - len(waiting))))
        part = waiting[:slots]
        if not part:
            return torch.zeros(0)
        images = torch.stack([shown for _, shown in part])
        with torch.no_grad():
            slots = explained.batch_size.pass_size(size, explained.device, count=len(images))
            (logits,) = in_passes(lambda filled: (explained.model(filled),), images, slots)
        return read(logits.double().cpu(), explained.labels[[row for row, _ in part]])

    reported = 0
    while len(read_now := explained.batch_size.fit(attempt)):
        for (row, _), answer in zip(waiting, read_now, strict=False):
            of_images[row].append(answer)
        last = waiting[len(read_now) - 1][0]
        del waiting[: len(read_now)]
        explained.on_progress(last - reported)
        reported = last
    explained.on_progress(len(of_images) - reported)
    return [torch.stack(of_image) if of_image else torch.zeros(0, dtype=torch.float64) for of_image in of_images]


def passes_of(of_images: Iterable[Tensor]) -> Tensor:
    """Network passes of each image, by the answers that it got."""
    return torch.tensor([len(of_image) for of_image in of_images])


def drops(
    explained: ExplainedImages,
    reading: Reading,
    perturbed: Callable[[Tensor, Tensor, int], Iterator[tuple[Tensor, Tensor]]],
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each perturbation what the map foretells and by how much the answer drops, (B, draws) each; all the answers.

    perturbed: (image (3, H, W), its map (H, W), its key) -> perturbed images, each with the map's word for the drop.
    """
    foretold: list[list[Tensor]] = [[] for _ in explained.labels]

    def inputs(row: int, image: Tensor) -> Iterator[Tensor]:
        yield image
        for shown, word in perturbed(image, explained.map_in_view(row).double(), int(explained.image_keys[row])):
            foretold[row].append(word.cpu())
            yield shown

    of_images = torch.stack(read_answers(explained, inputs, reader_of(reading)))
    words = torch.stack([torch.stack(of_image) for of_image in foretold])
    return words, of_images[:, :1] - of_images[:, 1:], of_images


def mean_and_std(explained: ExplainedImages) -> tuple[Tensor, Tensor]:
    """Of the model's own normalisation of intensities, each (C, 1, 1).

    Read off what becomes of black and of white; the network does not run.
    """
    levels = torch.tensor([0.0, 1.0], device=explained.device)[:, None, None, None]
    levels = levels.expand(2, explained.pixels.shape[1], 1, 1)
    black, white = features_of(explained.model, "input", levels)
    std = 1 / (white - black)
    return -black * std, std


def baseline_of(name: Baseline, explained: ExplainedImages) -> Callable[[Tensor], Tensor]:
    """From an image (3, H, W) in [0, 1] to its baseline of the same shape."""
    neutral, _ = mean_and_std(explained)

    def blur(image: Tensor) -> Tensor:
        """RISE's: 11 x 11 pixels of 224 (the shorter side), sigma 5, beyond the border the neutral colour."""
        kernel = rise_kernel(min(image.shape[-2:])).to(image).expand(len(image), 1, -1, -1)
        return conv2d((image - neutral)[None], kernel, padding=kernel.shape[-1] // 2, groups=len(image))[0] + neutral

    return {
        "zero": neutral.expand_as,
        "black": torch.zeros_like,
        "mean": lambda image: image.mean((1, 2), keepdim=True).expand_as(image),
        "blur": blur,
    }[name]


def rise_kernel(size: int) -> Tensor:
    """A point behind scipy's Gaussian, which mirrors at the border of the kernel: that of RISE's code, to scale.

    So it is flatter than a Gaussian cut off there.
    """
    scale = size / 224
    reach = round(5 * scale)
    point = np.zeros((2 * reach + 1,) * 2)
    point[reach, reach] = 1
    return torch.from_numpy(gaussian_filter(point, 5 * scale))
