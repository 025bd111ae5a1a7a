"""Networks whose images are rectangles, or grey: their maps lie where their images change, or one line says why not."""

from dataclasses import replace

import pytest
import timm
import torch
from networks import explain, wrap
from timm.models.swin_transformer import SwinTransformer
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

import harmonia
from harmonia.errors import InputError
from harmonia.evaluation.mosaics.presentation import PartHead, PerCell
from harmonia.models import memory
from harmonia.models.classifier import Classifier
from harmonia.models.load import classifier_of, load
from harmonia.models.spec import ModelSpec
from harmonia.models.timm import made_by_timm

pytestmark = pytest.mark.usefixtures("one_thread")

HEIGHT, WIDTH = SIZE = 64, 32
RGB = {"mean": (0.5,) * 3, "std": (0.25,) * 3}


def spec_of(kind: str, arch: str = "own", **options) -> ModelSpec:
    return ModelSpec(name=arch, arch=arch, family="any", kind=kind, **{"weights": "random", **options})


def in_memory(network: nn.Module, transform: dict | None = None, **options) -> Classifier:
    spec = spec_of("python", **options)
    built = memory.in_memory(network, transform or {}, spec)
    return classifier_of(replace(built, classes=tuple(map(str, range(built.num_classes)))), spec)


def cnn(channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


class Tokens(nn.Module):
    """A transformer with a class token, whose patches stand in the order of the image or in another."""

    def __init__(self, order: torch.Tensor | None = None):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.order = nn.Conv2d(3, 16, 4, stride=4), order
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True) for _ in range(3))
        self.head = nn.Linear(16, 5)

    def forward(self, images):
        patches = self.embed(images).flatten(2).mT
        patches = patches if self.order is None else patches[:, self.order]
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens[:, 0])


class ChannelsLast(nn.Module):
    """Maps (B, h, w, C) on the way, as of Swin's kind."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.mix = nn.Conv2d(3, 16, 4, stride=4), nn.Sequential(nn.Linear(16, 16), nn.GELU())
        self.head = nn.Linear(16, 5)

    def forward(self, images):
        return self.head(self.mix(self.embed(images).permute(0, 2, 3, 1)).mean((1, 2)))


def timm_vit() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", img_size=SIZE, patch_size=8, depth=3, num_classes=5)


def swin() -> Classifier:
    torch.manual_seed(0)
    size = 112, 56
    network = SwinTransformer(
        img_size=size, window_size=7, embed_dim=24, depths=(1, 1), num_heads=(2, 2), num_classes=5
    )
    return wrap(network, size=size, classes=5)


NETWORKS = {
    "cnn": (lambda: in_memory(cnn(), input_size=SIZE, **RGB), (16, 8)),
    "tokens": (lambda: in_memory(Tokens(), input_size=SIZE, **RGB), (16, 8)),
    "channels last": (lambda: in_memory(ChannelsLast(), input_size=SIZE, **RGB), (16, 8)),
    "timm in memory": (lambda: in_memory(timm_vit()), (8, 4)),
    "timm's cnn": (lambda: load(spec_of("timm", "test_resnet", input_size=(128, 64))), (4, 2)),
    "timm's vit": (lambda: load(spec_of("timm", "vit_tiny_patch16_224", input_size=SIZE)), (4, 2)),
    "torchvision": (lambda: load(spec_of("torchvision", "resnet18", input_size=(128, 64))), (4, 2)),
    "swin": (swin, (14, 7)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_map_changes_where_the_image_does(name):
    make, grid = NETWORKS[name]
    classifier = make()
    height, width = classifier.view.height, classifier.view.width
    generator = torch.Generator().manual_seed(1)
    images = torch.full((1, 3, height, width), 0.5) + 0.02 * torch.randn(1, 3, height, width, generator=generator)
    layer = classifier.layer_name("final")
    maps: list[torch.Tensor] = []
    with (
        classifier.layer(layer).register_forward_hook(lambda module, args, output: maps.append(output)),
        torch.no_grad(),
    ):
        classifier(images)
        for top in (0, height // 2):
            for left in (0, width // 2):
                changed = images.clone()
                shape = 1, 3, height // 2, width // 2
                changed[..., top : top + shape[2], left : left + shape[3]] = torch.rand(shape, generator=generator)
                classifier(changed)
    plain, *others = (classifier.spatial(output) for output in maps)
    assert plain.shape[2:] == grid
    quarters = [adaptive_avg_pool2d((other - plain).abs().sum(1), 2).flatten() for other in others]
    assert [change.argmax().item() for change in quarters] == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["cnn", "tokens", "timm in memory"])
def test_grad_cam_is_autograds(name):
    classifier = NETWORKS[name][0]()
    pixels = torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    explanation = explain(classifier, pixels)
    outputs: list[torch.Tensor] = []
    with classifier.layer(classifier.layer_name("final")).register_forward_hook(
        lambda module, args, output: outputs.append(output.requires_grad_()) or output
    ):
        logits = classifier(pixels.float() / 255)
    score = logits.gather(1, explanation.explained[:, None]).sum()
    (gradient,) = torch.autograd.grad(score, outputs)
    features = outputs[0].detach()
    rows, columns = NETWORKS[name][1]
    if features.ndim == 3:
        features, gradient = (part[:, 1:].mT.unflatten(2, (rows, columns)) for part in (features, gradient))
    expected = (gradient.mean((2, 3), keepdim=True) * features).sum(1)
    torch.testing.assert_close(explanation.maps, expected)


def test_scrambled_tokens_of_a_rectangle_are_refused():
    order = torch.randperm(128, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match=r"does not change where the image does"):
        _ = in_memory(Tokens(order), input_size=SIZE, **RGB).structure.final


def test_a_size_that_a_network_cannot_see_is_refused_in_one_line():
    with pytest.raises(InputError, match=r"input_size must suit vit_tiny_patch16_224, got \(8, 32\)"):
        load(spec_of("timm", "vit_tiny_patch16_224", input_size=(8, 32)))


@pytest.mark.parametrize("present", [PerCell, PartHead])
def test_mosaics_of_rectangles_have_maps_cell_by_cell(present):
    classifier = NETWORKS["timm's cnn"][0]()
    height, width = classifier.view.height, classifier.view.width
    pixels = torch.randint(0, 256, (1, 3, 2 * height, 2 * width), dtype=torch.uint8)
    presented = present(classifier, 2, 1)
    assert explain(presented, pixels).maps.shape == (1, 8, 4)
    if present is PerCell:
        with torch.no_grad():
            alone = classifier(pixels[..., :height, width:] / 255)
            torch.testing.assert_close(presented(pixels / 255), alone)  # the upper right cell


# --- channels -----------------------------------------------------------------------------------


def test_timms_grey_network_in_memory_sees_the_luma():
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", in_chans=1, num_classes=5).eval()
    classifier = in_memory(network)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    luma = (images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    mean, std = (sum(network.pretrained_cfg[key]) / 3 for key in ("mean", "std"))
    assert [*classifier.view.mean, *classifier.view.std] == pytest.approx([mean, std])
    with torch.no_grad():
        torch.testing.assert_close(classifier(images), network((luma - mean) / std))
    assert explain(classifier, (images * 255).byte()).maps.abs().amax() > 0


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit", "test_convnext"])
def test_timms_grey_weights_make_a_grey_network(arch, tmp_path):
    torch.manual_seed(0)
    network = timm.create_model(arch, in_chans=1, num_classes=5).eval()
    torch.save(network.state_dict(), tmp_path / "grey.pth")
    classes = tmp_path / "classes.txt"
    classes.write_text("a\nb\nc\nd\ne\n")
    classifier = load(spec_of("timm", arch, weights=str(tmp_path / "grey.pth"), classes=classes))
    assert len(classifier.view.mean) == 1
    size = classifier.view.height
    image = torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(classifier.network(image), network.to(memory_format=torch.channels_last)(image))


@pytest.mark.parametrize("arch", ["tresnet_m", "naflexvit_base_patch16_gap"])
def test_a_first_layer_that_reads_patches_is_not_asked_for_channels(arch):
    with torch.device("meta"):
        network = timm.create_model(arch)
    assert made_by_timm(network).channels == 3


def test_networks_of_four_channels_are_taken_where_their_normalisation_is_known(tmp_path):
    torch.save(timm.create_model("test_resnet", in_chans=4).state_dict(), tmp_path / "four.pth")
    four = {"mean": (0.5,) * 4, "std": (0.5,) * 4, "size": 32}
    for classifier in (
        in_memory(timm.create_model("test_resnet", in_chans=4)),
        load(spec_of("timm", "test_resnet", weights=str(tmp_path / "four.pth"))),
        harmonia.classifier(cnn(4), classes=list("abcde"), transform=four),
    ):
        assert classifier.view.channels == 4
        assert classifier(torch.rand(1, 4, classifier.view.height, classifier.view.width)).isfinite().all()
    with pytest.raises(InputError, match="crop_mode=border must be of RGB or grey images, got 4 channels"):
        harmonia.classifier(cnn(4), classes=list("abcde"), transform={**four, "crop_mode": "border"})


def three_means(door: str, folder) -> None:
    if door == "python":
        in_memory(cnn(4), input_size=32, **RGB)
    elif door == "torchvision":
        import torchvision

        state = torchvision.models.resnet18(weights=None).state_dict()
        state["conv1.weight"] = torch.randn(64, 4, 7, 7)
        torch.save(state, folder / "four.pth")
        load(spec_of("torchvision", "resnet18", weights=str(folder / "four.pth")))
    else:
        transformers = pytest.importorskip("transformers")
        tiny = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, num_labels=5)
        config = transformers.ViTConfig(num_channels=4, image_size=32, patch_size=8, **tiny)
        transformers.ViTForImageClassification(config).save_pretrained(folder)
        transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
        load(spec_of("huggingface", str(folder)))


@pytest.mark.parametrize("door", ["python", "torchvision", "huggingface"])
def test_four_channels_with_three_means_are_refused_in_one_line(door, tmp_path):
    with pytest.raises(InputError) as refusal:
        three_means(door, tmp_path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("options", [{"mean": (0.5,)}, {"mean": (0.5,), "std": (0.5,)}])
def test_a_normalisation_of_other_channels_is_refused(options):
    with pytest.raises(
        InputError, match="mean and std must have as many numbers as the network's images have channels, 3"
    ):
        load(spec_of("timm", "test_resnet", **options))
