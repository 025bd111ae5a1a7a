"""The same configuration and seed give the same rows, whatever the number of workers, batch size or order."""

import json

import pytest

from harmonia.results import read_rows

NUMBERS = ["p_label", "p_explained", "p_predicted", "entropy", "kept_area"]
TOLERANCE = 1e-5  # float32 kernels of a CPU add in another order for another batch size


@pytest.mark.parametrize(
    "words",
    [
        ["batch_size=1", "num_threads=2"],
        ["store.shard_size=3", "batch_size=2", "target=[timm,self]"],
        ["store.shard_size=8", "batch_size=7", "store.spool_gb=0"],
    ],
    ids=" ".join,
)
def test_rows_do_not_depend_on_how_the_work_is_cut(start, tmp_path, words):
    workers = [start("as it is", cache="one"), *(start(f"cut {number}", *words, cache="two") for number in range(2))]
    for worker in workers:
        assert worker.wait() == 0, worker.text()
    order = ["target", "image_id", "arm"]
    expected, *found = (
        read_rows(tmp_path / name).sort_values(order).reset_index(drop=True) for name in ("as it is", "cut 0", "cut 1")
    )
    assert found[0].equals(found[1])
    assert found[0].drop(columns=NUMBERS).equals(expected.drop(columns=NUMBERS))
    for name in NUMBERS:
        assert (found[0][name] - expected[name]).abs().max() <= TOLERANCE, name


def test_another_run_of_the_same_command_gives_the_same_bits_and_another_seed_other_ones(start, tmp_path):
    workers = [start("one", cache="one"), start("again", cache="two"), start("other", "seed=1", cache="three")]
    for worker in workers:
        assert worker.wait() == 0, worker.text()
    one, again, other = (read_rows(tmp_path / name) for name in ("one", "again", "other"))
    assert one.equals(again)
    assert not one["p_predicted"].equals(other["p_predicted"])
    ran = json.loads((tmp_path / "one" / "environment.json").read_text())
    assert ran["packages"]["torch"]
    assert ran["host"]
    assert ran["device"] == "cpu"
