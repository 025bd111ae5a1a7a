"""Attribution maps that were computed elsewhere, by image.

They lie in a folder of .npy and .png files, or in one .npz or .safetensors file. A map is named after its image: by the
image's id, or by the id without its suffix. Each is an array (h, w) or (1, h, w) of floats or integers; of a PNG, 8 or
16 bit grey, it is the share of the full range. Nothing that needs pickle is read.
"""

import hashlib
import io
import json
import logging
import math
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from harmonia.data.folder import absolute
from harmonia.data.text import composed
from harmonia.data.view import MOST_SIDE_PX, WHOLE_IMAGE
from harmonia.errors import InputError, refused
from harmonia.features.resample import resample
from harmonia.shapes import Maps, Size, fits, sides
from harmonia.store.files import walk
from harmonia.store.guarded import MOST_ARRAYS, regular_file

log = logging.getLogger(__name__)

Over = Literal["view", "image"]
ReadMap = Callable[[], np.ndarray]

MOST_CELLS = 2**26  # of a map
_MOST_BYTES = 2**29 + 2**16  # of its file: so many float64, and a header
_REMEDY = "write the map anew or take it away"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_FULL_RANGES = {"L": 255, "I;16": 65535, "I": 65535}  # by PIL's mode of a grey PNG


@dataclass(frozen=True, kw_only=True)
class GivenMaps:
    """The maps of a data set's images. Each is read when it is asked for, and must be what it was at the start."""

    path: Path
    over: Over  # what a map covers: the source's view, or the whole image
    reads: Mapping[str, ReadMap]  # by image_id, of images that have a map
    digests: Mapping[str, str]  # by image_id: of the map's shape and float32 values, in whatever file they are
    shape: tuple[int, int]  # of all maps over a view, cells

    @cached_property
    def digest(self) -> str:
        """Changes with any number, shape or image, not with place or format."""
        return hashlib.sha256(json.dumps(sorted(self.digests.items())).encode("ascii")).hexdigest()

    def take(self, image_ids: Sequence[str], boxes: Tensor, size: Size) -> Maps:
        """Maps (B, h, w), float32; NaN of an image without one. Those over whole images are read in the boxes (B, 4)
        that the view shows, at its size, bilinearly.
        """
        whole = torch.tensor([WHOLE_IMAGE])
        maps = []
        for image_id, box in zip(image_ids, boxes, strict=True):
            if image_id not in self.reads:
                maps.append(torch.full(self.shape if self.over == "view" else sides(size), torch.nan))
                continue
            map_ = self.reads[image_id]()
            if _digest(map_) != self.digests[image_id]:
                raise InputError(
                    f"method.maps: the map of {image_id} in {self.path} must not change during a run; rerun when all "
                    "are there, what is stored stays valid"
                )
            map_hw = torch.from_numpy(map_)
            maps.append(map_hw if self.over == "view" else resample(map_hw[None], whole, box[None], size)[0])
        return torch.stack(maps)


def given_maps(path: str | Path, over: Over, image_ids: Sequence[str], size: Size = 1) -> GivenMaps:
    """The maps of these images in a folder or file, each read once; a line counts those that are not there.

    size: of the source's view, whose aspect those over a view have.
    InputError: what cannot be read, is no map, or might be of two images, by name; no map at all.
    """
    path = absolute(path)
    names = _names(path)
    of_images = _of_images(path, names, image_ids)
    missing = [image_id for image_id in image_ids if image_id not in of_images]
    if missing:
        expected = os.path.splitext(missing[0])[0] + ".npy" if path.is_dir() else missing[0]
        if not of_images:
            raise InputError(
                f"method.maps must hold maps of the images, {path} has {len(names)} maps and none of these "
                f"{len(missing)} images; name that of {missing[0]} {expected}"
            )
        log.warning(
            "%s: %d of %d images have no map, first %s (expected %s)",
            path,
            len(missing),
            len(image_ids),
            missing[0],
            expected,
        )
    if len(names) > len(of_images):
        log.info("%s: %d maps are of none of these images", path, len(names) - len(of_images))
    digests, shape = {}, (1, 1)
    for number, (image_id, read) in enumerate(of_images.items()):
        map_ = read()
        digests[image_id] = _digest(map_)
        h, w = map_.shape
        shape = (h, w) if number == 0 else shape
        if over == "view" and max(shape) > MOST_SIDE_PX:
            raise InputError(
                f"method.maps must have at most {MOST_SIDE_PX} cells a side, as views have, that of {image_id} in "
                f"{path} has {max(shape)}; make it smaller, or write method.over=image where maps cover whole images"
            )
        if over == "view" and ((h, w) != shape or not fits(shape, size)):
            aspect = "square" if len(set(sides(size))) == 1 else "of the aspect {} x {}".format(*sides(size))
            rule = f"as the first of them has, {shape[0]} x {shape[1]}" if number else f"{aspect}, as the source's view"
            raise InputError(
                f"method.maps must be {rule}, that of {image_id} in {path} is {h} x {w}; "
                "resize it, or write method.over=image where maps cover whole images"
            )
    return GivenMaps(path=path, over=over, reads=of_images, digests=digests, shape=shape)


def _of_images(path: Path, names: Mapping[str, ReadMap], image_ids: Sequence[str]) -> dict[str, ReadMap]:
    """By image_id, in their order, how the image's map is read."""
    owners: dict[str, str] = {}  # images by the names of their maps
    for image_id in image_ids:
        full = composed(image_id)
        known = [name for name in dict.fromkeys((full, os.path.splitext(full)[0])) if name in names]
        if len(known) > 1:
            raise InputError(f"method.maps: {path} must have one map of {image_id}, got two; take one away")
        if known and (owner := owners.setdefault(known[0], image_id)) != image_id:
            raise InputError(
                f"method.maps: {known[0]!r} in {path} must be of one image, it may be of {owner} or {image_id}; "
                "name maps by whole ids, with their suffix"
            )
    return {image_id: names[name] for name, image_id in owners.items()}


def _names(path: Path) -> dict[str, ReadMap]:
    """How each map is read, by its name in composed form."""
    rule = "method.maps must be a folder of .npy and .png files, or one .npz or .safetensors file"
    with refused(f"{rule}, got {path}", "give method.maps=FOLDER"):
        os.stat(path)
        listed = list(_list_folder(path) if path.is_dir() else _list_file(path))
    names: dict[str, ReadMap] = {}
    for name, read in listed:
        if composed(name) in names:
            raise InputError(f"method.maps: {path} must have one map of a name, got two {name!r}; take one away")
        names[composed(name)] = partial(_checked, path, name, read)
    return names


def _list_folder(folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    def fail(error: OSError) -> None:
        raise error

    for parent, folders, files in walk(folder, fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(name for name in files if not name.startswith(".")):
            place = PurePosixPath(Path(parent, file).relative_to(folder).as_posix())
            decode = {".npy": _from_npy, ".png": _from_png}.get(place.suffix.lower())
            if decode is not None:
                yield str(place.with_suffix("")), partial(_from_file, folder, str(place), decode)


def _list_file(path: Path) -> Iterable[tuple[str, Callable[[], Any]]]:
    real = Path(os.path.realpath(path))  # a link that the user names is followed
    path = regular_file(real.parent, real.name, MOST_ARRAYS, "give method.maps=FILE")
    match path.suffix.lower():
        case ".npz":
            archive = zipfile.ZipFile(path)
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            return [(one.filename.removesuffix(".npy"), partial(_from_archive, archive, one)) for one in members]
        case ".safetensors":
            tensors = safe_open(path, framework="pt")  # torch, for numpy has no bfloat16
            return [(name, partial(_from_tensors, tensors, name)) for name in tensors.keys()]  # noqa: SIM118
    raise ValueError("its name ends in neither .npz nor .safetensors")


def _from_file(folder: Path, name: str, decode: Callable[[bytes], np.ndarray]) -> np.ndarray:
    return decode(regular_file(folder, name, _MOST_BYTES, _REMEDY).read_bytes())


def _from_archive(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.file_size > _MOST_BYTES:
        raise ValueError(f"it has {member.file_size:,} bytes, more than {_MOST_BYTES:,}")
    return _from_npy(archive.read(member))


def _from_tensors(tensors: Any, name: str) -> np.ndarray:
    _check_shape(tensors.get_slice(name).get_shape())
    tensor = tensors.get_tensor(name)
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _from_npy(content: bytes) -> np.ndarray:
    """Memory is set aside only for what is there, whatever the header says."""
    file = io.BytesIO(content)
    read_header = _HEADERS.get(np.lib.format.read_magic(file))
    if read_header is None:
        raise ValueError("its version of .npy is none that numbers need")
    shape, _, dtype = read_header(file)
    _check_kind(dtype)
    _check_shape(shape)
    held, promised = len(content) - file.tell(), math.prod(shape) * dtype.itemsize
    if held != promised:
        raise ValueError(f"it has {held:,} bytes of numbers where its header says {promised:,}")
    return np.load(io.BytesIO(content), allow_pickle=False)


def _from_png(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        _check_shape(image.size)
        if image.mode not in _FULL_RANGES:
            raise ValueError(f"it is no grey of 8 or 16 bits, its mode is {image.mode}")
        return np.asarray(image, np.float32) / _FULL_RANGES[image.mode]


def _checked(path: Path, name: str, read: Callable[[], np.ndarray]) -> np.ndarray:
    """A map (h, w), float32."""
    with refused(f"method.maps: {name!r} in {path} must be a map, got none", _REMEDY):
        array = read()
        _check_kind(array.dtype)
        _check_shape(array.shape)
        with np.errstate(over="ignore"):  # beyond float32 a value is infinite, and the map is flagged
            return np.ascontiguousarray(array.reshape(array.shape[-2:]), np.float32)


def _check_kind(dtype: np.dtype) -> None:
    if dtype.kind not in "fiu":
        raise ValueError(f"its numbers must be floats or integers, they are {dtype}")


def _check_shape(shape: Sequence[int]) -> None:
    if len(shape) not in (2, 3) or shape[:-2] not in ((), (1,), [], [1]) or min(shape) < 1:
        raise ValueError(f"its shape must be (h, w) or (1, h, w), it is {tuple(shape)}")
    if math.prod(shape) > MOST_CELLS:
        raise ValueError(f"it has {math.prod(shape):,} cells, more than {MOST_CELLS:,}")


def _digest(map_: np.ndarray) -> str:
    return hashlib.sha256(str(map_.shape).encode() + map_.astype("<f4").tobytes()).hexdigest()
