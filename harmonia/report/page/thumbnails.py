"""Small pictures of the images, one file each, kept from one report to the next."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from harmonia.data.decode import open_rgb
from harmonia.errors import InputError
from harmonia.store.files import replacing

SIDE = 256  # pixels of the longer side


def spread(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` of so many images, evenly spread over their order."""
    return sorted(set(np.linspace(0, count - 1, min(count, wanted)).round().astype(int).tolist()))


def make_thumbnails(paths: Mapping[int, str], folder: Path) -> tuple[dict[int, str], dict[int, str]]:
    """By image the file's name in the folder, and by image the reason where none could be made.

    The folder is the report's own: thumbnails of images that are no longer asked for are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as threads:
        made = dict(zip(paths, threads.map(lambda path: _thumbnail(path, folder), paths.values()), strict=True))
    names = {image: name for image, (name, _) in made.items() if name}
    for stale in {path.name for path in folder.glob("*.webp")} - set(names.values()):
        (folder / stale).unlink()
    return names, {image: reason for image, (name, reason) in made.items() if not name}


def _thumbnail(path: str, folder: Path) -> tuple[str, str]:
    """Its name and why there is none; one of the two is empty."""
    try:
        # the name holds all that changes the picture and nothing that others have named
        stat = os.stat(path)
        facts = f"{path}\0{stat.st_mtime_ns}\0{stat.st_size}\0{SIDE}"
        name = hashlib.sha256(facts.encode("utf-8", "surrogatepass")).hexdigest()[:24] + ".webp"
        if not (folder / name).is_file():
            picture = open_rgb(path)
            picture.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
            with replacing(folder / name, lasting=False) as temporary:
                picture.save(temporary, "WEBP", quality=80, method=0)  # the slower methods save a tenth
        return name, ""
    except OSError as error:
        return "", f"the image's file cannot be read ({error.strerror or type(error).__name__})"
    except (InputError, ValueError) as error:
        return "", " ".join(str(error).split())


def missing_reason(chosen: Sequence[int], total: int) -> str:
    """What the page says of images that no thumbnail was asked for."""
    return f"this report has thumbnails of {len(chosen):,} of {total:,} images; thumbnails=all makes all"
