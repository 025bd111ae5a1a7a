"""Harmonia beside its peers and beside bare networks: rewrites the tables of docs/benchmarks.md from one run.

    python benchmarks/run.py                     make bench does this
    python benchmarks/run.py --weights FOLDER    DeiT-Tiny's file lies there; else its weights are random
    python benchmarks/run.py --images FOLDER     torch-cam's own task on 200 of its files; else on the samples
    python benchmarks/run.py --quick --page FILE

With one thread of torch, in turns, but for the quickstart. Peers that are not installed are left out by name.
"""

import argparse
import os
import platform
import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import fixed
import growth
import metric_costs
import peer_maps
import store_files
import torch
from side_by_side import cpu, spec_of

from harmonia.cli.early import keep_freed_memory
from harmonia.data.samples import samples
from harmonia.models.classifier import Classifier
from harmonia.models.load import load

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- written by benchmarks/run.py -->", "<!-- end -->"
PEERS = ("captum", "torchcam", "grad-cam", "quantus")
QUICK_PX = 96  # of a quick run's images
DEIT = "deit_tiny_patch16_224.safetensors"
GOAL = 1.05  # forwards that a Grad-CAM may cost
FIXED_GOAL = 6  # CPU seconds of a job beside its images


def main() -> None:
    parser = argparse.ArgumentParser(description="Rewrite the tables of the page of benchmarks")
    parser.add_argument("--quick", action="store_true", help="little of everything: the form, not the figures")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--weights", type=Path, default=Path("weights"), help=f"a folder with {DEIT}")
    parser.add_argument("--images", type=Path, help="a folder with image files, for torch-cam's own task")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as the command does
    before, marked, rest = options.page.read_text().partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (marked and ended):
        parser.error(f"{options.page} must hold {BEGIN!r} and {END!r}, where the tables go")
    if options.images and not images_in(options.images):
        parser.error(f"--images must be a folder with image files, got {options.images}")
    load_before = os.getloadavg()[0]
    tables = [*maps(options), *files(options), *metrics(options), *costs(options), *store(options)]
    tables += [*grown(options), *started(options), *quickstart(options)]
    written = "\n\n".join(map(filled, [BEGIN, ran(load_before), versions(), *tables, END]))
    options.page.write_text(before + written + after)


def maps(options: argparse.Namespace) -> Iterator[str]:
    steps, repeats = (1, 1) if options.quick else (5, 15)
    file = options.weights / DEIT
    specs = {"lite0": None, "resnet18": "random", "deit_tiny": str(file.resolve()) if file.is_file() else "random"}
    lines = []
    for name, weights in specs.items():
        lines += peer_maps.rows(network(options, name, weights), steps, repeats)
        note(lines[-1])
    yield "## Maps beside other libraries"
    yield (
        "CPU seconds over those of a forward without gradients, in brackets the wall clock's. Medians of the ratios of "
        f"{repeats} turns, {repeats // 3 or 1} of integrated gradients with {steps} steps. "
        "All are given four images of random pixels at once: so many harmonia shows a CPU, whatever the batch size "
        "([decision 9](adr/0009-passes-of-four-on-a-cpu.md)). The others may show eight: `of eight` is what an image "
        "then costs a forward, over what it costs in a pass of four. "
        "All explain the class that the network predicts, and start without it. Captum must be told the class, for "
        "which its user takes a forward: it is part of Captum's cells. Told the class, Captum would save it, "
        "harmonia would not. All libraries get the same loaded network; "
        f"weights are random of {' and '.join(name for name, weights in specs.items() if weights == 'random')}. "
        "`–`: the library lacks the method, or cannot lay out a ViT's tokens. "
        "`apart` compares the raw maps: the greatest difference over the greatest value. From 1e-4 on the run fails. "
        "pytorch-grad-cam also scales and enlarges its maps. "
        "A ViT's maps lie before its last block, so that one of DeiT-Tiny's twelve is also passed backwards."
    )
    yield table(["network", "method", "a forward, an image", "of eight", *peer_maps.PEERS, "apart"], lines)
    yield verdict_of_maps(lines)


def network(options: argparse.Namespace, name: str = "lite0", weights: str | None = None) -> Classifier:
    return load(spec_of(name, weights, QUICK_PX if options.quick else None))


def verdict_of_maps(lines: list[list[str]]) -> str:
    grad_cam = {line[0]: number(line[4]) for line in lines if line[1] == "Grad-CAM"}
    over = [f"{name} ({times:.2f})" for name, times in grad_cam.items() if times > GOAL]
    missed = slower(lines, lambda line: 1)
    at_eight = slower(lines, lambda line: number(line[3]))
    return (
        f"Goal: Grad-CAM within {GOAL} forwards. {'Missed on ' + ', '.join(over) if over else 'Reached'}. "
        f"Goal: faster than every peer. {'Missed, times as long: ' + '; '.join(missed) if missed else 'Reached'}. "
        f"Were a forward of the others to show eight at once, missed would be: {'; '.join(at_eight) or 'none'}."
    )


def slower(lines: list[list[str]], share: Callable[[list[str]], float]) -> list[str]:
    """Where a peer that takes such a share of its time takes less than ours, and how many times as long ours takes."""
    return [
        f"{line[1]} on {line[0]} beside {peer} ({number(line[4]) / (share(line) * number(cell)):.2f})"
        for line in lines
        for peer, cell in zip(peer_maps.PEERS[1:], line[5:], strict=False)
        if cell != "–" and share(line) * number(cell) < number(line[4])
    ]


def files(options: argparse.Namespace) -> Iterator[str]:
    yield "## From files to maps"
    if not installed("torchcam"):
        yield "torch-cam is not installed: left out."
        return
    import peer_files

    most, px, turns = (2, QUICK_PX, 1) if options.quick else (200, 224, 5)
    listed = images_in(options.images) if options.images else [record.path for record in samples().records]
    folder = options.images.resolve() if options.images else None
    name = f"{folder.parent.name}/{folder.name}" if folder else "the sample images"
    most = min(most, len(listed))
    evenly = [listed[index * len(listed) // most] for index in range(most)]  # of all classes
    lines = list(peer_files.rows(evenly, px, turns))
    note(lines[-1])
    yield (
        "The maps of torch-cam's own task: from files through torchvision's transform to Grad-CAM maps of its "
        f"ResNet-18, random weights; here of {name}. CPU seconds over those of a forward of as many images, in passes "
        f"of four. Medians of the ratios of {turns} turns. torch-cam is shown {peer_files.AT_ONCE} images at once, as "
        "in its script; `harmonia.explain` also copies the network, stores the maps and notes facts of each image. "
        "`apart`: of the greatest value; the store keeps 16 bits."
    )
    yield table(["images", "a forward, an image", "harmonia", "torch-cam", "apart"], lines)
    times = number(lines[0][2]) / number(lines[0][3])
    yield f"Goal: faster than torch-cam. {'Reached' if times <= 1 else f'Missed, times as long: {times:.2f}'}."


def images_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))


def metrics(options: argparse.Namespace) -> Iterator[str]:
    yield "## Metrics by perturbation"
    if not installed("quantus"):
        yield "Quantus is not installed: left out."
        return
    import peer_metrics

    images, steps, shares, turns = (1, 4, (50,), 1) if options.quick else (4, 14, (10, 50, 90), 7)
    lines = list(peer_metrics.rows(network(options), images, steps, shares, turns))
    note(lines[-1])
    yield (
        "CPU seconds over those of as many bare forwards as ours take, in passes of four. "
        f"In brackets the wall clock's. Medians of the ratios of {turns} turns, of ROAD one. "
        f"Lite0; images: {images}, in one batch of Quantus'; steps: {steps}; percentiles of ROAD: {shares}. "
        "Scores of deletion and insertion are equal: to Quantus' the first point is added, which it omits, and "
        "the time of its forward. ROAD is defined otherwise. "
        "Quantus counts right answers, and fails on coloured images. So it is given whole pixels, in both orders, "
        "and `apart` is of the imputed pixels."
    )
    yield table(["metric", "forwards an image", "their seconds", "harmonia", "Quantus", "apart"], lines)
    missed = [
        f"{line[0]} ({number(line[3]) / number(line[4]):.2f})" for line in lines if number(line[4]) < number(line[3])
    ]
    verdict = f"Missed, times as long: {', '.join(missed)}" if missed else "Reached"
    yield f"Goal: no metric slower than Quantus. {verdict}."


def costs(options: argparse.Namespace) -> Iterator[str]:
    images, forwards = (1, 1) if options.quick else (4, 16)
    lines = list(metric_costs.rows(network(options), images, forwards))
    note(lines[-1])
    yield "## What a metric costs"
    yield (
        f"Grad-CAM maps of Lite0 that are there already, the metric's defaults, images: {images}. "
        "Passes are forward, or those of Grad-CAM where a metric explains again. "
        "`ratio`: to the CPU seconds of as many bare forwards. "
        "MPRT also draws networks anew, and compares maps by SSIM."
    )
    yield table(["metric", "passes an image", "CPU, an image", "ratio"], lines)


def store(options: argparse.Namespace) -> Iterator[str]:
    lines = list(store_files.rows(2 if options.quick else 50))
    note(lines[-1])
    yield "## The store beside .npy"
    yield (
        "A shard of float16 maps, milliseconds of CPU, in brackets of the wall clock. "
        "The store also keeps facts of each image, flushes to the disk, and checks a digest whenever it reads."
    )
    yield table(["what", "store", ".npy", "ratio"], lines)


def grown(options: argparse.Namespace) -> Iterator[str]:
    lines = list(growth.rows(network(options), *((1, 2, 1, 1) if options.quick else (4, 3, 16, 3))))
    note(lines[-1])
    yield "## What one more costs"
    yield (
        "Whole jobs, Grad-CAM of Lite0 on itself, in CPU seconds over those of a bare forward beside them. Each has an "
        "empty cache; neither the start of the process nor a report counts. Medians of three runs, in turns; images in "
        "whole passes of four. `bend`: the greatest distance from the straight line, of its rise. "
        "An image is also decoded, resized and ranked. "
        "A target's slope includes loading it, an area's the blobs of that area."
    )
    head = ["what grows", "there are", "a job costs", "bend", "one more costs", "its forwards", "ratio"]
    yield table(head, lines)
    costly = [f"{line[0]} ({line[-1]})" for line in lines if float(line[-1]) > 1.08]
    yield f"Goal: one more within 1.08 of its forwards. {'Missed: ' + ', '.join(costly) if costly else 'Reached'}."


def started(options: argparse.Namespace) -> Iterator[str]:
    lines = list(fixed.rows(*((1, 2, 1) if options.quick else (4, 12, 3))))
    note(lines[3])
    yield "## What a job costs beside its images"
    yield (
        "CPU seconds of whole commands: `python -m harmonia.run`, Grad-CAM of Lite0 on itself, in an empty cache. They "
        "lie on a straight line over the number of images, which is read at none. The rest of a job is "
        "composing, loading the network, what the first passes cost more, files, and the end of the process."
    )
    yield table(["part", "CPU, s"], lines)
    together = number(lines[3][1])
    yield f"Goal: {FIXED_GOAL} s together. {'Reached' if together <= FIXED_GOAL else 'Missed'}."


def quickstart(options: argparse.Namespace) -> Iterator[str]:
    spent = fixed.quickstart(["data.limit=1", "target=self", "hydra.sweeper.params.method=gc"] if options.quick else [])
    yield "## The whole quickstart"
    yield (
        "`python -m harmonia.run experiment=quickstart` in an empty cache, threads as the machine has cores, once: "
        "two methods, three targets, 20 images, controls, the report."
    )
    yield table(["CPU, s", "wall, s"], [[f"{spent.cpu:.0f}", f"{spent.wall:.0f}"]])


def ran(load_before: float) -> str:
    return (
        f"`python benchmarks/run.py` wrote this part on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {cpu()}, "
        f"{os.cpu_count()} cores, one thread but for the quickstart, "
        f"load {load_before:.1f} at the start, {os.getloadavg()[0]:.1f} at the end. "
        "On a busy machine differences below 0.1 are noise."
    )


def versions() -> str:
    there = [f"{name} {version(name)}" for name in ("torch", "timm", "numpy", *filter(installed, PEERS))]
    absent = [name for name in PEERS if not installed(name)]
    left_out = f"\nNot installed, so left out: {', '.join(absent)}." if absent else ""
    return f"Python {platform.python_version()}, {', '.join(there)}.{left_out}"


def installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def table(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines))


def filled(text: str) -> str:
    """A paragraph in lines of at most 120 columns; a table as it is."""
    return text if text.startswith("|") else textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def number(cell: str) -> float:
    return float(cell.split()[0])


def note(line: list[str]) -> None:
    print(f"{datetime.now():%H:%M:%S} {' | '.join(line)}", file=sys.stderr)


if __name__ == "__main__":
    main()
