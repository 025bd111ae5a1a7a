"""The pages in a real browser: Debian's Chromium, driven by Playwright, with every request off the folder refused."""

import shutil
from urllib.parse import quote

import numpy as np
import pytest

from harmonia.features.areas import in_view, top_fractions
from harmonia.media import visible
from harmonia.report.figures.examples import keep_weights
from harmonia.results.maps import read_small_maps

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the dev extra)")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; apt-get install chromium")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        # no sandbox: containers and root have none, and the pages are our own
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def open_page(browser, report):
    """open_page("browse.html#...") in a context of its own; at the end nothing may have gone wrong in it."""
    troubles, contexts = [], []

    def call(address, **options):
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "request",
            lambda request: None if request.url.startswith(("file:", "data:")) else troubles.append(request.url),
        )
        page.goto(f"{report.as_uri()}/{address}")
        return page

    yield call
    hacked = [page.evaluate("window.hacked") for context in contexts for page in context.pages]
    for context in contexts:
        context.close()
    assert troubles == []
    assert set(hacked) <= {None}


def expect(locator):
    """Waits as long as Playwright's clicks do, not 5 s: the machine may be busy."""
    sync_api.expect.set_options(timeout=30_000)
    return sync_api.expect(locator)


def tiles(page):
    expect(page.locator("#tiles")).to_have_attribute("aria-busy", "false")
    return page.locator(".tile-text").all_inner_texts()


def choose(page, **choices):
    for name, value in choices.items():
        page.select_option(f"select[name={name}]", value)
    return tiles(page)


def summary(page):
    return page.locator("#summary").inner_text()


def test_the_ranking_page_shows_its_tables_and_a_figure_that_loads(open_page, hostile):
    page = open_page("index.html")
    page.get_by_role("link", name="Ranking", exact=True).click()
    page.get_by_role("region", name="Methods by metrics").wait_for()  # the click has begun a page
    assert page.get_by_text("without deletion").is_visible()
    assert page.locator("table").count() == 3
    picture = page.locator("figure img")
    picture.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('figure img').naturalWidth > 0")
    assert picture.count() == 1  # two images agree on nothing


def test_the_report_shows_tables_and_figures_that_load(open_page, hostile):
    page = open_page("index.html")
    assert page.locator("table").count() == 2 + 8  # of statistics
    assert page.get_by_text("Not run (").is_visible()
    page.evaluate("document.querySelectorAll('details').forEach(folded => { folded.open = true; })")
    assert all(made.is_visible() for made in page.locator("table").all())
    assert page.locator("figure img").count() == 6
    for picture in page.locator("figure img").all():
        picture.scroll_into_view_if_needed()  # lazy: loaded when it is near
        assert picture.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") > 100
    assert hostile.split("\u2028")[0] in page.locator("main").inner_text()
    page.click("text=Browse 5 images")
    assert len(tiles(page)) == 5


def test_filters_narrow_the_images_and_the_address_keeps_them(open_page, hostile):
    page = open_page("browse.html")
    assert len(tiles(page)) == 5
    assert summary(page) == "5 of 5 images; right on the image 80.0 %, on the feature 40.0 %; prediction kept 60.0 %"
    assert len(choose(page, kept="0")) == 2
    assert len(choose(page, kept="0", right="0")) == 0
    assert len(choose(page, kept="1", right="1")) == 2
    assert len(choose(page, kept="", right="")) == 5
    assert len(choose(page, **{"class": "owl"})) == 3
    assert len(choose(page, **{"class": "__proto__"})) == 1
    assert len(choose(page, **{"class": visible(hostile)})) == 1
    address = page.url
    page.click("text=Reset")
    assert len(tiles(page)) == 5
    page.goto(address)
    page.reload()
    assert len(tiles(page)) == 1


def test_the_order_is_by_drop_and_by_retention_of_the_probability(open_page):
    page = open_page("browse.html")
    by_drop = [0.7, 0.1, 0.1, 0.05, 0.0]
    probabilities = [text.split("P(")[1].rpartition(") ")[2].split(" → ") for text in choose(page, sort="drop-")]
    assert [round(float(before) - float(after), 2) for before, after in probabilities] == pytest.approx(
        by_drop, abs=0.011
    )
    probabilities = [text.split("P(")[1].rpartition(") ")[2].split(" → ") for text in choose(page, sort="kept+")]
    ratios = [float(after) / float(before) for before, after in probabilities]
    assert ratios == sorted(ratios)


def test_other_cells_targets_and_arms_are_shown(open_page, hostile):
    page = open_page("browse.html")
    assert "prediction lost to owl" not in "".join(tiles(page))
    assert "prediction lost to owl" in "".join(choose(page, arm="area30"))
    assert len(choose(page, target=visible(hostile))) == 5
    assert len(choose(page, source=visible(hostile))) == 5
    assert page.locator("select[name=method]").input_value() == "ss"
    assert "no map kept" in page.locator(".pair").first.inner_text()


def test_a_feature_is_the_image_times_its_map(open_page, report):
    page = open_page("browse.html#arm=soft")
    tiles(page)
    page.wait_for_selector(".pair canvas")
    # read from a picture of the screen: a canvas with a picture from a folder in it may not be read
    at = "document.querySelector('.pair canvas').getBoundingClientRect().toJSON()"
    canvas = page.evaluate(at)
    shot = _pixels(page.screenshot())
    width = canvas["width"]
    middle = canvas["y"] + canvas["height"] / 2

    def light(share):
        return shot.getpixel((round(canvas["x"] + share * width), round(middle)))[0]

    assert light(0.1) == light(0.9) == 0  # beyond what the source sees
    assert light(0.27) < 40
    assert light(0.5) == pytest.approx(127, abs=14)
    assert light(0.73) > 215


def test_the_page_and_fig_1_show_the_region_that_was_evaluated(open_page, raw_maps, image_ids, jobs):
    """Of an ordinary, a constant and a plateau map: what the evaluation kept of the source's view, pixel by pixel."""
    # the page's pixels are half as many
    evaluated = top_fractions(in_view(raw_maps, 224), [0.3])[:, 0, 1::2, 1::2].bool()
    page = open_page("browse.html")
    tiles(page)
    places = [sorted(image_ids).index(image_id) for image_id in image_ids]
    regions = page.evaluate(REGIONS, places)
    kept = read_small_maps(jobs / "gc")
    for row, region in enumerate(evaluated.numpy()):
        assert abs(region.mean() - 0.3) < 0.02
        assert regions[row] == region.flatten().tolist()
        assert np.array_equal(keep_weights(kept, row, "area30")[1::2, 1::2], region)
    assert not np.array_equal(evaluated[1], evaluated[2])


# the box is [0.25, 0.75] of the width: of 224 x 112 pixels those from 56 to 168
REGIONS = """async (places) => {
  const index = await harmonia.load("index"), found = [];
  const cell = index.cells.findIndex((one) => one.mapFiles.length);
  for (const image of places) {
    const { file, row } = harmonia.place(index, image);
    const map = harmonia.pictures.mapOf(await harmonia.pictures.loadMaps(index, cell, file), row, 224, 112);
    const keep = [...harmonia.pictures.keepWeights(map, "area30", 224, 112)];
    found.push(keep.filter((_, pixel) => pixel % 224 >= 56 && pixel % 224 < 168).map(Boolean));
  }
  return found;
}"""


def _pixels(png):
    import io

    from PIL import Image

    return Image.open(io.BytesIO(png)).convert("RGB")


def test_the_page_of_an_image_shows_every_source_and_target(open_page):
    page = open_page("browse.html#sort=drop-")
    tiles(page)
    page.locator(".tiles a").first.click()
    page.wait_for_selector(".cell")
    assert page.locator("#facts").inner_text().count("owl/1.jpg") == 1
    assert page.locator(".cell").count() == 3
    whole, of_map = page.locator(".cell").first, page.locator(".cell").nth(1)
    assert whole.locator("td").count() == of_map.locator("tbody tr").count() == 2
    assert "owl ✓\nheron" in whole.locator("td").first.inner_text()
    assert "0.80 → 0.10" in of_map.locator("tbody tr").first.inner_text()
    assert "crow\nheron" in of_map.locator("tbody tr").first.inner_text()
    assert of_map.locator("canvas").count() == 2
    assert "run the job again" in page.locator(".cell").last.inner_text()  # its job kept no maps
    page.select_option("#arm", "area30")
    expect(of_map).to_contain_text("0.80 → 0.70")
    page.click("text=Next")  # in the gallery's order
    expect(page.locator("#facts")).not_to_contain_text("owl/1.jpg")
    page.click("text=All images")
    assert len(tiles(page)) == 5
    assert page.locator("select[name=sort]").input_value() == "drop-"


def test_an_image_whose_file_is_gone_says_so(open_page, image_ids):
    page = open_page(f"image.html#image={sorted(image_ids).index('owl/gone.jpg')}")
    page.wait_for_selector(".cell")
    assert (
        "no thumbnail: the image is not here: its file cannot be read: No such file"
        in page.locator("#picture").inner_text()
    )


@pytest.mark.parametrize("image", ["99", "-1", "", quote("<b>x")])
def test_an_image_that_is_not_there_is_one_sentence(open_page, image):
    page = open_page(f"image.html#image={image}")
    said = "There is no image number" if image else "Choose an image"
    expect(page.locator("#summary")).to_contain_text(said)


def test_light_and_dark_follow_the_system_and_the_switch(open_page):
    background = "getComputedStyle(document.body).backgroundColor"
    light = open_page("index.html", color_scheme="light")
    dark = open_page("browse.html", color_scheme="dark")
    assert light.evaluate(background) == "rgb(255, 255, 255)"
    assert dark.evaluate(background) == "rgb(23, 24, 27)"
    light.click("#theme")
    assert light.evaluate(background) == "rgb(23, 24, 27)"
    assert light.locator("#theme").get_attribute("aria-pressed") == "true"
    light.reload()
    assert light.evaluate(background) == "rgb(23, 24, 27)"


@pytest.mark.parametrize("address", ["index.html", "browse.html", "image.html#image=0", "ranking.html"])
def test_axe_finds_nothing_serious_in_light_and_dark_and_on_a_phone(open_page, address):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python: the dev extra")
    page = open_page(address, color_scheme="light")
    if address.startswith(("browse", "image")):
        expect(page.locator(".tile-text, .cell tbody").first).to_be_visible()
    page.evaluate("document.querySelectorAll('details').forEach(folded => { folded.open = true; })")
    for scheme, width in (("light", 1280), ("dark", 390)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 844})
        # preload would fetch the style sheet, which the pages forbid
        violations = axe.Axe().run(page, options={"preload": False}).response["violations"]
        serious = [f"{one['id']}: {one['nodes'][0]['html']}" for one in violations if one["impact"] in SERIOUS]
        assert serious == []


SERIOUS = ("serious", "critical")


@pytest.mark.parametrize(
    ("address", "width"), [("index.html", 1280), ("index.html", 390), ("browse.html", 390), ("ranking.html", 390)]
)
def test_no_page_scrolls_sideways_and_on_a_wide_one_no_table_does(open_page, address, width):
    page = open_page(address, viewport={"width": width, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach(folded => { folded.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width == 1280:
        wide = (
            "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).map(e => e.ariaLabel)"
        )
        assert page.evaluate(wide) == []


def test_a_number_leads_to_the_images_behind_it(open_page, hostile):
    page = open_page("index.html")
    page.get_by_role("region", name="Table 2").get_by_role("link").last.click()
    assert len(tiles(page)) == 5
    shown = page.evaluate("Object.fromEntries(new FormData(document.getElementById('filters')))")
    assert (shown["source"], shown["target"], shown["method"], shown["arm"]) == ("e7", visible(hostile), "gc", "soft")


def test_everything_can_be_reached_and_named_from_the_keyboard(open_page):
    page = open_page("browse.html")
    tiles(page)
    names = "[...document.querySelectorAll('select, button, a')].map((e) => (e.labels?.[0] ?? e).textContent.trim())"
    assert "" not in page.evaluate(names)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.name || document.activeElement.tagName"))
    assert {"source", "target", "arm", "class", "right", "kept", "sort", "A"} <= reached
    page.focus(".tiles a")
    page.keyboard.press("Enter")
    page.wait_for_selector(".cell")


def test_a_report_without_its_data_says_so(browser, report, tmp_path):
    shutil.copy(report / "browse.html", tmp_path)
    shutil.copytree(report / "page" / "assets", tmp_path / "page" / "assets")
    page = browser.new_page()
    page.goto((tmp_path / "browse.html").as_uri())
    expect(page.locator("#summary")).to_contain_text("data are missing")
    page.close()
