"""Processes that need the same maps and answers divide them, and together do the work of one."""

from collections import Counter

import pytest
from rows_in_memory import read_rows

from harmonia.results.localisation import read_localisation
from harmonia.results.rows import read_summary
from harmonia.results.scores import read_scores

IMAGES, TARGETS = 8, 2


def passes(folder) -> int:
    """Inputs that went through the targets' networks in a job."""
    return sum(
        v for name, v in read_summary(folder).items() if name.startswith("network_passes/") and "/maps" not in name
    )


@pytest.mark.parametrize("processes", [2, 8])
def test_together_processes_compute_every_shard_once_and_have_the_rows_of_one(start, computed, tmp_path, processes):
    alone = start("alone", cache="other", ledger="ledger of one")
    together = [start(f"job{number}", ledger="ledger") for number in range(processes)]
    for worker in (alone, *together):
        assert worker.wait() == 0, worker.text()

    once = computed("ledger of one")
    assert len(once) == IMAGES * (1 + 3 * TARGETS)  # maps; images, controls and features on every target
    assert set(once.values()) == {1}
    assert computed("ledger") == once

    folders = [tmp_path / f"job{number}" for number in range(processes)]
    assert sum(read_summary(folder)["maps_computed"] for folder in folders) == IMAGES
    assert sum(map(passes, folders)) == passes(tmp_path / "alone")
    expected = read_rows(tmp_path / "alone")
    for folder in folders:
        assert read_rows(folder).equals(expected)


def shared(start, computed, tmp_path, job):
    """Two processes on one store and one on its own: what each of the three finished, and what the one computed."""
    workers = [start("alone", cache="other", ledger="ledger of one", job=job)]
    workers += [start(f"job{number}", ledger="ledger", job=job) for number in range(2)]
    for worker in workers:
        assert worker.wait() == 0, worker.text()
    once = computed("ledger of one")
    assert set(once.values()) == {1}
    assert computed("ledger") == once
    return [tmp_path / "alone", tmp_path / "job0", tmp_path / "job1"], Counter(line.split()[0] for line in once)


def test_scores_of_maps_are_shared_too(start, computed, tmp_path, small_job):
    plain = [word for word in small_job if not word.startswith("evaluation.")]
    job = [*plain, "evaluation=deletion", "++evaluation.metric.steps=3"]
    folders, once = shared(start, computed, tmp_path, job)
    assert once == {"Source": IMAGES, "Scorer": IMAGES}
    alone, *together = map(read_scores, folders)
    assert all(rows.equals(alone) for rows in together)
    spent, *parts = (read_summary(folder)["network_passes/small"] for folder in folders)
    assert sum(parts) == spent > 0


@pytest.mark.usefixtures("needs_samples")
def test_maps_of_mosaics_are_shared_too(start, computed, tmp_path):
    job = ["source=lite0", "data=samples", "method=gc", "evaluation=gridpg", "evaluation.confidence=0", "logger=none"]
    job += ["source.input_size=96", "evaluation.grids=2", "trainer=cpu", "store.shard_size=2", "batch_size=4"]
    folders, once = shared(start, computed, tmp_path, job)
    assert once == {"ImageTarget": 20, "GridSource": 8}
    alone, *together = map(read_localisation, folders)
    assert all(rows.equals(alone) for rows in together)
    assert sum(read_summary(folder)["maps_computed"] for folder in folders[1:]) == 8
