"""The command line: what it prints, and how it refuses."""

import subprocess
import sys

import pytest
import torch

FAST = ["data=samples", "data.limit=2", "target=self", "logger=none", "trainer=cpu"]


def refused(answer):
    """The one line on stderr of a refusal; nothing was computed and no traceback shown."""
    code, out, err = answer
    assert code == 2, out + err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    return err


@pytest.mark.parametrize(
    ("overrides", "subject", "remedy"),
    [
        (["source=e9"], "source must be one of", "did you mean e7"),
        (["method=grad_cam"], "method must be one of", "gc"),
        (["data=imagewoff"], "data must be one of", "did you mean imagewoof"),
        (["experiment=papers"], "experiment must be one of", "did you mean paper"),
        (["target=[self,e55]"], "target must be one of", "did you mean e5"),
        (["methd=gc"], "no key 'methd'", "did you mean method"),
        (["method=ss", "method.stepz=3"], "no key 'method.stepz'", "did you mean method.steps"),
        (["sede=1"], "no key 'sede'", "did you mean seed"),
        (["source=["], "source=[", "lists as [a,b]"),
        (["method=null"], "method must be one of", "got null"),
        (["source=lite0,lite1"], "source", "-m"),
        (["target=self,e6"], "target", "target=[self,e6]"),
        (["method=gc", "method.steps=3"], "method.steps", "ss, ss_cpu, ss_faithful, ss_jitter, ss_paper have it"),
        (["target=self", "target.e7.weights=x"], "target.e7", "not among the chosen targets"),
        (["+seed=3"], "seed", "without +"),
        (["source=timm", "data=samples"], "source.arch", "source.arch=VALUE"),
    ],
)
def test_a_misspelt_configuration_gets_one_line(cli, overrides, subject, remedy):
    line = refused(cli(*overrides))
    assert subject in line
    assert remedy in line


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["source=lite0", "method.layer=bn3"], ["'bn3'", "close:", "bn2"]),
        (["source=lite0", "data=folder"], ["data.root=PATH"]),
        (["source=lite0", "method=ss", "method.objective=nl"], ["method.objective", "released", "'nl'"]),
        (["source=lite0", "evaluation.areas=[30]"], ["evaluation.areas", "30", "0.3"]),
        (["source=lite0", "unreadable=ignore"], ["unreadable", "skip, fail", "'ignore'"]),
        (["method=ss", "method.steps=abc"], ["method.steps must be a whole number", "'abc'"]),
        (["method=ss", "method.grid=2.5"], ["method.grid must be a whole number", "2.5"]),
        (["method.layer=null"], ["method.layer must be text", "null"]),
        (["evaluation.areas=0.3"], ["evaluation.areas must be a list", "[0.3]"]),
        (["source=lite0", "evaluation.areas=[0.125]"], ["evaluation.areas must be whole percents", "0.125"]),
        (["data.limit=all"], ["data.limit must be a whole number or null", "'all'"]),
        (["source=lite0", "trainer.precision=half"], ["trainer.precision must be one of", "bf16-mixed", "'half'"]),
        (["paths.job=there"], ["paths.job", "there", "hydra.run.dir=FOLDER"]),
        (["paths.weights=nowhere"], ["nowhere", "does not exist", "paths.weights"]),
        (["source=lite0", "source.std=[0,0,0]"], ["source.std must be at least 1e-06, got 0"]),
        (["source=lite0", "source.interpolation=foo"], ["interpolation"]),
        (["source=lite0", "source.crop_pct=2"], ["source.crop_pct must be at most 1", "2"]),
        (["source=e5"], ["timm/tf_efficientnet_b5.aa_in1k/model.safetensors", "weights=PATH"]),
    ],
)
def test_what_cannot_be_run_gets_one_line(cli, needs_samples, overrides, parts):
    line = refused(cli(*FAST, *overrides))
    for part in parts:
        assert part in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_gets_one_line(cli, needs_samples):
    words = [word for word in FAST if not word.startswith("trainer")]
    line = refused(cli(*words, "source=lite0", "trainer=gpu"))
    assert line.startswith("harmonia: trainer:")


@pytest.mark.usefixtures("blank_figures")
def test_a_failed_cell_does_not_stop_the_sweep_and_is_named(cli, needs_samples):
    words = ["-m", *FAST, "source=lite0", "source.input_size=96", "evaluation.controls=null", "method=gc"]
    code, out, err = cli(*words, "method.layer=bn3,bn2", "hydra.sweep.dir=sweep", report=True)
    assert code == 2
    assert "'bn3'" in err
    assert "lite0 (F)" in out  # the other cell's table
    assert "0_lite0_gc" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "words", "code"),
    [
        ("run", ["--help"], 0),
        ("run", ["--cfg", "job"], 0),
        ("run", ["seed=abc"], 2),
        ("run", ["source.crop_mode=abc"], 2),
        ("run", ["data=folder", "data.root=nowhere"], 2),
        ("run", ["method=stored", "method.maps=nowhere"], 2),
        ("run", ["evaluation.areas=[30]"], 2),
        ("fit", ["source.arch=test_resnet", "data.root=nowhere"], 2),
        ("plan", ["method=abc"], 2),
    ],
)
def test_help_and_a_wrong_word_need_no_torch(module, words, code, tmp_path):
    script = (
        f"import runpy, sys; sys.argv = ['harmonia.{module}', *{words!r}]\n"
        f"try: runpy.run_module('harmonia.{module}', run_name='__main__')\n"
        f"except SystemExit as end: assert (end.code or 0) == {code}, end.code\n"
        "assert not {'torch', 'timm', 'pandas'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=tmp_path)


@pytest.mark.slow
def test_runs_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "harmonia.run", "--cfg", "job"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "tf_efficientnet_b7" in done.stdout


def test_help_shows_the_groups_and_an_example(cli, capfd):
    with pytest.raises(SystemExit) as end:
        cli("--help")
    assert end.value.code in (0, None)
    text = capfd.readouterr().out
    for group in ("source", "target", "method", "data"):
        assert f"{group}:" in text
