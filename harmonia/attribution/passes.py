"""How many inputs go through a network at once: what memory allows, on a CPU always the same few."""

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
# inputs, and an optimisation makes tenths of 1e-7. Passes of 4 cost up to 3 % more than of 8 (docs/benchmarks.md).
CPU_PASS = 4


def in_passes(network: Callable[[Tensor], tuple[Tensor, ...]], inputs: Tensor, slots: int) -> tuple[Tensor, ...]:
    """What the network gives for inputs (n, ...), in passes of so many; the last input is repeated to fill the last."""
    parts = []
    for part in inputs.split(slots):
        filled = torch.cat([part, part[-1:].expand(slots - len(part), *part.shape[1:])])
        parts.append([outputs[: len(part)] for outputs in network(filled)])
    return tuple(torch.cat(outputs) for outputs in zip(*parts, strict=True))


T = TypeVar("T")


class BatchSize:
    """How many inputs go through a network at once; halved for good whenever they do not fit."""

    def __init__(self, size: int):
        self.size = size
        self.halved = False

    def pass_size(self, size: int, device: torch.device, images_per_input: int = 1) -> int:
        """Inputs of each pass, where ``size`` of them fit.

        On a CPU it depends on the batch size only once that has been halved for want of memory.
        """
        fixed = device.type == "cpu" and not self.halved
        return max(1, CPU_PASS // images_per_input) if fixed else size

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
            self.size = max(1, self.size // 2)
            self.halved = True
            garbage_collection_cuda()
            log.warning("out of memory: going on with batch_size %d", self.size)
