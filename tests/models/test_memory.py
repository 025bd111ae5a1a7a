"""Networks in memory: one key where they answer alike, another where not; the caller's copy; outputs are counted."""

import threading
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
import timm
import torch
import torchvision
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn
from torch.nn import functional as F

import harmonia
from harmonia.errors import InputError
from harmonia.models.load import load
from harmonia.models.spec import ModelSpec

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = ["cat", "dog", "owl"]
TRANSFORM = {"size": 32, "mean": (0.5,) * 3, "std": (0.25,) * 3}


def classifier(network: nn.Module, **options):
    return harmonia.classifier(network, **{"classes": CLASSES, "transform": TRANSFORM, **options})


def saved(network: nn.Module, arch: str, kind: str, tmp_path, **options):
    torch.save(network.state_dict(), tmp_path / "w.pth")
    weights = str(tmp_path / "w.pth")
    spec = {"name": arch, "arch": arch, "family": "any", "kind": kind, "weights": weights, "classes": tuple(CLASSES)}
    return load(ModelSpec(**{**spec, **options}))


class Net(nn.Module):
    def __init__(self, act=torch.relu, classes: int = 3):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc, self.act = nn.Conv2d(3, 8, 3), nn.Linear(8, classes), act

    def forward(self, images):
        return self.fc(self.act(self.conv(images)).mean((2, 3)))


# --- keys ---------------------------------------------------------------------------------------


def of_timm(tmp_path):
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", drop_path_rate=0.1)
    network.fc = nn.Linear(network.fc.in_features, 3)  # as one tunes it; its num_classes stays 1,000
    transform = create_transform(**resolve_model_data_config(network), is_training=False)
    return saved(network, "test_resnet", "timm", tmp_path), classifier(network, transform=transform)


def of_timm_at_another_size(tmp_path):
    network = timm.create_model("test_vit", num_classes=3, img_size=64)
    return saved(network, "test_vit", "timm", tmp_path, input_size=64), classifier(network, transform=None)


def of_torchvision(tmp_path):
    network = torchvision.models.squeezenet1_1(num_classes=3)
    transform = torchvision.models.SqueezeNet1_1_Weights.DEFAULT  # or its transforms()
    return saved(network, "squeezenet1_1", "torchvision", tmp_path), classifier(network, transform=transform)


def of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ViTConfig(image_size=32, patch_size=8, num_labels=5, **shape)
    network = transformers.ViTForImageClassification(config)
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    network.save_pretrained(tmp_path / "a vit")
    processor.save_pretrained(tmp_path / "a vit")
    by_kind = harmonia.classifier(f"huggingface:{tmp_path}/a vit/")
    assert (by_kind.name, by_kind.spec.family) == ("a vit", "a vit")
    return by_kind, harmonia.classifier(network, transform=processor)


@pytest.mark.parametrize(
    "both",
    [
        of_timm,
        of_timm_at_another_size,
        pytest.param(of_torchvision, marks=pytest.mark.slow),
        pytest.param(of_transformers, marks=pytest.mark.slow),
    ],
)
def test_a_network_has_one_key_in_memory_and_by_its_kind(both, tmp_path):
    by_kind, in_memory = both(tmp_path)
    assert in_memory.identity() == by_kind.identity()


def _with(network: nn.Module, **attributes) -> nn.Module:
    for name, value in attributes.items():
        setattr(network, name, value)
    return network


def _with_forward(text: str, **around) -> nn.Module:
    """A network whose cell of a notebook was edited: one name, other code."""
    names = {"__name__": "__main__", **around}
    exec(f"def forward(self, x):\n    return {text}", names)
    network = Net()
    network.__class__ = type("Net", (Net,), {"forward": names["forward"]})
    return network


def _of_timm(**options) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=3, **options)


def _tanh(network: nn.Module) -> nn.Module:
    for module in list(network.modules()):
        for name, inner in module.named_children():
            if isinstance(inner, nn.ReLU):
                setattr(module, name, nn.Tanh())
    return network


def _buffered(value: float) -> nn.Module:
    network = Net()
    network.register_buffer("shift", torch.tensor(value), persistent=False)
    return network


PLAIN = "self.fc(self.act(self.conv(x)).mean((2, 3)))"


@pytest.mark.parametrize(
    ("network", "edited"),
    [
        (Net, lambda: Net(F.gelu)),
        (lambda: Net(lambda maps: maps.relu()), lambda: Net(lambda maps: maps.tanh())),
        (lambda: Net(partial(F.elu, alpha=0.1)), lambda: Net(partial(F.elu, alpha=1.0))),
        (lambda: _with_forward(PLAIN), lambda: _with_forward(f"{PLAIN} * float('nan')")),
        (lambda: _with_forward(PLAIN), lambda: _with_forward(f"{PLAIN}.detach()")),
        (lambda: _with_forward(f"{PLAIN} * K", K=1), lambda: _with_forward(f"{PLAIN} * K", K=2)),
        (
            lambda: _with_forward(f"f({PLAIN})", f=lambda logits: logits),
            lambda: _with_forward(f"f({PLAIN})", f=lambda logits: -logits),
        ),
        (lambda: _with(Net(), how={"power": 1}), lambda: _with(Net(), how={"power": 2})),
        (lambda: _with(Net(), order=torch.arange(3)), lambda: _with(Net(), order=torch.tensor([2, 1, 0]))),
        (lambda: _with(Net(), apart=[nn.LayerNorm(3)]), lambda: _with(Net(), apart=[nn.LayerNorm(3, eps=1.0)])),
        (lambda: _buffered(1.0), lambda: _buffered(2.0)),
        (_of_timm, lambda: _tanh(_of_timm())),
        (_of_timm, lambda: _of_timm(global_pool="max")),
        (_of_timm, lambda: _with(_of_timm(), forward=lambda images: images.mean((2, 3)))),
    ],
)
def test_networks_of_one_class_and_equal_tensors_have_keys_of_their_own(network, edited):
    numbers = [{name: tensor.sum() for name, tensor in make().state_dict().items()} for make in (network, edited)]
    assert numbers[0] == numbers[1]
    first, second, changed = (classifier(make()).identity() for make in (network, network, edited))
    assert first != changed
    assert first == second


def test_a_reshape_is_in_the_key_and_applies_to_every_kind():
    def right(maps):
        return maps

    def turned(maps):
        return maps.mT

    keys = [classifier(Net(), reshape=reshape).identity()["weights"] for reshape in (None, right, turned, right)]
    assert len(set(keys)) == 3
    assert keys[1] == keys[3]
    assert classifier(_of_timm(), reshape=right).identity() != classifier(_of_timm()).identity()
    with pytest.raises(InputError, match="no feature map was found"):
        classifier(_of_timm(), reshape=lambda maps: maps.flatten(1)).layer_name("final")


# --- outputs ------------------------------------------------------------------------------------


def of_transformers_with_a_head(outputs: int) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    network = transformers.ViTForImageClassification(transformers.ViTConfig(image_size=32, patch_size=8, **shape))
    network.classifier = nn.Linear(16, outputs)
    return network


def of_timm_with_a_head(outputs: int) -> nn.Module:
    network = timm.create_model("test_resnet")
    network.fc = nn.Sequential(nn.Dropout(), nn.Linear(network.fc.in_features, outputs))
    return network


@pytest.mark.parametrize(
    "network",
    [
        of_timm_with_a_head,
        lambda outputs: Net(classes=outputs),
        pytest.param(of_transformers_with_a_head, marks=pytest.mark.slow),
    ],
)
def test_outputs_are_counted_whatever_a_network_says_of_its_classes(network):
    tuned = classifier(network(3))
    assert tuned.classes == tuple(CLASSES)
    assert tuned.represent(torch.rand(2, 3, 32, 32))[0].shape == (2, 3)
    with pytest.raises(InputError, match="its 7 classes need names"):
        classifier(network(7), classes=None)
    with pytest.raises(InputError, match="must name the weights' 7 classes, got 3"):
        classifier(network(7))


def test_a_transform_without_mean_suits_grey_and_colour():
    transforms = torchvision.transforms
    squash = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
    assert classifier(Net(), transform=squash).view.mean == (0.0,) * 3
    grey = Net()
    grey.conv = nn.Conv2d(1, 8, 3)
    assert classifier(grey, transform=squash).view.mean == (0.0,)


# --- the copy -----------------------------------------------------------------------------------


def test_hooks_of_the_callers_do_not_run_and_those_of_torch_do():
    network, calls = Net(), []
    network.conv.register_forward_hook(lambda *call: calls.append(call) or call[2] * 0)
    network.conv.register_forward_pre_hook(lambda *call: calls.append(call))
    assert classifier(network).identity() == classifier(Net()).identity()
    assert not calls
    pruned = Net()
    torch.nn.utils.prune.random_unstructured(pruned.fc, "weight", 0.5)
    pruned(torch.rand(1, 3, 32, 32))  # its weight is a result now, which deepcopy refuses
    images = torch.rand(2, 3, 32, 32)
    ours = classifier(pruned)
    torch.testing.assert_close(ours(images), pruned((images - ours.mean) / ours.std))


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_a_classifier_may_be_made_where_gradients_are_off(mode):
    with mode():
        ours = classifier(Net())
    assert ours.layer_name("final") == "conv"
    assert ours.identity() == classifier(Net()).identity()


def test_what_compiles_or_shares_a_network_is_taken_off():
    compiled = type("OptimizedModule", (nn.Module,), {})()  # torch.compile itself takes seconds
    compiled._orig_mod = Net()
    for wrapped in (nn.DataParallel(Net()), compiled):
        ours = classifier(wrapped)
        assert (ours.name, ours.identity()) == ("net", classifier(Net()).identity())


LIST: list = []
LIST.append(LIST)


class Ends(Net):
    def __init__(self, end):
        super().__init__()
        self.end = end

    def forward(self, images):
        return self.end(super().forward(images))


class OneRow(Net):
    def forward(self, images):
        return super().forward(images)[:1]


@pytest.mark.parametrize(
    ("network", "line"),
    [
        (lambda: Net().to("meta"), "must have numbers, got conv.weight on the meta device; load"),
        (lambda: _with(Net(), lock=threading.Lock()), "must be one that copy.deepcopy copies, got: cannot pickle"),
        (lambda: torch.jit.trace(Net(), torch.rand(1, 3, 32, 32)), "must be Python's, got TorchScript; give"),
        (lambda: Net().to(torch.complex64), "must be of real numbers, got complex ones in conv.weight"),
        (lambda: _with(Net(), _orig_mod=LIST), r"got: .* has no attribute 'state_dict'; take out"),
        (lambda: _with(Net(), own=LIST), "must be plain enough to tell it from others, got: maximum recursion"),
        (
            lambda: _with(Net(), config=Mock(**{"to_dict.side_effect": KeyError("\x1b[31m")})),
            r"others, got: '\\x1b\[31m'",
        ),
        (partial(Ends, lambda logits: logits.to(torch.complex64)), "must be plain real numbers, got torch.strided"),
        (partial(Ends, Tensor.to_sparse), "must be plain real numbers, got torch.sparse_coo"),
        (OneRow, r"must give logits \(images, classes\), got \(1, 3\) for two images"),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_network_that_cannot_be_copied_or_asked_is_refused_in_one_line(network, line):
    with pytest.raises(InputError, match=line) as caught:
        classifier(network())
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "value", [np.array(["a", "b"]), np.array(["2020-01-01", "2021-01-01"], "M8[D]"), np.zeros(2, "f4,U5")]
)
def test_whatever_an_array_holds_is_in_the_key(value):
    keys = [str(classifier(_with(Net(), own=own)).identity()) for own in (value, value[:1], value)]
    assert keys[0] == keys[2] != keys[1]
