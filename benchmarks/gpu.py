"""What one GPU does: the tables of docs/gpu.md, from one run on one card.

    python benchmarks/gpu.py --images FOLDER            a folder of classes, 1,000 images for the flat memory
    python benchmarks/gpu.py --images FOLDER --json FILE
    python benchmarks/gpu.py --images FOLDER --parts rates --networks tf_efficientnet_b7

Weights are random: no figure depends on them, and nothing is downloaded. Each part stands for itself: one that fails
says so and the others go on.
"""

import argparse
import json
import logging
import re
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

import harmonia
from harmonia.job.device import arithmetic, compiled, fastest_of, seconds
from harmonia.models.classifier import PRECISIONS, Classifier
from harmonia.models.load import load
from harmonia.models.spec import ModelSpec

# images/s that timm publishes (results/benchmark-infer-*, an RTX PRO 6000, half precision, channels last)
PUBLISHED = {"vit_base_patch16_224": (4190, 4856), "tf_efficientnet_b7": (253, 345)}
PARTS = ("rates", "jobs", "compile")
NETWORKS = [*PUBLISHED, "resnet50", "tf_efficientnet_lite0"]
STAGE = re.compile(r"^(.*): (\d+) of (\d+) images computed here in ([\d.]+) s")
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description="What one GPU does")
    parser.add_argument("--images", type=Path, required=True, help="a folder of classes")
    parser.add_argument("--json", type=Path, help="where all rows go")
    parser.add_argument("--device", default="cuda", help="cpu shows the form alone")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--counts", default="100,1000", help="images of the jobs whose memory is compared")
    parser.add_argument("--parts", nargs="+", default=[*PARTS], choices=PARTS, help="which of them")
    options = parser.parse_args()
    device, names = torch.device(options.device), options.networks.split(",")
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{card}, torch {torch.__version__}, CUDA {torch.version.cuda}, timm {timm.__version__}", flush=True)
    rows: list[Row] = []
    counts = [int(count) for count in options.counts.split(",")]
    parts: dict[str, list[Callable[[], Iterator[Row]]]] = {
        "rates": [partial(rates, name, device) for name in names],
        "jobs": [partial(jobs, names[0], options.images, count, device) for count in counts],
        "compile": [partial(by_compiler, name, device) for name in names],
    }
    for part in (each for name in options.parts for each in parts[name]):
        try:
            for row in part():
                rows.append(row)
                print(json.dumps(row), flush=True)
        except Exception:  # what was measured before it counts
            traceback.print_exc()
        if options.json:
            options.json.write_text(json.dumps({"card": card, "torch": torch.__version__, "rows": rows}, indent=1))


def rates(arch: str, device: torch.device) -> Iterator[Row]:
    """Forward: timm's bare network, ours from bytes in the host's memory. And with gradients."""
    spec = ModelSpec(name=arch, arch=arch, family="any", weights="random")
    for precision in ("32-true", "tf32", "bf16-mixed"):
        model = load(spec, precision=precision).to(device)
        with arithmetic(None, precision), torch.no_grad():
            size = fastest_of(model, gradients=False)
            bare = {form: _rate(_bare(arch, model, form), _noise(model, size, device)) for form in FORMS}
            levels = (255 * _noise(model, size, torch.device("cpu"))).byte()
            ours = _rate(partial(_of_bytes, model, device), levels)
            row = {"network": arch, "precision": precision, "batch": size, **bare, "ours": ours}
            row["ours_over_bare"] = round(ours / bare["channels_last"], 3)
            if arch in PUBLISHED and precision == "bf16-mixed":
                row["over_published"] = [round(ours / published, 2) for published in PUBLISHED[arch]]
            yield row
        with arithmetic(None, precision):
            size = fastest_of(model, gradients=True)
            rate = round(size / seconds(model, True, size), 1)
            yield {"network": arch, "precision": precision, "batch_with_gradients": size, "with_gradients": rate}


def by_compiler(arch: str, device: torch.device) -> Iterator[Row]:
    """The same forward through torch.compile, in half precision."""
    spec = ModelSpec(name=arch, arch=arch, family="any", weights="random")
    model = load(spec, precision="bf16-mixed").to(device)
    with torch.no_grad():
        images = _noise(model, fastest_of(model, gradients=False), device)
        started = time.perf_counter()
        answer = compiled(model)
        apart = (answer(images) - model(images)).abs().max().item()
        first = round(time.perf_counter() - started, 1)
        rate = _rate(answer, images)
        gain = round(rate / _rate(model, images), 3)
    yield {"network": arch, "compiled": rate, "gain": gain, "first_s": first, "apart": apart}


def _of_bytes(model: Classifier, device: torch.device, levels: Tensor) -> Tensor:
    return model(levels.to(device).float() / 255).cpu()


FORMS = {"channels_first": torch.contiguous_format, "channels_last": torch.channels_last}


def _bare(arch: str, model: Classifier, form: str) -> Callable[[Tensor], Tensor]:
    """Timm's network alone on images that lie on the device, normalised."""
    device, inside = model.mean.device, PRECISIONS[model.precision]
    network: nn.Module = timm.create_model(arch).eval().to(device, memory_format=FORMS[form])  # pyright: ignore

    def answer(images: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=inside, enabled=inside is not None):
            return network(images.contiguous(memory_format=FORMS[form]))

    return answer


def _noise(model: Classifier, count: int, device: torch.device) -> Tensor:
    return torch.rand(count, 3, model.view.height, model.view.width, generator=torch.Generator().manual_seed(0)).to(
        device
    )


def _rate(answer: Callable[[Tensor], Tensor], images: Tensor, at_least: float = 1.0) -> float:
    """Images a second, of passes that take a second together after two that choose kernels."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    for _ in range(2):
        answer(images)
    wait()
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < at_least:
        for _ in range(3):
            answer(images)
        wait()
        done += 3 * len(images)
    return round(done / (time.perf_counter() - started), 1)


class Stages(logging.Handler):
    """The stages of jobs, from what they log when they end."""

    def __init__(self):
        super().__init__()
        self.ended: list[tuple[str, int, float]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if found := STAGE.match(record.getMessage()):
            self.ended.append((found[1], int(found[2]), float(found[4])))


def jobs(arch: str, folder: Path, count: int, device: torch.device) -> Iterator[Row]:
    """Whole jobs on so many images: images a second of each stage, and the most memory that lived on the card."""
    model, stages = harmonia.classifier(f"timm:{arch}", weights="random"), Stages()
    logger = logging.getLogger("harmonia")
    logger.addHandler(stages)
    logger.setLevel(logging.INFO)
    words = [f"trainer={'gpu' if device.type == 'cuda' else 'cpu'}", "trainer.precision=bf16-mixed"]
    with tempfile.TemporaryDirectory() as scratch:
        images = Path(scratch, "images")
        for path in sorted(folder.glob("*/*"), key=lambda path: (path.name, path.parent))[:count]:
            Path(images, path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, images / path.parent.name)
        for method in ("gc", "ss"):
            stages.ended.clear()
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            cache = Path(scratch, "cache")
            harmonia.transfer(model, targets=[model], images=images, methods=[method], cache=cache, options=words)
            peak = round(torch.cuda.max_memory_allocated() / 2**30, 3) if device.type == "cuda" else None
            # the log has tenths of a second: rates of few images are rough, and less than a tenth counts as one
            rate = {title: round(done / max(spent, 0.1), 1) for title, done, spent in stages.ended}
            yield {"network": arch, "method": method, "images": count, "images_per_s": rate, "peak_GiB": peak}
    logger.removeHandler(stages)


if __name__ == "__main__":
    main()
