"""The pictures of the documents: docs/question.jpg, one image as the arms show it, and docs/gallery.jpg, every method.

python benchmarks/gallery.py
python benchmarks/gallery.py --networks lite0,deit_tiny,mobilenetv2 --weights FOLDER
Networks: of the gallery; of the question Lite0 explains and Lite2 answers. FOLDER holds ARCHITECTURE.safetensors files.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image
from side_by_side import spec_of

import harmonia
from harmonia.data.imagenet import readable
from harmonia.errors import InputError
from harmonia.features.arms import Explanations, KeepArms
from harmonia.features.controls import Controls
from harmonia.features.normalise import positive_minmax
from harmonia.models.classifier import Classifier
from harmonia.models.load import load

DOCS = Path(__file__).parents[1] / "docs"
METHODS = {
    "a gradient": ["grad", "ixg", "gbp", "gc", "gcpp", "hirescam", "layercam"],
    "several": ["ig", "sg", "gshap", "occ", "rise", "ablcam", "scorecam"],
    "an optimisation": ["ss_cpu", "ss"],
    "rules, attention": ["lrp", "rollout", "gradrollout"],
    "no network": ["random", "centre", "edges"],
}
ARMS = {
    "image": "whole image",
    "soft": "map as a dimmer",
    "dim": "dimmed as much",
    "area30": "top 30 % of the map",
    "blobs30": "random blobs, 30 %",
    "centre30": "centre box, 30 %",
}
AREA, TILE, QUALITY = 0.3, 1.15, 78  # share of the pixels, inches, of the JPEG


def question(source: Classifier, target: Classifier, number: int) -> Figure:
    """An image as each arm shows it, and what the target says of it, from the rows of a job."""
    rows = harmonia.transfer(source, [target], "samples", ["gc"], options=["trainer=cpu"]).rows()
    maps = harmonia.explain(source, "samples", "gc", options=["trainer=cpu"])
    each = maps[number]
    of_image = rows[(rows["image_id"] == each.image_id) & (rows["target"] == target.name)].set_index("arm")
    controls = Controls(dim=True, blobs=(AREA,), centre=(AREA,)).arms()
    arms = KeepArms(positive_minmax, (AREA,), controls)
    keys = maps._job.images.image_keys([number])
    raw, box = torch.from_numpy(each.raw)[None], torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    shown = Explanations(maps=raw, image_keys=keys, another=lambda same: raw)
    size = each.view.shape[1], each.view.shape[2]
    keeps = dict(zip(arms.names, arms.weights(shown, box, box, size, size)[0], strict=True))
    figure = Figure(figsize=(1.55 * len(ARMS), 2.15), layout="constrained")
    for axes, (arm, title) in zip(figure.subplots(1, len(ARMS)), ARMS.items(), strict=True):
        axes.imshow((each.view * keeps.get(arm, torch.ones(size))).permute(1, 2, 0).numpy())
        row = of_image.loc[arm]
        right = row["predicted"] == row["label"]
        axes.set_title(title, fontsize=9)
        says = f"{readable(row['predicted'])}\n{readable(row['label'])}: {row['p_label']:.0%}"
        axes.set_xlabel(says, fontsize=9, color="#00664d" if right else "#a03000")
        axes.set(xticks=[], yticks=[])
    return figure


def gallery(networks: list[Classifier], number: int) -> Figure:
    """A row for each method: of each network the map and the top 30 % of the image."""
    names = [method for group in METHODS.values() for method in group]
    figure = Figure(figsize=(TILE * 2 * len(networks) + 1, TILE * (len(names) + 0.2)))
    axes = figure.subplots(len(names), 2 * len(networks), gridspec_kw={"wspace": 0.03, "hspace": 0.03})
    figure.subplots_adjust(left=0.12, right=0.998, top=0.985, bottom=0.002)
    for line, method in enumerate(names):
        axes[line, 0].set_ylabel(method, rotation=0, ha="right", va="center", fontsize=9)
        for column, network in enumerate(networks):
            pictures = tiles(network, method, number)
            for place, picture in zip(axes[line, 2 * column : 2 * column + 2], pictures or (None, None), strict=True):
                place.set(xticks=[], yticks=[])
                place.spines[:].set_visible(picture is None)
                if picture is not None:
                    place.imshow(picture)
            if pictures is None:
                axes[line, 2 * column].text(0.5, 0.5, "does not\napply", ha="center", va="center", fontsize=7)
            if line == 0:
                axes[line, 2 * column].set_title(network.name, fontsize=9)
    return figure


def tiles(network: Classifier, method: str, number: int) -> tuple | None:
    """The map in colours and the image's top 30 %; None where the method does not apply to the network."""
    try:
        each = harmonia.explain(network, "samples", method, limit=number + 1, options=["trainer=cpu"])[number]
    except InputError as refused:
        print(f"{method} of {network.name}: {refused}", flush=True)
        return None
    if each.flag:
        print(f"{method} of {network.name}: {each.flag}", flush=True)
    keep = torch.from_numpy(each.keep(AREA))
    grey = each.view.mean(0, keepdim=True) * 0.25  # the dropped part, faintly: where in the image are we
    kept = (each.view * keep + grey * (1 - keep)).permute(1, 2, 0).numpy()
    return (colormaps["viridis"](each.keep())[..., :3] * 255).astype(np.uint8), kept


def save(figure: Figure, path: Path, dpi: int) -> None:
    figure.savefig(path.with_suffix(".png"), dpi=dpi, facecolor="white")
    with Image.open(path.with_suffix(".png")) as drawn:
        drawn.convert("RGB").save(path, quality=QUALITY, optimize=True)
    path.with_suffix(".png").unlink()
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="lite0,lite1,lite2")
    parser.add_argument("--weights", help="folder of weights")
    parser.add_argument("--image", type=int, default=0, help="of the samples, of the gallery")
    parser.add_argument("--asked", type=int, default=18, help="of the samples, of the question")
    parser.add_argument("--out", type=Path, default=DOCS)
    options = parser.parse_args()
    files = [*Path(options.weights).iterdir()] if options.weights else []
    networks = []
    for name in options.networks.split(","):
        file = next((str(file) for file in files if file.name.startswith(name)), None)
        networks.append(load(spec_of(name, file)))
    source, target = load(spec_of("lite0", None)), load(spec_of("lite2", None))
    save(question(source, target, options.asked), options.out / "question.jpg", 130)
    save(gallery(networks, options.image), options.out / "gallery.jpg", 85)


if __name__ == "__main__":
    main()
