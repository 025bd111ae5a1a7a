"""The pages to browse: index, browse, image and those of sections (.html), and in page/ all that they load."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import jinja2
from PIL import Image

from harmonia.errors import InputError, one_line
from harmonia.media import html
from harmonia.report.contract import INDEX_PAGE
from harmonia.report.glossary import glossary
from harmonia.report.page.collection import SeenFile
from harmonia.report.page.data import data_files, script
from harmonia.report.written import Report
from harmonia.results.tracking import evenly_spaced
from harmonia.store.files import write_text
from harmonia.store.whole import is_file

PAGE = "page"  # the folder of everything but the pages
THUMBNAIL_SIDE = 256  # pixels, the longer one

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("harmonia.report.page"),
    autoescape=True,
    finalize=html,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


def write_pages(report: Report, folder: Path, thumbnails: int | None) -> None:
    """The pages of a report into a new folder; thumbnails: of how many images at most, None for all."""
    page, collection, earlier = folder / PAGE, report.collection, (report.folder or folder) / PAGE / "thumbnails"
    (page / "data").mkdir(parents=True)
    shutil.copytree(str(resources.files("harmonia.report.page") / "assets"), page / "assets")
    files = [images.file(place) for images in collection.sets.values() for place in range(len(images.ids))]
    chosen = evenly_spaced(len(files), len(files) if thumbnails is None else thumbnails)
    names, missing = make_thumbnails({image: files[image] for image in chosen}, page / "thumbnails", earlier)
    for name, value in data_files(collection, report.arm, names, missing):
        write_text(page / "data" / f"{name}.js", script(name, value), lasting=False)  # there may be thousands
    blocks = [block for explainer in collection.explainers for block in explainer.blocks.values()]
    apart = {section.page: section for section in report.sections if section.page != INDEX_PAGE}
    facts = {
        "run": report.run.resolve().name,
        "report": report,
        "index": INDEX_PAGE,
        "together": [section for section in report.sections if section.page == INDEX_PAGE],
        "apart": apart,
        "images": len(files),
        "no_thumbnails": missing,
        "intervals": list(dict.fromkeys(filter(None, (table.printed.attrs["intervals"] for table in report.tables)))),
        "glossary": glossary(report.jobs, dict.fromkeys(arm for block in blocks for arm in block.arms)),
    }
    for name in (INDEX_PAGE, "browse.html", "image.html", *apart):
        template = _TEMPLATES.get_template("section.html" if name in apart else name)
        write_text(folder / name, template.render(facts, page=name))


def make_thumbnails(
    files: Mapping[int, SeenFile], folder: Path, earlier: Path
) -> tuple[dict[int, str], dict[int, str]]:
    """By image its file's name in the folder, or why there is none; earlier: a folder of such files."""
    folder.mkdir()
    distinct = list(dict.fromkeys(files.values()))  # of one file one thread makes the file
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as threads:
        results = threads.map(lambda file: _thumbnail(file, folder, earlier), distinct)
        of_file = dict(zip(distinct, results, strict=True))
    names, reasons = ({at: of_file[file][part] for at, file in files.items() if of_file[file][part]} for part in (0, 1))
    return names, reasons


def _thumbnail(file: SeenFile, folder: Path, earlier: Path) -> tuple[str, str]:
    """Its name and why there is none; one of the two is empty."""
    try:
        # the name holds all that changes the picture and nothing that others have named
        facts = f"{file.facts()}\0{THUMBNAIL_SIDE}"
        name = hashlib.sha256(facts.encode("utf-8", "surrogatepass")).hexdigest()[:24] + ".webp"
        picture = None
        if not is_file(earlier / name):
            picture = file.open()
            picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    except (OSError, InputError, ValueError) as error:
        return "", one_line(error)
    # out of the reach of these reasons: a full disk ends the report
    if picture is None:
        shutil.copy2(earlier / name, folder)
    else:
        picture.save(folder / name, "WEBP", quality=80, method=0)  # the slower methods save a tenth
    return name, ""
