"""What every metric in conf/evaluation owes its caller, whatever it scores."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from metric_batch import batch, by, classifier, pixels
from omegaconf import OmegaConf
from paths import CONF
from torch import nn

from harmonia.attribution.gradient import Gradient
from harmonia.attribution.passes import CPU_PASS, BatchSize
from harmonia.cli.options import Group
from harmonia.evaluation.metrics.contract import Score

EVALUATIONS = CONF / "evaluation"
YAMLS = {path.stem: OmegaConf.load(path) for path in EVALUATIONS.glob("*.yaml")}
NAMES = sorted(name for name, settings in YAMLS.items() if "metric" in settings)
FEWER = {  # enough to tell
    "completeness_soundness": {"steps": 3},
    "deletion": {"steps": 3},
    "faithfulness_correlation": {"draws": 6, "subset": 40},
    "infidelity": {"draws": 5},
    "insertion": {"steps": 3},
    "irof": {"segments": 9},
    "max_sensitivity": {"draws": 2},
    "road": {"percentiles": [20, 80]},
}
SIZE, COUNT = 16, 5
BOXES = tuple(torch.tensor([[2.0, 3.0, 9.0, 12.0 - row]] * row).reshape(-1, 4) for row in range(COUNT))


class Net(nn.Module):
    """Two convolutions with ReLU, a position embedding, a linear layer."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.randn(1, 3, SIZE, SIZE))
        self.first = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.head = nn.Linear(5, 4)

    def forward_features(self, images):
        return self.norm(self.first(images + self.place)).relu()

    def forward(self, images):
        return self.head(self.forward_features(images).mean((2, 3)))


@pytest.fixture(params=NAMES)
def asked(request):
    """(model, score these rows of five images so): a metric."""
    settings = OmegaConf.merge({"seed": 0, "evaluation": YAMLS[request.param]})
    options = OmegaConf.to_container(settings, resolve=True)["evaluation"]["metric"]
    few = FEWER.get(request.param, {})
    assert few.keys() <= options.keys()
    metric = Group("evaluation", request.param, options | few).build()
    torch.manual_seed(0)
    model, images = classifier(Net(), SIZE), pixels(COUNT, SIZE)
    gradient = by(Gradient())
    again = torch.zeros(COUNT, dtype=torch.long)

    def explain(model, images, rows):
        again[rows] += 1  # a pass each
        return gradient(model, images, rows)

    everyone = batch(model, explain, images)

    def call(rows=tuple(range(COUNT)), batch_size=8, shown=images, on_progress=lambda images: None):
        whole = everyone if shown is images else batch(model, explain, shown)
        chosen = list(rows)
        again.zero_()
        scores = metric(
            replace(
                whole,
                pixels=whole.pixels[chosen],
                maps=whole.maps[chosen],
                labels=whole.labels[chosen],
                image_keys=whole.image_keys[chosen],
                boxes=tuple(BOXES[row] for row in chosen),
                batch_size=BatchSize(batch_size),
                on_progress=on_progress,
            )
        )
        assert again.any() == getattr(metric, "explains_anew", False)  # else maps from elsewhere would be scored
        return replace(scores, passes=scores.passes + again[: len(chosen)])

    return model, metric, call


@contextmanager
def classified(model):
    """How many inputs each pass brings to the classifying layer."""
    counts = []
    hook = model.network.head.register_forward_hook(lambda module, args, output: counts.append(len(output)))
    try:
        yield counts
    finally:
        hook.remove()


def same(scores, expected, rows=slice(None), **tolerance):
    assert scores.scores.keys() == expected.scores.keys()
    for name, score in scores.scores.items():
        of_rows = expected.scores[name].values.numpy()[rows]
        np.testing.assert_allclose(score.values.numpy(), of_rows, err_msg=name, **({"rtol": 0} | tolerance))
        assert list(score.reasons) == np.array(expected.scores[name].reasons, object)[rows].tolist()
    assert scores.passes.tolist() == expected.passes[rows].tolist()


def test_scores_are_named_and_say_which_is_better(asked):
    _, metric, call = asked
    scores = call().scores
    assert set(metric.better.values()) <= {"higher", "lower", ""}
    assert metric.better.keys() <= scores.keys()
    assert {name.partition("/")[0] for name in scores} == metric.better.keys()
    for score in scores.values():
        assert score.values.dtype == torch.float64
        assert score.values.shape == (COUNT,)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_batch_size_changes_no_bit_on_a_cpu(asked, batch_size):
    _, _, call = asked
    same(call(batch_size=batch_size), call())


def test_a_score_is_the_images_own_whoever_stands_beside_it(asked):
    _, _, call = asked
    expected = call()
    rows = [3, 1]
    # kernels may round an image differently in another place of a pass
    same(call(rows=rows), expected, rows, rtol=1e-4, atol=1e-6)


def test_passes_are_what_the_classifying_layer_counts_but_for_what_fills_the_last_one(asked):
    model, _, call = asked
    with classified(model) as counts:
        found = call(rows=range(4))
    assert 0 <= sum(counts) - found.passes.sum().item() < CPU_PASS
    assert max(counts, default=0) <= 8


def test_the_network_is_left_as_it_was(asked):
    model, _, call = asked
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    call()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.parameters())
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_progress_adds_up_to_the_images(asked):
    _, _, call = asked
    steps = []
    call(on_progress=steps.append)
    assert sum(steps) == pytest.approx(COUNT)


def test_a_plain_image_has_scores_or_reasons(asked):
    _, _, call = asked
    plain = torch.full((COUNT, 3, SIZE, SIZE), 127, dtype=torch.uint8)
    for score in call(shown=plain).scores.values():
        assert (score.values.isfinite() | torch.tensor([bool(reason) for reason in score.reasons])).all()


def test_a_score_is_undefined_exactly_where_it_has_a_reason():
    nan = float("nan")
    Score(torch.tensor([1.0, nan]), ("", "no boxes"))
    for values, reasons in (([1.0, nan], ("", "")), ([1.0, 2.0], ("", "no boxes"))):
        with pytest.raises(ValueError, match="exactly where"):
            Score(torch.tensor(values), reasons)
