"""Law of make bench: it rewrites its part of the page, in one form whatever it measures, and nothing else."""

import re
import subprocess
import sys

import pytest
from paths import REPOSITORY

PAGE = (REPOSITORY / "docs" / "benchmarks.md").read_text()
NUMBER = r"-?\d[\d.]*(?:e[-+]\d+)?"


def form(text):
    """Headings and rows of tables, N for one or several numbers."""
    return [re.sub(f"{NUMBER}(?:, {NUMBER})*", "N", line) for line in text.splitlines() if line.startswith(("#", "|"))]


@pytest.mark.slow
def test_a_quick_run_leaves_a_page_of_the_same_form(tmp_path):
    for peer in ("pytorch_grad_cam", "quantus", "torchcam"):
        pytest.importorskip(peer, reason=f"{peer} is not installed: the page has fewer columns")
    page = tmp_path / "page.md"
    page.write_text(
        re.sub("<!-- written.*<!-- end -->", "<!-- written by benchmarks/run.py --><!-- end -->", PAGE, flags=re.S)
    )
    command = [sys.executable, REPOSITORY / "benchmarks" / "run.py", "--quick", "--page", page]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    assert form(page.read_text()) == form(PAGE)
    for place in (0, 2):
        assert re.split("<!-- .* -->", page.read_text())[place] == re.split("<!-- .* -->", PAGE)[place]
