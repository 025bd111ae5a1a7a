"""What the Python interface gives back shows itself, and is the report's."""

import itertools
import re
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from api_calls import CLASSES, ONLY, TRANSFORM, explain
from paths import REPOSITORY
from PIL import Image
from planted_jobs import plant_transfer

import harmonia
from harmonia.api.result import TransferResult
from harmonia.errors import InputError
from harmonia.results.jobs import find_jobs


@pytest.fixture
def result(networks, folder, tmp_path):
    first, second = (
        harmonia.classifier(getattr(networks, name)(), classes=CLASSES, transform=TRANSFORM, name=name)
        for name in ("first", "second")
    )
    options = [
        "trainer=cpu",
        "num_threads=1",
        "evaluation.controls.same_class=[]",
        "evaluation.controls.other_class=[]",
    ]
    return harmonia.transfer(first, [second], folder, ["gc", "grad"], cache=tmp_path / "cache", options=options)


@pytest.mark.slow
@pytest.mark.usefixtures("blank_figures")
def test_a_result_has_the_reports_tables_figures_and_pages(result, tmp_path, few_resamples):
    table = result.table()
    assert set(table["method"]) == {"gc", "grad"}
    assert {"above_control", "above_control_low"} <= set(table.columns)
    assert "Above control (points)" in table._repr_html_()
    assert "Above control (points)" in str(table)
    assert type(table[table["arm"] == "soft"]) is pd.DataFrame  # whose lines the printed table would not be
    assert repr(result).startswith("TransferResult of gc, grad: first to first, second, 6 images")
    assert list(result.table("matrix")["method"]) == ["gc", "grad"]
    assert result.figure().axes
    with pytest.raises(InputError, match=r"figure must be one of .*fig2.*got 'fig9'"):
        result.figure("fig9")
    report = result.report(tmp_path / "report")
    assert report.complete
    assert repr(report) == f"Report of 2 jobs, arm soft: {tmp_path}/report/index.html"
    assert (tmp_path / "report" / "index.html").is_file()
    assert (tmp_path / "report" / "accuracy_by_area.png").is_file()
    html = result._repr_html_()
    assert "<table" in html
    assert "first" in html


@pytest.mark.slow
def test_calls_of_one_folder_are_kept_apart_and_the_same_call_goes_on(first, folder, tmp_path):
    def transfer(methods):
        kept = {"cache": tmp_path / "cache", "folder": tmp_path / "jobs"}
        return harmonia.transfer(first, [], folder, methods, **kept, options=ONLY)

    both = transfer(["gc", "ixg"])
    mixed = transfer({"gc": [], "grad": ["layer=final"]})
    assert set(mixed.rows()["method"]) == {"gc", "grad"}
    assert set(both.rows()["method"]) == {"gc", "ixg"}
    assert transfer(["gc", "ixg"]).folder == both.folder != mixed.folder
    assert len(find_jobs(tmp_path / "jobs")) == 4


def test_maps_are_saved_as_method_stored_reads_them(first, folder, tmp_path):
    maps = explain(first, folder, tmp_path / "cache")
    maps.save(tmp_path / "saved")
    for each in maps:
        assert np.array_equal(np.load(tmp_path / "saved" / "raw" / f"{each.image_id}.npy"), each.raw)
        with Image.open(tmp_path / "saved" / "feature" / f"{each.image_id}.png") as feature:
            assert np.array_equal(np.asarray(feature), np.asarray(each.feature()))
    assert len(pd.read_csv(tmp_path / "saved" / "maps.csv")) == 6


def test_a_map_shows_itself_and_acts_on_no_name(first, tmp_path):
    path = tmp_path / "<script>alert(1)</script>" / "a.png"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (32, 32), (200, 10, 30)).save(path)
    maps = explain(first, [path, path.parent / "a.png"][:1], tmp_path / "cache")
    assert len(maps[0].show().axes) == 3
    assert "<script" not in maps._repr_html_()
    assert maps._repr_html_().count("<img") == 3
    assert len(maps.show().subfigs) == 1
    assert maps.show()._repr_png_().startswith(b"\x89PNG")  # a notebook shows it without pyplot
    assert repr(maps).startswith("1 map of first by gc\n  a.png: ")
    assert repr(maps[0]).endswith("raw 13 x 13")


def test_a_classifier_says_what_it_is_and_what_was_found(first):
    assert repr(first).splitlines() == [
        "Classifier first",
        "  network  Sequential, in memory, 635 parameters",
        "  sees     32 x 32 px, center crop of 1, bilinear",
        "  classes  3: cat, dog, owl",
        "  layers   final layer 2; middle layer 2; representation in front of 5",
    ]


@pytest.mark.slow
def test_compiled_answers_have_a_key_of_their_own_and_are_near(first, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    rows = [
        harmonia.transfer(first, [first], folder, cache=tmp_path, options=[*ONLY, f"compile={word}"]).rows()
        for word in ("false", "true", "false")
    ]
    assert np.allclose(rows[0]["p_explained"], rows[1]["p_explained"], atol=1e-5)
    assert rows[0].equals(rows[2])
    assert len(list((tmp_path / "features").iterdir())) == 2


@pytest.fixture(scope="module")
def of_planted(tmp_path_factory):
    """Of two methods on four images, three of which both other networks name on the feature."""
    folder = tmp_path_factory.mktemp("planted")
    right = {"image": [True] * 4, "area30": [True, True, True, False], "blobs30": [False] * 4}
    right |= {"soft": [True, True, False, False], "dim": [True, False, False, False]}
    for method in ("gc", "ss"):
        probabilities = {arm: [float(hit) for hit in hits] for arm, hits in right.items()}
        plant_transfer(folder / method, "lite0", method, right, probabilities)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("harmonia.statistics.inference.NUM_RESAMPLES", 200)
        yield TransferResult(folder)


def test_its_tables_are_of_the_rows_and_show_themselves_as_the_report_prints_them(of_planted):
    assert repr(of_planted) == "TransferResult of gc, ss: lite0 to lite0, lite1, lite2, 4 images"
    rows = of_planted.rows()
    assert rows.groupby(["method", "target", "arm"]).size().to_dict() == dict.fromkeys(
        itertools.product(("gc", "ss"), ("lite0", "lite1", "lite2"), ("area30", "blobs30", "dim", "image", "soft")), 4
    )
    table = of_planted.table()
    numbers = table.set_index(["method", "arm"])[["retention", "control_retention", "above_control"]]
    assert numbers.loc[("gc", "area30")].tolist() == [0.75, 0, 0.75]
    assert numbers.loc[("ss", "soft")].tolist() == [0.5, 0.25, 0.25]
    assert "75.0" in repr(table)
    assert "columns: source, method" in table._repr_html_()
    matrix = of_planted.table("matrix", arm="area30")
    assert "Retention of arm area30" in matrix.printed.attrs["caption"]
    of_cell = of_planted.table("transfer_matrix").set_index(["method", "target", "arm"])["retention"]
    assert of_cell.loc[("gc", "lite2", "area30")] == 0.75
    html = of_planted._repr_html_()
    assert html.index("Transfer above control") < html.index("Accuracy (%)")


def test_the_page_names_tables_and_figures_that_are_there_and_says_what_they_hold(of_planted):
    page = (REPOSITORY / "docs/python.md").read_text(encoding="utf-8")
    described = dict(re.findall(r'table\("(\w+)"\)`: ([^.|]+)', page))
    assert set(described) == {"matrix", "transfer_matrix"}
    for stem, words in described.items():
        columns = set(of_planted.table(stem))
        assert ({"accuracy_feature", "retention_low", "target", "arm"} <= columns) == ("accuracy" in words), stem
    (figures,) = re.findall(r"result.figure\((.*)", page)
    for stem in set(re.findall(r'"(\w+)"', figures)) - {"fig1"}:  # of images, which the planted jobs lack
        of_planted.figure(stem)


def test_a_table_or_a_figure_that_is_not_there_is_refused_with_those_that_are(of_planted):
    with pytest.raises(ValueError, match=r"table must be one of table1, .*transfer_matrix, got 'tabel1'; choose one"):
        of_planted.table("tabel1")
    with pytest.raises(ValueError, match=r"figure must be one of answer, .*accuracy_by_area.*, got 'fig3'; choose one"):
        of_planted.figure("fig3")


def test_a_figure_is_of_the_arm_that_is_asked_for(of_planted):
    heat = of_planted.figure("transfer_matrix", arm="area30")
    assert {text.get_text() for panel in heat.axes for text in panel.texts} == {"75", "100"}
