"""What fails costs time and never a number: after every fault the same command gives the rows of an undisturbed run.

HARMONIA_KILLS is the number of kill -9 in the first test; make torture sets 200.
"""

import itertools
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from rows_in_memory import read_rows

from harmonia.results.rows import read_summary
from harmonia.store import __main__ as store

KILLS = int(os.environ.get("HARMONIA_KILLS", "4"))
TWICE = 2  # kills before both workers are left to finish


@pytest.fixture
def undisturbed(undisturbed_folder, tmp_path) -> pd.DataFrame:
    """Rows of a run in which nothing fails; its job and its cache are copied to the test's folder."""
    for name in ("undisturbed", "undisturbed cache"):
        shutil.copytree(undisturbed_folder / name, tmp_path / name)
    rows = read_rows(tmp_path / "undisturbed")
    return rows.assign(path=rows["path"].str.replace(str(undisturbed_folder), str(tmp_path), regex=False))


def finishes(worker, folder: Path, expected: pd.DataFrame) -> dict:
    """The worker's summary, when it has given these rows."""
    assert worker.wait() == 0, worker.text()
    assert read_rows(folder).equals(expected)
    return read_summary(folder)


def refused(worker) -> str:
    """The one line of a worker that ends with code 2."""
    assert worker.wait() == 2, worker.text()
    assert "Traceback" not in worker.text()
    (line,) = (line for line in worker.text().splitlines() if line.startswith("harmonia: "))
    return line


def sound(cache: Path, capsys) -> bool:
    """What `store verify` says."""
    capsys.readouterr()
    return store.main(["verify", "--cache", str(cache)]) == 0


def test_killed_workers_leave_what_an_undisturbed_run_leaves(start, undisturbed, tmp_path, capsys):
    """Killed and started again in the same two folders; a worker that had ended before its kill does not count."""
    rng, kills, seconds = random.Random(0), 0, read_summary(tmp_path / "undisturbed")["seconds"]
    for number in itertools.count():
        if kills >= KILLS:
            break
        cache, jobs = f"cache {number}", [f"job {number}-{side}" for side in range(2)]
        pair = [start(job, cache=cache) for job in jobs]
        for _ in range(TWICE):
            time.sleep(rng.uniform(0, seconds))
            victim = rng.randrange(2)
            pair[victim].kill()
            kills += pair[victim].wait() is None
            pair[victim] = start(jobs[victim], cache=cache)
        for worker, job in zip(pair, jobs, strict=True):
            finishes(worker, tmp_path / job, undisturbed)
            left = {path.name for path in (tmp_path / job).glob(".*")}
            assert left <= {".lock", ".hydra"}, left
            shutil.rmtree(tmp_path / job)
        assert sound(tmp_path / cache, capsys)
        shutil.rmtree(tmp_path / cache)


@pytest.fixture
def small_disk(tmp_path):
    """small_disk(options) mounts a file system of 24 KB, or remounts it, at disk/."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True)
        if mounted.returncode:
            pytest.skip("no right to mount a small file system here")
        return folder

    yield mount
    subprocess.run(["umount", "-l", folder], capture_output=True)


def test_a_full_disk_is_one_line_and_with_space_the_same_command_goes_on(start, small_disk, undisturbed, tmp_path):
    small_disk("size=24k")
    assert "paths.cache=" in refused(start("job", cache="disk", ledger="full"))
    kept = len(list((tmp_path / "disk").glob("*/*/shard-*.safetensors")))
    assert kept > 0
    small_disk("remount,size=64m")
    summary = finishes(start("job", cache="disk"), tmp_path / "job", undisturbed)
    assert summary["maps_cached"] > 0


def test_a_full_disk_under_the_jobs_folder_is_one_line_and_costs_no_map(start, small_disk, undisturbed, tmp_path):
    small_disk("size=40k")
    assert "No space left" in refused(start("disk/job"))
    assert not (tmp_path / "disk" / "job" / "summary.json").exists()
    small_disk("remount,size=64m")
    summary = finishes(start("disk/job"), tmp_path / "disk" / "job", undisturbed)
    assert summary["maps_computed"] == 0


def test_a_read_only_cache_serves_a_whole_job_and_refuses_what_it_lacks(start, small_disk, undisturbed, tmp_path):
    small_disk("size=64m")
    finishes(start("first", cache="disk"), tmp_path / "first", undisturbed)
    small_disk("remount,ro")
    summary = finishes(start("job", cache="disk"), tmp_path / "job", undisturbed)
    assert summary["maps_computed"] == 0
    assert "paths.cache=" in refused(start("other", "label=runner_up", cache="disk"))


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damage_anywhere_in_the_store_is_noticed_and_mended(start, undisturbed, tmp_path, capsys, damage):
    cache, rng = tmp_path / "undisturbed cache", random.Random(0)
    files = [path for path in cache.glob("*/*/*") if path.suffix in (".safetensors", ".json", ".parquet")]
    assert len(files) > 20
    for path in files:
        content = bytearray(path.read_bytes())
        place = rng.randrange(len(content))
        if damage == "flip":
            content[place] ^= 1 << rng.randrange(8)
        path.write_bytes(content if damage == "flip" else content[:place])
    assert not sound(cache, capsys)
    finishes(start("job", cache=cache.name), tmp_path / "job", undisturbed)
    assert sound(cache, capsys)


def test_a_clock_that_jumps_and_files_of_any_age_change_nothing(start, undisturbed, tmp_path):
    faults = {"jumping_clock": [1e9]}
    finishes(start("job", faults=faults), tmp_path / "job", undisturbed)
    for number, path in enumerate((tmp_path / "cache").rglob("*")):
        os.utime(path, (0, 0) if number % 2 else (4e9, 4e9))
    summary = finishes(start("again", faults=faults), tmp_path / "again", undisturbed)
    assert summary["maps_computed"] == 0


def test_locks_and_temporary_files_of_the_dead_hold_nobody_up(start, undisturbed, tmp_path):
    for folder in (tmp_path / "undisturbed cache").glob("*/*"):
        if (folder / "locks").is_dir():
            for shard in folder.glob("shard-*"):
                (folder / "locks" / f"{shard.stem}.lock").write_text("4194304")
                (folder / f".{shard.name}.4194304-dead.tmp").write_bytes(shard.read_bytes()[:100])
                shard.unlink()
            (folder / "locks" / "worker-elsewhere-4194304-00000000.lock").touch()
    summary = finishes(start("job", cache="undisturbed cache"), tmp_path / "job", undisturbed)
    assert summary["maps_cached"] == 0


def test_an_image_that_changes_between_two_runs_is_another_data_set(start, undisturbed, images, tmp_path):
    (changed, *_, other) = sorted(images.rglob("*.png"))
    shutil.copy(other, changed)
    worker = start("job", cache="undisturbed cache")
    assert worker.wait() == 0, worker.text()
    assert read_summary(tmp_path / "job")["maps_cached"] == 0


def test_an_image_that_changes_during_a_run_stops_it_and_no_number_of_it_is_kept(start, undisturbed, images, tmp_path):
    path = sorted(images.rglob("*.png"))[0]
    before = path.read_bytes()
    line = refused(start("job", faults={"after_listing": [str(path), "replace"]}))
    assert "must not change during a run" in line
    path.write_bytes(before)
    finishes(start("job"), tmp_path / "job", undisturbed)


def test_an_image_that_vanishes_during_a_run_is_left_out_and_computed_when_it_is_back(start, images, tmp_path):
    pool = shutil.copytree(images, tmp_path / "pool")
    words = [f"data.pool={pool}"]
    whole = start("whole", *words, cache="other")
    path = sorted(images.rglob("*.png"))[3]
    before = path.read_bytes()
    assert whole.wait() == 0, whole.text()
    worker = start("job", *words, faults={"after_listing": [str(path), "vanish"]})
    assert worker.wait() == 0, worker.text()
    assert read_summary(tmp_path / "job")["images_unreadable"] == 1
    assert path.name in worker.text()
    assert path.relative_to(images).as_posix() not in set(read_rows(tmp_path / "job")["image_id"])
    path.write_bytes(before)
    summary = finishes(start("job", *words), tmp_path / "job", read_rows(tmp_path / "whole"))
    assert 0 < summary["maps_computed"] < 8  # its shard alone


def test_a_replacement_image_that_vanishes_during_a_run_stops_it(start, undisturbed, images, tmp_path):
    """Maps made before a smaller pool would be kept under the key of the whole one."""
    path = sorted(images.rglob("*.png"))[3]
    before = path.read_bytes()
    line = refused(start("job", faults={"after_listing": [str(path), "vanish"]}))
    assert "replacement image" in line
    path.write_bytes(before)
    finishes(start("job"), tmp_path / "job", undisturbed)


def test_a_batch_that_is_too_large_for_the_memory_is_halved(start, undisturbed, tmp_path):
    worker = start("job", faults={"little_memory": [1]})
    assert worker.wait() == 0, worker.text()
    assert "going on with batch_size 1" in worker.text()
    rows = read_rows(tmp_path / "job")
    assert rows["image_id"].equals(undisturbed["image_id"])
    # another batch size may round differently (docs/adr/0003)
    assert (rows["p_predicted"] - undisturbed["p_predicted"]).abs().max() < 1e-4
    assert "at batch_size 1" in refused(start("none", cache="none", faults={"little_memory": [0]}))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_ends_with_130_and_the_line_that_resumes_it(start, undisturbed, tmp_path, number):
    words = ["-m", "method.steps=60", "method.tolerance=null", "label=predicted,runner_up", "hydra.sweep.dir=sweep"]
    worker = start("sweep", *words)
    while not list((tmp_path / "cache").glob("maps/*/shard-*.safetensors")):
        assert worker.alive(), worker.text()
        time.sleep(0.01)
    worker.kill(number)
    assert worker.wait() == 130, worker.text()
    assert "the same command resumes" in worker.text()
    assert "Traceback" not in worker.text()
    assert not list((tmp_path / "cache").rglob("*.tmp"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_job_says_how_to_go_on_and_the_next_run_resumes(start, tmp_path, number):
    words = ["method.steps=20", "method.tolerance=null", "store.shard_size=1"]
    worker = start("job", *words)
    while not list((tmp_path / "cache").glob("maps/*/shard-00000.safetensors")):
        assert worker.alive(), worker.text()
        time.sleep(0.01)
    worker.kill(number)
    assert worker.wait() == 130, worker.text()
    assert "the same command resumes" in worker.text()
    assert "Traceback" not in worker.text()
    assert not (tmp_path / "job" / "summary.json").exists()
    again = start("job", *words)
    assert again.wait() == 0, again.text()
    assert read_summary(tmp_path / "job")["maps_cached"] >= 1


def test_a_logger_that_dies_or_hears_nothing_costs_a_warning(start, undisturbed, tmp_path):
    unreachable = {"WANDB_MODE": "online", "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40}
    words = ["logger=wandb", "logger.settings.init_timeout=5"]
    silent = start("unreachable", *words, cache="undisturbed cache", **unreachable)
    finishes(silent, tmp_path / "unreachable", undisturbed)
    assert "Tracking: " in silent.text()
    dying = start("dying", *words, cache="undisturbed cache", faults={"lost_logger": [0.2]})
    finishes(dying, tmp_path / "dying", undisturbed)
    assert "Tracking: " in dying.text()


def test_one_failing_cell_leaves_the_others_and_the_report_names_it(start, tmp_path):
    words = ["-m", "method.start.layer=auto,nowhere", "hydra.sweep.dir=sweep"]
    worker = start("sweep", *words)
    assert worker.wait() == 2, worker.text()
    assert [(path / "rows.parquet").exists() for path in sorted((tmp_path / "sweep").glob("[01]_*"))] == [True, False]
    assert "nowhere" in (tmp_path / "sweep" / "report" / "index.html").read_text()


def test_jobs_of_other_settings_in_one_folder_lose_no_rows(start, tmp_path):
    """One is kept whole, the other refused; begun again elsewhere, it computes nothing."""
    labels = ["predicted", "runner_up"]
    workers = [start("job", f"label={label}") for label in labels]
    codes = [worker.wait() for worker in workers]
    assert sorted(codes) == [0, 2], [worker.text() for worker in workers]
    kept, lost = labels[codes.index(0)], codes.index(2)
    assert set(read_rows(tmp_path / "job")["label_policy"]) == {kept}
    assert "hydra.run.dir=" in refused(workers[lost])
    again = start("other", f"label={labels[lost]}")
    assert again.wait() == 0, again.text()
    assert read_summary(tmp_path / "other")["maps_computed"] == 0


def test_processes_in_one_folder_help_the_first_and_leave_its_rows(start, undisturbed, computed, tmp_path):
    workers = [start("job", ledger="ledger") for _ in range(3)]
    for worker in workers:
        assert worker.wait() == 0, worker.text()
    assert read_rows(tmp_path / "job").equals(undisturbed)
    assert set(computed("ledger").values()) == {1}
    assert sum("helping it" in worker.text() for worker in workers) >= 1
    assert not list((tmp_path / "job").glob(".helper-*"))
