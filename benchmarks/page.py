"""The page to browse with 10,000 generated images in headless Chromium: seconds to open, page, filter and sort.

    python benchmarks/page.py
    python benchmarks/page.py --images 1000 --keep FOLDER

Images, maps and answers are drawn at random. Fails where the browser's console says anything.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from harmonia.report.write import write_report
from harmonia.results.maps import REGION_SIDE, SmallMaps, write_small_maps
from harmonia.results.rows import row_writer, write_summary

ARMS = {"image": 1.0, "soft": 0.4, "dim": 0.4, "area30": 0.3, "blobs30": 0.3}
TARGETS = ("e7", "e6")
CLASSES = [f"n0208{number:04}" for number in range(10)]
SIDE_PX, CELLS = 96, 14
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def main() -> None:
    parser = argparse.ArgumentParser(description="The page to browse, in a browser")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="a new folder for the report; it is deleted without this")
    options = parser.parse_args()
    if CHROMIUM is None:
        parser.error("a Chromium must be installed; apt-get install chromium")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch, "run")
        write_job(folder, options.images)
        started, worked = time.perf_counter(), time.process_time()
        write_report(folder, thumbnails=None)
        print(f"report: {time.perf_counter() - started:.1f} s, {time.process_time() - worked:.1f} s of processor time")
        sizes = [path.stat().st_size for path in (folder / "report").rglob("*") if path.is_file()]
        print(f"{sum(sizes) / 1e6:.0f} MB in {len(sizes):,} files")
        look(folder / "report")
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


def write_job(folder: Path, images: int) -> None:
    """A finished job of one source on itself and another network, its images beside it."""
    (folder / "images").mkdir(parents=True)
    generator = np.random.default_rng(0)
    ids = [f"{number:05}.jpg" for number in range(images)]
    for name in ids:
        coarse = generator.integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(coarse).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC).save(folder / "images" / name)
    models = {name: {"name": name, "family": "efficientnet"} for name in TARGETS}
    config = {"source": models["e7"], "target": models, "method": {"name": "gc"}, "data": {"name": "generated"}}
    (folder / "config.yaml").write_text(json.dumps(config))
    labels = np.array(CLASSES, object)[np.arange(images) % len(CLASSES)]
    with row_writer(folder) as rows:
        for target in TARGETS:
            for arm, kept in ARMS.items():
                p = generator.random(images) * kept**0.3
                predicted = np.where(p > 0.3, labels, CLASSES[0])
                constant = {"source": "e7", "method": "gc", "label_policy": "predicted", "fill": "black", "flag": ""}
                constant |= {"target": target, "arm": arm, "entropy": 1.0, "kept_area": kept}
                rows.append(
                    {name: [value] * images for name, value in constant.items()}
                    | {"image_id": ids, "path": [str(folder / "images" / name) for name in ids]}
                    | {"label": labels, "explained": labels, "source_predicted": labels, "predicted": predicted}
                    | {"top5": [[name, *CLASSES[1:5]] for name in predicted]}
                    | {"p_label": p, "p_explained": p, "p_predicted": np.maximum(p, 0.3)}
                )
    write_summary(folder, {})
    soft = generator.integers(0, 256, (images, CELLS, CELLS), np.uint8)
    regions = np.tile(np.repeat(np.arange(REGION_SIDE, dtype=np.uint8)[:, None], REGION_SIDE, 1), (images, 1, 1))
    boxes = np.tile(np.array([[0, 0, 1, 1]], np.float32), (images, 1))
    write_small_maps(folder, SmallMaps(ids, soft, regions, (10, 30), boxes))


def look(report: Path) -> None:
    """What a visitor does, timed; a message in the console or a request off the folder is an error."""
    troubles: list[str] = []
    with sync_playwright() as playwright:
        # no sandbox: containers and root have none, and the pages are our own
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(offline=True).new_page()
        page.set_default_timeout(300_000)
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))

        def step(name: str, act) -> None:
            started = time.perf_counter()
            act()
            page.wait_for_selector("#tiles[aria-busy=false], #cells .cell, figure > img")
            print(f"{name}: {time.perf_counter() - started:.2f} s")

        step("open index.html", lambda: page.goto((report / "index.html").as_uri()))
        step("open browse.html", lambda: page.goto((report / "browse.html").as_uri()))
        step("draw the first page's features", lambda: drawn(page))
        print(f"{page.locator('#tiles > li').count()} tiles; {page.locator('#place').inner_text()}")
        step("next page", lambda: page.click("#next"))
        step("filter by class", lambda: page.select_option("select[name=class]", CLASSES[3]))
        step("filter: lost", lambda: page.select_option("select[name=kept]", "0"))
        print(page.locator("#summary").inner_text())
        step("order by drop", lambda: page.select_option("select[name=sort]", "drop-"))
        step("another target", lambda: page.select_option("select[name=target]", TARGETS[1]))
        step("all images again", lambda: page.click("text=Reset"))
        step("open an image's page", lambda: page.locator("#tiles a").first.click())
        browser.close()
    if troubles:
        raise SystemExit(f"the browser's console: {troubles}")


def drawn(page: Page) -> None:
    page.wait_for_function("document.querySelectorAll('.pair canvas').length > 3")


if __name__ == "__main__":
    main()
