"""What every method in conf/method owes its caller, whatever it computes; the presets of ss have their own suites."""

from contextlib import contextmanager
from itertools import accumulate

import numpy as np
import pytest
import timm
import torch
from omegaconf import OmegaConf
from paths import CONF

from harmonia.attribution.passes import CPU_PASS
from harmonia.cli.options import Group

METHODS = CONF / "method"
NAMES = sorted(path.stem for path in METHODS.glob("*.yaml") if not path.stem.startswith("ss"))
FEWER = {"rise": {"masks": 20}, "gshap": {"draws": 3}, "sg": {"draws": 3}, "ig": {"steps": 4}}  # enough to tell
FEWER["lima"] = {"segments": 6, "pending": 2}
FEWER["stored"] = {"maps": "FOLDER"}  # which a job reads, not the method
NETWORK = {"lrp": "chain", "rollout": "vit", "gradrollout": "vit"}  # small for the others
BESIDE = {"lrp": 1, "rollout": 2, "gradrollout": 2}  # inputs shown once for all images
INSIDE = {"chain": "3", "small": "relu1"}
KEYS = np.array([11, 5, 2**63 + 7], np.uint64)
LABELS = torch.tensor([3, 0, 2])


def method_of(name, layer="auto"):
    settings = OmegaConf.load(METHODS / f"{name}.yaml")
    settings = OmegaConf.merge({"layer": layer, "seed": 0}, {"method": OmegaConf.merge(settings, FEWER.get(name, {}))})
    options = OmegaConf.to_container(settings, resolve=True)["method"]
    return Group("method", options.pop("name"), options).build()


@pytest.fixture(params=NAMES)
def asked(request, question):
    """(model, explain the rows so): a method, a network that it takes, three images."""
    return question(request.param)


@pytest.fixture
def question(toy, noise, explain):
    """question(name of a method, sides of its images over those of a square): (model, explain the rows so)."""
    return lambda name, aspect=(1, 1): ask(name, aspect, toy, noise, explain)


def ask(name, aspect, toy, noise, explain):
    torch.manual_seed(0)
    side = 64 if NETWORK.get(name) == "vit" else 16
    size = side * aspect[0], side * aspect[1]
    network = timm.create_model("test_vit", num_classes=4, img_size=size) if side == 64 else NETWORK.get(name, "small")
    model, pixels, pool = toy(network, size), noise(3, size), noise(9, size, seed=1) / 255
    elsewhere = noise(3, 7, seed=2)[:, 0] / 255

    def replacements(positions, labels, steps, draws):
        number = torch.arange(draws) + 0 * positions[:, None] + (0 if steps is None else steps[:, None])
        return pool[(7 * positions[:, None] + number) % len(pool)]

    def call(rows=(0, 1, 2), batch_size=8, shown=pixels, layer="auto", on_progress=lambda images: None):
        rows = torch.tensor(rows)
        return explain(
            method_of(name, layer),
            model,
            shown[rows],
            LABELS,
            batch_size,
            KEYS[rows.numpy()],
            rows,
            replacements=replacements,
            given=lambda positions: elsewhere[positions],
            on_progress=on_progress,
        )

    return model, call


@contextmanager
def classified(model):
    """What the classifying layer gives in each pass; in front of it a pass may show a single image."""
    heads = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module.out_features == 4]
    outputs = []
    hook = heads[-1].register_forward_hook(lambda module, args, output: outputs.append(output.detach()))
    try:
        yield outputs
    finally:
        hook.remove()


def inputs(name, output):
    """How many a pass shows; of LiMA, whose passes are not always full, without repeats of the last that fill it up."""
    if name != "lima":
        return len(output)
    repeats = torch.unique_consecutive(output, dim=0, return_counts=True)[1]
    return len(output) - repeats[-1].item() + 1


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("stored", "random", "centre")])
def test_a_map_has_the_aspect_of_the_image(name, question):
    for aspect in ((2, 1), (1, 2)):
        maps = question(name, aspect)[1]().maps
        assert maps.shape[1] * aspect[1] == maps.shape[2] * aspect[0]
        assert maps.isfinite().all()


def test_images_share_passes_and_nothing_else(asked):
    _, call = asked
    together = call()
    assert torch.equal(together.explained, LABELS)
    scale = together.maps.abs().amax((1, 2), keepdim=True)
    for row in range(3):
        alone = call(rows=(row,), batch_size=1)
        torch.testing.assert_close(alone.maps / scale[[row]], together.maps[[row]] / scale[[row]], rtol=0, atol=1e-4)
        assert alone.passes.tolist() == together.passes[[row]].tolist()
    torch.testing.assert_close(call(rows=(2, 0)).maps, together.maps[[2, 0]], rtol=1e-3, atol=1e-6)


def test_the_same_question_has_the_same_answer_bit_for_bit(asked):
    _, call = asked
    assert torch.equal(call().maps, call().maps)


def test_no_pass_takes_more_inputs_than_the_batch_size_so_that_memory_stays_flat(asked):
    model, call = asked
    with classified(model) as outputs:
        call(batch_size=CPU_PASS)
    assert 0 < max(map(len, outputs)) <= CPU_PASS


def test_passes_are_what_the_classifying_layer_counts_at_every_layer(asked, request):
    model, call = asked
    name = request.node.callspec.params["asked"]
    has_layer = "layer" in OmegaConf.load(METHODS / f"{name}.yaml")
    others = ["input", INSIDE[NETWORK.get(name, "small")]] if has_layer else []
    for layer in ("auto", *others):
        if layer != "auto":
            model.layer_name(layer)  # whether it lies in place is looked at once
        with classified(model) as outputs:
            found = call(rows=(0, 1, 2, 0), layer=layer)  # passes of one gradient are of four images, whatever is asked
        assert sum(inputs(name, output) for output in outputs) == found.passes.sum().item() + BESIDE.get(name, 0), layer


def test_progress_adds_up_to_the_images_and_comes_within_an_image_of_many_passes(asked):
    _, call = asked
    steps = []
    passes = call(on_progress=steps.append).passes.max().item()
    assert sum(steps) == pytest.approx(3)
    assert min(steps) > -1e-6  # sum holds by construction: what is too much is taken back
    assert max(accumulate(steps)) <= 3 + 1e-6
    assert passes < 4 or max(steps) <= 3 / 4


def test_progress_of_an_attempt_that_did_not_fit_is_taken_back(toy, noise, explain):
    model, steps, calls = toy("small"), [], []

    def tight(module, args):
        calls.append(args)
        if len(calls) == 12:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 MiB")

    model.register_forward_pre_hook(tight)
    explain(method_of("rise"), model, noise(4, 16), LABELS[[0, 1, 2, 0]], on_progress=steps.append)
    assert min(steps) < -1  # half of what four images take
    assert sum(steps) == pytest.approx(4)


def test_the_network_is_left_as_it_was(asked):
    model, call = asked
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    probe = torch.rand(1, 3, model.view.size, model.view.size)
    with torch.no_grad():
        before = model(probe)
    call()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.parameters())
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    with torch.no_grad():
        assert torch.equal(model(probe), before)


def test_a_plain_image_and_a_network_that_answers_a_constant_give_finite_maps(asked):
    model, call = asked
    plain = torch.full((3, 3, model.view.size, model.view.size), 102, dtype=torch.uint8)
    assert call(shown=plain).maps.isfinite().all()
    heads = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module.out_features == 4]
    heads[-1].weight.data.zero_()
    assert call().maps.isfinite().all()
