"""Inputs shifted and mirrored from step to step, so that a map does not hang on where the pixels stand."""

import numpy as np
import torch
from torch import Tensor

from harmonia.draws import Purpose, uniform


def jittered(inputs_BR3HW: Tensor, image_keys: np.ndarray, steps: Tensor, most: float) -> Tensor:
    """The inputs of each image at its step: shifted by up to the share ``most`` of each side, mirrored if it is odd.

    (B, R, 3, H, W); what leaves on one side comes in on the other. The shift is a hash of image and step.
    0: as they are.
    """
    if not most:
        return inputs_BR3HW
    sides = np.array(inputs_BR3HW.shape[-2:])
    moved = []
    for inputs, key, step in zip(inputs_BR3HW, image_keys, steps.tolist(), strict=True):
        shares = uniform(key, Purpose.JITTER, step, np.arange(2))
        shifts = np.rint(most * sides * (2 * shares - 1)).astype(int).tolist()
        shifted = inputs.roll(shifts, (-2, -1))
        moved.append(shifted.flip(-1) if step % 2 else shifted)
    return torch.stack(moved)
