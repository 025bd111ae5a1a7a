"""Networks of other libraries and of one's own: what is found by looking is what layout and autograd say."""

import json
from dataclasses import replace

import pytest
import torch
from networks import explain, noise
from torch import nn

from harmonia.attribution.cam import GradCAM
from harmonia.attribution.soundness import SoundnessSaliency
from harmonia.errors import InputError
from harmonia.models import memory
from harmonia.models.classifier import Classifier
from harmonia.models.facts import facts_of
from harmonia.models.found import FoundStructure
from harmonia.models.load import classifier_of
from harmonia.models.spec import ModelSpec

pytestmark = pytest.mark.usefixtures("one_thread")

RGB = {"input_size": 32, "mean": (0.5,) * 3, "std": (0.25,) * 3}


def spec_of(kind: str, arch: str = "own", **options) -> ModelSpec:
    return ModelSpec(name=arch, arch=arch, family="any", kind=kind, **{"weights": "random", **options})


def in_memory(network: nn.Module, reshape=None, **options) -> Classifier:
    spec = spec_of("python", **{**RGB, **options})
    built = memory.in_memory(network, {}, spec, reshape)
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


def test_a_layout_of_tokens_is_checked_by_place():
    assert in_memory(Tokens()).layer_name("final") == "blocks.1"
    scrambled = in_memory(Tokens(torch.randperm(64, generator=torch.Generator().manual_seed(3))))
    with pytest.raises(InputError, match=r"'blocks.1' does not change where the image does.*source\.reshape"):
        scrambled.layer_name("final")


class Block(nn.Module):
    """Gives a tuple, as blocks do that give their attention too; inside stands a branch beside what passes on."""

    def __init__(self, width: int):
        super().__init__()
        self.mlp = nn.Linear(width, width)

    def forward(self, tokens):
        return tokens + self.mlp(tokens), None


class Pyramid(nn.Module):
    """Two stages of tokens, 8 x 8 and 4 x 4, the first of more blocks."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.merge = nn.Conv2d(3, 16, 4, stride=4), nn.Conv2d(16, 16, 2, stride=2)
        self.stages = nn.ModuleList(nn.ModuleList(Block(16) for _ in range(many)) for many in (4, 2))
        self.head = nn.Linear(16, 5)

    def tokens(self, images):
        tokens = self.embed(images).flatten(2).mT
        for number, stage in enumerate(self.stages):
            if number:
                tokens = self.merge(tokens.mT.unflatten(2, (8, 8))).flatten(2).mT
            for block in stage:
                tokens, _ = block(tokens)
        return tokens

    def forward(self, images):
        return self.head(self.tokens(images).mean(1))


def test_stages_of_tokens_end_in_the_last_one_at_what_passes_on_not_at_its_branch():
    network = Pyramid()
    classifier = in_memory(network)
    assert (classifier.layer_name("final"), classifier.layer_name("middle")) == ("stages.1.1", "merge")
    pixels = noise(2, 32)
    tokens = network.tokens((pixels / 255 - 0.5) / 0.25)
    weights = network.head.weight[network.head(tokens.mean(1)).argmax(1)] / 16  # the mean of 4 x 4 tokens
    expected = torch.einsum("btc,bc->bt", tokens, weights).unflatten(1, (4, 4)).detach()
    torch.testing.assert_close(explain(classifier, pixels).maps, expected)


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


def test_where_no_map_holds_all_that_the_class_reads_none_is_the_final():
    class Skips(Cnn):
        def forward(self, images):
            early = self.conv1(images).relu()
            late = self.conv2(early).relu().mean((2, 3))
            return self.fc(late + early.mean((2, 3)).repeat(1, 2))

    classifier = in_memory(Skips())
    assert "reads other feature maps beside 'conv2', the last, and none that holds all" in repr(classifier)
    with pytest.raises(InputError, match="give layer=NAME"):
        classifier.head(torch.zeros(1, 16, 8, 8))
    pixels = noise(2, 32)
    assert explain(classifier, pixels, layer="conv2").maps.shape == (2, 8, 8)
    with pytest.raises(InputError, match=r"give layer=NAME, here method\.start\.layer=NAME, or method\.start=null"):
        explain(classifier, pixels, method=SoundnessSaliency(start=GradCAM()))


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
        InputError, match=r"must give logits \(images, classes\), got a tensor of shape \(2, 8, 16, 16\)"
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
    assert json.dumps(facts_of(wider))
