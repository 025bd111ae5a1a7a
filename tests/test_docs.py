"""Documents name files, links and modules that exist, and their examples run; benchmarks import what exists."""

import ast
import inspect
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import harmonia
from harmonia import plan
from harmonia.attribution.contract import Request
from harmonia.attribution.passes import BatchSize
from harmonia.report.__main__ import main as report

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
YAMLS = sorted((ROOT / "conf").rglob("*.yaml"))
PATH = r"(?<![\w/.-])(?:harmonia|conf|docs|tests|benchmarks)/[\w./-]*\w"
DOTTED = r"(?<![\w.])harmonia(?:\.[a-zA-Z]\w*)+"


LONGEST = 25  # words of a sentence; a colon or a semicolon ends one
WRITTEN = [page for page in PAGES if page.name != "architectures.md"]  # that one is a command's


def title(path):
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(params=PAGES, ids=title)
def page(request):
    return request.param


def prose(text):
    """The text without its code blocks, and without the names of files that a reader is to write: alone on a line."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^(    .*|`[\w./-]+`)$", "", text, flags=re.MULTILINE)


def sentences(text):
    """Of paragraphs and lists, without tables, headings, pictures and code; what is in `code` counts as a word."""
    text = re.sub(r"^(\||#|!\[|<).*$", "", prose(text), flags=re.MULTILINE)
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "code", text))
    text = re.sub(r"\[[-\d., ]+\]", "", text)  # intervals
    paragraphs = re.split(r"\n\s*\n|^\s*(?:[-*]|\d+\.) ", text, flags=re.MULTILINE)
    return [one for each in paragraphs for one in re.split(r"(?<=[.!?:;])\**\s+", " ".join(each.split()))]


def anchors(path):
    headings = re.findall(r"^#+ (.*)$", path.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def defines(path, name):
    return re.search(rf"^\s*(?:(?:async )?def |class )?{name}\b", path.read_text(), flags=re.MULTILINE) is not None


def exists(dotted):
    """Whether a dotted name is a package or a module, or something that a module defines."""
    place, names = ROOT, dotted.split(".")
    while names and (place / names[0]).is_dir():
        place /= names.pop(0)
    if len(names) == 1 and f'"{names[0]}"' in (place / "__init__.py").read_text():  # in __all__
        return True
    if names and place.joinpath(f"{names[0]}.py").is_file():
        place /= f"{names.pop(0)}.py"
    return not names or (place.is_file() and all(defines(place, name) for name in names))


def block(language, name):
    """The page's one block of code in this language."""
    text = (ROOT / "docs" / name).read_text()
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return code


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 120


@pytest.mark.parametrize("path", WRITTEN, ids=title)
def test_a_page_begins_with_what_it_is_for_and_its_sentences_are_short(path):
    heading, _, opening, *_ = path.read_text().splitlines()
    assert re.match("# ", heading)
    assert re.match(r"\**[A-Z]", opening)
    assert [one for one in sentences(path.read_text()) if len(one.split()) > LONGEST] == []


def test_every_path_exists(page):
    paths = re.findall(PATH, prose(page.read_text()))
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_module_is_named_by_its_path(page):
    modules = re.findall(r"(?<![\w/.>])[\w./-]+\.py\b", re.sub(r"\]\([^)]*\)", "]", prose(page.read_text())))
    assert [module for module in modules if not (ROOT / module).is_file()] == []


def test_every_link_leads_to_a_page_and_to_a_heading_of_it(page):
    links = re.findall(r"\]\((?!https?:)([^)]*)\)", page.read_text())
    for file, _, anchor in [link.partition("#") for link in links]:
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), file
        assert not anchor or anchor in anchors(target), f"{file}#{anchor}"


def test_every_name_lies_in_the_module_that_it_is_said_to_lie_in(page):
    named = re.findall(r"`(\w+)` in \[[^]]*\]\(([^)]*\.py)\)", page.read_text())
    assert [(name, file) for name, file in named if not defines(page.parent / file, name)] == []


@pytest.mark.parametrize("path", [*PAGES, *YAMLS], ids=title)
def test_every_dotted_name_exists(path):
    text = path.read_text()
    to_write = tuple(name.replace("/", ".") for name in re.findall(r"^`(harmonia/[\w/]+)\.py`$", text, re.MULTILINE))
    names = [dotted for dotted in re.findall(DOTTED, text) if not (to_write and dotted.startswith(to_write))]
    assert [dotted for dotted in names if not exists(dotted)] == []


def test_every_command_is_a_door(page):
    for module in re.findall(r"python -m (harmonia[\w.]*)", page.read_text()):
        place = ROOT / module.replace(".", "/")
        assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), module


@pytest.mark.parametrize(
    "group", ["source", "target", "method", "data", "label", "fill", "evaluation", "trainer", "logger"]
)
def test_the_choices_of_a_group_are_listed(group):
    text = (ROOT / "docs" / "command-line.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, flags=re.MULTILINE))
    listed = text.partition("## Methods")[2].partition("\n## ")[0] if group == "method" else rows[group]
    listed += rows["source"] * (group == "target")  # which says so
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", listed))))
    assert {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")} - words == set()


@pytest.mark.parametrize("function", ["classifier", "explain", "transfer"])
def test_a_signature_has_every_argument(function):
    (written,) = re.findall(rf"^`harmonia\.{function}\((.*)\)`$", (ROOT / "docs/python.md").read_text(), re.MULTILINE)
    names = list(inspect.signature(getattr(harmonia, function)).parameters)
    assert re.findall(r"(?:^|, )(\w+)", written) == names


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=title)
def test_what_a_benchmark_imports_exists(path):
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    names = [f"{node.module}.{alias.name}" for node in imports for alias in node.names]
    assert [name for name in names if name.startswith("harmonia.") and not exists(name)] == []


def test_the_method_that_a_page_adds_explains_images():
    code = block("python", "adding-a-method.md")
    names = {"__name__": "brightness"}
    exec(compile(code, "brightness.py", "exec", dont_inherit=True), names)
    pixels = torch.arange(5 * 3 * 4, dtype=torch.uint8).view(5, 3, 2, 2)
    request = Request(
        model=lambda images: images.mean((2, 3)),
        pixels=pixels,
        choose_labels=lambda logits, positions: logits.argmax(1),
        replacements=lambda *asked: pytest.fail("it asks for no other images"),
        device=torch.device("cpu"),
        batch_size=BatchSize(2),
        positions=torch.arange(5),
        image_keys=np.arange(5, dtype=np.uint64),
        on_progress=lambda images: None,
    )
    explanation = names["Brightness"]()(request)
    torch.testing.assert_close(explanation.maps, (pixels.float() / 255).mean(1))
    assert explanation.explained.tolist() == [2] * 5
    assert explanation.passes.tolist() == [1] * 5


def test_the_evaluation_that_a_page_adds_runs_is_planned_and_has_its_table(cli, tmp_path, monkeypatch, capfd):
    (tmp_path / "positive_share.py").write_text(block("python", "adding-an-evaluation.md"))
    (tmp_path / "conf" / "evaluation").mkdir(parents=True)
    (tmp_path / "conf" / "evaluation" / "positive_share.yaml").write_text(block("yaml", "adding-an-evaluation.md"))
    monkeypatch.syspath_prepend(tmp_path)
    words = ["packages=[positive_share]", f"hydra.searchpath=[file://{tmp_path}/conf]", "evaluation=positive_share"]
    words += ["data=samples", "data.limit=2"]
    words += ["source=lite0", "target=self", "method=gc", "trainer=cpu", "logger=csv", "hydra.run.dir=job"]
    try:
        assert plan.main(["--images", "0", *words]) == 0
        assert "gc of lite0" in capfd.readouterr().out
        code, out, err = cli(*words, report=True)
        assert code == 0, err
        assert "Positive (%)" in out
        share = json.loads((tmp_path / "job" / "summary.json").read_text())["lite0/positive_share"]
        assert 0 < share < 1
        assert f"{100 * share:.1f}" in (tmp_path / "job" / "report" / "positive_share_by_method.md").read_text()
        assert report(["run=job"]) == 2
        assert "sections=package.module" in capfd.readouterr().err
        assert report(["run=job", "sections=positive_share"]) == 0
    finally:
        sys.modules.pop("positive_share", None)
