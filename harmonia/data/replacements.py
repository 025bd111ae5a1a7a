"""Other real images, to stand where an image is not kept."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2 as transforms

from harmonia.counter import counter_hash, image_key
from harmonia.data.decode import UnreadableImage, open_rgb
from harmonia.data.manifest import ImageRecord, ImageSet, add_digests
from harmonia.errors import InputError
from harmonia.geometry import View

log = logging.getLogger(__name__)

# Numbered far from the steps of Soundness Saliency: a fill must not show the background that a mask was made on.
FILL_STEP = 2**33
CROP_STEP = 2**34


class Replacements:
    """A pool of images in one view, drawn from by counter: never the class to avoid, never the image itself."""

    def __init__(self, pool: Sequence[ImageRecord], view: View, seed: int, random_crops: bool = False):
        """random_crops: each image once cropped and flipped at random, as for training, and not in the view itself."""
        looks, records = [], []
        for record in pool:
            try:
                image = open_rgb(record.path, record.digest)
                looks.append(_random_crop(image, record, view, seed) if random_crops else view.look(image))
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
        self.pixels = torch.stack(looks)  # P 3 S S, uint8
        self._classes = np.array([record.class_name or "" for record in records])
        self._digests = np.array([record.digest for record in records])
        self._seed = seed
        self._allowed: dict[tuple[str, str | None], np.ndarray] = {}

    def draw(
        self,
        images: Sequence[ImageRecord],
        keys: np.ndarray,
        avoid: Sequence[str | None],
        steps: int | np.ndarray,
        draws: int,
    ) -> Tensor:
        """Positions in the pool, (B, draws): a hash of (seed, image, step, draw) picks among those allowed.

        avoid: for each image the class not to be shown, or None. steps: one for all or one for each image.
        """
        steps = np.broadcast_to(steps, len(images))
        numbers = counter_hash(self._seed, keys[:, None], steps[:, None], np.arange(draws)[None])
        picked = np.empty(numbers.shape, np.int64)
        for row, (image, class_name) in enumerate(zip(images, avoid, strict=True)):
            allowed = self._allowed_for(image, class_name)
            picked[row] = allowed[(numbers[row] % np.uint64(len(allowed))).astype(np.int64)]
        return torch.from_numpy(picked)

    def stand_ins(self, images: ImageSet, indices: Sequence[int], avoid: Sequence[str], device: torch.device) -> Tensor:
        """One image for each, for a fill: always the same one, whatever it stands behind; (B, 3, S, S) in [0, 1]."""
        records = [images.records[index] for index in indices]
        keys = np.array([images.key(index) for index in indices], np.uint64)
        return self.take(self.draw(records, keys, avoid, FILL_STEP, 1)[:, 0], device)

    def take(self, positions: Tensor, device: torch.device) -> Tensor:
        """The images at pool positions as intensities in [0, 1], (..., 3, S, S)."""
        return self.pixels[positions].to(device).float() / 255

    def _allowed_for(self, image: ImageRecord, class_name: str | None) -> np.ndarray:
        found = self._allowed.get((image.digest, class_name))
        if found is None:
            found = np.flatnonzero((self._classes != class_name) & (self._digests != image.digest))
            if not len(found):
                raise InputError(
                    f"no replacement image for {image.image_id}: all {len(self._classes)} in the pool are itself or of "
                    f"the class {class_name}; give data.pool=FOLDER with other classes"
                )
            self._allowed[image.digest, class_name] = found
        return found


def _random_crop(image: Image.Image, record: ImageRecord, view: View, seed: int) -> Tensor:
    """A random part at a random aspect, half of them mirrored: torchvision's training crop, uint8 (3, size, size)."""
    crop = transforms.Compose(
        [
            transforms.RandomResizedCrop(view.size, antialias=True),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
        ]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(counter_hash(seed, image_key(record.image_id), CROP_STEP)))
        return crop(image)
