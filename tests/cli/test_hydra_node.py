"""Laws of Hydra's own node: it names no code but harmonia's and Hydra's, and says so before any is imported."""

import importlib
import os
import shlex
import sys
import threading
from itertools import product
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from harmonia import run
from harmonia.cli.entry import Interrupted, conf_folder
from harmonia.cli.hydra_node import _check_sweeps_file, check_hydras_node
from harmonia.errors import InputError

EVIL = "planted_evil.call"


@pytest.fixture(autouse=True)
def _no_report(monkeypatch):
    monkeypatch.setattr("harmonia.run.report_sweep", lambda: 0)
    monkeypatch.setattr("harmonia.report.after_sweep._due", [])


@pytest.mark.parametrize(
    "word",
    [
        f"+hydra.callbacks.evil._target_={EVIL}",
        "hydra.callbacks.report._target_=harmonia.report.after_sweep.logging.config.dictConfig",
        "hydra.callbacks.report._target_=${oc.env:HOME}",
        f"+hydra.callbacks.report.deep=[{{_target_:{EVIL}}}]",
        f"hydra.sweeper._target_={EVIL}",
        f"hydra.launcher._target_={EVIL}",
        "hydra.launcher._target_=hydra_plugins.evil.Launcher",
        f"+hydra.launcher.deep._target_={EVIL}",
        f"hydra.job_logging.handlers.console.class={EVIL}",
        "hydra.job_logging.handlers.console.class=logging.os.system",
        f"hydra.hydra_logging.formatters.short.class={EVIL}",
        f"hydra.job_logging.handlers.console.stream=ext://{EVIL}",
        "hydra.job_logging.handlers.file.filename=thesis.tex",
        "hydra.job_logging.handlers.file.filename=${hydra.runtime.output_dir}/../run.log",
        "hydra.job.name=../../x",
        "hydra.output_subdir=..",
        "hydra.output_subdir=other",
        "hydra.launcher=null",
        "hydra.sweeper=5",
        "hydra.verbose=5",
        "hydra.verbose={a:b}",
        "hydra.job_logging.root.level=loud",
        "hydra.callbacks.report=null",
    ],
)
def test_foreign_code_in_hydras_node_is_refused_in_one_line(monkeypatch, capsys, tmp_path, word):
    (tmp_path / "planted_evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", ["harmonia.run", word, f"hydra.run.dir={tmp_path / 'job'}"])
    assert run.main() == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"harmonia: {word.lstrip('+').partition('=')[0]}")
    assert "; leave it out" in err
    assert err.count("\n") == 1
    assert not out
    assert not (tmp_path / "job").exists()


def test_a_factory_of_a_logging_class_is_refused():
    with pytest.raises(InputError, match=r"^hydra\.job_logging\.filters\.a\.\(\) must be"):
        check_hydras_node({"job_logging": {"filters": {"a": {"()": EVIL}}}})


@pytest.mark.parametrize("launcher", ["cores", "slurm", "ray"])
def test_every_number_of_a_launcher_has_a_range(launcher):
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("config", [f"hydra/launcher={launcher}"], return_hydra_config=True)
    node = OmegaConf.to_container(config.hydra.launcher)
    keys = [(name,) for name, own in node.items() if isinstance(own, int | None)]
    keys += [(part, name) for part in ("init", "remote") for name, own in node.get(part, {}).items() if own != "local"]
    assert keys
    for (*above, name), value in product(keys, [-2, 2**31, 10**30, 1e308, float("inf"), float("nan")]):
        changed = {name: value} if not above else {above[0]: {name: value}}
        with pytest.raises(InputError, match=rf"hydra\.launcher\.{'.'.join([*above, name])} must be at (least|most)"):
            check_hydras_node({"launcher": changed})


def test_no_jobs_at_once_is_one_line(cli):
    pytest.importorskip("joblib")
    words = ["-m", "source=timm", "source.arch=x", "seed=0,1", "hydra/launcher=cores", "hydra.launcher.n_jobs=0"]
    code, _, err = cli(*words, "hydra.sweep.dir=sweep")
    assert (code, err.splitlines()[-1]) == (
        2,
        "harmonia: hydra.launcher.n_jobs must be a number of jobs or -1, got 0; write hydra.launcher.n_jobs=2",
    )


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("hydra.sweeper.max_batch_size=0", "hydra.sweeper.max_batch_size must be at least 1, got 0"),
        ("logger.settings.finish_timeout=-1", "logger.settings.finish_timeout must be at least 0, got -1"),
        ("logger.settings.init_timeout=inf", "logger.settings.init_timeout must be at most 1000000, got inf"),
        ("+logger.log_model=1e30", "logger.log_model must be at most 1000000, got 1e+30"),
    ],
)
def test_numbers_of_the_sweeper_and_of_loggers_have_ranges(cli, word, message):
    code, _, err = cli("source=timm", "source.arch=x", "logger=wandb", "data=folder", "data.root=x", word)
    assert (code, err.count("\n"), message in err) == (2, 1, True), err


@pytest.mark.parametrize(
    "words", [[], *([f"hydra/launcher={name}"] for name in ("basic", "cores", "slurm", "ray")), ["experiment=paper"]]
)
def test_what_conf_names_stays(words):
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("config", words, return_hydra_config=True)
    check_hydras_node(OmegaConf.to_container(config.hydra))


def test_a_foreign_folder_is_refused_before_hydra_writes_there(monkeypatch, capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["harmonia.run", f"hydra.run.dir={tmp_path}"])
    assert run.main() == 2
    assert "must be a new folder, an empty one or a job's, got 'thesis.tex' in it" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("subdir", ["${hydra.job.num}_${source.name}_${method.name}", "${hydra.job.id}_x_gc", "1_x_gc"])
def test_a_foreign_folder_of_a_sweeps_job_is_refused_before_any_job_begins(monkeypatch, capsys, tmp_path, subdir):
    monkeypatch.setattr("harmonia.job.pipeline.run", lambda settings: pytest.fail("a job has begun"))
    (tmp_path / "1_x_gc").mkdir()
    (tmp_path / "1_x_gc" / "thesis.tex").write_text("mine")
    words = ["source=timm", "source.arch=x", "method=gc", "seed=0,1", f"hydra.sweep.subdir={subdir}"]
    for batch in ([], ["hydra.sweeper.max_batch_size=2"]):
        monkeypatch.setattr(sys, "argv", ["harmonia.run", "-m", *words, *batch, f"hydra.sweep.dir={tmp_path}"])
        assert run.main() == 2
        error = capsys.readouterr().err
        assert error.startswith(f"harmonia: {tmp_path / '1_x_gc'} must be a new folder, an empty one or a job's")
        assert error.count("\n") == 1
        assert [path.name for path in (tmp_path / "1_x_gc").iterdir()] == ["thesis.tex"]
        assert {path.name for path in tmp_path.iterdir()} <= {"1_x_gc", "multirun.yaml"}


@pytest.mark.parametrize("link", [False, True])
def test_a_sweeps_file_of_another_program_stays(monkeypatch, capsys, tmp_path, link):
    (foreign := tmp_path / "mine").write_text("hydra:\n  x: 1\ndb: mysql\n" + "source:\nmethod:\n" * link)
    foreign.rename(tmp_path / "multirun.yaml") if not link else (tmp_path / "multirun.yaml").symlink_to(foreign)
    before = (tmp_path / "multirun.yaml").read_text()
    assert "multirun.yaml must be an earlier sweep's" in refused(
        monkeypatch, capsys, "-m", f"hydra.sweep.dir={tmp_path}"
    )
    assert (tmp_path / "multirun.yaml").read_text() == before


def refused(monkeypatch, capsys, *words):
    """The one line of a command that begins no job."""
    monkeypatch.setattr("harmonia.job.pipeline.run", lambda settings: pytest.fail("a job has begun"))
    monkeypatch.setattr(sys, "argv", ["harmonia.run", "source=timm", "source.arch=x", *words])
    assert run.main() == 2
    out, err = capsys.readouterr()
    assert err.startswith("harmonia: ")
    assert err.count("\n") == 1
    assert "Traceback" not in out
    return err


@pytest.mark.parametrize(
    ("words", "beside", "stays"),
    [
        ([], "", False),
        ([], "thesis.tex", True),
        ([], ".hydra/thesis.tex", True),
        ([], "config.yaml", True),
        (["hydra.run.dir=mine"], "", True),
        (["-m", "hydra.sweep.dir=mine"], "", True),
    ],
)
def test_a_refused_runs_folder_goes_unless_it_was_named_or_holds_something(
    monkeypatch, tmp_path, capsys, words, beside, stays
):
    def refuse(config):
        folder = Path(HydraConfig.get().runtime.output_dir)
        for name in filter(None, (".lock", "error.txt", beside)):
            (folder / name).touch()
        raise InputError("no")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harmonia.job.settings.settings_of", refuse)
    monkeypatch.setattr(sys, "argv", ["harmonia.run", "source=timm", "source.arch=x", *words])
    assert run.main() == 2
    assert any(path.name == "error.txt" for path in tmp_path.rglob("*")) == stays


@pytest.mark.parametrize("words", [["source.arch=x"], ["data.root=photos"], ["source.arch=x", "data.root=photos"]])
@pytest.mark.parametrize("named", [[], ["hydra.run.dir=mine"]])
def test_a_refused_fit_leaves_no_folder(monkeypatch, tmp_path, capsys, words, named):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["harmonia.fit", "logger=none", *words, *named])
    assert importlib.import_module("harmonia.fit").main() == 2
    assert "must be given" in (error := capsys.readouterr().err) or "does not exist" in error
    assert not [path for path in tmp_path.rglob("*") if path.name not in ("multirun_outputs", "fitted")]


@pytest.mark.parametrize(
    "words",
    [["hydra.run.dir=mine"], ["-m", "seed=0,1", "hydra.sweep.dir=mine"], ['hydra.run.dir="mine, too"']],
)
def test_a_fit_that_is_interrupted_says_the_folder_where_it_goes_on(monkeypatch, tmp_path, capsys, words):
    def interrupt(config):
        raise Interrupted

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harmonia.training.settings.fit_settings_of", interrupt)
    monkeypatch.setattr(sys, "argv", ["harmonia.fit", "source=timm", "source.arch=x", "data.root=x", *words])
    assert importlib.import_module("harmonia.fit").main() == 130
    assert capsys.readouterr().err == (
        f"harmonia: interrupted; the same command with {shlex.quote(words[-1])} goes on where it was\n"
    )


def test_a_refused_fit_leaves_a_folder_that_was_there(monkeypatch, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["harmonia.fit", "logger=none", "data.root=photos", "hydra.run.dir=mine"])
    assert importlib.import_module("harmonia.fit").main() == 2
    assert (tmp_path / "mine").is_dir()


@pytest.mark.parametrize("batch", [[], ["hydra.sweeper.max_batch_size=1"]])
def test_two_jobs_of_a_sweep_in_one_folder_are_refused_before_any_begins(monkeypatch, capsys, tmp_path, batch):
    words = ["-m", "seed=0,1", *batch, f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=x"]
    assert f"a folder of its own, got {tmp_path / 'x'} twice" in refused(monkeypatch, capsys, *words)


@pytest.mark.parametrize(
    ("words", "got"),
    [
        (["method=glob(nope*)"], "none by method=glob(nope*)"),
        (["seed=range(0,100000000)"], "more by seed=range(0,100000000)"),
        (["seed=range(0,1e9,0.1)"], "more by seed=range(0,1e9,0.1)"),
        (["seed=range(0,101)", "smooth.k=range(0,100)"], "more by smooth.k=range(0,100)"),
    ],
)
def test_a_sweep_of_no_job_or_of_too_many_is_refused_without_a_list_of_them(monkeypatch, capsys, tmp_path, words, got):
    line = refused(monkeypatch, capsys, "-m", *words, f"hydra.sweep.dir={tmp_path}")
    assert f"a sweep must be of 1 to 10000 jobs, got {got}" in line


@pytest.mark.parametrize("form", [["--experimental-rerun", "x"], ["--experimental-rerun=x"], ["--ex=x"]])
def test_a_pickled_job_is_never_opened(monkeypatch, capsys, form):
    monkeypatch.setattr("pickle.load", lambda file: pytest.fail("a pickle was read"))
    assert "--experimental-rerun must not be used" in refused(monkeypatch, capsys, *form)


@pytest.mark.parametrize(
    "words",
    [
        ["--resolve"],
        ["--\x1b[31mred"],
        ["--cfg", "junk"],
        ["hydra.job_logging.version=2"],
        ["hydra.job_logging.root.handlers=[nope]"],
        ["hydra.job_logging.root.level=LOUD"],
        ["hydra.job.env_copy=[NOPE]"],
        ["hydra.searchpath=[foo://bar]"],
        ["hydra.callbacks=5"],
        ["evaluation.areas=" + "[" * 900 + "]" * 900],
        ["-m", "+hydra.sweeper.params.nope='1,2'"],
    ],
)
def test_whatever_hydra_raises_before_a_job_is_one_line(monkeypatch, capsys, tmp_path, words):
    line = refused(monkeypatch, capsys, *words, f"hydra.run.dir={tmp_path}", f"hydra.sweep.dir={tmp_path}")
    assert "\x1b" not in line


@pytest.mark.parametrize(
    "content",
    [
        b"a: [\n\tb: {{{",
        b"a: \xff\xfe",
        b"a: " + b"[" * 3000,
        b"a: 5\ndefaults: 5",
        b"a: !!python/object/apply:os.system [exit]",
        b"# @package _global_\nmethod: {1: 2}",
        b'# @package _global_\ndata: {split: "a\\0b"}',
        b"a: &a [x]\n" + b"".join(b"%c: &%c [%s]\n" % (n, n, b",".join([b"*%c" % (n - 1)] * 9)) for n in b"bcdefgh"),
        b"a: &a [*a]",
        b"a: " + b"1:" * 2000 + b"1",
    ],
)
def test_a_broken_yaml_of_one_s_own_is_one_line(monkeypatch, capsys, tmp_path, content):
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "e.yaml").write_bytes(content)
    words = [f"--config-dir={tmp_path}", "+exp=e", "data=folder", "data.root=x", f"hydra.run.dir={tmp_path / 'job'}"]
    line = refused(monkeypatch, capsys, *words)
    assert "e.yaml" in line or "exp/e" in line or "method" in line or "data.split" in line


def test_aliases_that_stand_for_little_and_flags_between_overrides_are_taken(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "harmonia.job.pipeline.run", lambda settings: taken.append(settings.evaluation.options["controls"]["centre"])
    )
    taken = []
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "e.yaml").write_text("# @package evaluation\nareas: &a [0.4]\ncontrols: {centre: *a}\n")
    words = ["source=timm", f"--config-dir={tmp_path}", "source.arch=x", "+exp=e", "~hydra.callbacks.report"]
    monkeypatch.setattr(sys, "argv", ["harmonia.run", *words, f"hydra.run.dir={tmp_path / 'job'}"])
    assert run.main() == 0
    assert taken == [[0.4]]


def test_a_sweeps_file_that_is_being_written_is_waited_for(tmp_path):
    path, words = tmp_path / "multirun.yaml", "hydra:\n  x: 1\nsource:\n  y: 1\ndata:\n  z: 1\n"
    path.write_text(words[:9])
    writer = threading.Timer(0.2, path.write_text, [words])
    writer.start()
    _check_sweeps_file(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    writer.join()
    path.write_text(words[:9])
    os.utime(path, (1, 1))
    with pytest.raises(InputError, match="must be an earlier sweep's"):
        _check_sweeps_file(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
