"""Laws of every command line: exit codes, one line for what the user can mend, no traceback for a closed pipe."""

import os
import signal
import subprocess
import sys

import pytest
from paths import REPOSITORY

from harmonia.cli.entry import exit_code, input_error
from harmonia.errors import InputError

COMMANDS = ("harmonia.plan", "harmonia.report", "harmonia.dashboard", "harmonia.store", "harmonia.run")


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
    assert ran.returncode in (0, 141)  # argparse takes no notice


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


def test_a_termination_is_an_interruption_and_the_handlers_are_put_back(capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert exit_code(lambda: signal.raise_signal(signal.SIGTERM) or 0, input_error) == 130
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_defect_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        exit_code(raising(ZeroDivisionError()), input_error)
