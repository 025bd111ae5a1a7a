"""docs/results.md and README.md say what the tables in docs/results say: line by line, and number by number."""

import re
from runpy import run_path

import pandas as pd
import pytest
from paths import REPOSITORY
from planted_jobs import plant_transfer

from harmonia.errors import InputError
from harmonia.export.write import write_export
from harmonia.report.tables.paper import paper_numbers

DOCS = REPOSITORY / "docs"
COMMAND = run_path(str(REPOSITORY / "benchmarks" / "results_page.py"))
PAGE, MATRIX = (DOCS / "results.md").read_text("utf-8"), pd.read_csv(DOCS / "results" / "transfer_matrix.csv")
UNDER_FILLS, MAPS_SHARED = ((DOCS / name).read_text("utf-8") for name in ("fills.md", "harmonised.md"))
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
_FILLS = "fills/transfer_above_control"
FILLS = [
    ("Holds: {0} points more", _FILLS, "black/all/GC/area30", ABOVE),
    ("all six**: {0} to", _FILLS, "another_image/all/GC/area30", ABOVE),
    (" {0} points more", _FILLS, "noisy_linear/all/GC/area30", ABOVE),
    ("Holds: {0} points more", _FILLS, "black/all/SS/area30", ABOVE),
    ("all six**: {0} to", _FILLS, "another_image/all/SS/area30", ABOVE),
    (" {0} points more", _FILLS, "blur/all/SS/area30", ABOVE),
    ("Holds: {0} points [{1}, {2}]", _FILLS, "black/all/SS/area30", BOX),
    ("all six**: {0} to", _FILLS, "another_image/all/SS/area30", BOX),
    (" {0} points more", _FILLS, "layer_mask/all/SS/area30", BOX),
    ("not hold: {0} points [{1}, {2}]", _FILLS, "black/all/GC/area30", BOX),
    ("under five**: {0} to", _FILLS, "mean/all/GC/area30", BOX),
    (" {0} points more", _FILLS, "layer_mask/all/GC/area30", BOX),
    ("told: {0} [{1}, {2}]", _FILLS, "another_image/all/GC/area30", BOX),
    ("Holds: {0} % is kept", _FILLS, "black/all/SS/soft", KEPT),
    ("under five**: {0} to", _FILLS, "layer_mask/all/SS/soft", KEPT),
    (" {0} %.", _FILLS, "noisy_linear/all/SS/soft", KEPT),
    ("another image {0} % is kept", _FILLS, "another_image/all/SS/soft", KEPT),
    ("the map keeps {0} points [{1}, {2}] more", _FILLS, "black/all/SS/soft", ABOVE),
    ("mean colour ({0})", _FILLS, "mean/all/SS/soft", ABOVE),
    ("a blur ({0})", _FILLS, "blur/all/SS/soft", ABOVE),
    ("another image ({0} points)", _FILLS, "another_image/all/SS/soft", ABOVE),
    ("be told ({0} [{1}, {2}])", _FILLS, "noisy_linear/all/SS/soft", ABOVE),
    ("Holds: {m0} points", _FILLS, "black/all/GC/soft", ABOVE),
    ("mean colour ({0})", _FILLS, "mean/all/GC/soft", ABOVE),
    ("a blur ({0})", _FILLS, "blur/all/GC/soft", ABOVE),
    ("another image ({0} points)", _FILLS, "another_image/all/GC/soft", ABOVE),
    ("be told ({0} [{1}, {2}])", _FILLS, "noisy_linear/all/GC/soft", ABOVE),
    ("keep {0} %, those", _FILLS, "black/deit_tiny/GC/area30", KEPT),
    (" {0} % |", _FILLS, "black/lite2/GC/area30", KEPT),
    ("{0} and", _FILLS, "mean/deit_tiny/GC/area30", KEPT),
    (" {0} % over the mean colour", _FILLS, "mean/lite2/GC/area30", KEPT),
    ("{0} and", _FILLS, "blur/deit_tiny/GC/area30", KEPT),
    (" {0} % over a blur", _FILLS, "blur/lite2/GC/area30", KEPT),
]
_SHARED = "harmonised/harmonised"
_JOINT, _VOTE, _POINTS = "lite0+deit_tiny+mobilenetv2", "vote lite0+deit_tiny+mobilenetv2", "Difference (points)"
SHARED = [
    ("three pairs {0} [{1}, {2}] on", _SHARED, "black/2 networks/SS_CPU/area30/their mean", _POINTS),
    ("and {0} [{1}, {2}] over", _SHARED, "mean/2 networks/SS_CPU/area30/their mean", _POINTS),
    ("told: {0} [{1}, {2}] and", _SHARED, f"black/{_JOINT}/SS_CPU/area30/their mean", _POINTS),
    (" {0} [{1}, {2}].", _SHARED, f"mean/{_JOINT}/SS_CPU/area30/their mean", _POINTS),
    ("Two: {0} [{1}, {2}] on", _SHARED, "black/2 networks/SS_CPU/area30/the best of them", _POINTS),
    (" {0} [{1}, {2}] over", _SHARED, "mean/2 networks/SS_CPU/area30/the best of them", _POINTS),
    ("Three: {0} [{1}, {2}] and", _SHARED, f"black/{_JOINT}/SS_CPU/area30/the best of them", _POINTS),
    (" {0} [{1}, {2}].", _SHARED, f"mean/{_JOINT}/SS_CPU/area30/the best of them", _POINTS),
    ("of the two, {0} [{1}, {2}] and", _SHARED, "black/2 networks/GC/area30/their mean", _POINTS),
    (" {0} [{1}, {2}], but", _SHARED, "mean/2 networks/GC/area30/their mean", _POINTS),
    ("the best: {0} [{1}, {2}] and", _SHARED, "black/2 networks/GC/area30/the best of them", _POINTS),
    (" {0} [{1}, {2}].", _SHARED, "mean/2 networks/GC/area30/the best of them", _POINTS),
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


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def lines_of(name):
    text = (DOCS / (name if "/" in name else f"results/{name}")).with_suffix(".md").read_text("utf-8")
    return [line for line in text.splitlines() if line.startswith("|")]


def cell(name, line, column):
    """The text of a table's cell; a line is named by its first cells. Of three more tables, which are made here."""
    if name in ("rho", "rho_soft"):
        text = (DOCS / "results" / f"{name.replace('rho', 'likeness')}.md").read_text("utf-8")
        (numbers,) = re.findall(rf"^{line}, {column} and what is left .* rho (.*?), p ", text, re.MULTILINE)
        return numbers
    if name == "matrix":
        of_cell = (MATRIX[["source", "target", "method", "arm"]] == line.split("/")).all(axis=1)
        return f"{100 * MATRIX.loc[of_cell, column].item():.1f}"
    if name == "means":  # over the pairs of two trained networks
        shown = (MATRIX["source"] != MATRIX["target"]) & ~MATRIX["random_weights"]
        shown &= (MATRIX["method"] == line) & (MATRIX["arm"] == column)
        return f"{100 * MATRIX.loc[shown, 'retention'].mean():.1f}"
    head, _, *rows = map(cells, lines_of(name))
    named = line.split("/")
    (row,) = (row for row in rows if row[: len(named)] == named)
    return row[head.index(column)]


def rendered(template, *place):
    numbers = re.findall(r"-?[\d.]+", cell(*place))
    forms = {f"r{at}": f"{float(number):.0f}" for at, number in enumerate(numbers)}
    forms |= {f"m{at}": number.lstrip("-") for at, number in enumerate(numbers)}
    forms |= {f"z{at}": re.sub(r"^(-?)0\.", r"\1.", number) for at, number in enumerate(numbers)}
    return template.format(*numbers, **forms)


def without(text, claims):
    """The text less the claims, each of which must follow the one before."""
    rest, at = "", 0
    for claim in claims:
        words = rendered(*claim)
        place = text.find(words, at)
        assert place >= 0, f"{words!r} must follow {text[max(0, at - 60) : at]!r}: so has it {claim[1:]}"
        rest, at = rest + text[at:place] + " ", place + len(words)
    return rest + text[at:]


@pytest.mark.parametrize(
    ("page", "begins", "ends", "claims"),
    [
        (PAGE, "## What of the paper", "## Transfer above control", CLAIMS),
        (UNDER_FILLS, "## What holds", "## The numbers", FILLS),
        (MAPS_SHARED, "**Does a joint", "An earlier run", SHARED),
    ],
)
def test_every_number_of_the_text_is_one_of_the_tables(page, begins, ends, claims):
    prose = page[page.index(begins) : page.index(ends)]
    rest = without(re.sub(r"\]\([^)]*\)", "]", " ".join(prose.split())), claims)
    rest = re.sub(r"Lite\d|MobileNetV2|Tables? \d", "", rest)
    printed = {
        one for method in ("ss", "gc") for arm in ("image", "soft") for one in paper_numbers("vit", method, "e6", arm)
    }
    assert set(re.findall(r"(?<![\w.])-?[\d,./]*\d", rest)) - DESIGN - EARLIER - printed == set()


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


def test_retention_of_every_source_follows_from_the_rows():
    rows = pd.read_parquet(DOCS / "results" / "rows.parquet")
    rows = rows.astype({name: str for name in rows if name != "right"}).query("source != target")
    right = rows.groupby(["source", "method", "target", "arm"])["right"].mean().unstack("arm")
    kept = right.div(right["image"], axis=0)
    means = kept.groupby(level=["source", "method"]).mean()
    head, _, *lines = map(cells, lines_of("transfer_above_control"))
    of_sources = [line for line in lines if not line[0].startswith("all")]
    assert len(of_sources) == 45
    for source, method, arm, *numbers in of_sources:
        retention = 100 * means.loc[(source.split()[0], method.lower()), arm]
        assert numbers[head.index(KEPT) - 3].split()[0] == f"{retention:.1f}"


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


def test_what_is_said_to_hold_under_fills_has_intervals_that_say_so():
    head, _, *lines = map(cells, lines_of(_FILLS))

    def above(column, method, arm):
        shown = {line[0]: line[head.index(column)] for line in lines if line[1:4] == ["all", method, arm]}
        numbers = {fill: [*map(float, re.findall(r"-?[\d.]+", text))] for fill, text in shown.items() if text != "–"}
        others = {fill: number for fill, (number, *_) in numbers.items() if fill != "black"}
        return {fill for fill, (_, low, _) in numbers.items() if low > 0}, others

    fairer = {"mean", "blur", "noisy_linear", "another_image", "drop_tokens", "layer_mask"}
    for method in ("GC", "SS"):
        assert above(ABOVE, method, "area30")[0] == {"black"} | fairer
    assert above(BOX, "SS", "area30")[0] == {"black"} | fairer
    assert above(BOX, "GC", "area30")[0] == fairer - {"another_image"}
    for method in ("GC", "SS"):
        assert above(ABOVE, method, "soft")[0] == {"mean", "blur", "another_image"}
    kept = {tuple(line[:4]): float(line[head.index(KEPT)].split()[0]) for line in lines}
    for fill in ("black", *fairer - {"drop_tokens"}):
        of_sources = {key[1]: number for key, number in kept.items() if key[::2] == (fill, "GC") and key[3] == "area30"}
        assert min(of_sources, key=of_sources.__getitem__) == "deit_tiny", fill
    ranges = re.findall(r"under (?:all six|five)\*\*: ([\d.]+) to ([\d.]+)", UNDER_FILLS)
    claimed = [
        (ABOVE, "GC", "area30"),
        (ABOVE, "SS", "area30"),
        (BOX, "SS", "area30"),
        (BOX, "GC", "area30"),
        (KEPT, "SS", "soft"),
    ]
    for at, ((low, high), line) in enumerate(zip(ranges, claimed, strict=True)):
        numbers = above(*line)[1]
        if at > 2:  # of five: another image has a sentence of its own
            assert min(numbers, key=numbers.__getitem__) == "another_image"
            del numbers["another_image"]
        assert [float(low), float(high)] == [min(numbers.values()), max(numbers.values())]
    deit = {
        line[0]: [*map(float, re.findall(r"-?[\d.]+", line[head.index(BOX)]))]
        for line in lines
        if line[1:4] == ["deit_tiny", "GC", "area30"]
    }
    assert all(low <= 0 for _, low, _ in deit.values())
    assert len(deit) == 6


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Of an export of two jobs that say for each of four images whether it is named."""
    folder = tmp_path_factory.mktemp("exported")
    right = {"image": [True] * 4, "area30": [True, True, True, False], "blobs30": [False] * 4}
    right |= {"soft": [True, True, False, False], "dim": [True, False, False, False]}
    for method in ("gc", "ss"):
        probabilities = {arm: [float(hit) for hit in hits] for arm, hits in right.items()}
        plant_transfer(folder / "run" / method, "lite0", method, right, probabilities)
    return COMMAND["reports_of"](write_export(folder / "run", folder / "export").folder, folder / "reports")


OURS = """# Mine

<!-- ours/transfer_above_control.md, where Arm is area30 -->

old

<!-- end -->

Text, ours/transfer_matrix.csv and ours/rows.parquet.

<!-- ours/table1_soft.md, where Metric is Accuracy (%) or F1, macro -->
<!-- end -->

More.
"""


@pytest.mark.slow
def test_the_command_fills_the_marks_from_the_exported_rows_and_leaves_the_text(reports, tmp_path):
    page = tmp_path / "ours.md"
    page.write_text(OURS)
    COMMAND["fill"](page, reports)
    text = page.read_text()
    outside = [line for line in text.splitlines() if line and line[0] != "|"]
    assert outside == [line for line in OURS.splitlines() if line and line != "old"]
    assert text.count("| lite0 | GC | area30 | 2 | 4 | 75.0 ") == 1  # three images of four, in Lite1 and in Lite2
    assert "| soft |" not in text
    assert "| GC | Accuracy (%) | 100.00 | 100.00 | 100.00 | 50.00 | 100.00 | 50.00 |\n| GC | F1, macro |" in text
    files = {path.name: path.read_bytes() for path in (tmp_path / "ours").iterdir()}
    assert files.keys() == {"transfer_above_control.md", "transfer_matrix.csv", "table1_soft.md", "rows.parquet"}
    rows = pd.read_parquet(tmp_path / "ours" / "rows.parquet")
    right = rows[(rows["method"] == "gc") & (rows["target"] == "lite1")].groupby("arm", observed=True)["right"].mean()
    assert right.to_dict() == {"image": 1, "area30": 0.75, "blobs30": 0, "soft": 0.5, "dim": 0.25}
    assert files["transfer_matrix.csv"] == (reports["area30"] / "transfer_matrix.csv").read_bytes()
    assert files["table1_soft.md"] == (reports["soft"] / "table1.md").read_bytes()
    COMMAND["fill"](page, reports)
    assert page.read_text() == text


def test_a_page_that_is_not_there_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["results_page.py", "EXPORT", "--page", str(tmp_path / "none.md")])
    with pytest.raises(SystemExit):
        COMMAND["main"]()
    assert capsys.readouterr().err.splitlines()[-1].endswith("none.md'; write it with a mark for each table")


@pytest.mark.slow
def test_a_file_that_no_report_has_is_refused_before_anything_is_written(reports, tmp_path):
    page = tmp_path / "ours.md"
    page.write_text(OURS.replace("transfer_matrix.csv", "harmonised.md"))
    with pytest.raises(InputError, match=r"got harmonised\.md; export the jobs"):
        COMMAND["fill"](page, reports)
    assert page.read_text() == OURS.replace("transfer_matrix.csv", "harmonised.md")
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Arm is soft", "Arm is area35", "none of {'area35'}"),
        ("where Arm", "where Area", "got 'Area'"),
        ("<!-- end -->", "", "every mark must end"),
    ],
)
def test_a_mark_that_says_nothing_is_refused(old, new, words):
    with pytest.raises(InputError, match=re.escape(words)):
        COMMAND["with_tables"](PAGE.replace(old, new, 1), lambda name: "\n".join(lines_of(name.removesuffix(".md"))))


@pytest.mark.parametrize(("page", "folder"), [(PAGE, "results"), (UNDER_FILLS, "fills"), (MAPS_SHARED, "harmonised")])
def test_the_page_is_what_the_command_makes_of_its_files(page, folder):
    assert (
        COMMAND["with_tables"](page, lambda name: "\n".join(lines_of(f"{folder}/{name.removesuffix('.md')}"))) == page
    )
