"""The documents build as a site, every warning an error, and the site's pages fetch nothing from the network."""

import os
import re
import subprocess
import sys

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
