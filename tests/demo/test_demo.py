"""The demo says what the pipeline says, shows it, and is seen by this machine alone."""

import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from api_calls import CLASSES, TRANSFORM
from PIL import Image

import harmonia
from harmonia.demo import __main__ as demo
from harmonia.demo.verdicts import ask

SCRIPT = str(demo.SCRIPT)


def test_a_port_is_a_number_and_a_missing_extra_is_named(monkeypatch, capsys):
    for word in ("port=80", "port=x", "port=70000", "port=" + "9" * 5000, "port=٨٥٠١"):
        assert demo.main([word]) == 2
        assert "port must be a whole number from 1024 to 65535" in capsys.readouterr().err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        word = f"port={taken.getsockname()[1]}"
        assert demo.main([word]) == 2
        assert "port must be free, got" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "streamlit.web", None)
    assert demo.main([word]) == 2
    assert "pip install '.[demo]'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("needs_samples")
def test_the_answers_are_the_rows_of_a_job(tmp_path):
    """Also where the two networks see different parts of the image."""
    torch.manual_seed(0)

    def network(name, **view):
        parts = torch.nn.Conv2d(3, 6, 3, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten()
        layers = torch.nn.Sequential(*parts, torch.nn.Linear(24, 3))
        return harmonia.classifier(layers, classes=CLASSES, transform=TRANSFORM | view, name=name)

    first, second = network("first"), network("second", size=40, crop_pct=0.8)
    path, bars = tmp_path / "image.png", []
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)).save(path)
    one_thread = ["trainer=cpu", "num_threads=1"]
    answers = ask(first, second, path, "gc", 0.3, tmp_path / "cache", bars.append, one_thread)
    controls = ["evaluation.controls.dim=true"]
    controls += [f"evaluation.controls.{name}=[]" for name in ("same_class", "other_class", "complement", "silhouette")]
    cache = tmp_path / "other cache"
    options = [*one_thread, *controls]
    rows = harmonia.transfer(first, [second], [path], labels=["cat"], cache=cache, options=options).rows()
    of_arms = rows[rows["target"] == "second"].set_index("arm")["p_explained"]
    assert list(answers.of_arms) == ["image", "soft", "area30", "dim", "blobs30", "centre30"]
    for arm, answer in answers.of_arms.items():
        assert answer.p_explained == pytest.approx(of_arms[arm], abs=1e-6), arm
        assert answer.picture.size == (40, 40)
        assert sum(probability for _, probability in answer.top) == pytest.approx(1)
    assert answers.explained in CLASSES
    assert any("<progress" in bar for bar in bars)
    assert bars[-1] == ""


@pytest.mark.usefixtures("needs_samples")
def test_each_answer_is_what_the_network_says_of_the_picture_that_is_shown(tmp_path):
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 6, 3, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten()
    network = torch.nn.Sequential(*layers, torch.nn.Linear(24, 3))
    asked = harmonia.classifier(network, classes=CLASSES, transform=TRANSFORM, name="asked")
    path = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    answers = ask(asked, asked, path, "grad", 0.5, tmp_path / "cache", options=["trainer=cpu", "num_threads=1"])
    shown = answers.of_arms
    pixels = {name: torch.from_numpy(np.array(one.picture)).permute(2, 0, 1) / 255 for name, one in shown.items()}
    probabilities = asked(torch.stack(list(pixels.values()))).softmax(1)
    for verdict, of_classes in zip(shown.values(), probabilities, strict=True):
        assert dict(verdict.top) == pytest.approx(dict(zip(CLASSES, of_classes.tolist(), strict=True)), abs=2e-3)
        assert [p for _, p in verdict.top] == sorted((p for _, p in verdict.top), reverse=True)
        assert verdict.p_explained == dict(verdict.top)[answers.explained]
    assert answers.p_source == pytest.approx(shown["image"].p_explained, abs=1e-6)  # it was asked of itself
    kept = {name: (picture.amax(0) > 0).float().mean().item() for name, picture in pixels.items()}
    assert [kept[name] for name in ("area50", "blobs50", "centre50")] == pytest.approx([0.5] * 3, abs=0.05)
    assert pixels["dim"].sum() < pixels["image"].sum()


@pytest.mark.slow
@pytest.mark.usefixtures("needs_samples")
def test_the_page_asks_anew_for_each_change_and_refuses_in_one_line(tmp_path, monkeypatch):
    testing = pytest.importorskip("streamlit.testing.v1", reason="streamlit is not installed (the demo extra)")
    monkeypatch.setenv("HARMONIA_CACHE", str(tmp_path))
    page = testing.AppTest.from_file(SCRIPT).run(timeout=300)
    assert not page.exception
    assert len(page.metric) == 6
    before = [metric.value for metric in page.metric]
    page.sidebar.select_slider[0].set_value(0.1)
    page.run(timeout=300)
    after = [metric.value for metric in page.metric]
    assert after[0] == before[0]  # the whole image
    assert after[1:4] != before[1:4]
    page.sidebar.selectbox[1].set_value("a checkpoint of your own")
    page.run(timeout=300)
    assert [info.value for info in page.info] == ["Give the architecture and the weights of your checkpoint."]
    page.sidebar.text_input[0].set_value("resnet18")
    page.sidebar.text_input[1].set_value("/nowhere/weights.pth")
    page.run(timeout=300)
    assert not page.exception
    assert [error.value for error in page.error] == ["This cannot be asked:"]
    (line,) = [text.value for text in page.text]
    assert "/nowhere/weights.pth" in line
    assert "\n" not in line


@pytest.mark.slow
@pytest.mark.usefixtures("needs_samples")
def test_a_browser_sees_the_pictures_and_asks_no_other_machine(tmp_path, monkeypatch):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the dev extra)")
    pytest.importorskip("streamlit", reason="streamlit is not installed (the demo extra)")
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("no Chromium on this machine; apt-get install chromium")
    monkeypatch.setenv("HARMONIA_CACHE", str(tmp_path))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "harmonia.demo", f"port={port}"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server,
        sync_api.sync_playwright() as playwright,
    ):
        try:
            while "Uvicorn" not in (line := server.stdout.readline()):
                assert line, "the server has ended"
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page, others = browser.new_page(), []
            page.on("request", lambda request: None if "127.0.0.1" in request.url else others.append(request.url))
            page.goto(f"http://127.0.0.1:{port}", timeout=120_000)
            page.wait_for_function(
                "() => [...document.images].filter(image => image.naturalWidth > 100).length == 7", timeout=120_000
            )
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert [url for url in others if not url.startswith(("data:", "blob:"))] == []
            browser.close()
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(60) in (0, 130)
