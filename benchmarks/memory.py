"""Peak memory of every stage of a job and of its report, for data sets of several sizes.

    python benchmarks/memory.py [1000 10000]

Generated images, random weights of timm's smallest network: what is measured is what harmonia keeps, not the network.
Each size runs in a process of its own; the peak of a stage is the kernel's (VmHWM, reset before each stage).
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

WORDS = [
    "source=timm", "source.arch=test_resnet", "source.weights=random", "source.input_size=64", "target=self",
    "method=gc", "data=folder", "data.pool_size=50", "trainer=cpu", "num_threads=1", "batch_size=32",
    "tracking.group=none",
]  # fmt: skip
ARMS = [
    "evaluation.areas=[0.3]",
    "evaluation.controls={centre:[],same_class:[],other_class:[],complement:[],silhouette:[]}",
]
CLASSES = 10


def generate(folder: Path, count: int) -> None:
    import numpy as np
    from PIL import Image

    from harmonia.data.imagenet import wnids

    for number in range(count):
        path = folder / wnids()[number % CLASSES] / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((80, 72), Image.Resampling.BICUBIC).save(path)


def peak_mb(stage) -> float:
    """Of this process while stage() runs."""
    Path("/proc/self/clear_refs").write_text("5")
    stage()
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def composed(folder: Path, *words: str):
    from hydra import compose, initialize_config_dir

    from harmonia.cli.entry import conf_folder

    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        places = [f"data.root={folder / 'images'}", f"paths.cache={folder / 'cache'}", f"paths.job={folder / 'job'}"]
        return compose("config", [*WORDS, *places, *words])


def measure(folder: Path) -> dict[str, float]:
    from functools import partial

    from omegaconf import OmegaConf

    from harmonia.cli.early import keep_freed_memory
    from harmonia.job.prepare import prepare
    from harmonia.job.settings import settings_of
    from harmonia.report import write as report
    from harmonia.results import rows, tracking

    keep_freed_memory()  # as the command does
    config = composed(folder, *ARMS)
    settings = settings_of(config)
    job_folder = folder / "job"
    job_folder.mkdir()
    (job_folder / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    peaks, jobs, summary = {}, [], {}
    peaks["list images, load models"] = peak_mb(lambda: jobs.append(prepare(settings, job_folder)))
    (job,) = jobs
    stages = job.evaluation.stages(job)
    peaks["maps"] = peak_mb(lambda: next(stages).complete())
    peaks["images, features"] = peak_mb(lambda: [stage.complete() for stage in stages])
    peaks["rows, small maps, summary"] = peak_mb(lambda: summary.update(job.evaluation.write(job)))
    rows.write_summary(job_folder, summary)

    def track():
        logger = tracking.make_logger(settings.logger)
        media = partial(job.evaluation.media, job, summary)
        tracking.publish(logger, job.evaluation.logged(summary), {}, media)
        tracking.finish(logger)

    peaks["W&B, offline"] = peak_mb(track)
    peaks["report"] = peak_mb(lambda: report.write_report(folder))
    return peaks


def measure_report(folder: Path) -> dict[str, float]:
    from harmonia.report import write as report

    return {"report, a process of its own": peak_mb(lambda: report.write_report(folder))}


def measure_scores(folder: Path) -> dict[str, float]:
    """Of the maps that the job left in the store."""
    from harmonia.job.pipeline import evaluate

    job = prepared(folder, "evaluation=deletion", "evaluation.metric.steps=4")
    return {"scores of maps": peak_mb(lambda: evaluate(job))}


def measure_mosaics(folder: Path) -> dict[str, float]:
    """As many scored cells as images, of any images: a network with random weights is sure of none."""
    from dataclasses import replace

    from harmonia.evaluation.mosaics.localisation import Localisation
    from harmonia.job.pipeline import evaluate

    class OfAnyImages(Localisation):
        def pool(self, job):
            super().pool(job)
            return list(range(len(job.images.records)))

    job = prepared(folder, "evaluation=gridpg")
    evaluation = OfAnyImages(protocol="gridpg", grids=len(job.images.records))
    return {"mosaics: sure images, maps, cells, AggAtt": peak_mb(lambda: evaluate(replace(job, evaluation=evaluation)))}


def prepared(folder: Path, *words: str):
    from harmonia.cli.early import keep_freed_memory
    from harmonia.job.prepare import prepare
    from harmonia.job.settings import settings_of

    keep_freed_memory()
    own = folder / f"job {words[0]}"  # the report measured is that of the first job alone
    own.mkdir()
    return prepare(settings_of(composed(folder, *words)), own)


# in this order: the later ones find the earlier ones' store
MEASUREMENTS = {
    "--job": measure,
    "--report": measure_report,
    "--scores": measure_scores,
    "--mosaics": measure_mosaics,
}


def main(sizes: list[int]) -> None:
    columns = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            generate(Path(folder, "images"), size)
            columns[size] = {}
            for part in MEASUREMENTS:
                command = [sys.executable, __file__, part, folder]
                done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
                if done.returncode:
                    sys.exit(done.stderr)
                columns[size] |= json.loads(done.stdout.splitlines()[-1])
    print("| peak, MB | " + " | ".join(f"{size:,} images" for size in sizes) + " | growth |")
    print("| --- |" + " --- |" * (len(sizes) + 1))
    for stage in columns[sizes[0]]:
        numbers = [columns[size][stage] for size in sizes]
        cells = [stage, *(f"{number:,.0f}" for number in numbers), f"{numbers[-1] - numbers[0]:,.0f}"]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in MEASUREMENTS:
        print(json.dumps(MEASUREMENTS[sys.argv[1]](Path(sys.argv[2]))))
    else:
        main([int(word) for word in sys.argv[1:]] or [1000, 10000])
