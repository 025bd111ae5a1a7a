"""Networks of other libraries and of one's own: what is found by looking is what layout and autograd say."""

import json
import sys
from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from networks import explain, noise
from PIL import Image
from torch import nn

from harmonia.data.view import View
from harmonia.errors import InputError
from harmonia.models import python
from harmonia.models.classifier import Classifier
from harmonia.models.found import FoundStructure, settings_of_modules
from harmonia.models.load import classifier_of, load
from harmonia.models.spec import ModelSpec
from harmonia.models.transform import view_options

pytestmark = pytest.mark.usefixtures("one_thread")

RGB = {"input_size": 32, "mean": (0.5,) * 3, "std": (0.25,) * 3}


def spec_of(kind: str, arch: str = "own", **options) -> ModelSpec:
    return ModelSpec(name=arch, arch=arch, family="any", kind=kind, **{"weights": "random", **options})


def of_torchvision(arch: str, **options) -> Classifier:
    return load(spec_of("torchvision", arch, **options))


def in_memory(network: nn.Module, reshape=None, **options) -> Classifier:
    spec = spec_of("python", **{**RGB, **options})
    built = python.in_memory(network, {}, spec, reshape)
    return classifier_of(replace(built, classes=tuple(map(str, range(built.num_classes)))), spec)


class Cnn(nn.Module):
    """Two convolutions, pooling, a linear layer: as people write it by hand."""

    def __init__(self, channels: int = 3, classes: int = 5):
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = nn.Conv2d(channels, 8, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.fc = nn.Linear(16, classes)

    def forward(self, images):
        maps = self.conv2(self.conv1(images).relu())
        return self.fc(maps.relu().mean((2, 3)))


class Tokens(nn.Module):
    """A transformer of two blocks with a class token, whose patches stand in the order of the image or in another."""

    def __init__(self, order: torch.Tensor | None = None, classes: int = 5):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, 16, 4, stride=4)
        self.order = order
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True) for _ in range(3))
        self.head = nn.Linear(16, classes)

    def forward(self, images):
        patches = self.embed(images).flatten(2).mT
        if self.order is not None:
            patches = patches[:, self.order]
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return {"logits": self.head(tokens[:, 0])}


# --- places -------------------------------------------------------------------------------------


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


def test_a_layout_of_tokens_is_checked_by_place():
    assert in_memory(Tokens()).layer_name("final") == "blocks.1"
    scrambled = in_memory(Tokens(torch.randperm(64, generator=torch.Generator().manual_seed(3))))
    with pytest.raises(InputError, match=r"'blocks.1' does not change where the image does.*source\.reshape"):
        scrambled.layer_name("final")


def test_a_reshape_puts_tokens_where_they_belong(monkeypatch):
    order = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    back = order.argsort()

    def reshape(tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, 1:][:, back].mT.unflatten(2, (8, 8))

    pixels = noise(2, 32)
    maps = explain(in_memory(Tokens(order), reshape), pixels).maps
    monkeypatch.setattr(FoundStructure, "check_place", lambda structure, layer: None)
    plain = explain(in_memory(Tokens(order)), pixels, layer="blocks.1").maps  # rows of scrambled patches
    torch.testing.assert_close(maps, plain.flatten(1)[:, back].unflatten(1, (8, 8)))


@pytest.mark.parametrize("network", [Cnn, Tokens])
def test_grad_cam_is_plain_autograds(network):
    classifier = in_memory(network())
    pixels = noise(2, 32)
    layer = classifier.layer_name("final")
    kept = []
    module = classifier.layer(layer)
    hook = module.register_forward_hook(lambda module, args, output: kept.append(output.requires_grad_()) or None)
    logits = classifier(pixels.float() / 255)
    hook.remove()
    (gradients,) = torch.autograd.grad(logits.amax(1).sum(), kept[0])
    features, gradients = (classifier.spatial(tensor.detach()) for tensor in (kept[0], gradients))
    expected = (features * gradients.mean((2, 3), keepdim=True)).sum(1)
    torch.testing.assert_close(explain(classifier, pixels).maps, expected)


@pytest.mark.parametrize("network", [Cnn, Tokens])
def test_a_pasted_patch_changes_the_map_there(network):
    classifier = in_memory(network())
    pixels = noise(1, 32).repeat(2, 1, 1, 1)
    pixels[1, :, 24:, :8] = noise(1, 8, seed=5)[0]
    outputs = []
    with classifier.layer(classifier.layer_name("final")).register_forward_hook(lambda *call: outputs.append(call[2])):
        classifier(pixels.float() / 255)
    maps = classifier.spatial(outputs[0])
    change = (maps[1] - maps[0]).abs().sum(0)
    row, column = divmod(int(change.argmax()), 8)
    assert row >= 6
    assert column <= 1


# --- what a classifier needs --------------------------------------------------------------------


@pytest.mark.parametrize("network", [Cnn, Tokens])
def test_representing_an_image_changes_no_bit_and_is_what_the_last_layer_reads(network):
    classifier = in_memory(network())
    images = torch.rand(3, 3, 32, 32)
    logits, representation = classifier.represent(images)
    assert torch.equal(logits, classifier(images))
    assert representation.shape == (3, classifier.representation_size) == (3, 16)
    last = classifier.layer(classifier.structure.last_layer)
    torch.testing.assert_close(last(representation), logits)


def test_the_head_over_a_feature_map_gives_the_logits():
    classifier = in_memory(Cnn())
    images = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(classifier.head(classifier.features(images)), classifier(images))
    with pytest.raises(InputError, match="its head over tokens is not known"):
        in_memory(Tokens()).head(torch.zeros(1, 65, 16))


def test_a_head_that_reads_more_than_the_last_feature_map_is_refused():
    class Skips(Cnn):
        def forward(self, images):
            early = self.conv1(images).relu()
            late = self.conv2(early).relu().mean((2, 3))
            return self.fc(late + early.mean((2, 3)).repeat(1, 2))

    with pytest.raises(InputError, match="its logits must depend on layer 'conv2' alone"):
        in_memory(Skips()).head(torch.zeros(1, 16, 8, 8))


def test_a_grey_network_sees_the_luma():
    network = Cnn(channels=1)
    classifier = in_memory(network, mean=(0.5,), std=(0.25,))
    images = torch.rand(2, 3, 32, 32)
    grey = (images * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(classifier(images), network((grey - 0.5) / 0.25))
    assert explain(classifier, noise(2, 32)).maps.shape == (2, 8, 8)


@pytest.mark.parametrize("answer", ["tensor", "tuple", "mapping", "object"])
def test_logits_are_taken_from_what_a_network_gives(answer):
    class Answer(Cnn):
        def forward(self, images):
            logits = super().forward(images)
            as_object = type("Output", (), {"logits": logits})
            return {"tensor": logits, "tuple": (logits, None), "mapping": {"logits": logits}, "object": as_object}[
                answer
            ]

    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(in_memory(Answer())(images), in_memory(Cnn())(images))


def test_a_network_without_logits_or_of_another_input_is_refused():
    class Maps(Cnn):
        def forward(self, images):
            return self.conv1(images)

    with pytest.raises(
        InputError, match=r"must give logits \(images, classes\), got a tensor of shape \(1, 8, 16, 16\)"
    ):
        in_memory(Maps())
    with pytest.raises(InputError, match=r"must take images \(B, 3, 32, 32\), got: Given groups=1"):
        in_memory(Cnn(channels=4))


# --- keys ---------------------------------------------------------------------------------------


def test_a_network_has_one_key_wherever_it_was_made():
    first, second = in_memory(Cnn()), in_memory(Cnn())
    assert first.identity() == second.identity()
    assert first.identity()["arch"] == "Cnn"
    wider = Cnn()
    wider.conv1.stride = (1, 1)  # the same tensors, another network
    assert in_memory(wider).identity() != first.identity()
    assert json.dumps(settings_of_modules(wider))


def test_a_network_of_timm_in_memory_is_the_same_as_by_its_name():
    torch.manual_seed(0)
    network = timm.create_model("test_resnet")
    spec = spec_of("python")
    ours = classifier_of(python.in_memory(network, {}, spec), spec)
    assert ours.identity() == load(spec_of("timm", "test_resnet")).identity()


# --- transforms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ["resnet18", "vgg11", "convnext_tiny", "efficientnet_b3", "swin_t", "inception_v3"])
def test_torchvisions_views_are_its_own_transforms(arch):
    weights_of = next(iter(torchvision.models.get_model_weights(arch)))
    transform = weights_of.transforms()
    view = View(**view_options(transform, arch))
    image = Image.fromarray(noise(1, 400)[0].permute(1, 2, 0).numpy()).resize((400, 300))
    pixels = view.look(image)
    ours = (pixels.float() / 255 - torch.tensor(view.mean).view(3, 1, 1)) / torch.tensor(view.std).view(3, 1, 1)
    torch.testing.assert_close(ours, transform(image), atol=1e-5, rtol=1e-5)


def test_other_transforms_are_read_part_by_part_or_refused_by_name():
    transforms = torchvision.transforms
    normalise = transforms.Normalize((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    squash = transforms.Compose([transforms.Resize((64, 64)), transforms.ToTensor(), normalise])
    assert view_options(transforms.Resize((64, 48)), "own")["size"] == (64, 48)
    assert view_options(squash, "own") == {
        "size": 64,
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "interpolation": "bilinear",
        "mean": (0.1, 0.2, 0.3),
        "std": (0.4, 0.5, 0.6),
    }
    for parts, got in (
        ([transforms.RandomHorizontalFlip(), transforms.CenterCrop(8)], "RandomHorizontalFlip"),
        ([transforms.Resize(8), transforms.ToTensor()], "Resize without a crop"),
        ([transforms.ToTensor()], "neither Resize nor CenterCrop"),
        ([transforms.Resize((8, 9)), transforms.CenterCrop(4)], "Resize to 8 x 9 before a crop of 4 x 4"),
        ([transforms.Resize(8), transforms.CenterCrop((8, 4))], "the shorter edge before a crop of 8 x 4"),
    ):
        with pytest.raises(InputError, match=got):
            view_options(transforms.Compose(parts), "own")


# --- files, names and factories -----------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("arch", "line"), [("resnet81", "did you mean resnet18"), ("resnet18.V7", "no weights 'V7'; known: IMAGENET1K_V1")]
)
def test_unknown_names_of_torchvision_are_refused_with_what_is_known(arch, line):
    with pytest.raises(InputError, match=line):
        of_torchvision(arch)


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
    assert classifier.layer_name("final") == "vit.layers.2"
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
