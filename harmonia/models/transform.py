"""Evaluation transforms of other libraries as options of a view (harmonia.data.view.View)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from harmonia.errors import InputError
from harmonia.shapes import Size, size_of

_CHANGES_NO_PIXEL = {
    "ToTensor",
    "PILToTensor",
    "MaybeToTensor",
    "MaybePILToTensor",
    "ToImage",
    "ToDtype",
    "ConvertImageDtype",
}
_CHANGES_NO_PIXEL |= {"ToPureTensor"}


def _channels(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _size(value: Any) -> Size:
    height, width = map(int, value if isinstance(value, Sequence) else (value, value))
    return size_of(height, width)


_OPTIONS = {
    "size": _size,
    "crop_pct": float,
    "crop_mode": str,
    "interpolation": str,
    "mean": _channels,
    "std": _channels,
}


def view_options(transform: Any, name: str) -> dict[str, Any]:
    """Options of the view that shows what a transform shows; one that no view can show is refused by its name.

    transform: a preset or a Compose of torchvision (or timm) of Resize, CenterCrop, a conversion to tensors and
    Normalize; an image processor of transformers; or a mapping of the view's own options.
    """
    if isinstance(transform, Mapping):
        return _of_mapping(transform, name)
    if hasattr(transform, "image_mean"):
        return _of_processor(transform, name)
    if hasattr(transform, "resize_size"):  # a preset of torchvision
        resize, crop = transform.resize_size, transform.crop_size
        return _options(resize, crop, transform.interpolation, transform.mean, transform.std, name)
    parts = {type(part).__name__: part for part in getattr(transform, "transforms", [transform])}
    unknown = [part for part in parts if part not in _CHANGES_NO_PIXEL | {"Resize", "CenterCrop", "Normalize"}]
    if unknown or not {"Resize", "CenterCrop"} & parts.keys():
        raise _unknown(name, ", ".join(unknown) or "neither Resize nor CenterCrop")
    crop = getattr(parts.get("CenterCrop"), "size", None)
    resize = getattr(parts.get("Resize"), "size", crop)
    interpolation = getattr(parts.get("Resize"), "interpolation", "bilinear")
    normalise = parts.get("Normalize")
    mean, std = ([0.0], [1.0]) if normalise is None else (normalise.mean, normalise.std)
    return _options(resize, crop, interpolation, mean, std, name)


def _of_mapping(options: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The view's own words; input_size, as yamls say, is its size."""
    view = {{"input_size": "size"}.get(key, key): value for key, value in options.items()}
    try:
        checked = {key: _OPTIONS[key](value) for key, value in view.items()}
    except KeyError as error:
        known = ", ".join(_OPTIONS)
        raise InputError(f"{name}: transform must have the keys {known}, got {error.args[0]!r}; leave it out") from None
    except (TypeError, ValueError) as error:
        usual = '{"size": 224, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}'
        raise InputError(f"{name}: transform must be like {usual}, got {view} ({error}); mend it") from None
    return checked


def _of_processor(processor: Any, name: str) -> dict[str, Any]:
    """Of transformers: its size is exact, or that of the shorter edge before a crop."""
    size, crop = dict(processor.size), dict(getattr(processor, "crop_size", None) or {})
    scale = getattr(processor, "rescale_factor", 1 / 255)
    if not math.isclose(scale, 1 / 255, rel_tol=1e-6):
        raise _unknown(name, f"rescale_factor={scale}")
    crops = getattr(processor, "do_center_crop", False)
    resize: Any = size["shortest_edge"] if "shortest_edge" in size else (size["height"], size["width"])
    share = getattr(processor, "crop_pct", None)
    if "shortest_edge" in size and share and size["shortest_edge"] < 384:  # as ConvNeXt's
        resize, crop, crops = int(size["shortest_edge"] / share), {"height": size["shortest_edge"]}, True
        crop["width"] = crop["height"]
    elif "shortest_edge" in size and share:
        resize = (size["shortest_edge"], size["shortest_edge"])
    normalises = getattr(processor, "do_normalize", True)
    mean, std = (processor.image_mean, processor.image_std) if normalises else ([0.0], [1.0])
    crop_size = (crop["height"], crop["width"]) if crops and crop else None
    return _options(resize, crop_size, Image.Resampling(processor.resample), mean, std, name)


def _options(resize: Any, crop: Any, interpolation: Any, mean: Any, std: Any, name: str) -> dict[str, Any]:
    resize = [resize] if isinstance(resize, int) else list(resize)
    crop = resize if crop is None else [crop] if isinstance(crop, int) else list(crop)
    named = getattr(interpolation, "value", interpolation)
    if not isinstance(named, str):  # PIL's have numbers
        named = interpolation.name
    whole = len(resize) > 1  # two sides given: the image is squashed into them; one: its shorter edge
    if not whole and crop is resize:
        raise _unknown(name, "Resize without a crop, which leaves images of any shape")
    if not whole and len(set(crop)) > 1:
        raise _unknown(name, f"Resize of the shorter edge before a crop of {crop[0]} x {crop[1]}")
    size = crop[0], crop[-1]
    asked = resize[0], resize[-1]
    share = min(side / resized for side, resized in zip(size, asked, strict=True))
    while any(math.floor(side / share) < resized for side, resized in zip(size, asked, strict=True)):
        share = math.nextafter(share, 0)
    if tuple(math.floor(side / share) for side in size) != asked:  # what the view resizes to
        raise _unknown(name, f"Resize to {asked[0]} x {asked[1]} before a crop of {size[0]} x {size[1]}")
    return {
        "size": size_of(*size),
        "crop_pct": share,
        "crop_mode": "squash" if whole else "center",
        "interpolation": named.lower(),
        "mean": tuple(map(float, mean)),
        "std": tuple(map(float, std)),
    }


def _unknown(name: str, got: str) -> InputError:
    return InputError(
        f"{name}: the transform must be a resize, a centre crop of its aspect and a normalisation, got {got}; give "
        "input_size, crop_pct, interpolation, mean and std"
    )
