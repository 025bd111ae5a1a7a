"""Sweeps placed by joblib, Ray and Slurm, each run for real; what is not installed is skipped, and says so."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from rows_in_memory import read_rows

from harmonia.results.jobs import find_jobs

LOOPBACK = Path(__file__).with_name("loopback.sh")
NEW = "unshare --net --pid --fork --mount-proc sh -c 'ip link set lo up'"


CELLS = ["label=predicted,runner_up", "fill=black,mean"]


@pytest.fixture
def sweep(small_job, tmp_path):
    """sweep(*words, around=()) runs cells of the small job in the folder sweep and gives the finished process."""

    def run(*words, around=(), timeout_s=900, **environment):
        command = [sys.executable, "-m", "harmonia.run", "-m", *small_job, "hydra.sweep.dir=sweep"]
        done = subprocess.run(
            [*around, *command, *words],
            cwd=tmp_path,
            env=os.environ | {"HARMONIA_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"} | environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done

    return run


def finished(folder, cells=4) -> list:
    jobs = find_jobs(folder)
    assert [job.error for job in jobs] == [None] * cells
    assert all(len(read_rows(job.folder)) for job in jobs)
    return jobs


def environments(jobs) -> list[dict]:
    return [json.loads((job.folder / "environment.json").read_text()) for job in jobs]


@pytest.fixture
def needs_namespaces():
    if subprocess.run(NEW, shell=True, capture_output=True).returncode:
        pytest.skip("no namespaces of its own (needs root, unshare and ip): no loopback without the network")


torture = pytest.mark.skipif("HARMONIA_KILLS" not in os.environ, reason="takes minutes: make torture")


def needs(module: str, extra: str):
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"the {extra} extra is not installed")


@pytest.mark.slow
@needs("hydra_plugins.hydra_joblib_launcher", "joblib")
def test_joblib_runs_jobs_in_processes_of_their_own(sweep, tmp_path):
    words = ["hydra/launcher=cores", "hydra.launcher.n_jobs=2", "num_threads=1", "~hydra.callbacks.report"]
    sweep("fill=black,mean", *words)
    jobs = finished(tmp_path / "sweep", cells=2)
    # the cells share their maps and their image predictions
    assert sum(job.summary["maps_computed"] for job in jobs) == 8


def test_one_device_may_be_driven_by_any_strategy_of_lightnings(start, tmp_path):
    words = ["trainer.strategy=ddp", "trainer.devices=1"]
    workers = [start("plain", cache="plain cache"), start("ddp", *words, cache="ddp cache")]
    for worker in workers:
        assert worker.wait() == 0, worker.text()
    assert read_rows(tmp_path / "ddp").equals(read_rows(tmp_path / "plain"))


def test_on_a_login_node_a_job_is_not_told_to_use_srun(start, tmp_path):
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text("#!/bin/sh\n")
    srun.chmod(0o755)
    worker = start("job", PATH=f"{srun.parent}:{os.environ['PATH']}")
    assert worker.wait() == 0, worker.text()
    assert "srun" not in worker.text()


@pytest.mark.slow
@needs("ray", "ray")
def test_ray_pins_every_job_to_a_device_of_its_own(sweep, tmp_path, needs_namespaces):
    words = ["init.num_cpus=2", "init.num_gpus=2", "init.include_dashboard=false"]
    words = ["hydra/launcher=ray", *(f"hydra.launcher.{word}" for word in words)]
    sweep(*words, "fill=black,mean,blur", "~hydra.callbacks.report", around=[LOOPBACK], RAY_AUTH_MODE="disabled")
    found = environments(finished(tmp_path / "sweep", cells=3))
    assert {one["visible_devices"] for one in found} == {"0", "1"}  # more jobs than devices, two at a time


@pytest.mark.slow
@needs("ray", "ray")
def test_ray_refuses_what_no_machine_has_instead_of_waiting_for_it(small_job, tmp_path, needs_namespaces):
    words = ["hydra/launcher=ray", "hydra.launcher.init.num_cpus=1", "hydra.launcher.init.num_gpus=0"]
    command = [sys.executable, "-m", "harmonia.run", "-m", *small_job, "hydra.sweep.dir=sweep", *words]
    environment = os.environ | {"HARMONIA_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [LOOPBACK, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2, done.stdout[-2000:] + done.stderr[-4000:]
    assert "hydra.launcher.remote.num_gpus must be what a machine" in done.stderr.splitlines()[-1]
    assert "at most 0 GPU, got 1; write hydra.launcher.remote.num_gpus=0" in done.stderr


STOP = """
"$@" > log 2>&1 & sweep=$!
for _ in $(seq 600); do grep -q "#3 : " log && break; sleep 0.2; done
sleep 3; kill -%s $sweep; wait $sweep
"""


@pytest.mark.slow
@needs("ray", "ray")
@pytest.mark.parametrize("signal", [pytest.param("INT", marks=torture), "TERM"])
def test_a_ray_sweep_that_is_stopped_says_how_it_goes_on(small_job, tmp_path, needs_namespaces, signal):
    words = ["hydra/launcher=ray", "hydra.launcher.init.num_cpus=1", "hydra.launcher.remote.num_gpus=0"]
    words += [*CELLS, "method.steps=5000"]
    command = [sys.executable, "-m", "harmonia.run", "-m", *small_job, "hydra.sweep.dir=sweep", *words]
    done = subprocess.run(
        [LOOPBACK, "sh", "-c", STOP % signal, "sh", *command],
        cwd=tmp_path,
        env=os.environ | {"HARMONIA_CACHE": str(tmp_path / "cache")},
        timeout=300,
    )
    log = (tmp_path / "log").read_text()
    assert done.returncode == 130, log[-4000:]
    assert "harmonia: interrupted; the same command resumes" in log


@pytest.mark.slow
@torture
@needs("ray", "ray")
def test_ray_takes_the_address_of_a_cluster(sweep, tmp_path, needs_namespaces):
    script = 'ray start --head --num-cpus=2 --num-gpus=2 --include-dashboard=false --disable-usage-stats >&2; "$@"'
    around = [LOOPBACK, "sh", "-c", script, "-"]
    sweep(
        *CELLS,
        "hydra/launcher=ray",
        "hydra.launcher.init.address=auto",
        around=around,
        RAY_AUTH_MODE="disabled",
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    )
    found = environments(finished(tmp_path / "sweep"))
    assert {one["visible_devices"] for one in found} == {"0", "1"}


SLURM = ["hydra/launcher=slurm", "hydra.launcher.gpus_per_node=null", "hydra.launcher.cpus_per_task=1"]


@pytest.fixture
def slurm(needs_namespaces, tmp_path):
    if not all(map(shutil.which, ("slurmctld", "slurmd", "munged", "sbatch"))):
        pytest.skip("Slurm is not installed (Debian: slurm-wlm and munge)")
    return [LOOPBACK, "slurm", tmp_path / "slurm"]


@pytest.mark.slow
@needs("hydra_plugins.hydra_submitit_launcher", "slurm")
def test_slurm_runs_so_many_jobs_of_the_array_at_once(sweep, slurm, tmp_path):
    words = ["label=predicted,runner_up", *SLURM, "hydra.launcher.array_parallelism=1", "~hydra.callbacks.report"]
    sweep(*words, around=slurm)
    jobs = finished(tmp_path / "sweep", cells=2)
    assert sum(job.summary["maps_computed"] for job in jobs) == 2 * 8
    scripts = [path.read_text() for path in (tmp_path / "sweep" / ".submitit").rglob("*.sh")]
    assert any("#SBATCH --array=0-1%1" in script for script in scripts)


@pytest.mark.slow
@torture
@needs("hydra_plugins.hydra_submitit_launcher", "slurm")
def test_slurm_tasks_of_one_command_divide_the_maps(sweep, slurm, tmp_path):
    """srun starts the same sweep twice; Lightning must not take its tasks for ranks of one job."""
    done = sweep(*CELLS, around=[*slurm, "srun", "--ntasks=2"])
    finished(tmp_path / "sweep")
    here = [int(number) for number in re.findall(r"ss maps of small: (\d+) of 8 images computed here", done.stdout)]
    assert sum(here) == 2 * 8  # of two label policies, by both tasks together
    assert len(here) > 2, done.stdout  # both have had a hand in one of them


MAPS_S = 100  # of a job that has some 40 s before it is told to make room


@pytest.mark.slow
@torture
@needs("hydra_plugins.hydra_submitit_launcher", "slurm")
def test_a_slurm_job_at_its_time_limit_is_queued_again_and_resumes(sweep, slurm, start, tmp_path):
    """The signal comes a minute after the start; the number of steps is set by how fast the machine is now."""
    slow = ["label=predicted", "fill=black", "method.tolerance=null", "store.shard_size=1"]
    trial = start("trial", *slow, "method.steps=20", cache="trial cache")
    assert trial.wait() == 0, trial.text()
    (index,) = (tmp_path / "trial cache").glob("maps/*/index.parquet")
    steps = round(20 * MAPS_S / pd.read_parquet(index)["seconds"].sum())
    limit = ["hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=60"]
    started = time.monotonic()
    sweep(*SLURM, *limit, *slow, f"method.steps={steps}", around=slurm, timeout_s=3600)  # Slurm waits 2 min each time
    (job,) = find_jobs(tmp_path / "sweep")
    assert job.finished
    logs = "".join(path.read_text() for path in (tmp_path / "sweep" / ".submitit").rglob("*_log.*"))
    assert "Requeued" in logs, f"{time.monotonic() - started:.0f} s were enough for a job"
    assert job.summary["maps_cached"] >= 1
