"""Laws of the label policies: which class is explained."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from harmonia.draws import image_key
from harmonia.errors import InputError
from harmonia.models import labels

LOGITS = torch.tensor([[0.1, 3, 2, -1], [5, 4, 4.5, 4.9], [-3, -2, -1, -4]])
TRUE = torch.tensor([2, 0, 3])
KEYS = np.array([image_key(str(number)) for number in range(3)], np.uint64)


def test_predicted_is_the_largest_logit():
    assert labels.predicted(LOGITS, TRUE, KEYS).tolist() == [1, 0, 2]


def test_true_is_the_ground_truth_whatever_the_logits():
    assert labels.true(LOGITS, TRUE, KEYS).tolist() == [2, 0, 3]


def test_true_refuses_a_class_that_the_source_lacks():
    with pytest.raises(InputError, match="label=predicted"):
        labels.true(LOGITS, torch.tensor([2, -1, 3]), KEYS)


def test_runner_up_is_the_second_largest_logit():
    assert labels.runner_up(LOGITS, TRUE, KEYS).tolist() == [2, 3, 1]


@pytest.mark.parametrize("classes", [4, 1000])
def test_of_tied_classes_the_first_is_the_best_as_argmax_has_it(classes):
    logits = torch.randint(3, (200, classes), generator=torch.Generator().manual_seed(0)).bfloat16().float()
    best = labels.best_classes(logits, 2)
    assert best[:, 0].tolist() == logits.argmax(1).tolist() == labels.predicted(logits, TRUE, KEYS).tolist()
    assert (labels.runner_up(logits, TRUE, KEYS) != logits.argmax(1)).all()
    assert (logits.gather(1, best) == logits.topk(2).values).all()


def test_random_is_any_class_but_the_predicted_one_equally_often():
    keys = np.arange(30_000, dtype=np.uint64)
    logits = torch.zeros(len(keys), 5)
    logits[:, 3] = 1
    drawn = labels.random(logits, torch.zeros(len(keys)), keys, seed=4)
    counts = np.bincount(drawn.numpy(), minlength=5)
    assert counts[3] == 0
    assert chisquare(counts[[0, 1, 2, 4]]).pvalue > 1e-3


def test_random_depends_on_the_seed_and_the_image_alone():
    logits = LOGITS.repeat(20, 1)
    keys = np.arange(60, dtype=np.uint64)
    drawn = labels.random(logits, TRUE.repeat(20), keys, seed=1)
    turned = torch.arange(59, -1, -1)
    assert torch.equal(labels.random(logits[turned], TRUE.repeat(20), keys[turned.numpy()], seed=1), drawn[turned])
    one = [labels.random(logits[[row]], TRUE[[0]], keys[[row]], seed=1).item() for row in range(60)]
    assert one == drawn.tolist()
    assert not torch.equal(labels.random(logits, TRUE.repeat(20), keys, seed=2), drawn)
    assert not torch.equal(labels.random(logits, TRUE.repeat(20), keys + np.uint64(60), seed=1), drawn)
