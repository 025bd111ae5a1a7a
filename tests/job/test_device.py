"""What needs no GPU of what a GPU is asked; tests/test_on_a_gpu.py needs one."""

from functools import partial

import pytest
import torch
from networks import linear

from harmonia.errors import InputError
from harmonia.job import device


@pytest.fixture
def model():
    return linear()


def flags():
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(("precision", "inside"), [("32-true", ("highest", False)), ("tf32", ("high", True))])
def test_products_round_only_where_that_is_asked_and_are_given_back_after_an_error(precision, inside):
    before, seen = flags(), []

    def fail():
        with device.arithmetic(None, precision):
            seen.append(flags())
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert (seen, flags()) == ([inside], before)


def test_a_network_is_tried_once_for_each_card_and_use(model, monkeypatch):
    monkeypatch.setattr(device, "_sizes", {})
    tried = []
    monkeypatch.setattr(device, "seconds", lambda model, gradients, size: tried.append((gradients, size)) or 1.0)
    assert [device.fastest_of(model, False), device.fastest_of(model, False), device.fastest_of(model, True)] == [
        512
    ] * 3
    assert tried == [(gradients, 8 * 2**step) for gradients in (False, True) for step in range(7)]


@pytest.mark.parametrize("gradients", [False, True])
def test_a_pass_is_timed_and_leaves_no_gradient_in_the_network(model, gradients):
    assert device.seconds(model, gradients, 3) > 0
    assert all(weights.grad is None for weights in model.parameters())


def test_a_compiled_network_answers_as_it_does_without(model, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    images = torch.rand(5, 3, model.view.height, model.view.width)
    with torch.no_grad():
        torch.testing.assert_close(device.compiled(model)(images), model(images), atol=1e-5, rtol=1e-5)


def test_what_the_compiler_does_not_take_is_refused_in_one_line(model, monkeypatch):
    def broken(graph, inputs):
        raise FileNotFoundError("no C compiler")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    with pytest.raises(InputError, match=r"^compile: toy must be.*no C compiler.*; leave compile=false$"):
        device.compiled(model)(torch.rand(1, 3, model.view.height, model.view.width))
