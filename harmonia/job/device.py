"""What a device is told: threads and how products round; how many inputs at once are fastest; compiled networks."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch

from harmonia.attribution.passes import fastest
from harmonia.errors import InputError
from harmonia.models.classifier import Classifier
from harmonia.shapes import Images, Logits

log = logging.getLogger(__name__)

_sizes: dict[tuple[str, str, bool], int] = {}  # by network, card, and whether gradients are taken


def fastest_of(model: Classifier, gradients: bool) -> int:
    """How many inputs at once the model takes fastest where it is; a process tries it once for a network and a card.

    gradients: also of the inputs, and not forward alone.
    """
    device = next(model.parameters()).device
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    key = str(model.identity()), card, gradients
    if key not in _sizes:
        _sizes[key] = fastest(partial(seconds, model, gradients))
        what = "with gradients" if gradients else "forward"
        log.info("%s on %s, %s: %d inputs at once are fastest", model.name, card, what, _sizes[key])
    return _sizes[key]


def seconds(model: Classifier, gradients: bool, size: int) -> float:
    """Of one pass of so many inputs, the best of three after one that chooses kernels."""
    device, view = next(model.parameters()).device, model.view
    images = torch.zeros(size, view.channels, view.height, view.width, device=device, requires_grad=gradients)

    def once() -> float:
        started = time.perf_counter()
        with torch.set_grad_enabled(gradients):
            logits = model(images)
            if gradients:
                torch.autograd.grad(logits.sum(), images)
        getattr(torch, device.type).synchronize()
        return time.perf_counter() - started

    once()
    return min(once() for _ in range(3))


@contextmanager
def arithmetic(num_threads: int | None, precision: str) -> Iterator[None]:
    """Torch's CPU threads, and float32 products of all bits, with precision=tf32 of ten; afterwards as before.

    Torch alone rounds convolutions to TF32 on a GPU, and no products of matrices.
    """
    threads = torch.get_num_threads()
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    rounded = precision == "tf32"
    torch.set_num_threads(num_threads or threads)
    torch.set_float32_matmul_precision("high" if rounded else "highest")
    torch.backends.cudnn.allow_tf32 = rounded
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


def compiled(model: Classifier) -> Callable[[Images], Logits]:
    """The model by torch.compile, for answers alone: nothing may look into its layers."""
    from torch._dynamo.exc import TorchDynamoException  # a second to import

    answer = torch.compile(model)

    def logits(images: Images) -> Logits:
        try:
            return answer(images)
        except TorchDynamoException as error:
            reason = " ".join(str(error).split("\n")[:2])
            raise InputError(
                f"compile: {model.name} must be one that torch.compile takes, got {reason}; leave compile=false"
            ) from error

    return logits
