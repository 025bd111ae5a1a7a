"""Kinds of network beside timm's: torchvision, functions of one's own, transformers; logits are the library's own."""

import json
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from networks import explain, noise
from torch import nn
from torchvision.models.vision_transformer import interpolate_embeddings

from harmonia.errors import InputError
from harmonia.models import torchvision as of_tv
from harmonia.models.classifier import Classifier
from harmonia.models.load import load
from harmonia.models.spec import ModelSpec

pytestmark = pytest.mark.usefixtures("one_thread")

RGB = {"input_size": 32, "mean": (0.5,) * 3, "std": (0.25,) * 3}


def spec_of(kind: str, arch: str = "own", **options) -> ModelSpec:
    return ModelSpec(name=arch, arch=arch, family="any", kind=kind, **{"weights": "random", **options})


def of_torchvision(arch: str, **options) -> Classifier:
    return load(spec_of("torchvision", arch, **options))


# --- torchvision --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "final", "middle", "last"),
    [
        ("resnet18", "layer4", "layer2", "fc"),
        pytest.param("vgg11", "features", "features.14", "classifier.6", marks=pytest.mark.slow),
        ("squeezenet1_1", "features", "features.7", "classifier.1"),
        ("mobilenet_v3_small", "features", "features.3", "classifier.3"),
        pytest.param("densenet121", "features", "features.denseblock2", "classifier", marks=pytest.mark.slow),
        pytest.param("convnext_tiny", "features", "features.3", "classifier.2", marks=pytest.mark.slow),
        pytest.param("swin_t", "permute", "features.3", "head", marks=pytest.mark.slow),
        pytest.param("maxvit_t", "blocks.3", "blocks.1", "classifier.5", marks=pytest.mark.slow),
        pytest.param("inception_v3", "Mixed_7c", "Mixed_5d", "fc", marks=pytest.mark.slow),
    ],
)
def test_the_layers_of_torchvision_are_found(arch, final, middle, last):
    classifier = of_torchvision(arch)
    assert classifier.layer_name("final") == classifier.layer_name("normalised") == final
    assert classifier.layer_name("middle") == middle
    assert classifier.structure.last_layer == last


@pytest.mark.slow
def test_of_a_vit_the_last_block_but_one_is_the_last_whose_patches_are_read():
    classifier = of_torchvision("vit_b_32")
    assert classifier.layer_name("final") == "encoder.layers.encoder_layer_10"
    assert classifier.layer_name("middle") == "encoder.layers.encoder_layer_5"
    assert classifier.layer_name("normalised") == "encoder.layers.encoder_layer_11.ln_1"
    maps = torch.randn(2, 50, 768)
    assert torch.equal(classifier.unspatial(classifier.spatial(maps), maps), maps)


@pytest.mark.slow
def test_weights_of_torchvision_come_from_a_file_with_a_head_of_any_size(tmp_path):
    torch.manual_seed(3)
    network = torchvision.models.resnet18(num_classes=3)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "w.pth")
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    options = {"weights": tmp_path / "w.pth", "classes": tmp_path / "classes.txt"}
    classifier = of_torchvision("resnet18", **options)
    images = torch.rand(2, 3, 224, 224)
    torch.testing.assert_close(classifier(images), network.eval()((images - classifier.mean) / classifier.std))
    assert classifier.classes == ("a", "b", "c")


@pytest.mark.slow
def test_a_vit_of_torchvision_is_built_for_a_size_and_its_positions_are_resampled(tmp_path, monkeypatch):
    torch.manual_seed(3)
    torch.save(torchvision.models.vit_b_32(num_classes=3).state_dict(), tmp_path / "w.pth")
    for name in ("trunc_normal_", "xavier_uniform_", "normal_", "kaiming_uniform_"):  # seconds, for what is loaded over
        monkeypatch.setattr(torch.nn.init, name, lambda numbers, *_, **__: numbers)
    options = {"weights": tmp_path / "w.pth", "classes": ("a", "b", "c")}
    classifier = of_torchvision("vit_b_32", **options, input_size=384)
    expected = torchvision.models.vit_b_32(num_classes=3, image_size=384)
    expected.load_state_dict(interpolate_embeddings(384, 32, torch.load(tmp_path / "w.pth")))
    images = torch.rand(1, 3, 384, 384)
    torch.testing.assert_close(classifier(images), expected.eval()((images - classifier.mean) / classifier.std))
    for size in (200, (224, 256)):
        with pytest.raises(InputError, match="input_size must suit vit_b_32, got"):
            of_torchvision("vit_b_32", **options, input_size=size)


def test_without_a_name_of_weights_torchvisions_default_ones_are_taken(monkeypatch):
    asked = []
    monkeypatch.setattr(of_tv, "_published", lambda spec, chosen: asked.append(chosen) or {})
    with pytest.raises(
        InputError, match=r"mobilenet_v2-7ebf99e0\.pth does not fit the architecture: 314 tensors missing"
    ):
        of_torchvision("mobilenet_v2", weights="hub")
    assert asked == [torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V2]


@pytest.mark.parametrize(
    ("arch", "line"), [("resnet81", "did you mean resnet18"), ("resnet18.V7", "no weights 'V7'; known: IMAGENET1K_V1")]
)
def test_unknown_names_of_torchvision_are_refused_with_what_is_known(arch, line):
    with pytest.raises(InputError, match=line):
        of_torchvision(arch)


# --- functions of one's own ----------------------------------------------------------------------


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "my_networks.py").write_text(
        "from torch import nn\n"
        "def small():\n"
        "    parts = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)\n"
        "    network = nn.Sequential(*parts)\n"
        "    network.classes = ['cat', 'dog']\n"
        "    return network\n"
        "def nothing():\n"
        "    return 3\n"
        "def needs(x):\n"
        "    return x\n"
        "def opens():\n"
        "    open('/nowhere/my_weights.pth')\n"
        "def talks():\n"
        "    raise RuntimeError('x' * 5000)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("my_networks", None)


def test_a_factory_makes_the_network_and_may_name_its_classes(own_module):
    first, second = (load(spec_of("python", factory="my_networks:small", **RGB)) for _ in range(2))
    assert first.classes == ("cat", "dog")
    assert first.identity() == second.identity()  # what it draws is seeded


@pytest.mark.parametrize(
    ("factory", "line"),
    [
        (None, "must name a function, got None; write package.module:function"),
        ("my_networks", "must name a function"),
        ("my_networks:absent", "cannot be imported"),
        ("no_such_module:f", "cannot be imported"),
        ("my_networks:nothing", "must return a torch.nn.Module, got int"),
        ("my_networks:opens", "got: No such file or directory: /nowhere/my_weights.pth; edit it$"),
        ("my_networks:talks", "got: x{300}; edit it$"),
        ("my_networks:needs", "must give a network when called without arguments"),
    ],
)
def test_a_factory_that_gives_no_network_is_refused(own_module, factory, line):
    with pytest.raises(InputError, match=line):
        load(spec_of("python", factory=factory, **RGB))


def test_a_network_of_ones_own_needs_its_input(own_module):
    with pytest.raises(InputError, match=r"mean must be given .* add source\.mean=VALUE"):
        load(spec_of("python", factory="my_networks:small", input_size=32))


# --- Hugging Face -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


def of_folder(transformers, config, folder, size: dict, **processor) -> tuple[Classifier, nn.Module]:
    torch.manual_seed(0)
    network = transformers.AutoModelForImageClassification.from_config(config).eval()
    network.save_pretrained(folder)
    transformers.ViTImageProcessor(size=size, **processor).save_pretrained(folder)
    return load(spec_of("huggingface", str(folder), weights="hub")), network


@pytest.mark.slow
def test_a_vit_of_transformers_has_its_logits_layers_and_labels(transformers, tmp_path):
    shape = {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 96}
    names = {0: "cat", 1: "dog", 2: "bird"}
    config = transformers.ViTConfig(image_size=64, patch_size=8, id2label=names, **shape)
    classifier, network = of_folder(transformers, config, tmp_path, {"height": 64, "width": 64})
    images = torch.rand(2, 3, 64, 64)
    expected = network(pixel_values=(images - classifier.mean) / classifier.std).logits
    torch.testing.assert_close(classifier(images), expected)
    assert classifier.classes == ("cat", "dog", "bird")
    assert classifier.layer_name("final") in ("vit.layers.2", "vit.encoder.layer.2")  # the latter in transformers 5.0
    assert classifier.view.crop_mode == "squash"
    pixels = noise(2, 64)
    assert (explain(classifier, pixels).maps.abs().amax((1, 2)) > 0).all()


@pytest.mark.slow
def test_a_convolutional_network_of_transformers_too(transformers, tmp_path):
    config = transformers.ResNetConfig(
        hidden_sizes=[16, 24, 32, 48], depths=[1] * 4, embedding_size=16, layer_type="basic", num_labels=4
    )
    classifier, _ = of_folder(transformers, config, tmp_path, {"height": 64, "width": 64})
    assert classifier.layer_name("final") == "resnet.encoder.stages.3"
    assert classifier.layer_name("middle") == "resnet.encoder.stages.1"
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"preprocessor_config\.json"):
        load(spec_of("huggingface", str(tmp_path), weights="hub"))


@pytest.mark.slow
def test_a_checkpoint_of_transformers_without_a_head_is_refused(transformers, tmp_path):
    config = transformers.ResNetConfig(hidden_sizes=[16, 24, 32, 48], depths=[1] * 4, embedding_size=16)
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="must have all of the network's tensors, it lacks"):
        load(spec_of("huggingface", str(tmp_path), weights="hub"))


@pytest.mark.slow
def test_a_damaged_folder_of_transformers_is_one_line_and_its_pickle_is_not_run(transformers, tmp_path):
    config = transformers.ResNetConfig(hidden_sizes=[16] * 4, depths=[1] * 4, embedding_size=16, num_labels=2)
    of_folder(transformers, config, tmp_path, {"height": 64, "width": 64})
    good = json.loads((tmp_path / "config.json").read_text())
    torch.save(Path(tmp_path).touch, tmp_path / "pytorch_model.bin")  # names a function
    damage = [good | {"hidden_sizes": [-4]}, good | {"depths": None}, good | {"id2label": ["a"]}, [1]]
    for text in (*map(json.dumps, damage), "[" * 10**5):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InputError, match="transformers cannot load it"):
            load(spec_of("huggingface", str(tmp_path), weights="random"))
    (tmp_path / "config.json").write_text(json.dumps(good))
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 100)
    for _ in range(2):
        with pytest.raises(InputError, match="transformers cannot load it"):
            load(spec_of("huggingface", str(tmp_path), weights="hub"))
        (tmp_path / "model.safetensors").unlink(missing_ok=True)  # now the pickle's turn
