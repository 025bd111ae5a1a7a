"""Laws of every command line: exit codes, one line for what the user can mend, no traceback for a closed pipe."""

import io
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from unittest.mock import Mock

import pytest
from paths import REPOSITORY

from harmonia.cli.entry import exit_code, hydra_words, input_error, keyword_arguments
from harmonia.data import folder
from harmonia.data.boxes import read_boxes
from harmonia.errors import InputError
from harmonia.models.classes import given_classes
from harmonia.models.weights import find_weights
from harmonia.report import __main__ as report
from harmonia.store import __main__ as store

COMMANDS = ("harmonia.plan", "harmonia.report", "harmonia.dashboard", "harmonia.store", "harmonia.run")


@pytest.mark.slow
@pytest.mark.parametrize("words", [["-m", module] for module in COMMANDS] + [["-u", "-m", "harmonia.run"]])
def test_a_reader_who_has_gone_leaves_no_traceback(words):
    """As in `--help | head -0`: a buffer meets the closed pipe when the process ends, with -u the first line does."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, *words, "--help"]
    try:
        ran = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)
    finally:
        os.close(writing)
    assert ran.stderr == ""
    assert ran.returncode in (0, 141)  # argparse and Hydra end the process themselves after their help


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("arm must be\nsoft, got x"), 2, "harmonia: arm must be soft, got x\n"),
        (KeyboardInterrupt(), 130, "harmonia: interrupted; go on\n"),
    ],
)
def test_what_a_user_did_is_one_line(capsys, error, code, line):
    assert exit_code(raising(error), input_error, "interrupted; go on") == code
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_interruption_and_the_handlers_are_put_back(capsys, number):
    with handled(number, signal.default_int_handler):  # the tests themselves may run under nohup
        assert exit_code(lambda: signal.raise_signal(number) or 0, input_error) == 130
        assert signal.getsignal(number) == signal.default_int_handler


def test_a_closed_terminal_ends_nothing_that_nohup_keeps():
    with handled(signal.SIGHUP, signal.SIG_IGN):
        assert exit_code(lambda: signal.raise_signal(signal.SIGHUP) or 0, input_error) == 0


@contextmanager
def handled(number, by):
    before = signal.signal(number, by)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("code", [0, 1])
def test_the_work_goes_on_when_the_output_is_full_and_one_line_says_so(monkeypatch, capsys, code, unbuffered):
    """Rich would end the process, logging say nothing, and a buffer forget what it could not write."""
    full = io.TextIOWrapper(open("/dev/full", "wb", 0 if unbuffered else -1), write_through=unbuffered)  # noqa: SIM115
    monkeypatch.setattr(sys, "stdout", full)
    lines = ["x", "x" * 100_000]
    assert exit_code(lambda: [print(line, flush=True) for line in lines] and code, input_error) == (code or 2)
    assert capsys.readouterr().err == (
        "harmonia: what is printed must have a place, got No space left on device; free space, or send it elsewhere\n"
    )


def test_a_closed_output_is_said_and_an_alphabet_without_the_letter_ends_nothing(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", None)
    assert exit_code(lambda: 0, input_error) == 0
    monkeypatch.setattr(sys, "stdout", None)
    assert exit_code(lambda: print("x") or 0, input_error) == 2
    assert "got Bad file descriptor" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(file := io.BytesIO(), "ascii"))
    assert exit_code(lambda: print("│") or 0, input_error) == 0
    assert file.getvalue() == b"\\u2502\n"


def test_a_defect_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        exit_code(raising(ZeroDivisionError()), input_error)


def test_words_become_values_by_key():
    words = ["run=a=b", "arm=soft"]
    assert keyword_arguments(words, ["run", "arm"], "harmonia.report") == {"run": "a=b", "arm": "soft"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "run must be given"),
        (["run="], "run must have a value"),
        (["run"], "run must have a value"),
        (["run=a", "run=b"], "'run=b' too"),
        (["run=a", "amr=soft"], "did you mean 'arm'"),
        (["run=a", "colour=red"], "see python -m harmonia.report --help"),
    ],
)
def test_a_wrong_word_is_named_with_its_remedy(words, said):
    with pytest.raises(InputError, match=said.replace("?", r"\?")):
        keyword_arguments(words, ["run", "arm"], "harmonia.report")


@pytest.mark.parametrize(
    ("main", "words", "part"),
    [
        (report.main, ["run=.", "thumbnails=" + "9" * 5000], "thumbnails must be a number of images"),
        (report.main, ["run=.", "sections=.x"], "sections: '.x' must be a module's dotted name"),
        (report.main, ["run=~nosuch/x"], "~nosuch/x: ~ must be a user's home folder"),
        (store.main, ["list", "--cache", "~nosuch/x"], "~nosuch/x: ~ must be a user's home folder"),
        (store.main, ["list"], "~nosuch/y: ~ must be a user's home folder"),
    ],
)
def test_a_wrong_value_is_one_line(monkeypatch, capsys, main, words, part):
    monkeypatch.setenv("HARMONIA_CACHE", "~nosuch/y")
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"harmonia: {part}")
    assert err.count("\n") == 1
    assert len(err) < 400


@pytest.mark.parametrize(
    "read",
    [
        lambda path: find_weights(path, "e7", "e7"),
        lambda path: find_weights("hub", "e7", "e7", path),
        folder.absolute,
        lambda path: read_boxes(path, {}),
        lambda path: given_classes(Mock(classes=path)),
    ],
)
def test_the_home_of_nobody_is_refused_wherever_a_path_is_read(read):
    with pytest.raises(InputError, match=r"^~nosuch/x: ~ must be a user's home folder, got none"):
        read("~nosuch/x")


def test_one_module_ends_every_command():
    """A door that turned exceptions or signals into exit codes by itself would be a second owner of them."""
    owners = {"KeyboardInterrupt": set(), "signal.signal": set(), "sys.exit": set()}
    package = REPOSITORY / "harmonia"
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for phrase, modules in owners.items():
            if phrase in text.replace("sys.exit(main())", ""):
                modules.add(path.relative_to(package).as_posix())
    # Ray lets nothing but a KeyboardInterrupt out of ray.get
    assert owners["KeyboardInterrupt"] == {"cli/entry.py", "job/ray_launcher.py"}
    # early.py answers until a door's modules are there
    assert owners["signal.signal"] == {"cli/early.py", "cli/entry.py", "job/ray_launcher.py"}
    assert owners["sys.exit"] == set()


def test_a_tilde_is_the_home_folder_wherever_a_value_begins(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    words = ["data.root=~/a,~/b", "paths.cache=~", "x=[~/a,~]", "~logger", "name=a~b", "name=~bob/a"]
    assert hydra_words(words) == [
        "data.root=/home/ada/a,/home/ada/b",
        "paths.cache=/home/ada",
        "x=[/home/ada/a,/home/ada]",
        *words[3:],
    ]
    given = keyword_arguments(["run=~/runs", "out=~"], ["run", "out"], "harmonia.report")
    assert given == {"run": "/home/ada/runs", "out": "/home/ada"}
