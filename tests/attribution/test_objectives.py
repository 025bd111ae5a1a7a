import math

import pytest
import torch

from harmonia.attribution.objectives import OBJECTIVES

# two classes, two draws: p = (.5, .5) and (.9, .1); on the whole image p = (.8, .2); class 0
BY_HAND = {
    "released": math.log(1 + math.exp(0.3 - 0.7)),
    "nll": (math.log(2) - math.log(0.9)) / 2,
    "soft": (math.log(2) - 0.8 * math.log(0.9) - 0.2 * math.log(0.1)) / 2,
    "entropy_mean": -0.7 * math.log(0.7) - 0.3 * math.log(0.3),
    "entropy": (math.log(2) - 0.9 * math.log(0.9) - 0.1 * math.log(0.1)) / 2,
}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objectives_equal_numbers_worked_by_hand(objective):
    logits = torch.tensor([[[0.5, 0.5], [0.9, 0.1]]]).log() + 3  # a shift of all logits changes nothing
    image_logits = torch.tensor([[0.8, 0.2]]).log() - 1
    value = OBJECTIVES[objective](logits, torch.tensor([0]), image_logits)
    assert value.tolist() == pytest.approx([BY_HAND[objective]], rel=1e-5)


def softmax(numbers: list[float]) -> list[float]:
    powers = [math.exp(number) for number in numbers]
    return [power / sum(powers) for power in powers]


def literal_objective(name: str, draws: list[list[float]], label: int, image: list[float]) -> float:
    """One image, one draw and one class at a time."""
    p = [softmax(logits) for logits in draws]
    classes = range(len(image))
    mean = [sum(row[k] for row in p) / len(p) for k in classes]
    if name == "released":
        return -math.log(softmax(mean)[label])
    if name == "entropy_mean":
        return -sum(mean[k] * math.log(mean[k]) for k in classes)
    total = 0.0
    for row in p:
        if name == "nll":
            total -= math.log(row[label])
        elif name == "soft":
            total -= sum(softmax(image)[k] * math.log(row[k]) for k in classes)
        elif name == "entropy":
            total -= sum(row[k] * math.log(row[k]) for k in classes)
    return total / len(p)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objectives_equal_a_literal_rewrite(objective):
    generator = torch.Generator().manual_seed(0)
    logits_BRK = 3 * torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    image_logits = 3 * torch.randn(4, 5, generator=generator, dtype=torch.float64)
    labels = torch.tensor([4, 0, 2, 2])
    expected = [
        literal_objective(objective, logits_BRK[b].tolist(), int(labels[b]), image_logits[b].tolist()) for b in range(4)
    ]
    torch.testing.assert_close(
        OBJECTIVES[objective](logits_BRK, labels, image_logits), torch.tensor(expected, dtype=torch.float64)
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objectives_and_their_gradients_stay_finite_where_probabilities_underflow(objective):
    logits = torch.tensor([[[200.0, -200.0, 0.0], [200.0, -200.0, 10.0]]], requires_grad=True)
    value = OBJECTIVES[objective](logits, torch.tensor([1]), torch.tensor([[200.0, -200.0, 0.0]]))
    value.sum().backward()
    assert value.isfinite().all()
    assert logits.grad.isfinite().all()
