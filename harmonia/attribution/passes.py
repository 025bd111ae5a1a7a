"""How many inputs go through a network at once: as many as pay on a GPU, on a CPU always the same few."""

import logging
import math
from collections.abc import Callable
from typing import TypeVar

import torch
from pytorch_lightning.utilities.memory import garbage_collection_cuda, is_oom_error
from torch import Tensor

from harmonia.errors import InputError

log = logging.getLogger(__name__)

# Inputs of a pass on a CPU, so that no result depends on the batch: kernels round differently for another number of
# inputs, and an optimisation makes tenths of 1e-7. Passes of 4 cost up to 8 % more than of 8 (docs/benchmarks.md).
CPU_PASS = 4


def in_passes(network: Callable[[Tensor], tuple[Tensor, ...]], inputs: Tensor, slots: int) -> tuple[Tensor, ...]:
    """What the network gives for inputs (n, ...), in passes of so many; the last input is repeated to fill the last."""
    parts = []
    for part in inputs.split(slots):
        filled = torch.cat([part, part[-1:].expand(slots - len(part), *part.shape[1:])])
        parts.append([outputs[: len(part)] for outputs in network(filled)])
    return tuple(torch.cat(outputs) for outputs in zip(*parts, strict=True))


T = TypeVar("T")


def fastest(seconds_of: Callable[[int], float], first: int = 8, last: int = 512) -> int:
    """The number of inputs at once of which twice as many gain less than 5 % of the time, or do not fit.

    seconds_of: how long a pass of so many inputs takes; it is asked for ``first``, then for twice as many each time.
    """
    size, before = first, math.inf
    while size <= last:
        try:
            an_input = seconds_of(size) / size
        except RuntimeError as error:
            if not is_oom_error(error):
                raise
            an_input = math.inf
        if not an_input < 0.95 * before:
            break
        size, before = 2 * size, an_input
    garbage_collection_cuda()
    return max(first, size // 2)


class BatchSize:
    """How many inputs go through a network at once; halved for good whenever they do not fit."""

    def __init__(self, size: int | Callable[[], int]):
        """size: or what finds it, once the first pass is near and the network on its device."""
        self._size = size
        self.halved = False

    @property
    def size(self) -> int:
        if callable(self._size):
            self._size = self._size()
        return self._size

    def pass_size(self, size: int, device: torch.device, images_per_input: int = 1, count: int | None = None) -> int:
        """Inputs of each pass, where ``size`` of them fit; ``count`` inputs, where given, are divided evenly.

        On a CPU it depends on neither, but on the size once that has been halved for want of memory.
        """
        if device.type == "cpu" and not self.halved:
            return max(1, CPU_PASS // images_per_input)
        return math.ceil(count / math.ceil(count / size)) if count and device.type != "cpu" else size

    def whole_passes(self, size: int, device: torch.device, images_per_input: int = 1) -> int:
        """``size``, rounded up to what its passes have room for."""
        slots = self.pass_size(size, device, images_per_input)
        return math.ceil(size / slots) * slots

    def fit(self, compute: Callable[[int], T]) -> T:
        """What ``compute`` gives for the largest size that fits; it is called again after each halving.

        Raises InputError when a single input does not fit.
        """
        while True:
            try:
                return compute(self.size)
            except RuntimeError as error:
                if not is_oom_error(error):
                    raise
                if self.size == 1 and self.halved:
                    raise InputError(
                        "batch_size: one input must fit into memory, and does not at batch_size 1; use a smaller "
                        "network, trainer.precision=bf16-mixed, or another device"
                    ) from error
            # behind the except block: the error's traceback holds the tensors of the pass that failed
            self._size = max(1, self.size // 2)
            self.halved = True
            garbage_collection_cuda()
            log.warning("out of memory: going on with batch_size %d", self.size)
