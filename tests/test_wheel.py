import json
import os
import subprocess
import sys
import zipfile

import pytest
from paths import REPOSITORY as ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The project's wheel, built from a copy without the checkout's leftovers."""
    copy = tmp_path_factory.mktemp("source") / "a folder"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout: no list of the project's files")
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder), "."]
    subprocess.run(pip, cwd=copy, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder that holds nothing but what the wheel ships."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(installed, cwd, *words):
    environment = os.environ | {"PYTHONPATH": str(installed), "HARMONIA_CACHE": str(cwd / "cache")}
    return subprocess.run([sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True)


def test_the_wheel_ships_every_module_and_every_yaml_and_the_pages_and_nothing_else(wheel):
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "harmonia").rglob("*.py")}
    page = ROOT / "harmonia" / "report" / "page"
    pages = {path.relative_to(ROOT).as_posix() for kind in ("templates", "assets") for path in (page / kind).iterdir()}
    yamls = {f"harmonia/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert shipped == modules | pages | yamls | {"harmonia/py.typed"}


# what python -m harmonia.run does, in a process that has looked at the Python interface first
INTERFACE_AND_RUN = """
import runpy
import harmonia
print(harmonia.__file__)
harmonia.explain, harmonia.classifier, harmonia.transfer
runpy.run_module("harmonia.run", run_name="__main__", alter_sys=True)
"""


def test_the_wheel_runs_elsewhere_and_its_python_interface_is_there_and_typed(installed, tmp_path, needs_samples):
    words = ["source=lite0", "target=self", "method=gc", "data=samples", "data.limit=2", "logger=none"]
    words += ["evaluation.controls=null"]
    done = run(installed, tmp_path, "-c", INTERFACE_AND_RUN, *words, "hydra.run.dir=job")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(installed))
    assert (installed / "harmonia" / "py.typed").is_file()
    assert json.loads((tmp_path / "job" / "summary.json").read_text())["images"] == 2
    assert (tmp_path / "job" / "report" / "index.html").is_file()
    where = run(installed, tmp_path, "-m", "harmonia.run", "--info", "searchpath").stdout
    assert str(installed) in where
    assert str(ROOT / "conf") not in where
