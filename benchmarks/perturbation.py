"""CPU seconds of deletion and insertion beside the bare forward passes of their steps, in one run.

    python benchmarks/perturbation.py --model lite0 --images 100
    python benchmarks/perturbation.py --model deit_tiny --weights random --precision bf16-mixed

Bare: images times steps inputs that are there already, in passes of as many as a metric has. The metric has one input
more an image, the whole one: part of what it costs here. They take turns; any images and maps cost the same.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from side_by_side import alternate, header, ratio, spec_of

from harmonia.attribution.passes import CPU_PASS, BatchSize
from harmonia.evaluation.metrics.contract import ExplainedImages, Metric
from harmonia.evaluation.metrics.curve import Deletion, Insertion
from harmonia.models.classifier import Classifier
from harmonia.models.load import load

BARE = "bare forwards"


def main() -> None:
    options = parsed()
    header(options)
    classifier = load(spec_of(options.model, options.weights), precision=options.precision)
    explained = random_maps(classifier, options.images)
    metrics: dict[str, Metric] = {
        "deletion": Deletion(steps=options.steps),
        "insertion": Insertion(steps=options.steps),
    }
    programs: dict[str, Callable[[], object]] = {BARE: lambda: bare(classifier, options.images * options.steps)}
    programs |= {name: lambda metric=metric: metric(explained) for name, metric in metrics.items()}
    seconds = alternate(programs, options.repeats, time.process_time)
    print(
        f"{classifier.spec.arch} at {classifier.view.size} px, {options.precision}, {options.images} images x "
        f"{options.steps} steps, passes of {CPU_PASS}, median of {options.repeats} turns"
    )
    for name, turns in seconds.items():
        print(f"  {name:14}{statistics.median(turns):8.2f} s   / bare {ratio(turns, seconds[BARE]):.2f}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cost of deletion and insertion beside the forwards of their steps")
    parser.add_argument("--model", default="lite0", help="a yaml of conf/source, or a timm name")
    parser.add_argument("--weights", help="hub, random, package:NAME or a file; default: the yaml's, random for timm")
    parser.add_argument("--precision", default="32-true", help="32-true or bf16-mixed")
    parser.add_argument("--images", type=int, default=25)
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of torch; default: torch's choice")
    return parser.parse_args()


def bare(classifier: Classifier, inputs: int) -> None:
    images = torch.rand(CPU_PASS, 3, classifier.view.size, classifier.view.size)
    with torch.no_grad():
        for _ in range(inputs // CPU_PASS):
            classifier(images)


def random_maps(classifier: Classifier, count: int) -> ExplainedImages:
    generator, side = torch.Generator().manual_seed(0), classifier.view.size
    return ExplainedImages(
        model=classifier,
        pixels=torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator),
        maps=torch.rand(count, 7, 7, generator=generator),
        labels=torch.arange(count) % len(classifier.classes),
        boxes=(torch.zeros(0, 4),) * count,
        image_keys=np.arange(count, dtype=np.uint64),
        device=torch.device("cpu"),
        batch_size=BatchSize(8),
        explain=lambda model, images, rows: torch.zeros(0),
        on_progress=lambda images: None,
    )


if __name__ == "__main__":
    main()
