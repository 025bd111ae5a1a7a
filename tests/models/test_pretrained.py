"""Laws of timm's networks with weights of a file: their numbers are those that timm itself would load."""

import inspect
import re
import threading
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from harmonia.errors import InputError
from harmonia.models import pretrained
from harmonia.models.load import load
from harmonia.models.spec import ModelSpec
from harmonia.models.timm import build


def spec(arch: str, path: Path | str = "random", **settings) -> ModelSpec:
    return ModelSpec(name="m", arch=arch, family="f", weights=str(path), **settings)


def fresh(arch: str, **settings) -> nn.Module:
    """With numbers that no constructor gives: norms, positions and scales differ from 0 and 1."""
    torch.manual_seed(3)
    network = timm.create_model(arch, **settings).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return network


def saved(content, folder: Path, name: str = "w.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


def as_timm_loads(arch: str, path: Path, **settings) -> nn.Module:
    return timm.create_model(arch, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **settings).eval()


def assert_same(ours: nn.Module, theirs: nn.Module, size: int) -> None:
    """Numbers and logits, bit for bit."""
    expected = theirs.state_dict()
    assert ours.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in ours.state_dict().items())
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        assert torch.equal(ours.eval()(images), theirs.eval()(images))


def refusal(wanted: ModelSpec) -> str:
    with pytest.raises(InputError) as refused:
        build(wanted, 0)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- names of the original authors --------------------------------------------------------------


def renamed(state: dict[str, Tensor], *rules: tuple[str, str]) -> dict[str, Tensor]:
    for pattern, replacement in rules:
        state = {re.sub(pattern, replacement, key): value for key, value in state.items()}
    return state


def convnext(state: dict[str, Tensor]) -> dict:
    """Facebook's."""
    rules = [(r"^stem\.", "downsample_layers.0."), (r"\.blocks", ""), ("conv_dw", "dwconv"), (r"mlp\.fc", "pwconv")]
    rules += [(r"^stages\.(\d)\.downsample", r"downsample_layers.\1"), (r"^head\.norm", "norm"), (r"^head\.fc", "head")]
    flat = {key: value.flatten(1) if "mlp.fc" in key and value.ndim == 4 else value for key, value in state.items()}
    return {"model": renamed(flat, *rules)}


def swin(state: dict[str, Tensor]) -> dict:
    """Microsoft's: merging of patches ends a stage; buffers of attention are in the file."""
    state = {
        re.sub(r"^layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", key): value
        for key, value in renamed(state, (r"^head\.fc", "head")).items()
    }
    buffers = {"layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49, dtype=torch.int64)}
    return {"model": state | buffers | {"layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49)}}


def deit3(state: dict[str, Tensor]) -> dict:
    return {"model": renamed(state, (r"ls(\d)\.gamma", r"gamma_\1"))}


def crossvit(state: dict[str, Tensor]) -> dict:
    return {"model": renamed(state, (r"^(pos_embed|cls_token)_", r"\1."))}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "original", "size"),
    [
        ("test_convnext", convnext, 64),
        ("crossvit_9_240", crossvit, 240),
        pytest.param("deit3_small_patch16_224", deit3, 224, marks=pytest.mark.slow),
        pytest.param("swin_tiny_patch4_window7_224", swin, 224, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("classes", [1000, 7])
def test_the_original_authors_files_load_as_timm_loads_them(tmp_path, arch, original, size, classes):
    network = fresh(arch, num_classes=classes)
    content = original(network.state_dict())
    assert content["model"].keys() != network.state_dict().keys()
    built = build(spec(arch, saved(content, tmp_path)), 0)
    assert built.num_classes == classes
    assert_same(built.network, network, size)
    if classes == 1000:
        assert_same(built.network, as_timm_loads(arch, tmp_path / "w.pth"), size)


def test_original_names_under_lightnings_prefix_load(tmp_path):
    network = fresh("test_convnext")
    state = {f"model.{key}": value for key, value in convnext(network.state_dict())["model"].items()}
    assert_same(build(spec("test_convnext", saved({"state_dict": state}, tmp_path)), 0).network, network, 64)


@pytest.mark.parametrize("arch", ["test_convnext", "test_vit", "crossvit_9_240"])
def test_what_the_filter_cannot_read_is_refused_by_the_files_own_names(tmp_path, arch):
    message = refusal(spec(arch, saved({"encoder.weight": torch.ones(2, 2), "encoder.bias": torch.ones(2)}, tmp_path)))
    assert "does not fit the architecture" in message
    assert "tensors missing" in message


def test_a_tensor_that_is_missing_stays_missing_behind_the_filter(tmp_path):
    state = convnext(fresh("test_convnext").state_dict())["model"]
    del state["norm.bias"]
    assert "1 tensors missing (head.norm.bias), 0 unexpected" in refusal(spec("test_convnext", saved(state, tmp_path)))


SMALL = [
    "test",
    "atto",
    "femto",
    "nano",
    "xxs",
    "xx_small",
    "_xs",
    "tiny",
    "_ti",
    "_s0",
    "_b0",
    "_t_",
    "_s_",
    "mini",
    "_t",
    "18",
    "small",
    "_s",
]


def one_of_each_module() -> list[str]:
    """A small one as far as its name says so."""
    by_size = sorted(timm.list_models(), key=lambda arch: [word not in arch for word in SMALL])
    archs = {timm.model_entrypoint(arch).__module__: arch for arch in reversed(by_size)}
    return sorted(arch for arch in archs.values() if timm.get_pretrained_cfg(arch) is not None)


@pytest.mark.slow
@pytest.mark.parametrize("arch", one_of_each_module())
def test_every_filter_of_timm_is_found_and_gives_what_fits_already(arch):
    module = inspect.getmodule(timm.model_entrypoint(arch))
    of_timm = pretrained._filter(arch)
    if hasattr(module, "checkpoint_filter_fn"):
        assert getattr(of_timm, "func", of_timm) is module.checkpoint_filter_fn  # some have arguments set
    else:
        assert (of_timm is None) == ("pretrained_filter_fn" not in inspect.getsource(module))
    if of_timm is not None:
        with torch.device("meta"):
            network = timm.create_model(arch)
        state = network.state_dict()
        filtered = pretrained._filtered(of_timm, state, network)
        assert {key: value.shape for key, value in filtered.items()} == {key: v.shape for key, v in state.items()}


def test_the_filter_is_found_without_loading_and_beside_other_threads(monkeypatch):
    state = {key: value + 1 for key, value in fresh("test_vit").state_dict().items()}
    create, elsewhere = timm.create_model, []

    def create_beside(arch, **settings):
        def load_there():
            elsewhere.append(create(arch, pretrained=True, pretrained_cfg_overlay={"state_dict": state}))

        thread = threading.Thread(target=load_there)
        thread.start()
        thread.join()
        return create(arch, **settings)

    monkeypatch.setattr(timm, "create_model", create_beside)
    before = timm.models._builder.load_pretrained
    assert pretrained._filter("test_vit") is timm.models.vision_transformer.checkpoint_filter_fn
    assert timm.models._builder.load_pretrained is before
    assert all(torch.equal(value, state[key]) for key, value in elsewhere[0].state_dict().items())


# --- heads --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "size"),
    [
        ("test_resnet", 64),
        ("mobilenetv3_small_050", 64),
        ("repvit_m0_9", 64),
        ("deit_tiny_distilled_patch16_224", 224),
        pytest.param("levit_128s", 224, marks=pytest.mark.slow),
        pytest.param("crossvit_9_240", 240, marks=pytest.mark.slow),
        pytest.param("efficientvim_m1_dist", 224, marks=pytest.mark.slow),
    ],
)
def test_a_head_of_another_size_is_recognised(tmp_path, arch, size):
    network = fresh(arch, num_classes=7)
    state = {f"model.{key}": value for key, value in network.state_dict().items()}
    built = build(spec(arch, saved({"state_dict": state}, tmp_path, "last.ckpt")), 0)
    assert built.num_classes == 7
    assert_same(built.network, network, size)


def test_heads_of_two_sizes_are_refused(tmp_path):
    state = fresh("deit_tiny_distilled_patch16_224", num_classes=7).state_dict()
    state["head_dist.weight"] = torch.ones(8, 192)
    message = refusal(spec("deit_tiny_distilled_patch16_224", saved(state, tmp_path)))
    assert "0 tensors missing, 0 unexpected" in message
    assert "(head.weight: (7, 192) for (1000, 192), head.bias: (7,) for (1000,), head_dist.weight: (8, 192)" in message


# --- input sizes --------------------------------------------------------------------------------

FIXED = ["test_vit", "test_vit2", "test_vit3", "test_vit_relpos", "test_coatnet", "test_maxvit"]
LARGE = ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "swin_tiny_patch4_window7_224"]
LARGE += ["xcit_nano_12_p16_224", "eva02_tiny_patch14_336", "swinv2_cr_tiny_224"]


@pytest.mark.parametrize("arch", FIXED + [pytest.param(arch, marks=pytest.mark.slow) for arch in LARGE])
def test_another_input_size_is_timms(tmp_path, arch):
    size = 112 if "patch14" in arch else 128
    path = saved(fresh(arch).state_dict(), tmp_path)
    theirs = as_timm_loads(arch, path, img_size=size)
    assert_same(build(spec(arch, path, input_size=size), 0).network, theirs, size)
    classifier = load(spec(arch, path, input_size=size))
    assert classifier(torch.rand(1, 3, size, size)).shape == (1, 1000)


@pytest.mark.parametrize("arch", FIXED)
def test_random_networks_take_another_input_size(arch):
    torch.manual_seed(5)
    theirs = timm.create_model(arch, img_size=128)
    assert_same(build(spec(arch, input_size=128), 5).network, theirs, 128)


@pytest.mark.slow
@pytest.mark.parametrize(("tuned", "taken"), [("384", "224"), pytest.param("224", "384", marks=pytest.mark.slow)])
def test_weights_tuned_at_another_size_load_under_a_name(tmp_path, tuned, taken):
    path = saved(fresh(f"vit_tiny_patch16_{tuned}").state_dict(), tmp_path)
    arch = f"vit_tiny_patch16_{taken}"
    assert_same(build(spec(arch, path), 0).network, as_timm_loads(arch, path), int(taken))
    at_its_size = build(spec(arch, path, input_size=int(tuned)), 0).network
    assert_same(at_its_size, fresh(f"vit_tiny_patch16_{tuned}"), int(tuned))


def test_convolutions_see_any_size_as_before(tmp_path):
    network = fresh("test_resnet")
    built = build(spec("test_resnet", saved(network.state_dict(), tmp_path), input_size=96), 0)
    assert_same(built.network, network, 96)


@pytest.mark.parametrize(
    "arch", ["gmlp_ti16_224", *(pytest.param(arch, marks=pytest.mark.slow) for arch in ("nest_tiny", "pit_ti_224"))]
)
def test_positions_that_timm_does_not_resample_are_refused(tmp_path, arch):
    path = saved(fresh(arch).state_dict(), tmp_path)
    with pytest.raises(RuntimeError, match="size mismatch"):
        as_timm_loads(arch, path, img_size=128)
    message = refusal(spec(arch, path, input_size=128))
    assert "0 tensors missing, 0 unexpected" in message
    assert message.endswith("or source=python with a factory that builds their network")


@pytest.mark.parametrize(("arch", "size"), [("crossvit_9_240", 160), ("halonet26t", 100), ("test_maxvit", 100)])
def test_a_size_that_an_architecture_cannot_see_is_refused(arch, size):
    message = refusal(spec(arch, input_size=size))
    assert message.startswith(f"m: input_size must suit {arch}, got {size}: ")


# --- classes ------------------------------------------------------------------------------------


def test_the_classes_of_the_checkpoint_name_the_outputs(tmp_path):
    content = {"state_dict": fresh("test_resnet", num_classes=3).state_dict(), "class_to_idx": {"c": 0, "a": 2, "b": 1}}
    path = saved(content, tmp_path)
    assert load(spec("test_resnet", path)).classes == ("c", "b", "a")
    (tmp_path / "classes.txt").write_text("x\ny\nz\n")
    assert load(spec("test_resnet", path, classes=tmp_path / "classes.txt")).classes == ("x", "y", "z")


def test_as_many_classes_as_outputs_are_believed(tmp_path):
    content = {"state_dict": fresh("test_resnet", num_classes=3).state_dict(), "classes": ["a", "b"]}
    with pytest.raises(InputError, match="its 3 classes need names; give source"):
        load(spec("test_resnet", saved(content, tmp_path)))
