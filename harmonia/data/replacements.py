"""Other real images, to stand where an image is not kept."""

import logging
import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2 as transforms

from harmonia.data.decode import UnreadableImage, open_channels
from harmonia.data.manifest import ImageRecord, ImageSet, add_digests
from harmonia.data.view import View
from harmonia.draws import Purpose, counter_hash, image_key
from harmonia.errors import InputError

log = logging.getLogger(__name__)

ONE_IN = 5  # of the images allowed are held out
_ON_A_GPU = 2**31  # bytes of a pool that are kept there


class Replacements:
    """A pool of images in one view, drawn from by counter: never the class to avoid, never the image itself.

    A fifth of those allowed for an image is held out: masks are made before the others, judged and shown before these.
    """

    def __init__(self, pool: Sequence[ImageRecord], view: View, seed: int, random_crops: bool = False):
        """random_crops: each image once cropped and flipped at random, as for training, and not in the view itself."""
        looks, records = [], []
        for record in pool:
            try:
                channels = open_channels(record.path, record.digest, () if random_crops else (view,), view.channels)
                looks.append(_random_crop(channels, record, view, seed) if random_crops else view.look_at(channels))
                records.append(record)
            except UnreadableImage as error:
                if add_digests([record])[0].digest != record.digest:
                    # maps are kept under the digest of the whole pool: with a smaller one they would be others
                    raise InputError(
                        f"replacement image {record.path} must not change during a run, it cannot be read any more; "
                        "rerun when the pool is complete"
                    ) from error
                log.warning("left out of the replacement images: %s", error)
        if not records:
            raise InputError("the pool of replacement images is empty; give data.pool=FOLDER of images")
        self.pixels = torch.stack(looks)  # P C H W, uint8
        self._there: Tensor | None = None  # the same on a GPU: every step of a mask takes from them
        self._classes = np.array([record.class_name or "" for record in records])
        self._digests = np.array([record.digest for record in records])
        self._seed = seed
        self._order = np.array([counter_hash(seed, image_key(digest), Purpose.POOL_ORDER) for digest in self._digests])
        self._allowed: dict[tuple[str, str | None], tuple[np.ndarray, np.ndarray]] = {}

    def draw(
        self,
        images: Sequence[ImageRecord],
        image_keys: np.ndarray,
        avoid: Sequence[str | None],
        steps: int | np.ndarray | None,
        draws: int,
        held_out_for: Purpose = Purpose.HELD_OUT,
    ) -> Tensor:
        """Positions in the pool, (B, draws): a hash of (seed, image, step, draw) picks among those allowed.

        avoid: for each image the class not to be shown, or None. steps: one for all or one for each image; None
        draws from the images held out.
        """
        numbers = np.broadcast_to(held_out_for if steps is None else steps, len(images))
        hashes = counter_hash(self._seed, image_keys[:, None], numbers[:, None], np.arange(draws)[None])
        picked = np.empty(hashes.shape, np.int64)
        for row, (image, class_name) in enumerate(zip(images, avoid, strict=True)):
            allowed = self._allowed_for(image, class_name)[steps is None]
            picked[row] = allowed[(hashes[row] % np.uint64(len(allowed))).astype(np.int64)]
        return torch.from_numpy(picked)

    def stand_ins(self, images: ImageSet, indices: Sequence[int], avoid: Sequence[str], device: torch.device) -> Tensor:
        """One held-out image for each, for a fill: always the same one; (B, 3, H, W) in [0, 1]."""
        records, keys = [images.records[index] for index in indices], images.image_keys(indices)
        return self.take(self.draw(records, keys, avoid, None, 1, Purpose.FILL)[:, 0], device)

    def take(self, positions: Tensor, device: torch.device) -> Tensor:
        """The images at pool positions as intensities in [0, 1], (..., 3, H, W)."""
        if device.type == "cpu" or self.pixels.nbytes > _ON_A_GPU:
            return self.pixels[positions].to(device).float() / 255
        if self._there is None or self._there.device != device:
            self._there = self.pixels.to(device)
        return self._there[positions.to(device)].float() / 255

    def _allowed_for(self, image: ImageRecord, class_name: str | None) -> tuple[np.ndarray, np.ndarray]:
        """Positions for steps, and those held out: the first fifth by a hash of the images."""
        parts = self._allowed.get((image.digest, class_name))
        if parts is None:
            allowed = np.flatnonzero((self._classes != class_name) & (self._digests != image.digest))
            if len(allowed) < 2:
                raise InputError(
                    f"too few replacement images for {image.image_id}: of {len(self._classes)} in the pool "
                    f"{len(allowed)} are neither itself nor of the class {class_name}, and two are needed, one to be "
                    "held out; give data.pool=FOLDER with other classes"
                )
            shuffled = allowed[np.argsort(self._order[allowed], kind="stable")]
            first = math.ceil(len(allowed) / ONE_IN)
            parts = np.sort(shuffled[first:]), np.sort(shuffled[:first])
            self._allowed[image.digest, class_name] = parts
        return parts


def _random_crop(channels: list[Image.Image], record: ImageRecord, view: View, seed: int) -> Tensor:
    """A random part at a random aspect, half of them mirrored: torchvision's training crop, uint8 (C, H, W)."""
    crop, mirror = transforms.RandomResizedCrop(view.size, antialias=True), transforms.RandomHorizontalFlip()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(counter_hash(seed, image_key(record.image_id), Purpose.POOL_CROP)))
        cropped = mirror(crop(channels))  # all of them alike
        return torch.cat([transforms.functional.pil_to_tensor(each) for each in cropped])
