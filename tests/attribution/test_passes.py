"""Laws of a batch size that gives way: halved until it fits, for good, and nothing else is swallowed."""

import math
import re
from pathlib import Path

import pytest
import torch

import harmonia
from harmonia.attribution.passes import CPU_PASS, BatchSize, fastest, in_passes
from harmonia.errors import InputError

# as torch words them
ON_A_CPU = (
    "[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte"
)
ON_A_GPU = "CUDA out of memory. Tried to allocate 20.00 MiB"


@pytest.mark.parametrize("message", [ON_A_CPU, ON_A_GPU])
def test_the_size_is_halved_until_the_inputs_fit_and_stays_so(message, caplog):
    batch_size, asked = BatchSize(16), []

    def compute(size: int) -> str:
        asked.append(size)
        if size > 5:
            raise RuntimeError(message)
        return "done"

    assert batch_size.fit(compute) == "done"
    assert batch_size.fit(compute) == "done"
    assert asked == [16, 8, 4, 4]
    assert "going on with batch_size 4" in caplog.text


def test_memory_that_torch_cannot_give_is_recognised():
    sizes = []

    def compute(size: int) -> torch.Tensor:
        sizes.append(size)
        return torch.empty(2**58 if size > 1 else 1)  # an exabyte

    assert BatchSize(4).fit(compute).shape == (1,)
    assert sizes == [4, 2, 1]


def test_another_error_is_not_taken_for_missing_memory():
    calls = []

    def compute(size: int) -> None:
        calls.append(size)
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        BatchSize(8).fit(compute)
    assert calls == [8]


def test_one_input_that_does_not_fit_is_refused_with_a_remedy():
    def compute(size: int) -> None:
        raise RuntimeError(ON_A_GPU)

    with pytest.raises(InputError, match=r"one input must fit into memory.*batch_size 1"):
        BatchSize(3).fit(compute)


def test_a_batch_of_one_that_was_filled_up_gets_a_second_try_without():
    batch_size, tried = BatchSize(1), []

    def compute(size: int) -> str:
        tried.append(batch_size.halved)
        if not batch_size.halved:
            raise RuntimeError(ON_A_CPU)
        return "done"

    assert batch_size.fit(compute) == "done"
    assert tried == [False, True]
    assert batch_size.size == 1


def test_only_passes_knows_how_many_inputs_a_pass_on_a_cpu_has():
    root = Path(harmonia.__path__[0])
    knows = [
        path for path in root.rglob("*.py") if re.search(r"CPU_PASS|\.halved|\"cpu\" and", path.read_text("utf-8"))
    ]
    assert [path.relative_to(root).as_posix() for path in knows] == ["attribution/passes.py"]


@pytest.mark.parametrize("count", [1, 4, 6])
def test_passes_are_filled_up_and_what_fills_them_is_cut_off(count):
    shapes = []

    def network(inputs):
        shapes.append(len(inputs))
        return inputs * 2, inputs.sum(1)

    inputs = torch.arange(3.0 * count).view(count, 3)
    doubled, sums = in_passes(network, inputs, 4)
    assert torch.equal(doubled, inputs * 2)
    assert torch.equal(sums, inputs.sum(1))
    assert shapes == [4] * math.ceil(count / 4)


def test_a_pass_on_a_cpu_has_a_size_of_its_own_until_memory_has_run_out():
    batch_size = BatchSize(32)
    assert [batch_size.pass_size(32, torch.device(kind)) for kind in ("cpu", "cuda")] == [CPU_PASS, 32]
    assert batch_size.pass_size(32, torch.device("cpu"), images_per_input=9) == 1
    assert batch_size.whole_passes(5, torch.device("cpu")) == 8
    batch_size.halved = True
    assert batch_size.pass_size(16, torch.device("cpu")) == batch_size.whole_passes(16, torch.device("cpu")) == 16


@pytest.mark.parametrize(("count", "slots"), [(1, 1), (20, 20), (64, 64), (65, 33), (130, 44), (None, 64)])
def test_on_a_gpu_a_pass_is_not_filled_up_but_inputs_are_divided_evenly(count, slots):
    assert BatchSize(64).pass_size(64, torch.device("cuda"), count=count) == slots
    assert BatchSize(64).pass_size(64, torch.device("cpu"), count=count) == CPU_PASS


@pytest.mark.parametrize(
    ("saturated_at", "fits", "size"),
    [(64, 512, 64), (8, 512, 8), (4, 512, 8), (10**6, 512, 512), (256, 32, 32), (64, 4, 8)],
)
def test_the_batch_is_doubled_until_an_input_is_no_faster_or_does_not_fit(saturated_at, fits, size):
    asked = []

    def seconds_of(inputs: int) -> float:
        asked.append(inputs)
        if inputs > fits:
            raise RuntimeError(ON_A_GPU)
        return max(inputs, saturated_at) / 1000

    assert fastest(seconds_of) == size
    assert asked == [8 * 2**step for step in range(len(asked))]
    assert asked[-1] <= 512


def test_an_error_that_is_none_of_memory_ends_the_search_for_a_batch():
    with pytest.raises(RuntimeError, match="assert"):
        fastest(lambda size: (_ for _ in ()).throw(RuntimeError("device-side assert")))


def test_a_batch_that_has_to_be_found_is_found_once_at_the_first_pass():
    searches = []
    batch_size = BatchSize(lambda: searches.append(1) or 6)
    assert searches == []
    assert batch_size.fit(lambda size: size) == batch_size.size == 6
    assert searches == [1]
