"""Peak memory hardly depends on the number of images; docs/grids.md has the numbers."""

import os
import subprocess
import sys

import pytest
from paths import REPOSITORY

MOST_GROWTH = 100  # MB for 2,700 images more: a report holds the regions of their maps, 13 kB each
BENCHMARK = REPOSITORY / "benchmarks" / "memory.py"


@pytest.mark.slow
@pytest.mark.skipif("HARMONIA_KILLS" not in os.environ, reason="takes minutes: make torture")
def test_memory_is_flat_in_every_stage():
    done = subprocess.run([sys.executable, BENCHMARK, "300", "3000"], capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr[-4000:]
    growth = {line.split("|")[1].strip(): float(line.split("|")[-2]) for line in done.stdout.splitlines()[2:]}
    assert len(growth) > 5
    assert max(growth.values()) < MOST_GROWTH, growth
