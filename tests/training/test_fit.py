"""Laws of a fit: it learns, it goes on as if nothing had stopped it, and what it leaves is what it trained."""

import csv
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from paths import REPOSITORY

import harmonia
from harmonia.cli.entry import Interrupted
from harmonia.errors import InputError
from harmonia.models.load import load
from harmonia.models.spec import ModelSpec
from harmonia.training import fit as fits
from harmonia.training.fit import fit_network
from harmonia.training.images import read_images
from harmonia.training.module import Fit, labels_of
from harmonia.training.network import trainable


def fitted_at(folder, **options) -> ModelSpec:
    options = {"name": "fitted", "arch": "fitted", "family": "fitted", "factory": "networks:tiny", **options}
    return ModelSpec(kind="fitted", weights=str(folder), **options)


def losses(folder):
    return [{**row, "seconds": None} for row in csv.DictReader((folder / "metrics.csv").open())]


@pytest.fixture
def module(colours, settings, tmp_path):
    """One that is not trained yet."""

    def make(*words):
        asked = settings(colours, tmp_path, *words)
        classifier = trainable(asked.source, ("blue", "green", "red"), asked.seed)
        images = read_images(asked.data, classifier.view, asked.unreadable)
        return Fit(classifier, *images, asked, lambda rows: None)

    return make


def test_colours_are_learned_and_what_is_left_says_so(colours, settings, tmp_path):
    summary = fit_network(settings(colours, tmp_path, "epochs=8", "lr=0.03"))
    assert (summary["accuracy"], summary["images"], summary["images_that_judge"]) == (1.0, 36, 12)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    left = {".lock", "fit.yaml", "environment.json", "metrics.csv", "model.safetensors", "summary.json"}
    assert {path.name for path in tmp_path.iterdir()} == left
    assert len(losses(tmp_path)) == 8


@pytest.mark.parametrize(
    ("words", "warned"),
    [(("epochs=8", "lr=0.03"), False), (("epochs=1", "lr=1e-9"), True), (("epochs=1", "shuffled_labels=true"), False)],
)
def test_a_network_that_is_no_better_than_a_guess_is_named(colours, settings, tmp_path, caplog, words, warned):
    accuracy = fit_network(settings(colours, tmp_path, *words))["accuracy"]
    lines = [record.message for record in caplog.records if "better than a guess" in record.message]
    assert len(lines) == warned
    for line in lines:
        assert line.startswith(f"tiny: a network must be better than a guess, got {100 * accuracy:.0f} % [")
        assert "] of 12 images that judge, of which 33 % are of the commonest class; train longer" in line
        assert "(epochs=2)" in line


def test_a_fit_that_is_stopped_goes_on_as_if_it_had_not_been(colours, settings, tmp_path, monkeypatch):
    words = "epochs=3", "lr=0.01"
    fit_network(settings(colours, tmp_path / "whole", *words))
    tell = fits._tell

    def stopped(folder, logger, epochs, rows):
        tell(folder, logger, epochs, rows)
        if len(rows) == 2:
            raise Interrupted  # before this epoch's checkpoint: the first's is what there is

    monkeypatch.setattr(fits, "_tell", stopped)
    with pytest.raises(Interrupted):
        fit_network(settings(colours, tmp_path / "stopped", *words))
    monkeypatch.setattr(fits, "_tell", tell)
    torch.rand(5)  # random numbers of the process are elsewhere now
    fit_network(settings(colours, tmp_path / "stopped", *words))
    whole, stopped_and_resumed = (tmp_path / name for name in ("whole", "stopped"))
    assert losses(stopped_and_resumed) == losses(whole)
    assert losses(whole)[2]["accuracy"] > losses(whole)[0]["accuracy"]
    files = [(folder / "model.safetensors").read_bytes() for folder in (whole, stopped_and_resumed)]
    assert files[0] == files[1]


@pytest.mark.slow
def test_a_fit_that_is_killed_goes_on_too(colours, settings, small_words, tmp_path):
    words = "epochs=25", "lr=0.01"
    command = [
        sys.executable,
        "-m",
        "harmonia.fit",
        *small_words,
        *words,
        f"data.root={colours}",
        "hydra.run.dir=killed",
    ]
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests'}"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment)
    checkpoint = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    while not checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    for folder in ("whole", "killed"):
        fit_network(settings(colours, tmp_path / folder, *words))
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    files = [(tmp_path / folder / "model.safetensors").read_bytes() for folder in ("whole", "killed")]
    assert files[0] == files[1]


def test_the_file_gives_the_logits_of_the_module_that_was_trained(colours, settings, tmp_path, monkeypatch):
    kept = []
    leave = fits._leave
    monkeypatch.setattr(fits, "_leave", lambda module, *rest: kept.append(module) or leave(module, *rest))
    fit_network(settings(colours, tmp_path, "epochs=2"))
    images = torch.rand(4, 3, 16, 16)
    judge = kept[0].judge.eval()
    classifier = load(fitted_at(tmp_path))
    with torch.no_grad():
        assert torch.equal(classifier(images), judge(images))
    assert classifier.classes == ("blue", "green", "red")
    assert classifier.identity() == load(fitted_at(tmp_path / "model.safetensors")).identity()


def test_the_average_is_that_of_its_formula(module, monkeypatch):
    averaging = module("ema=0.3")
    weights = averaging.classifier.network[0].weight
    average = weights.detach().clone()
    for step, decay in ((1, 0), (2, 1 - (1 + 1 / 4) ** (-2 / 3)), (3, 1 - (1 + 2 / 4) ** (-2 / 3)), (4, 0.3)):
        with torch.no_grad():
            weights += step
        monkeypatch.setattr(Fit, "global_step", step)
        averaging.on_train_batch_end()
        average = min(decay, 0.3) * average + (1 - min(decay, 0.3)) * weights
        torch.testing.assert_close(averaging.judge.network[0].weight, average)


def test_a_loss_that_is_no_number_ends_the_fit_in_one_line(module):
    diverged = module("lr=0.5")
    diverged.sums[0] = float("nan")
    with pytest.raises(InputError, match=r"tiny: the loss must be finite, got nan in epoch 1; write lr=0\.05"):
        diverged.on_validation_epoch_end()


def test_shuffled_labels_are_the_training_labels_in_another_order(module):
    plain, shuffled, again, elsewhere = (
        module(*words)
        for words in ([], ["shuffled_labels=true"], ["shuffled_labels=true"], ["shuffled_labels=true", "seed=1"])
    )
    assert torch.equal(plain.labels, labels_of(plain.learned, plain.classifier))
    assert not torch.equal(shuffled.labels, plain.labels)
    assert torch.equal(shuffled.labels.sort().values, plain.labels.sort().values)
    assert torch.equal(shuffled.labels, again.labels)
    assert not torch.equal(shuffled.labels, elsewhere.labels)
    assert torch.equal(shuffled.true, plain.true)


def test_a_finished_fit_is_not_trained_again_and_of_other_settings_is_refused(colours, settings, tmp_path, caplog):
    summary = fit_network(settings(colours, tmp_path, "epochs=1"))
    before = (tmp_path / "model.safetensors").stat().st_mtime_ns
    with caplog.at_level(logging.INFO):
        assert fit_network(settings(colours, tmp_path, "epochs=1", "num_threads=1")) == summary
    assert "has its network already" in caplog.text
    with pytest.raises(InputError, match="must hold one fit, got another with epochs=1 for 2; name another folder"):
        fit_network(settings(colours, tmp_path, "epochs=2"))
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == before


def test_a_fit_begins_from_another_with_a_new_head(colours, settings, tmp_path):
    fit_network(settings(colours, tmp_path / "first", "epochs=1"))
    words = "source=fitted", f"source.weights={tmp_path / 'first'}", "source.factory=networks:tiny"
    same = trainable(settings(colours, tmp_path, *words).source, ("blue", "green", "red"), 0)
    resized = trainable(settings(colours, tmp_path, *words).source, ("cat", "dog"), 0)
    first = load(fitted_at(tmp_path / "first")).network
    assert torch.equal(same.network[-1].weight, first[-1].weight)
    assert torch.equal(resized.network[0].weight, first[0].weight)
    assert resized.network[-1].weight.shape == (2, 8)


def test_a_refused_fit_from_python_leaves_no_folder_but_one_that_was_there(tmp_path):
    (tmp_path / "there").mkdir()
    for folder in ("new", "there"):
        with pytest.raises(ValueError, match="does not exist"):
            harmonia.fit("timm:test_resnet", tmp_path / "nowhere", tmp_path / folder)
    assert os.listdir(tmp_path) == ["there"]


def test_harmonia_fit_is_the_function_whoever_imports_its_command():
    module = importlib.import_module("harmonia.fit")
    assert callable(module.main)
    import harmonia.fit as imported

    assert imported is harmonia.fit is harmonia.api.fit
