"""Laws of files that harmonia.fit leaves: any kind comes back bit for bit, and nothing in a file is believed or run."""

import json

import pytest
import torch
from safetensors.torch import save_file

import harmonia
from harmonia.cli.composed import composed_conf
from harmonia.errors import InputError
from harmonia.models import fitted
from harmonia.models.load import load
from harmonia.models.spec import ModelSpec
from harmonia.training.network import trainable

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = ("cat", "dog", "0")
RGB = {"input_size": 32, "mean": (0.5, 0.4, 0.3), "std": (0.25, 0.2, 0.3), "crop_pct": 0.9}
FACTS = {
    "name": "n",
    "kind": "timm",
    "arch": "test_vit",
    "factory": None,
    "classes": ["a", "b"],
    "input_size": 32,
    "crop_pct": 1.0,
    "crop_mode": "center",
    "interpolation": "bilinear",
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
}


def spec_of(kind, arch, **options) -> ModelSpec:
    return ModelSpec(name="net", arch=arch, family="any", kind=kind, **{"weights": "random", **options})


def fitted_spec(path, **options) -> ModelSpec:
    return spec_of("fitted", "fitted", weights=str(path), **options)


@pytest.mark.parametrize(
    ("kind", "arch", "options"),
    [
        ("timm", "test_vit3", RGB),
        ("timm", "test_resnet", {"input_size": (32, 48)}),
        ("torchvision", "squeezenet1_1", RGB),
        ("python", "own", {**RGB, "factory": "networks:tiny"}),
        ("python", "vgg", {**RGB, "factory": "harmonia.models.plain_vgg:plain_vgg"}),
    ],
)
def test_a_network_comes_back_by_its_file_alone(kind, arch, options, tmp_path):
    trained = trainable(spec_of(kind, arch, **options), CLASSES, 3).eval()
    fitted.write(tmp_path / "model.safetensors", trained, "mine")
    factory = {"factory": options["factory"]} if "networks" in str(options.get("factory")) else {}
    again = load(fitted_spec(tmp_path, **factory))
    images = torch.rand(2, 3, again.view.height, again.view.width)
    with torch.no_grad():
        assert torch.equal(again(images), trained(images))
    assert (again.classes, again.view) == (CLASSES, trained.view)
    other_door = load(spec_of(kind, arch, **options, weights=str(tmp_path / "model.safetensors"), classes=CLASSES))
    assert again.identity() == other_door.identity()


def test_a_network_of_transformers_comes_back_too(tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8, num_labels=2)
    transformers.AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path / "hub")
    for weights in ("hub", "random"):
        trained = trainable(
            spec_of("huggingface", str(tmp_path / "hub"), **{**RGB, "weights": weights}), CLASSES, 3
        ).eval()
        fitted.write(tmp_path / "model.safetensors", trained, "mine")
        again = load(fitted_spec(tmp_path))
        images = torch.rand(2, 3, 32, 32)
        with torch.no_grad():
            assert torch.equal(again(images), trained(images))


def test_what_the_spec_says_goes_before_the_file_and_python_takes_a_folder(tmp_path):
    fitted.write(tmp_path / "model.safetensors", trainable(spec_of("timm", "test_vit", **RGB), CLASSES, 0), "mine")
    assert load(fitted_spec(tmp_path, crop_pct=1.0, classes=("a", "b", "c"))).classes == ("a", "b", "c")
    by_folder, by_file = (harmonia.classifier(path) for path in (tmp_path, str(tmp_path / "model.safetensors")))
    assert (by_folder.name, by_folder.identity()) == ("mine", by_file.identity())


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        (None, "got: no description of its network; give model.safetensors of python -m harmonia.fit"),
        ("{", "must be a network that harmonia.fit left, got"),
        ({**FACTS, "more": 1}, "Extra inputs are not permitted"),
        ({**FACTS, "kind": "fitted"}, "must name the kind of its network, got 'fitted'"),
        ({**FACTS, "kind": "pickle"}, "net.kind must be one of timm, torchvision, huggingface, python, "),
        ({**FACTS, "input_size": 10**6}, "net.input_size must be at most 2048"),
        ({**FACTS, "classes": ["a", "a"]}, "class names that are not different words"),
        ({**FACTS, "classes": ["a", "\x1b[2J"]}, "class names that are not different words"),
        ({**FACTS, "kind": "python", "factory": "os:abort"}, "whose code must be named, got none; add source.factory="),
        ({**FACTS, "kind": "python", "factory": "harmonia.__main__:main"}, "whose code must be named, got none"),
    ],
)
def test_a_file_of_others_is_refused_in_one_line_and_runs_nothing(facts, line, tmp_path):
    metadata = None if facts is None else {"harmonia": facts if isinstance(facts, str) else json.dumps(facts)}
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors", metadata)
    with pytest.raises(InputError, match=line) as refused:
        load(fitted_spec(tmp_path))
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_named_once(tmp_path):
    with pytest.raises(InputError, match="got: No such file or directory; give") as refused:
        load(fitted_spec(tmp_path / "nowhere"))
    assert str(refused.value).count(str(tmp_path)) == 1


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        ("networks/resnet", "resnet"),
        ("networks/v1.5/", "v1.5"),
        ("networks/resnet/model.safetensors", "resnet"),
        ("networks/mine.safetensors", "mine"),
        ("hub", "fitted"),
    ],
)
def test_its_name_is_that_of_its_folder_or_file_unless_told_otherwise(weights, name):
    other = ["+source@target.b=fitted", "target.b.weights=elsewhere/convnext"]
    conf = composed_conf(["source=fitted", f"source.weights={weights}", "target=[self]", *other])
    assert (conf.source.name, conf.target.b.name) == (name, "convnext")
    assert composed_conf(["source=fitted", f"source.weights={weights}", "source.name=own"]).source.name == "own"


def test_its_family_is_the_architecture_that_the_file_names_unless_told_otherwise(tmp_path):
    fitted.write(tmp_path / "model.safetensors", trainable(spec_of("timm", "test_vit", **RGB), CLASSES, 0), "mine")
    assert harmonia.classifier(tmp_path).spec.family == "test_vit"
    words = ["source=fitted", f"source.weights={tmp_path}", "target=[fitted]", f"target.fitted.weights={tmp_path}"]
    conf = composed_conf(words)
    assert (conf.source.family, conf.target.fitted.family) == ("test_vit", "test_vit")
    assert composed_conf([*words, "source.family=vit"]).source.family == "vit"
    lacking = composed_conf(["source=fitted", "source.weights=nowhere", "source.name=mine"])
    assert lacking.source.family == "mine"
