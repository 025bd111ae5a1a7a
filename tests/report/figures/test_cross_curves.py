"""Laws of the figure of cross curves: a column a target, both curves, each line where its points are."""

import numpy as np
import pandas as pd
import pytest

from harmonia.report.figures.cross_curves import cross_curves_figures, insertion_and_deletion
from harmonia.statistics.cross_curves import CurvePoints

AREAS = [0.1, 0.5, 0.9]


def points(targets=("e6",), methods=("gc",), centre=True):
    """Retention is the area times what is said here of the kind, and a little more of each further method."""
    slopes = {("insertion", "area"): 0.8, ("insertion", "blobs"): 0.5, ("insertion", "centre"): 0.6}
    slopes |= {("deletion", "complement"): 0.1, ("deletion", "blobs"): 0.4}
    lines = []
    for target in targets:
        for number, method in enumerate(methods):
            for (curve, shown), slope in slopes.items():
                for area in AREAS if centre or shown != "centre" else []:
                    value = (slope + 0.1 * number) * area
                    cell = {"source": "e7", "method": method, "variant": "", "random_weights": False}
                    cell |= {"target": target, "curve": curve, "shown": shown, "share": area}
                    bounds = {"retention_low": value - 0.05, "retention_high": value + 0.05}
                    lines.append(cell | {"retention": value} | bounds)
    return CurvePoints.checked(pd.DataFrame(lines))


def lines_of(panel):
    return {line.get_label(): (line.get_xdata(), line.get_ydata()) for line in panel.get_lines()}


def test_curves_stand_in_percent_with_insertion_above_deletion():
    figure = insertion_and_deletion(points(("e6", "vit")))
    above, _, below, _ = figure.axes
    assert [panel.get_title() for panel in figure.axes] == ["e6", "vit", "", ""]
    assert [panel.get_xlabel() for panel in (above, below)] == ["area shown (%)", "area removed (%)"]
    insertion, deletion = lines_of(above), lines_of(below)
    assert set(insertion) == {"e7 · GC", "random blobs", "centred box"}
    assert set(deletion) == {"e7 · GC", "random blobs"}
    percent = 100 * np.array(AREAS)
    for drawn, name, slope in (
        (insertion, "e7 · GC", 0.8),
        (insertion, "random blobs", 0.5),
        (insertion, "centred box", 0.6),
        (deletion, "e7 · GC", 0.1),
        (deletion, "random blobs", 0.4),
    ):
        np.testing.assert_allclose(drawn[name], [percent, slope * percent])
    (band,) = above.collections
    assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(0.8 * 90 + 5)


def test_controls_are_means_over_sources_and_methods():
    drawn = lines_of(insertion_and_deletion(points(methods=("gc", "ig"), centre=False)).axes[0])
    assert set(drawn) == {"e7 · GC", "e7 · IG", "random blobs"}
    np.testing.assert_allclose(drawn["random blobs"][1], 55 * np.array(AREAS))


def test_a_source_looks_alike_in_all_panels_where_a_target_lacks_another():
    both = points(("e6", "vit"), ("gc", "ig"))
    lacking = CurvePoints.checked(both[(both["target"] != "vit") | (both["method"] != "gc")].reset_index(drop=True))
    figure = insertion_and_deletion(lacking)
    looks = [
        {
            (line.get_color(), line.get_marker())
            for panel in figure.axes
            for line in panel.get_lines()
            if line.get_label() == name
        }
        for name in ("e7 · GC", "e7 · IG")
    ]
    assert [len(look) for look in looks] == [1, 1]
    assert looks[0] != looks[1]


def test_no_figure_without_a_point():
    assert not list(cross_curves_figures(CurvePoints.of_lines()))
    assert [figure.stem for figure in cross_curves_figures(points())] == ["cross_curves"]
