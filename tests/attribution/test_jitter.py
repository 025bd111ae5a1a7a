"""What a step shows is the input, moved within its share, and depends on image and step alone."""

import numpy as np
import torch

from harmonia.attribution.jitter import jittered

KEYS = np.array([3, 2**63 + 5, 8], np.uint64)
STEPS = torch.tensor([0, 1, 6])
MOST = 0.25


def inputs() -> torch.Tensor:
    return torch.rand(3, 2, 3, 12, 20, generator=torch.Generator().manual_seed(1))


def test_inputs_are_shifted_within_the_share_and_mirrored_at_odd_steps():
    for step in range(20):
        (moved,) = jittered(inputs()[:1], KEYS[:1], torch.tensor([step]), MOST)
        (still,) = inputs()[:1].flip(-1) if step % 2 else inputs()[:1]
        places = [(dy, dx) for dy in range(-3, 4) for dx in range(-5, 6)]  # a quarter of 12 and of 20
        assert sum(torch.equal(moved, still.roll(place, (-2, -1))) for place in places) == 1


def test_each_step_and_image_has_a_shift_of_its_own_whatever_its_neighbours():
    together = jittered(inputs(), KEYS, STEPS, MOST)
    for row in range(3):
        alone = jittered(inputs()[row : row + 1], KEYS[row : row + 1], STEPS[row : row + 1], MOST)
        assert torch.equal(alone[0], together[row])
    same = inputs()[:1].expand(40, -1, -1, -1, -1)
    for keys, steps in ((KEYS[:1].repeat(40), 2 * torch.arange(40)), (np.arange(40), torch.zeros(40, dtype=int))):
        assert len({each.numpy().tobytes() for each in jittered(same, keys, steps, MOST)}) > 20


def test_no_share_leaves_the_inputs_as_they_are():
    assert torch.equal(jittered(inputs(), KEYS, STEPS, 0.0), inputs())
