"""Laws of checkpoints: whatever a training program wraps around a network, its logits are those of the network."""

import datetime
import zipfile
from argparse import Namespace
from collections import OrderedDict, defaultdict
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from pytorch_lightning import LightningModule, Trainer
from timm.models import load_checkpoint
from timm.utils import CheckpointSaver, ModelEmaV3
from torch import Tensor, nn

from harmonia.errors import InputError
from harmonia.models import checkpoint, weights
from harmonia.models.load import load
from harmonia.models.pickled import check_tuples
from harmonia.models.spec import ModelSpec

ARCH = "test_efficientnet"
RNG = {"rng": [torch.zeros(4, dtype=torch.uint8)]}


@cache
def trained() -> nn.Module:
    torch.manual_seed(3)
    network = timm.create_model(ARCH).eval()
    network(torch.rand(2, 3, 64, 64))
    return network


def state(shift: float = 0) -> dict[str, Tensor]:
    return {key: value + shift if value.is_floating_point() else value for key, value in trained().state_dict().items()}


def under(prefix: str, tensors: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in (state() if tensors is None else tensors).items()}


def loaded(path: Path) -> nn.Module:
    torch.manual_seed(8)
    network = timm.create_model(ARCH).eval()
    weights.load_strictly(network, checkpoint.read(path, "m").state, "m", path)
    return network


def refusal(call, *arguments) -> str:
    with pytest.raises(InputError) as refused:
        call(*arguments)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def assert_same_logits(network: nn.Module, expected: nn.Module | None = None) -> None:
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(network(images), (expected or trained())(images))


def saved(content, folder: Path, name: str = "w.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


# --- wrappers -----------------------------------------------------------------------------------

LIGHTNING = {
    "epoch": 3,
    "global_step": 9,
    "pytorch-lightning_version": "2.5.0",
    "state_dict": {},
    "optimizer_states": [{"state": {0: {"step": torch.tensor(9.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}],
    "lr_schedulers": [{"last_epoch": 3, "_last_lr": [0.1]}],
    "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_path": "", "kth_value": torch.tensor(1.0)}},
    "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 3}}}},
    "hyper_parameters": {"lr": 0.1, "classes": 1000},
}
BESIDE = {"epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}, "lr_scheduler": {"last_epoch": 3}, **RNG}


@pytest.mark.parametrize(
    "prefix", ["model.", "net.", "network.", "backbone.", "model._orig_mod.", "model.module.", "a.b."]
)
def test_lightnings_checkpoints_load_under_any_common_prefix(tmp_path, prefix):
    tensors = under(prefix) | {"criterion.weight": torch.ones(1000), "val_accuracy.correct": torch.tensor(3)}
    assert_same_logits(loaded(saved(LIGHTNING | {"state_dict": tensors}, tmp_path, "last.ckpt")))


@pytest.mark.parametrize(
    "key",
    [
        "state_dict",
        "model_state_dict",
        "model_state",
        "model",
        "net",
        "network",
        "module",
        "params",
        "what_i_called_it",
    ],
)
@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.ckpt", "w.pth.tar"])
def test_a_network_beside_what_training_needs_is_taken(tmp_path, key, name):
    path = saved({**BESIDE, key: state()}, tmp_path, name)
    assert weights.find_weights(str(path), "m", ARCH) == path
    assert_same_logits(loaded(path))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", ""])
@pytest.mark.parametrize("averaged", [False, True])
def test_timms_own_training_checkpoints_load_as_timm_loads_them(tmp_path, prefix, averaged):
    content = {**BESIDE, "arch": ARCH, "args": Namespace(lr=0.1, model=ARCH), "version": 2, "metric": 71.5}
    content["state_dict"] = under(prefix, state(0.25 * averaged))
    if averaged:
        content["state_dict_ema"] = under(prefix)
    path = saved(content, tmp_path, "model_best.pth.tar")
    theirs = timm.create_model(ARCH).eval()
    load_checkpoint(theirs, str(path))
    assert_same_logits(loaded(path), theirs)
    assert Namespace not in torch.serialization.get_safe_globals()


def test_what_timms_saver_writes_loads(tmp_path):
    raw = timm.create_model(ARCH)
    averaged = ModelEmaV3(trained())
    saver = CheckpointSaver(
        raw,
        torch.optim.AdamW(raw.parameters()),
        args=Namespace(model=ARCH, opt="adamw", input_size=[3, 64, 64], mean=None),
        model_ema=averaged,
        checkpoint_dir=str(tmp_path),
        recovery_dir=str(tmp_path),
    )
    saver.save_checkpoint(0, metric=71.5)
    assert_same_logits(loaded(tmp_path / "model_best.pth.tar"), averaged.module)


class Training(LightningModule):
    def __init__(self, classes: list[str]):
        super().__init__()
        self.save_hyperparameters()
        self.net = trained()
        self.criterion = nn.CrossEntropyLoss(weight=torch.ones(1000))


def test_what_lightnings_trainer_writes_loads(tmp_path):
    names = [f"class {index}" for index in range(1000)]
    trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path, enable_progress_bar=False)
    trainer.strategy.connect(Training(names))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert_same_logits(loaded(tmp_path / "last.ckpt"))
    assert checkpoint.read(tmp_path / "last.ckpt", "m").classes == tuple(names)


def test_torchs_averaged_model_loads_as_it_predicts(tmp_path):
    averaged = torch.optim.swa_utils.AveragedModel(trained(), use_buffers=True)
    averaged.update_parameters(trained())
    path = saved(averaged.state_dict(), tmp_path)
    assert_same_logits(loaded(path), averaged)


def test_compiled_parts_and_parallel_parts_load(tmp_path):
    wrapped = {"blocks": "blocks._orig_mod", "conv_head": "conv_head.module"}
    tensors = {".".join(wrapped.get(word, word) for word in key.split(".")): value for key, value in state().items()}
    assert any("_orig_mod" in key for key in tensors)
    assert_same_logits(loaded(saved(tensors, tmp_path)))


def test_counts_of_a_profiler_are_left_out(tmp_path):
    counts = {f"{part}total_{kind}": torch.zeros(1) for part in ("", "conv_stem.") for kind in ("ops", "params")}
    assert_same_logits(loaded(saved(state() | counts, tmp_path)))


def test_batch_normalisation_without_counts_of_batches_loads(tmp_path):
    tensors = {key: value for key, value in state().items() if not key.endswith("num_batches_tracked")}
    assert len(tensors) < len(state())
    theirs = timm.create_model(ARCH).eval()
    theirs.load_state_dict(OrderedDict(tensors))  # torch takes files of before version 2 so
    network = loaded(saved({"state_dict": under("model.", tensors)}, tmp_path))
    assert_same_logits(network, theirs)
    assert {int(value) for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")} == {0}


# --- which of several ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["EMA", "ema_state_dict", "state_dict_ema", "params_ema", "swa_model", "averaged_model"]
)
def test_averaged_weights_go_before_the_raw_ones(tmp_path, key):
    raw = state(0.5)
    assert_same_logits(loaded(saved({"state_dict": raw, "model": raw, key: state()}, tmp_path)))
    assert_same_logits(loaded(saved({"model": raw, key: {"decay": 0.9, "module": under("module.")}}, tmp_path)))
    of_lightning = {"state_dict": raw, "callbacks": {"Averages": {key: under("model.")}, "Best": {"score": 1.0}}}
    assert_same_logits(loaded(saved(of_lightning, tmp_path)))
    path = saved({"model": raw, key: state(), "ema": state()}, tmp_path)
    assert f"several averages ({key}, ema); save the one you mean alone" in refusal(loaded, path)


@pytest.mark.parametrize(
    "prefix", ["ema_model.", "ema.module.", "net_ema.", "averaged_model.module.", "model_ema.module."]
)
def test_averaged_weights_within_lightnings_go_before_the_raw_ones(tmp_path, prefix):
    tensors = under("model.", state(0.5)) | under(prefix) | {f"{prefix}decay": torch.tensor(0.99)}
    assert_same_logits(loaded(saved({"state_dict": tensors}, tmp_path)))


def test_averaged_weights_without_statistics_are_not_passed_over_for_the_raw_ones(tmp_path):
    parameters = {key: value for key, value in state().items() if "running_" not in key}
    path = saved({"state_dict": under("model.", state(0.5)) | under("ema.", parameters)}, tmp_path)
    assert "tensors missing (bn1.running_mean, bn1.running_var, " in refusal(loaded, path)
    path = saved({"state_dict": under("ema.", state(0.5)) | under("swa_model.")}, tmp_path)
    assert "several networks (ema., swa_model.)" in refusal(loaded, path)


@pytest.mark.parametrize("averaged", [None, 0.999, True, {"decay": 0.999}])
def test_settings_of_averaging_are_no_weights(tmp_path, averaged):
    assert_same_logits(loaded(saved({"state_dict": state(), "ema": averaged}, tmp_path)))


def test_averaged_weights_without_names_are_refused(tmp_path):
    content = {"model": state(), "ema": {"decay": 0.9, "shadow_params": list(state().values())}}
    assert "averaged weights (ema) without names" in refusal(loaded, saved(content, tmp_path))


def test_two_networks_that_fit_as_well_are_refused(tmp_path):
    path = saved({"state_dict": under("student.") | under("teacher.", state(0.5))}, tmp_path)
    assert "several networks (student., teacher.); save the one you mean alone" in refusal(loaded, path)
    path = saved({"student": state(), "teacher": state(0.5)}, tmp_path)
    assert "2 state dicts (student, teacher); save the one you mean alone" in refusal(loaded, path)
    path = saved(state() | under("module.", state(0.5)), tmp_path)
    assert f"0 tensors missing, {len(state())} unexpected (module." in refusal(loaded, path)


# --- what does not load -------------------------------------------------------------------------


def test_the_first_tensors_that_do_not_fit_are_named(tmp_path):
    tensors = under("model.")
    classifier = tensors.pop("model.classifier.weight")
    tensors.pop("model.bn1.bias")
    tensors |= {"model.fc.weight": classifier, "model.conv_stem.weight": torch.ones(4, 3, 3, 3)}
    message = refusal(loaded, saved({"state_dict": tensors}, tmp_path))
    assert (
        "2 tensors missing (bn1.bias, classifier.weight), 1 unexpected (fc.weight), 1 of another shape (conv_stem"
        in message
    )
    assert message.endswith("or source=python with a factory that builds their network")


def test_names_of_tensors_cannot_break_the_line(tmp_path):
    message = refusal(loaded, saved(state() | {"a\n\x1b[31m": torch.ones(1), "b" * 5000: torch.ones(1)}, tmp_path))
    assert message.isprintable()
    assert len(message) < 1000


class Options:
    """A class of the user's own beside the weights."""


def test_what_could_run_code_is_named_with_the_way_out(tmp_path):
    path = saved({"state_dict": state(), "options": Options()}, tmp_path)
    message = refusal(loaded, path)
    assert f"it holds {__name__}.Options, which could run code" in message
    assert "open it by torch.load(FILE, weights_only=False) and save the state dict in it alone" in message
    assert "it holds timm.models.efficientnet.EfficientNet" in refusal(loaded, saved(trained(), tmp_path))


@pytest.mark.parametrize("form", [{}, {"_use_new_zipfile_serialization": False}])
def test_what_training_loops_write_beside_weights_is_passed_over(tmp_path, form):
    beside = {
        "best": np.float64(0.9),
        "epoch": np.int64(3),
        "history": np.arange(6.0).reshape(2, 3),
        "names": np.array(["a", "b"]),
        "when": datetime.datetime.now(datetime.UTC),
        "took": datetime.timedelta(1),
        "folder": tmp_path,
        "losses": defaultdict(list, {"train": [0.1, np.float32(0.2)]}),
        "classes": ["a", "b", "c"],
    }
    torch.save({"state_dict": defaultdict(int, state()), **beside}, tmp_path / "w.pth", **form)
    content = checkpoint.read(tmp_path / "w.pth", "own")
    assert content.classes == ("a", "b", "c")
    assert {key: value.sum() for key, value in content.state.items()} == {k: v.sum() for k, v in state().items()}
    message = refusal(loaded, saved({key: value.numpy() for key, value in state().items()}, tmp_path))
    assert "must hold a state dict (name -> tensor), got" in message
    assert "(no tensor)" in message


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_named(tmp_path):
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(tmp_path / "w.pt")
    assert "it is a TorchScript archive; save the state dict of the network" in refusal(loaded, tmp_path / "w.pt")


def test_what_stands_in_the_place_of_tensors_is_named(tmp_path):
    message = refusal(loaded, saved(state() | {"epoch": 3}, tmp_path))
    assert "must hold a state dict (name -> tensor), got epoch (int); save model.state_dict()" in message


def test_a_checkpoint_within_itself_ends(tmp_path):
    content = {"epoch": 3}
    content["state_dict"] = content
    assert "must hold a state dict" in refusal(loaded, saved(content, tmp_path))


# --- classes ------------------------------------------------------------------------------------

NAMES = ("tench", "my own", "ä")


@pytest.mark.parametrize(
    "content",
    [
        {"classes": list(NAMES)},
        {"class_names": NAMES, "classes": 3},
        {"class_to_idx": {"ä": 2, "tench": 0, "my own": 1}},
        {"hyper_parameters": {"lr": 0.1, "classes": list(NAMES)}},
        {"datamodule_hyper_parameters": {"class_to_idx": {"ä": 2, "tench": 0, "my own": 1}}},
        {"args": Namespace(lr=0.1, class_names=list(NAMES))},
        {"meta": {"CLASSES": NAMES}},
        {"idx_to_class": {2: "ä", 1: "my own ", 0: "tench"}},
    ],
)
def test_classes_in_a_checkpoint_are_read_in_the_order_of_the_outputs(tmp_path, content):
    assert checkpoint.read(saved({"state_dict": state(), **content}, tmp_path), "m").classes == NAMES


@pytest.mark.parametrize(
    "classes",
    [
        3,
        "abc",
        [],
        [1, 2],
        ["a", "a"],
        ["a", ""],
        ["a", "b\nc"],
        {"a": 1, "b": 2},
        {"a": 0, "b": 0},
        {"a": True, "b": False},
        {"a": "b"},
        {0: 1},
        {0: "a", 1: None},
        torch.ones(2),
    ],
)
def test_classes_that_are_no_names_are_not_believed(tmp_path, classes):
    assert checkpoint.read(saved({"state_dict": state(), "classes": classes}, tmp_path), "m").classes is None


def test_a_plain_state_dict_states_no_classes(tmp_path):
    read = partial(checkpoint.read, name="m")
    assert read(saved(state(), tmp_path)).classes is None
    assert read(saved({"state_dict": state()}, tmp_path)).classes is None


# --- other kinds of network ---------------------------------------------------------------------


def own_network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 4, 3), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), head=nn.Linear(4, 3))
    )


@pytest.mark.parametrize("kind", ["torchvision", "python"])
def test_every_kind_of_network_takes_a_training_programs_checkpoint(tmp_path, kind):
    torch.manual_seed(3)
    network = torchvision.models.squeezenet1_1(num_classes=3) if kind == "torchvision" else own_network()
    tensors = under("model.", network.state_dict()) | {
        "criterion.weight": torch.ones(3),
        "probe.weight": torch.ones(9, 9),
    }
    path = saved(LIGHTNING | {"state_dict": tensors, "hyper_parameters": {"class_names": list(NAMES)}}, tmp_path)
    options = {"arch": "squeezenet1_1", "mean": (0.0,) * 3, "std": (1.0,) * 3, "input_size": 64, "weights": path}
    built = load(ModelSpec(name="m", family="f", kind=kind, factory=f"{__name__}:own_network", **options))
    assert built.classes == NAMES
    images = torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    network = network.eval().to(memory_format=torch.channels_last)
    assert torch.equal(built(images), network(images))


@pytest.mark.parametrize("pair", [b"h%c\x86", b"h%c\x85\x86", b"(h%ct"])
def test_a_key_of_nested_pairs_is_refused_before_it_is_hashed(tmp_path, pair):
    """Forty of them would be hashed for days: two to the power of forty times."""
    content = b"\x80\x02}K\x01" + b"".join(b"q%c" % n + (pair % n) for n in range(40)) + b"K\x02s."
    (tmp_path / "old.pth").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "new.pth", "w") as archive:
        archive.writestr("new/data.pkl", content)
        archive.writestr("new/version", "3\n")
    for name in ("old.pth", "new.pth"):
        with pytest.raises(ValueError, match="more than 20 tuples in one another"):
            check_tuples(tmp_path / name)
        with pytest.raises(InputError, match="not a readable weights file"):
            checkpoint.read(tmp_path / name, "m")
