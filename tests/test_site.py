"""The documents build as a site, every warning an error, and the site's pages fetch nothing from the network."""

import importlib
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from paths import REPOSITORY

REMOTE = re.compile(r"<(?:script|link|img|iframe|source|video)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
CANONICAL = re.compile(r"<link[^>]*rel=[\"']?(?:canonical|generator)[^>]*>")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material", reason="the documents need pip install '.[docs]'")
    pytest.importorskip("mkdocstrings", reason="the documents need pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


def test_the_selector_has_every_version_newest_first(tmp_path, monkeypatch):
    pytest.importorskip("griffe", reason="the documents need pip install '.[docs]'")
    pytest.importorskip("mkdocs", reason="the documents need pip install '.[docs]'")
    monkeypatch.syspath_prepend(REPOSITORY / "docs")
    hooks = importlib.import_module("hooks")
    monkeypatch.setattr(hooks, "ROOT", tmp_path)
    site = tmp_path / "build" / "site"
    for version in ("0.9.0", "0.10.0", "0.2.1"):
        (site / version).mkdir(parents=True)
        (site / version / "index.html").touch()
    (site / "assets").mkdir()
    hooks.on_post_build(SimpleNamespace(site_dir=str(site / "0.2.1")))
    listed = [line["version"] for line in json.loads((site / "versions.json").read_text())]
    assert listed == ["0.10.0", "0.9.0", "0.2.1"]
    assert "url=0.10.0/index.html" in (site / "index.html").read_text()


@pytest.mark.slow
def test_it_fetches_nothing(site):
    pages = {page: CANONICAL.sub("", page.read_text()) for page in site.rglob("*.html")}
    assert len(pages) > 30
    assert {page.name: REMOTE.findall(text) for page, text in pages.items() if REMOTE.search(text)} == {}
    sheets = [
        sheet
        for sheet in site.rglob("*.css")
        if re.search(r"(?:url\(|@import) *[\"']?(?:https?:)?//", sheet.read_text())
    ]
    assert sheets == []


@pytest.mark.slow
def test_it_has_what_lies_beside_the_documents_and_what_docstrings_say(site):
    assert "Two commands" in (site / "index.html").read_text()
    assert '<div class="highlight">' in (site / "tutorial.html").read_text()
    assert 'id="harmonia.api.transfer"' in (site / "reference" / "python.html").read_text()
    assert "harmonia.attribution.cam.GradCAM" in (site / "reference" / "attribution.html").read_text()
