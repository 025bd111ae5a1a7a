"""Laws of what a package brings beside its code: one version, hooks that are make check, examples that run."""

import doctest
import importlib
import json
import re
import shutil
import subprocess
import tomllib

import pytest
import yaml
from paths import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXAMPLES = [path for path in (REPOSITORY / "harmonia").rglob("*.py") if ">>> " in path.read_text()]


def test_version_licence_and_authors_are_the_same_wherever_they_stand():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    archive = json.loads((REPOSITORY / ".zenodo.json").read_text())
    assert citation["version"] == archive["version"] == PROJECT["version"]
    assert citation["license"] == archive["license"] == PROJECT["license"]
    assert citation["keywords"] == archive["keywords"] == PROJECT["keywords"]
    names = [[author["name"] for author in of] for of in (citation["authors"], archive["creators"], PROJECT["authors"])]
    assert names[0] == names[1] == names[2]
    assert names[0][0] in (REPOSITORY / "LICENSE").read_text()


def test_every_python_that_the_package_takes_is_a_classifier():
    least, below = (int(part.rpartition(".")[2]) for part in PROJECT["requires-python"].split(","))
    named = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if text.startswith("Programming Language")]
    assert named == [f"3.{minor}" for minor in range(least, below)]


def test_hooks_before_a_commit_are_part_of_make_check_and_before_a_push_all_of_it():
    (local,) = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"  # nothing is fetched
    _, _, check = (REPOSITORY / "Makefile").read_text().partition("\ncheck:")
    check = check.partition("\n\n")[0].replace("$(PY)", ".venv/bin/python")
    for hook in local["hooks"]:
        before = {"pre-commit": hook["entry"] in check, "pre-push": hook["entry"] == "make check"}
        assert [before[stage] for stage in hook["stages"]] == [True]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", ["results", "protocols", "metrics", "networks"])
def test_make_names_each_variable_that_it_must_be_given(target):
    help_line = re.search(rf"^reproduce-{target}:.*  ## .*: (.*);", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    names = re.findall(r"(\w+)=", help_line[1])
    for name in names:
        words = [f"{each}={'' if each == name else 'given'}" for each in names]
        command = ["make", "--no-print-directory", "--dry-run", f"reproduce-{target}", *words]
        ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        kind = "file" if name == "BOXES" else "folder"
        line = rf".*\*\*\* {name} must be a {kind}, got nothing; add {name}=PATH\.  Stop\.\n"
        assert (ended.returncode, ended.stdout) == (2, "")
        assert re.fullmatch(line, ended.stderr)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_in_docstrings_run(path):
    module = importlib.import_module(".".join(path.relative_to(REPOSITORY).with_suffix("").parts))
    if module.__name__ == "harmonia.api":
        pytest.skip("tests/api/test_api.py runs them: they take networks")
    results = doctest.testmod(module)
    assert results.attempted
    assert not results.failed
