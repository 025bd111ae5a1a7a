"""A batch size that gives way when memory runs out."""

import logging
from collections.abc import Callable
from typing import TypeVar

import torch
from pytorch_lightning.utilities.memory import garbage_collection_cuda, is_oom_error
from torch import Tensor

from harmonia.errors import InputError

log = logging.getLogger(__name__)

# Images of a pass on a CPU whose result must not depend on the batch: kernels round differently for another number of
# inputs, and an optimisation makes tenths of 1e-7. Passes of 4 cost up to 3 % more than of 8 (docs/benchmarks.md).
CPU_PASS = 4


def fill_up(rows: Tensor, slots: int) -> Tensor:
    """Rows (n, ...), the last one repeated until there are so many."""
    return torch.cat([rows, rows[-1:].expand(slots - len(rows), *rows.shape[1:])])


T = TypeVar("T")


class BatchSize:
    """How many inputs go through a network at once; halved for good whenever they do not fit.

    halved: whether memory has spoken; until then a caller may fill passes up to a shape of its own.
    """

    def __init__(self, size: int):
        self.size = size
        self.halved = False

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
