"""One image, its map, and what another network says of what the map keeps and of what any mask keeps."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from harmonia import progress
from harmonia.api.asked import Asked, as_before, choice, in_one_line
from harmonia.api.maps import ImageMaps, picture_of
from harmonia.arms import IMAGE_ARM
from harmonia.data.imagenet import readable
from harmonia.data.samples import samples
from harmonia.features.arms import Explanations, KeepArms
from harmonia.features.controls import Controls
from harmonia.features.fill import Black, compose
from harmonia.job.prepare import prepare
from harmonia.job.stages import map_stage
from harmonia.models.classifier import Classifier

MOST = 5  # classes that a network is asked for


@dataclass(frozen=True)
class Verdict:
    """What the other network says of one picture."""

    picture: Image.Image  # as it sees it
    top: list[tuple[str, float]]  # classes and probabilities, the most probable first
    p_explained: float  # of the class that the map is about


@dataclass(frozen=True)
class Verdicts:
    """Of one map; a picture each of what it keeps and of what controls keep, as the other network sees them."""

    explained: str
    p_source: float  # what the source gives it, on the whole image
    heat: Image.Image
    of_arms: dict[str, Verdict]  # by harmonia.arms: image, soft, areaNN, and the controls dim, blobsNN and centreNN


def ask(
    source: Classifier,
    target: Classifier,
    image: Path,
    method: str = "gc",
    area: float = 0.3,
    cache: Path | None = None,
    show: Callable[[str], Any] | None = None,
    options: Sequence[str] = (),
) -> Verdicts:
    """Explains the source's prediction of the image, and asks the target about what the map keeps on black.

    show: is given a progress bar in HTML, again and again. Replacement images of Soundness Saliency are the samples.
    """
    words = [choice("method", method), "target=[self]", "unreadable=fail", *options]
    with in_one_line(words), as_before(), tempfile.TemporaryDirectory() as folder:
        asked = Asked([source, target], [image], None, None, 0, cache)
        config = asked.config(words)
        images = asked.in_memory.images
        assert images is not None, "a path is in memory"
        in_memory = replace(asked.in_memory, images=replace(images, pool=samples().records))
        job = prepare(asked.settings(config, Path(folder)), Path(folder), in_memory=in_memory)
        with progress.shown_by(show) if show else nullcontext():
            map_stage(job).complete()
        (each,) = ImageMaps(job)
        seen, sees = (job.viewed.batch([0], model.view) for model in (job.source, job.targets[target.name]))
        controls = Controls(dim=True, blobs=(area,), centre=(area,)).arms()
        arms = KeepArms(each.normalise, (area,), controls)
        maps = torch.from_numpy(each.raw)[None]
        explanations = Explanations(maps=maps, image_keys=job.images.image_keys([0]), another=lambda same: maps)
        keep = arms.weights(explanations, seen.boxes, sees.boxes, job.source.view.size, target.view.size)[0]
        whole = sees.pixels.float() / 255
        shown = {IMAGE_ARM: whole[0]}
        for name, weights in zip(arms.names, keep[:, None], strict=True):
            shown[name] = compose(whole, weights[None], Black()(whole, weights, lambda: whole))[0]
        with torch.no_grad():
            probabilities = target(torch.stack(list(shown.values()))).softmax(1)
    index = target.class_index(each.explained)
    verdicts = {}
    for (name, pixels), of_classes in zip(shown.items(), probabilities, strict=True):
        places = of_classes.topk(min(MOST, len(of_classes))).indices.tolist()
        top = [(readable(target.classes[place]), float(of_classes[place])) for place in places]
        p_explained = float("nan") if index is None else float(of_classes[index])
        verdicts[name] = Verdict(picture_of(pixels), top, p_explained)
    return Verdicts(readable(each.explained), each.probability, each.heat(), verdicts)
