"""Seconds and memory of a report: 12 cells (2 sources, 2 methods, 3 targets) x 4,000 images x 31 arms, drawn rows.

    python benchmarks/report.py
    python benchmarks/report.py --images 400 --profile
    python benchmarks/report.py --images 10000 --jobs 1

The rows are drawn, not computed: an image has a difficulty, an arm a handicap, and a target is right where
both leave it enough. Writing them is not counted.
"""

import argparse
import cProfile
import json
import os
import platform
import pstats
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from memory import peak_mb

from harmonia.report.write import write_report
from harmonia.report.written import print_report
from harmonia.results.rows import row_writer, write_summary

AREAS = (10, 20, 30, 50)
CONTROLS = ("blobs", "centre", "same_class", "other_class", "complement", "silhouette")
ARMS = ["image", "soft", "dim", *(f"{arm}{area}" for arm in ("area", *CONTROLS) for area in AREAS)]
SOURCES = {"e7": "efficientnet", "vit": "vit"}
METHODS = ("gc", "ss")
OTHERS = ("e6", "e5")
JOBS = [(source, method) for source in SOURCES for method in METHODS]


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of a report over synthetic rows")
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--jobs", type=int, default=len(JOBS), help="of three cells each")
    parser.add_argument("--profile", action="store_true", help="print where the time went")
    options = parser.parse_args()
    jobs = JOBS[: options.jobs]
    with tempfile.TemporaryDirectory() as folder:
        for number, (source, method) in enumerate(jobs):
            write_job(Path(folder, str(number)), source, method, options.images, seed=number)
        profiler = cProfile.Profile()
        started, worked = time.perf_counter(), time.process_time()
        if options.profile:
            profiler.enable()
        reports = []
        peak = peak_mb(lambda: reports.append(write_report(folder)))
        written = time.perf_counter()
        print_report(reports[0])
        printed = time.perf_counter()
        profiler.disable()
    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {os.cpu_count()} cores, {platform.machine()}, pandas {pd.__version__}"
    )
    print(f"load over the last minute {os.getloadavg()[0]:.1f}")
    print(f"{len(jobs) * (1 + len(OTHERS))} cells x {options.images} images x {len(ARMS)} arms")
    print(
        f"write_report {written - started:.1f} s, print_report {printed - written:.1f} s; "
        f"{time.process_time() - worked:.1f} s of one core's time in all; peak {peak:,.0f} MB"
    )
    if options.profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(40)


def write_job(folder: Path, source: str, method: str, images: int, seed: int) -> None:
    """One finished job of a source and a method on itself and the other targets."""
    folder.mkdir()
    models = {name: {"name": name, "family": SOURCES.get(name, "efficientnet")} for name in (source, *OTHERS)}
    config = {"source": models[source], "target": models, "method": {"name": method}, "data": {"name": "imagewoof"}}
    (folder / "config.yaml").write_text(json.dumps(config))
    generator = np.random.default_rng(seed)
    difficulty = np.random.default_rng(0).random(images)  # the same images for every job
    labels = np.array([f"n0208{number % 10:04}" for number in range(images)], dtype=object)
    with row_writer(folder) as rows:
        for target in models:
            for arm, handicap in zip(ARMS, np.linspace(0.2, 0.9, len(ARMS)), strict=True):
                right = difficulty + generator.normal(0, 0.1, images) > handicap
                predicted = np.where(right, labels, "n01440764")
                p_label = np.clip(difficulty + 0.3 * right, 0, 1) * 0.7
                constant = {
                    "source": source,
                    "method": method,
                    "label_policy": "predicted",
                    "arm": arm,
                    "fill": "black",
                }
                rows.append(
                    {name: [value] * images for name, value in {**constant, "target": target, "flag": ""}.items()}
                    | {
                        "image_id": [f"val/{number:05}" for number in range(images)],
                        "path": [f"imagewoof/val/{number:05}.jpg" for number in range(images)],
                        "label": labels,
                        "predicted": predicted,
                        "top5": [[name, "n01440764", "n02102040", "n02979186", "n03000684"] for name in predicted],
                        "explained": labels,
                        "source_predicted": np.where(difficulty > 0.2, labels, "n01440764"),
                        "p_label": p_label,
                        "p_explained": p_label,
                        "p_predicted": np.clip(p_label + 0.2, 0, 1),
                        "entropy": 1 - p_label,
                        "kept_area": np.full(images, 1.0 if arm == "image" else 0.3),
                    }
                )
    write_summary(folder, {})


if __name__ == "__main__":
    main()
