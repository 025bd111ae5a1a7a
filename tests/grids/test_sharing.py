"""Processes that need the same maps and answers divide them, and together do the work of one."""

import pytest

from harmonia.results import read_rows, read_summary

IMAGES, TARGETS = 8, 2


def passes(folder) -> int:
    """Inputs that went through the targets' networks in a job."""
    return sum(
        v for name, v in read_summary(folder).items() if name.startswith("network_passes/") and "/maps" not in name
    )


@pytest.mark.parametrize("processes", [2, 4, 8])
def test_together_processes_compute_every_shard_once_and_have_the_rows_of_one(start, computed, tmp_path, processes):
    alone = start("alone", cache="other", ledger="ledger of one")
    together = [start(f"job{number}", ledger="ledger") for number in range(processes)]
    for worker in (alone, *together):
        assert worker.wait() == 0, worker.text()

    once = computed("ledger of one")
    assert len(once) == IMAGES * (1 + 2 * TARGETS)  # maps; images and features on every target
    assert set(once.values()) == {1}
    assert computed("ledger") == once

    folders = [tmp_path / f"job{number}" for number in range(processes)]
    assert sum(read_summary(folder)["maps_computed"] for folder in folders) == IMAGES
    assert sum(map(passes, folders)) == passes(tmp_path / "alone")
    expected = read_rows(tmp_path / "alone")
    for folder in folders:
        assert read_rows(folder).equals(expected)
