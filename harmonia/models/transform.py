"""Evaluation transforms of other libraries as options of a view (harmonia.data.view.View)."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.models import WeightsEnum
from torchvision.transforms.functional import pil_to_tensor

from harmonia.cli.options import read_settings
from harmonia.data.view import View
from harmonia.errors import InputError, refused
from harmonia.models.spec import ModelSpec
from harmonia.shapes import size_of

_OPTIONS = {"size", "input_size", "crop_pct", "crop_mode", "interpolation", "mean", "std"}
_READ = {"Resize", "CenterCrop", "Normalize"}
# shown to the view as to the transform; no part of them draws at random
_READ |= {"ToTensor", "PILToTensor", "MaybeToTensor", "MaybePILToTensor", "ToImage", "ToPureTensor", "ToDtype"}
_READ |= {"ConvertImageDtype"}
_ROUNDING = 2.5  # of 255: two roundings, of libraries that resize in bytes or in fractions


class _Stated(NamedTuple):
    """What a transform says of itself, not yet believed; None where it does not resize, or does not normalise."""

    resize: Any
    interpolation: Any
    mean: Any
    std: Any


def view_options(transform: Any, name: str) -> dict[str, Any]:
    """Options of the view that shows what a transform shows; refused where pictures show that it shows something else.

    transform: a preset of torchvision or weights that have one; a Compose of torchvision or timm of Resize, CenterCrop,
    a conversion to tensors and Normalize; an image processor of transformers; or a mapping of the view's own options.
    """
    if isinstance(transform, Mapping):
        return _of_mapping(transform, name)
    transform = transform.transforms() if isinstance(transform, WeightsEnum) else transform
    rule = f"{name}: the transform must be a resize, a centre crop of its aspect and a normalisation"
    remedy = 'give what your network sees as transform={"size": 224, "crop_pct": 0.875, "interpolation": "bilinear", '
    remedy += '"mean": (...), "std": (...)}'
    with refused(rule, remedy):
        if hasattr(transform, "image_mean"):
            stated = _stated_by_processor(transform)
            show = lambda picture: transform(picture, return_tensors="pt")["pixel_values"][0]  # noqa: E731
        else:
            stated, show = _stated_by_parts(transform), transform
        options = _options(stated, _shown(show, _picture(80, 64)))
        view = View(**options)
        for width, height in ((1.7 * view.width, 1.3 * view.height), (0.8 * view.width, 4 * view.height)):
            _compare(show, view, _picture(round(width), round(height)))
    return options


def _of_mapping(options: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The view's own words, held against what yamls may say; input_size, as these have it, is its size."""
    if unknown := [key for key in options if key not in _OPTIONS]:
        known = "size, crop_pct, crop_mode, interpolation, mean, std"
        raise InputError(f"{name}: transform must have the keys {known}, got {unknown[0]!r}; leave it out")
    values = {{"size": "input_size"}.get(key, key): _plain(value) for key, value in options.items()}
    spec = read_settings(ModelSpec, {"name": name, "arch": name, "family": name, **values}, "transform")
    return {
        key: tuple(map(float, value)) if key in ("mean", "std") else value for key, value in spec.overrides().items()
    }


def _stated_by_parts(transform: Any) -> _Stated:
    if hasattr(transform, "resize_size"):  # a preset of torchvision
        return _Stated(transform.resize_size, transform.interpolation, transform.mean, transform.std)
    parts = {type(part).__name__: part for part in _parts(transform)}
    if unknown := [part for part in parts if part not in _READ]:
        raise ValueError(f"got {', '.join(unknown)}")
    if not {"Resize", "CenterCrop"} & parts.keys():
        raise ValueError("got neither Resize nor CenterCrop")
    resize, normalise = parts.get("Resize"), parts.get("Normalize")
    return _Stated(
        getattr(resize, "size", None),
        getattr(resize, "interpolation", "bilinear"),
        getattr(normalise, "mean", None),
        getattr(normalise, "std", None),
    )


def _parts(transform: Any) -> Iterator[Any]:
    """Of a Compose its parts, and theirs."""
    inner = getattr(transform, "transforms", None)
    if inner is None:
        yield transform
    for part in inner or ():
        yield from _parts(part)


def _stated_by_processor(processor: Any) -> _Stated:
    """Of transformers: its size is exact, or that of the shorter edge before a crop."""
    size, share = dict(processor.size), getattr(processor, "crop_pct", None)
    edge = size.get("shortest_edge")
    resize: Any = (size.get("height"), size.get("width")) if edge is None else edge
    if edge is not None and share:  # as ConvNeXt's
        resize = int(edge / share) if edge < 384 else (edge, edge)
    normalises = getattr(processor, "do_normalize", True)
    mean, std = (processor.image_mean, processor.image_std) if normalises else (None, None)
    return _Stated(resize, Image.Resampling(processor.resample), mean, std)


def _options(stated: _Stated, shown: Tensor) -> dict[str, Any]:
    """Of what a transform says and what it made of a picture, (C, H, W). One mean is that of every channel."""
    size = shown.shape[1:]
    resize = stated.resize if isinstance(stated.resize, Sequence) else [stated.resize or size[0]]
    whole = len(resize) > 1  # two sides given: the image is squashed into them; one: its shorter edge
    asked = resize[0], resize[-1]
    share = min(side / resized for side, resized in zip(size, asked, strict=True))
    while any(math.floor(side / share) < resized for side, resized in zip(size, asked, strict=True)):
        share = math.nextafter(share, 0)
    named = getattr(stated.interpolation, "value", stated.interpolation)
    named = named if isinstance(named, str) else stated.interpolation.name  # PIL's have numbers
    colours = {"mean": 0.0 if stated.mean is None else stated.mean, "std": 1.0 if stated.std is None else stated.std}
    listed = {key: np.atleast_1d(_plain(value)).tolist() for key, value in colours.items()}
    return {
        "size": size_of(*size),
        "crop_pct": share,
        "crop_mode": "squash" if whole else "center",
        "interpolation": named.lower().removesuffix("-exact"),  # PIL's nearest is exact
        **{key: tuple(map(float, value)) for key, value in listed.items()},
    }


def _plain(value: Any) -> Any:
    """Of arrays and tensors the numbers that were written into them: of float32 .485, no .48500001."""
    array = np.asarray(value)
    if array.dtype.kind == "f" and hasattr(value, "tolist"):
        return array.astype(str).astype(float).tolist()
    return value.tolist() if hasattr(value, "tolist") else value


def _compare(show: Callable[[Image.Image], Any], view: View, picture: Image.Image) -> None:
    """ValueError where a transform and the view show a picture in two ways, beyond rounding."""
    theirs, ours = _shown(show, picture), view.look(picture).float() / 255
    of = f"of a picture of {picture.height} x {picture.width} px"
    if theirs.shape != ours.shape:
        sizes = ["{} x {}".format(*each.shape[1:]) for each in (theirs, ours)]
        raise ValueError(f"it shows {sizes[0]} px {of}, such a view {sizes[1]}")
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (view.mean, view.std))
    apart = 255 * ((theirs * std + mean) - ours).abs().max().item()
    if not apart <= _ROUNDING:
        raise ValueError(f"{of} it shows other intensities than such a view, by up to {apart:.3g} of 255")


def _shown(show: Callable[[Image.Image], Any], picture: Image.Image) -> Tensor:
    """What a transform makes of a picture, (C, H, W)."""
    shown = show(picture)
    return pil_to_tensor(shown).float() / 255 if isinstance(shown, Image.Image) else torch.as_tensor(shown).float()


def _picture(width: int, height: int) -> Image.Image:
    """Patches and noise in colours that no interpolation takes out of range."""
    draw = np.random.default_rng(0)
    patches = Image.fromarray(draw.integers(80, 176, (5, 7, 3), np.uint8)).resize((width, height), Image.Resampling.BOX)
    return Image.fromarray((np.asarray(patches) + draw.integers(-24, 25, (height, width, 3))).astype(np.uint8))
