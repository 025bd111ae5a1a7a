"""Laws of the command `harmonia`: each word is what python -m runs, and a received folder's code stays shut."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from paths import REPOSITORY

from harmonia.__main__ import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.slow
def test_every_command_shows_its_own_help(command, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["harmonia", command, "--help"])
    try:
        code = main()
    except SystemExit as end:  # argparse's
        code = end.code
    out, err = capfd.readouterr()
    assert (code or 0, err) == (0, "")
    assert "harmonia" in out


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_tells_what_each_command_is_for(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["harmonia", *words])
    assert main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [*COMMANDS, "COMMAND"]


@pytest.mark.parametrize(("words", "got"), [([""], "''"), (["rnu"], "'rnu'")])
def test_another_word_is_refused_with_the_commands(words, got, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["harmonia", *words])
    assert main() == 2
    line = f"the first word must be one of {', '.join(COMMANDS)}, got {got}; see harmonia --help"
    assert capsys.readouterr().err == f"harmonia: {line}\n"


@pytest.mark.slow
def test_nothing_is_imported_from_the_folder_where_it_is_typed(tmp_path):
    (tmp_path / "difflib.py").write_text("raise SystemExit('code of the folder was run')\n")
    command = Path(sys.executable).with_name("harmonia")
    if not command.exists():
        pytest.skip("harmonia is not installed with its command")
    ended = subprocess.run([command, "report"], cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("harmonia: argument run must be given")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("door", ["module", "console"])
def test_who_interrupts_while_modules_are_imported_reads_one_line(tmp_path, door, command):
    number = signal.SIGTERM if command == "plan" else signal.SIGINT
    late = "difflib" if door == "module" else "pandas"  # the console's own imports take no time
    for name in ("hydra", "rich", late):
        (tmp_path / f"{name}.py").write_text(f"import os, time\nos.kill(os.getpid(), {number:d})\ntime.sleep(180)\n")
    script = "import sys; from harmonia.__main__ import main; sys.exit(main())"
    words = ["-m", f"harmonia.{command}"] if door == "module" else ["-c", script, command]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    command = [sys.executable, *words, *([] if command == "demo" else [f"run={tmp_path}"])]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120
    )  # a busy machine imports slowly
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "harmonia: interrupted\n")
