"""The same configuration and seed give the same rows, whatever the number of workers, batch size or order."""

import json

import pandas as pd
import pytest
from rows_in_memory import read_rows

ALONE = "target=self"  # what a target answers is held by the first two methods
METHODS = [
    ["method=gc"],
    ["method=ss_cpu", "method.steps=4", "method.check_every=2", "method.held_out=1"],
    ["method=rise", ALONE, "method.masks=20"],
    ["method=occ", ALONE, "method.window=24", "method.stride=24"],
    ["method=lima", ALONE, "method.segments=9"],
    ["method=ablcam", ALONE, "method.layer=layer1"],  # it has the fewest channels, and each costs a pass
    ["method=scorecam", ALONE, "method.layer=layer1"],
    ["method=ig", ALONE, "method.steps=4"],
    ["method=sg", ALONE, "method.draws=2"],
]
ORDER = ["target", "image_id", "arm"]


@pytest.fixture
def small_job(small_job, request):
    """The small job, by the method that a test asks for."""
    method = getattr(request, "param", None)
    if method is None:
        return small_job
    replaced = ("method", "target") if ALONE in method else ("method",)
    return [word for word in small_job if not word.startswith(replaced)] + method


@pytest.mark.parametrize("small_job", METHODS, ids=lambda words: words[0], indirect=True)
def test_rows_are_the_same_bit_for_bit_whatever_the_number_of_workers_batch_size_and_order(start, small_job, tmp_path):
    cuts = [["batch_size=3"], ["batch_size=1", "store.spool_gb=0"]]
    if ALONE not in small_job:
        cuts = [[*cuts[0], "target=[timm,self]"], cuts[1], ["batch_size=7"]]
    workers = [
        start("alone", cache="one"),
        *(start(f"cut {number}", *words, cache="two") for number, words in enumerate(cuts)),
    ]
    for worker in workers:
        assert worker.wait() == 0, worker.text()
    assert_same_rows(tmp_path / "alone", *(tmp_path / f"cut {number}" for number in range(len(cuts))))


@pytest.mark.parametrize("small_job", METHODS[:2], ids=lambda words: words[0], indirect=True)
def test_a_cell_of_a_sweep_has_the_rows_of_the_job_alone(start, small_job, tmp_path):
    words = ["-m", "~hydra.callbacks.report", "hydra.sweep.dir=sweep", "fill=mean,black", "store.shard_size=5"]
    for worker in (start("alone", cache="one"), start("sweep", *words, cache="two")):
        assert worker.wait() == 0, worker.text()
    assert_same_rows(tmp_path / "alone", *(tmp_path / "sweep").glob("1_*"))


def assert_same_rows(*folders):
    expected, *others = (read_rows(folder).sort_values(ORDER).reset_index(drop=True) for folder in folders)
    assert others
    for rows in others:
        pd.testing.assert_frame_equal(rows, expected, check_exact=True)


def test_another_run_of_the_same_command_gives_the_same_bits_and_another_seed_other_ones(start, tmp_path):
    workers = [start("one", cache="one"), start("again", cache="two"), start("other", "seed=1", cache="three")]
    for worker in workers:
        assert worker.wait() == 0, worker.text()
    first, again, reseeded = (read_rows(tmp_path / name) for name in ("one", "again", "other"))
    assert first.equals(again)
    assert not first["p_predicted"].equals(reseeded["p_predicted"])
    ran = json.loads((tmp_path / "one" / "environment.json").read_text())
    assert ran["packages"]["torch"]
    assert ran["host"]
    assert ran["device"] == "cpu"
