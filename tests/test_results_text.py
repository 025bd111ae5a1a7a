"""docs/results.md and README.md say what the tables of the results say: line by line, number by number."""

import re

import pandas as pd
import pytest
from paths import REPOSITORY
from result_tables import DOCS, MATRIX, PAGE, UNDER_FILLS, cell, cells, lines_of, numbers_left, rendered, without

from harmonia.report.tables.paper import paper_numbers

PAPERS = [f"table{number}_soft" for number in range(1, 6)]

# sentence, table, line, column, in the order of the page. {0} is the cell's number, {1} and {2} its interval;
# r: rounded to whole, m: without a minus, z: without a zero in front
ABOVE, KEPT, LIGHT = "Above control (points)", "Retention (%)", "Kept area (%)"
DIM, BOX, MORE = "Control's retention (%)", "Above centre box (points)", "In retention (points)"
CLAIMS = [
    ("Holds: {0} % and", "matrix", "lite0/lite0/gc/soft", "accuracy_image"),
    (" {z0}, ", "table1_soft", "GC/F1, weighted", "lite0 (I)"),
    ("{0} % and", "matrix", "lite0/deit_tiny/gc/soft", "accuracy_image"),
    (" {z0} |", "table1_soft", "GC/F1, weighted", "deit_tiny (I)"),
    ("{0} % [{1}, {2}] of the accuracy is kept", "transfer_above_control", "all/SS/soft", KEPT),
    ("({r0} % of the light) keeps", "transfer_above_control", "all/SS/soft", LIGHT),
    (" {0} %;", "transfer_above_control", "all/SS/soft", DIM),
    ("the difference is {0} points [{1}, {2}]", "transfer_above_control", "all/SS/soft", ABOVE),
    ("Holds: {0} % is kept", "transfer_above_control", "all/GC/soft", KEPT),
    ("let through {r0} % of the light", "transfer_above_control", "all/GC/soft", LIGHT),
    ("instead of {r0} %", "transfer_above_control", "all/SS/soft", LIGHT),
    ("keeps **more** than the maps, {0} %", "transfer_above_control", "all/GC/soft", DIM),
    ("it keeps {0} to", "methods", "mobilenetv2/others/area30", MORE),
    (" {0} points more, by source", "methods", "deit_tiny/others/area30", MORE),
    ("least for MobileNetV2 ({0} [{1}, {2}])", "methods", "mobilenetv2/others/area30", MORE),
    ("keep {0} % (Soundness Saliency)", "transfer_above_control", "all/SS/area30", KEPT),
    ("and {0} % (Grad-CAM)", "transfer_above_control", "all/GC/area30", KEPT),
    ("blobs of that area {0} and", "transfer_above_control", "all/SS/area30", DIM),
    (" {0} %", "transfer_above_control", "all/GC/area30", DIM),
    ("{m0} points [{m2}, {m1}] *less* than the box", "transfer_above_control", "all/GC/area30", BOX),
    ("Saliency keeps {0} points [{1}, {2}] more", "transfer_above_control", "all/SS/area30", BOX),
    ("with {r0} % of the light", "transfer_above_control", "deit_tiny/GC/soft", LIGHT),
    ("keeps {0} %", "transfer_above_control", "deit_tiny/GC/soft", KEPT),
    ("(dimming: {0} %)", "transfer_above_control", "deit_tiny/GC/soft", DIM),
    ("its top 30 % {0} %", "transfer_above_control", "deit_tiny/GC/area30", KEPT),
    ("carries more, {0} %.", "transfer_above_control", "lite0_random (random weights)/GC/soft", DIM),
    ("{0} % [{1}, {2}] |", "transfer_above_control", "lite0_random (random weights)/GC/soft", KEPT),
    (" {r0} % |", "transfer_above_control", "lite0_random (random weights)/GC/soft", LIGHT),
    (" {0} % |", "transfer_above_control", "lite0_random (random weights)/GC/area30", KEPT),
    ("the trained Lite0 | {0} % |", "transfer_above_control", "lite0/GC/soft", KEPT),
    (" {r0} % |", "transfer_above_control", "lite0/GC/soft", LIGHT),
    (" {0} % |", "transfer_above_control", "lite0/GC/area30", KEPT),
    ("same class | {r0} % |", "means", "ss", "same_class30"),
    (" {r0} % |", "means", "gc", "same_class30"),
    ("another class | {r0} % |", "means", "ss", "other_class30"),
    (" {r0} % |", "means", "gc", "other_class30"),
    ("the pixels | {r0} % |", "means", "ss", "complement30"),
    (" {r0} % |", "means", "gc", "complement30"),
    ("silhouette | {0} % |", "means", "ss", "silhouette30"),
    (" {0} % |", "means", "gc", "silhouette30"),
    ("regions keep {0} % in", "controls", "lite0/GC/lite0/area30", KEPT),
    ("{0} % in Lite2", "controls", "lite0/GC/lite2/area30", KEPT),
    ("Grad-CAM {0} [{1}, {2}]", "families", "GC/area30", "Kinship (points)"),
    ("Saliency {0} [{1}, {2}]", "families", "SS/area30", "Kinship (points)"),
    ("({0} and", "families", "GC/area30", "Within (%)"),
    (" {0} %)", "families", "GC/area30", "Between (%)"),
    ("Grad-CAM | {0} % |", "capacity", "efficientnet_lite/lite0/lite2/GC/area30", "To larger (%)"),
    (" {0} % |", "capacity", "efficientnet_lite/lite0/lite2/GC/area30", "To smaller (%)"),
    (" {0} [{1}, {2}] |", "capacity", "efficientnet_lite/lite0/lite2/GC/area30", "Difference above control"),
    ("Saliency | {0} % |", "capacity", "efficientnet_lite/lite0/lite2/SS/area30", "To larger (%)"),
    (" {0} % |", "capacity", "efficientnet_lite/lite0/lite2/SS/area30", "To smaller (%)"),
    (" {0} [{1}, {2}]:", "capacity", "efficientnet_lite/lite0/lite2/SS/area30", "Difference above control"),
    ("Saliency | {z0} [{z1}, {z2}] |", "rho", "SS", "linear CKA"),
    (" {z0} [{z1}, {z2}] |", "rho", "SS", "agreement of predictions"),
    ("the intervals hold 0 | {z0} |", "rho", "GC", "linear CKA"),
    (" {z0} |", "rho", "GC", "agreement of predictions"),
    ("is seen ({z0} to", "rho_soft", "SS", "agreement of predictions"),
    (" {z0}).", "rho_soft", "GC", "agreement of predictions"),
]
README = [
    ("keeps of the accuracy | {r0} % [{r1}, {r2}] |", "transfer_above_control", "all/GC/area30", KEPT),
    (" {r0} % [{r1}, {r2}] |", "transfer_above_control", "all/SS/area30", KEPT),
    ("that area keep | {r0} % [{r1}, {r2}] |", "transfer_above_control", "all/GC/area30", DIM),
    (" {r0} % [{r1}, {r2}] |", "transfer_above_control", "all/SS/area30", DIM),
    ("in points | {0} [{1}, {2}] |", "transfer_above_control", "all/GC/area30", BOX),
    (" {0} [{1}, {2}] |", "transfer_above_control", "all/SS/area30", BOX),
    ("as a dimmer keeps | {r0} % [{r1}, {r2}] |", "transfer_above_control", "all/GC/soft", KEPT),
    (" {r0} % [{r1}, {r2}] |", "transfer_above_control", "all/SS/soft", KEPT),
    ("dimmed as much, keeps | {r0} % [{r1}, {r2}] |", "transfer_above_control", "all/GC/soft", DIM),
    (" {r0} % [{r1}, {r2}] |", "transfer_above_control", "all/SS/soft", DIM),
]

# what the run was, not what came out; then what an earlier one said
DESIGN = {"95", "30", "1,000", "100", "300", "70", "0", "78", ".87", "2307.02150", "1/24", ".042"}
EARLIER = {"3.8", "-0.7", "8.1"}


def test_every_number_of_the_text_is_one_of_the_tables():
    printed = {
        one for method in ("ss", "gc") for arm in ("image", "soft") for one in paper_numbers("vit", method, "e6", arm)
    }
    claimed = numbers_left(PAGE, "## What of the paper", "## Transfer above control", CLAIMS)
    assert claimed - DESIGN - EARLIER - printed == set()


def test_the_readme_and_the_gallery_say_what_the_same_tables_say():
    answer = (REPOSITORY / "README.md").read_text("utf-8").partition("## The answer so far")[2].partition("\n## ")[0]
    rest = without(answer, README)
    assert re.findall(r"\[-?\d", rest) == []  # no interval is left
    gallery = " ".join((DOCS / "gallery.md").read_text("utf-8").split())
    assert rendered("It keeps {m0} points more", "transfer_above_control", "deit_tiny/GC/area30", BOX) in gallery


@pytest.mark.parametrize("name", PAPERS)
def test_accuracies_and_areas_of_tables_1_and_2_are_those_of_the_matrix(name):
    head, _, *rows = map(cells, lines_of(name))
    source = "lite0_random" if name == "table2_soft" else head[2].removesuffix(" (I)")
    measured = {("Accuracy (%)", "I"): "accuracy_image", ("Accuracy (%)", "F"): "accuracy_feature"}
    measured |= {("Kept area (%)", "F"): "kept_area"}
    matrix, compared = MATRIX.set_index(["source", "target", "method", "arm"]), 0
    for method, metric, *numbers in rows:
        for column, number in zip(head[2:], numbers, strict=True):
            target, shown = column.removesuffix(")").split(" (")
            if (metric, shown) in measured:
                of_cell = matrix.loc[(source, target, method.lower(), "soft"), measured[metric, shown]]
                assert float(number) == pytest.approx(100 * of_cell, abs=0.00501)
                compared += 1
    assert compared == 3 * 4 * len({row[0] for row in rows})


@pytest.mark.parametrize(("folder", "sources"), [("results", 5), ("fills", 4)])
def test_retention_of_every_source_follows_from_the_rows(folder, sources):
    rows = pd.read_parquet(DOCS / folder / "rows.parquet")
    rows = rows.astype({name: str for name in rows if name != "right"}).query("source != target")
    cell = ["fill", "source", "method", "target"]
    of_images = rows.astype({"right": float}).pivot_table("right", [*cell, "image_id"], "arm")
    # of the images that have the arm: a mask that leaves nothing has no row
    whole = of_images.notna().mul(of_images["image"], axis=0).where(of_images.notna())
    kept = (of_images.groupby(cell).mean() / whole.groupby(cell).mean()).groupby(cell[:3]).mean()
    head, _, *lines = map(cells, lines_of(f"{folder}/transfer_above_control"))
    named = [dict(zip(head, line, strict=True)) for line in lines]
    of_sources = [line for line in named if not line["Source"].startswith("all")]
    assert len({line["Source"] for line in of_sources}) == sources
    for line in of_sources:
        cell_of = line.get("Fill", "black"), line["Source"].split()[0], line["Method"].lower()
        assert line[KEPT].split()[0] == f"{100 * kept.loc[cell_of, line['Arm']]:.1f}", line


def test_maps_that_leave_nothing_are_as_many_as_the_page_of_fills_says():
    rows = pd.read_parquet(DOCS / "fills" / "rows.parquet")
    soft = rows[(rows["source"] == "lite2") & (rows["method"] == "ss") & (rows["arm"] == "soft")]
    has_row = set(soft.loc[soft["fill"] == "layer_mask", "image_id"])
    dropped = soft[(soft["fill"] == "drop_tokens") & (soft["target"] == "deit_tiny") & ~soft["image_id"].isin(has_row)]
    assert "Seven soft maps of Lite2" in UNDER_FILLS
    assert "names none of the seven" in UNDER_FILLS
    assert dropped["right"].tolist() == [False] * 7


def test_true_validation_images_are_harder_as_the_text_says():
    rows = pd.read_parquet(DOCS / "results" / "rows.parquet")
    whole = rows[(rows["method"] == "gc") & (rows["arm"] == "image") & (rows["source"] == "lite0")]
    validation = whole["image_id"].astype(str).str.contains("/ILSVRC2012_val_")
    accuracy = whole.groupby(["target", validation], observed=True)["right"].mean().unstack()
    points = (100 * (accuracy[False] - accuracy[True])).round()
    assert f"networks are {points.min():.0f} to {points.max():.0f} points\n  weaker" in PAGE


def test_whom_its_own_regions_serve_best_is_as_the_text_says():
    names = ["lite0", "lite2", "deit_tiny", "mobilenetv2"]
    for method in ("GC", "SS"):
        into = {
            target: {
                source: float(cell("controls", f"{source}/{method}/{target}/area30", KEPT).split()[0])
                for source in names
            }
            for target in names
        }
        best = {target: max(kept, key=kept.__getitem__) for target, kept in into.items()}
        assert method == "GC" or best == {name: name for name in names}
        assert method == "SS" or min(into["deit_tiny"], key=into["deit_tiny"].__getitem__) == "deit_tiny"


def test_what_the_text_orders_is_in_that_order():
    gained = {
        source: [float(number) for number in re.findall(r"-?[\d.]+", cell("methods", f"{source}/others/area30", MORE))]
        for source in ("lite0", "lite2", "deit_tiny", "mobilenetv2")
    }
    assert min(gained, key=gained.__getitem__) == "mobilenetv2"  # "5.7 to 30.0 points more, by source"
    assert max(gained, key=gained.__getitem__) == "deit_tiny"
    assert all(low > 0 for _, low, _ in gained.values())
    soft = re.findall(r" rho (\S+) \[", (DOCS / "results" / "likeness_soft.md").read_text("utf-8"))
    assert (min(soft), max(soft)) == ("0.21", "0.57")  # "(.21 to .57)"
    lowest = re.findall(r", p (\S+), over", (DOCS / "results" / "likeness.md").read_text("utf-8"))
    assert lowest.count("0.042") == 2  # "two reach it"
