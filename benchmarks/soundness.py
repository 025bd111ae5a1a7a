"""Seconds of a step of Soundness Saliency beside a bare forward and backward pass, and what bf16 changes.

    python benchmarks/soundness.py --model lite0
    python benchmarks/soundness.py --model deit_tiny --weights PATH --maps 20

The bare pass: gradients of the frozen network's -log p by a batch of finished composites. The step: the same network
on the same number of inputs, plus drawing replacement images, composing, the mask's terms and Adam. Needs the sample
images.
"""

import argparse

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from side_by_side import CONF, alternate, header, median, ratio, spec_of
from torch import Tensor

from harmonia.attribution.contract import Request
from harmonia.attribution.passes import BatchSize
from harmonia.attribution.soundness import Optimisation, SoundnessSaliency
from harmonia.cli.options import Group
from harmonia.data.decode import open_rgb
from harmonia.data.replacements import Replacements
from harmonia.data.samples import samples
from harmonia.data.view import WHOLE_IMAGE
from harmonia.draws import image_key
from harmonia.features.areas import top_fractions
from harmonia.features.resample import resample
from harmonia.models.classifier import Classifier
from harmonia.models.load import load


def main() -> None:
    options = parsed()
    header(options)
    spec = spec_of(options.model, options.weights)
    classifiers = {precision: load(spec, precision=precision) for precision in ("32-true", "bf16-mixed")}
    method = preset()
    for precision, classifier in classifiers.items():
        request = request_for(classifier, options.batch, options.batch)
        run = Optimisation(method, request)
        composites = request.images()
        seconds = alternate(
            {"bare": lambda c=classifier, x=composites: bare(c, x), "step": lambda r=run: r.step(options.batch)},
            options.repeats,
        )
        for name, turns in seconds.items():
            print(f"{spec.name} {precision:10} {name}: {1000 * median(turns).wall / options.batch:6.1f} ms an image")
        print(f"{spec.name} {precision:10} step / bare: {ratio(seconds['step'], seconds['bare']).wall:.2f}")
    if options.maps:
        compare(method, classifiers, options.maps)


def compare(method: SoundnessSaliency, classifiers: dict[str, Classifier], count: int) -> None:
    """Overlap of the highest pixels of maps made in bf16 with those made in float32."""
    regions, passes = [], []
    for classifier in classifiers.values():
        explanation = method(request_for(classifier, count, 8))
        whole = torch.tensor([WHOLE_IMAGE]).expand(count, 4)
        regions.append(top_fractions(resample(explanation.maps, whole, whole, classifier.view.size), (0.1, 0.3, 0.5)))
        passes.append(explanation.passes.float().mean().item())
    overlap = (regions[0] * regions[1]).sum((2, 3)) / (regions[0] + regions[1]).clamp(max=1).sum((2, 3))
    for area, column in zip((10, 30, 50), overlap.T, strict=True):
        print(
            f"top {area} %: IoU of bf16-mixed with 32-true on {count} images: mean {column.mean():.3f}, "
            f"least {column.min():.3f}"
        )
    print(f"network passes a map: 32-true {passes[0]:.1f}, bf16-mixed {passes[1]:.1f}")


def preset() -> SoundnessSaliency:
    """conf/method/ss.yaml."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        options = OmegaConf.to_container(compose("config", overrides=["method=ss"]).method, resolve=True)
        return Group("method", options.pop("name"), options).build()


def request_for(classifier: Classifier, count: int, batch: int) -> Request:
    image_set = samples()
    records = [image_set.records[number % len(image_set.records)] for number in range(count)]
    keys = np.array([image_key(record.image_id) for record in records], np.uint64)
    pool = Replacements(image_set.pool, classifier.view, seed=0)

    def replacements(positions: Tensor, labels: Tensor, steps: Tensor | None, draws: int) -> Tensor:
        avoid = [classifier.classes[label] for label in labels.tolist()]
        asked = [records[position] for position in positions.tolist()]
        numbers = None if steps is None else steps.numpy()
        picked = pool.draw(asked, keys[positions.numpy()], avoid, numbers, draws)
        return pool.take(picked, torch.device("cpu"))

    return Request(
        model=classifier,
        pixels=torch.stack([classifier.view.look(open_rgb(record.path)) for record in records]),
        choose_labels=lambda logits, positions: logits.argmax(1),
        replacements=replacements,
        device=torch.device("cpu"),
        batch_size=BatchSize(batch),
        positions=torch.arange(count),
        image_keys=np.arange(count, dtype=np.uint64),
        on_progress=lambda images: None,
    )


def bare(classifier: Classifier, composites: Tensor) -> Tensor:
    inputs = composites.clone().requires_grad_()
    loss = -classifier(inputs).log_softmax(1)[:, 0].sum()
    return torch.autograd.grad(loss, inputs)[0]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cost of a step of Soundness Saliency beside its network's")
    parser.add_argument("--model", default="lite0", help="a yaml of conf/source")
    parser.add_argument("--weights", help="hub, random, package:NAME or a file; default: the yaml's")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--maps", type=int, default=0, help="images to compare whole maps in bf16 and float32 on")
    parser.add_argument("--threads", type=int, help="of torch; default: torch's choice")
    return parser.parse_args()


if __name__ == "__main__":
    main()
