"""Seconds of a forward pass, of harmonia's Grad-CAM and of pytorch-grad-cam's, side by side in one run.

    python benchmarks/grad_cam.py --model lite0
    python benchmarks/grad_cam.py --model deit_tiny --weights random

The three take turns on the same batch, so that a busy machine slows all of them; medians over the turns.
Weights do not change the cost: random ones will do. What is compared is the whole way from intensities to
finished maps: pytorch-grad-cam's includes its ReLU, scaling and resizing, harmonia's stops at the raw map.
"""

import argparse
import statistics
from collections.abc import Callable

import numpy as np
import torch
from pytorch_grad_cam import GradCAM as OracleCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from side_by_side import alternate, header, ratio, spec_of
from torch import Tensor

from harmonia.attribution.cam import GradCAM
from harmonia.attribution.contract import Request
from harmonia.attribution.passes import BatchSize
from harmonia.models.classifier import Classifier
from harmonia.models.load import load


def main() -> None:
    options = parsed()
    header(options)
    classifier = load(spec_of(options.model, options.weights, options.size))
    pixels = torch.randint(
        0, 256, (options.batch, 3, classifier.view.size, classifier.view.size), dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    layer = classifier.layer_name("final")
    labels = torch.arange(options.batch) % len(classifier.classes)
    seconds = alternate(
        {
            "forward, no grad": lambda: forward(classifier, pixels),
            "harmonia": harmonia(classifier, layer, pixels, labels),
            "pytorch-grad-cam": oracle(classifier, layer, pixels, labels),
        },
        options.repeats,
    )
    print(
        f"{classifier.spec.arch} at {classifier.view.size} px, weights {classifier.spec.weights}, layer {layer}, "
        f"batch {options.batch}, median of {options.repeats} turns (least and greatest)"
    )
    for name, turns in seconds.items():
        print(f"  {name:18}{statistics.median(turns):8.3f} s   ({min(turns):.3f} to {max(turns):.3f})")
    for other in ("forward, no grad", "pytorch-grad-cam"):
        print(f"  harmonia / {other:18}{ratio(seconds['harmonia'], seconds[other]):6.2f}   median of the turns' ratios")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cost of Grad-CAM beside a forward pass and pytorch-grad-cam")
    parser.add_argument("--model", default="lite0", help="a yaml of conf/source, or a timm name")
    parser.add_argument("--weights", help="hub, random, package:NAME or a file; default: the yaml's, random for timm")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--size", type=int, help="input side in pixels; default: the model's own")
    parser.add_argument("--threads", type=int, help="of torch; default: torch's choice")
    return parser.parse_args()


def forward(classifier: Classifier, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return classifier(pixels.float() / 255)


def harmonia(classifier: Classifier, layer: str, pixels: Tensor, labels: Tensor) -> Callable[[], object]:
    request = Request(
        model=classifier,
        pixels=pixels,
        choose_labels=lambda logits, positions: labels[positions],
        replacements=lambda *args: pixels,
        device=torch.device("cpu"),
        batch_size=BatchSize(len(pixels)),
        positions=torch.arange(len(pixels)),
        image_keys=np.arange(len(pixels), dtype=np.uint64),
        on_progress=lambda images: None,
    )
    # the layer by name: "auto" costs the pass of one more image for each call, a shard in a real run
    return lambda: GradCAM(layer=layer)(request)


def oracle(classifier: Classifier, layer: str, pixels: Tensor, labels: Tensor) -> Callable[[], object]:
    prefix = getattr(classifier.network, "num_prefix_tokens", None)

    targets = [ClassifierOutputTarget(int(label)) for label in labels]

    def run() -> object:
        # on frozen weights, which spares it their gradients: it needs a gradient of the images then
        images = (pixels.float() / 255).requires_grad_()
        with OracleCAM(classifier, [classifier.layer(layer)], None if prefix is None else classifier.spatial) as cam:
            return cam(images, targets)

    return run


if __name__ == "__main__":
    main()
