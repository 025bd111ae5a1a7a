"""The pages to browse: index, browse, image and those of sections (.html), and beside them in page/ all that they load.

Thumbnails are one file each and kept from one report to the next.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import jinja2
from PIL import Image

from harmonia.data.decode import open_rgb
from harmonia.errors import InputError
from harmonia.report.contract import INDEX_PAGE
from harmonia.report.page.collection import Collection
from harmonia.report.page.data import data_files, script
from harmonia.report.written import Report
from harmonia.results.tracked_rows import evenly_spaced
from harmonia.store.files import replacing, write_text

PAGE = "page"  # the folder of everything but the pages
THUMBNAIL_SIDE = 256  # pixels, the longer one

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("harmonia.report.page"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


def write_pages(report: Report, folder: Path, collection: Collection, thumbnails: int | None) -> None:
    """The pages of a report, over those of an earlier one.

    thumbnails: of how many images at most, None for all. Numbers and tables are there for every image.
    """
    page = folder / PAGE
    shutil.rmtree(page / "data", ignore_errors=True)
    shutil.rmtree(page / "assets", ignore_errors=True)
    (page / "data").mkdir(parents=True)
    shutil.copytree(str(resources.files("harmonia.report.page") / "assets"), page / "assets")
    paths = [path for images in collection.sets.values() for path in images.paths]
    chosen = evenly_spaced(len(paths), len(paths) if thumbnails is None else thumbnails)
    names, missing = make_thumbnails({image: paths[image] for image in chosen}, page / "thumbnails")
    for name, value in data_files(collection, report.arm, names, missing):
        write_text(page / "data" / f"{name}.js", script(name, value), lasting=False)  # there may be thousands
    apart = {section.page: section for section in report.sections if section.page != INDEX_PAGE}
    facts = {
        "run": report.run.resolve().name,
        "report": report,
        "index": INDEX_PAGE,
        "together": [section for section in report.sections if section.page == INDEX_PAGE],
        "apart": apart,
        "images": len(paths),
        "no_thumbnails": missing,
    }
    for name in (INDEX_PAGE, "browse.html", "image.html", *apart):
        template = _TEMPLATES.get_template("section.html" if name in apart else name)
        write_text(folder / name, template.render(facts, page=name))


def make_thumbnails(paths: Mapping[int, str], folder: Path) -> tuple[dict[int, str], dict[int, str]]:
    """By image the file's name in the folder, and by image the reason where none could be made.

    The folder is the report's own: thumbnails of images that are no longer asked for are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as threads:
        results = list(zip(paths, threads.map(lambda path: _thumbnail(path, folder), paths.values()), strict=True))
    names, reasons = ({image: result[part] for image, result in results if result[part]} for part in (0, 1))
    for stale in {path.name for path in folder.glob("*.webp")} - set(names.values()):
        (folder / stale).unlink()
    return names, reasons


def _thumbnail(path: str, folder: Path) -> tuple[str, str]:
    """Its name and why there is none; one of the two is empty."""
    try:
        # the name holds all that changes the picture and nothing that others have named
        stat = os.stat(path)
        facts = f"{path}\0{stat.st_mtime_ns}\0{stat.st_size}\0{THUMBNAIL_SIDE}"
        name = hashlib.sha256(facts.encode("utf-8", "surrogatepass")).hexdigest()[:24] + ".webp"
        if not (folder / name).is_file():
            picture = open_rgb(path)
            picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
            with replacing(folder / name, lasting=False) as temporary:
                picture.save(temporary, "WEBP", quality=80, method=0)  # the slower methods save a tenth
        return name, ""
    except OSError as error:
        return "", f"the image's file cannot be read ({error.strerror or type(error).__name__})"
    except (InputError, ValueError) as error:
        return "", " ".join(str(error).split())
