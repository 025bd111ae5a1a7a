"""Peak memory depends on no number of images; docs/grids.md has 1,000 against 10,000."""

import os
import subprocess
import sys

import pytest
from paths import REPOSITORY

BENCHMARK = REPOSITORY / "benchmarks" / "memory.py"


@pytest.mark.slow
@pytest.mark.skipif("HARMONIA_KILLS" not in os.environ, reason="takes minutes: make torture")
def test_memory_is_flat_in_every_stage():
    done = subprocess.run([sys.executable, BENCHMARK, "300", "3000"], capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr[-4000:]
    ratios = {line.split("|")[1].strip(): float(line.split("|")[-2]) for line in done.stdout.splitlines()[2:]}
    assert len(ratios) > 5
    assert max(ratios.values()) < 1.1, ratios
