"""Jobs that log to W&B at the same time each leave a complete run: wandb/wandb#7227 tells of some that were lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harmonia.results.rows import read_summary
from harmonia.results.tracking import metrics

JOBS = 8
LOOPBACK = Path(__file__).with_name("loopback.sh")
MEDIA = "tracking.panel_images=0"  # pictures would cost more than the jobs


def assert_complete(folder, records, history):
    """The run's file holds the job's configuration, every number that jobs log, and its end."""
    updates = [item for record in records(folder) for item in record.config.update]
    names = {(item.nested_key or [item.key])[0].partition("/")[0] for item in updates}
    assert names >= yaml.safe_load((folder / "config.yaml").read_text()).keys()
    logged = history(folder)
    for name, value in metrics(read_summary(folder)).items():
        assert value is None or logged[name] == pytest.approx(value), name


def test_eight_jobs_that_log_at_once_leave_eight_complete_runs(start, undisturbed_folder, tmp_path, records, history):
    words = ["logger=wandb", MEDIA]
    store = str(undisturbed_folder / "undisturbed cache")
    root = f"data.root={undisturbed_folder / 'images'}"
    workers = [start(f"job {number}", *words, root, cache=store) for number in range(JOBS)]
    for number, worker in enumerate(workers):
        assert worker.wait() == 0, worker.text()
        assert "Tracking: " not in worker.text()
        assert_complete(tmp_path / f"job {number}", records, history)


@pytest.mark.skipif("HARMONIA_KILLS" not in os.environ, reason="takes minutes: make torture")
def test_eight_jobs_of_a_ray_sweep_leave_eight_complete_runs(small_job, tmp_path, records, history):
    pytest.importorskip("ray")
    words = ["hydra/launcher=ray", "hydra.launcher.init.num_cpus=8", "hydra.launcher.init.include_dashboard=false"]
    words += ["hydra.sweep.dir=sweep", "~hydra.callbacks.report", "hydra.launcher.remote.num_gpus=0"]
    words += ["fill=black,mean,blur,noisy_linear", "label=predicted,runner_up"]
    done = subprocess.run(
        [LOOPBACK, sys.executable, "-m", "harmonia.run", "-m", *small_job, "logger=wandb", MEDIA, *words],
        cwd=tmp_path,
        env=os.environ
        | {"HARMONIA_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    folders = [path.parent for path in (tmp_path / "sweep").glob("*/summary.json")]
    assert len(folders) == JOBS
    for folder in folders:
        assert_complete(folder, records, history)
