"""Laws of the ranking page's figures: each number stands where it belongs, and marks tell their cells apart."""

import numpy as np
import pandas as pd
import pytest
from planted_jobs import scored_maps

from harmonia.report.figures.ranking import (
    agreement_heat_maps,
    link_figures,
    link_intervals,
    rank_heat_map,
    ranking_figures,
    transfer_scatter,
)
from harmonia.report.tables.ranking import link_table
from harmonia.statistics.metric_transfer import MetricLinks, Transferred, metric_links
from harmonia.statistics.ranking import AgreementOverImages, AgreementOverMethods, RankedMethods

IMAGES = 20
NAN = float("nan")


def ranked(ranks):
    """ranks: by method the rank by each of the metrics a, b, ..., of as many methods."""
    lines = [
        {"source": "lite0", "method": method, "variant": "", "random_weights": False, "metric": metric, "rank": rank}
        | {"methods": len(ranks), "better": "higher"}
        for method, of_metrics in ranks.items()
        for metric, rank in zip("abc", of_metrics, strict=False)
    ]
    return RankedMethods.checked(pd.DataFrame(lines).reindex(columns=RankedMethods.columns_of(), fill_value=0))


def texts(panel):
    """What stands in the cells of a heat map, by line and column."""
    lines, columns = ([label.get_text() for label in axis.get_ticklabels()] for axis in (panel.yaxis, panel.xaxis))
    return {
        (lines[round(y)], columns[round(x)]): one.get_text() for one in panel.texts for x, y in [one.get_position()]
    }


def test_a_rank_stands_at_its_method_and_metric_and_the_best_is_brightest():
    (panel,) = rank_heat_map(ranked({"gc": [1, 3], "ss": [2, 1], "ig": [3, NAN]})).axes
    assert texts(panel) == {
        ("lite0 GC", "a"): "1", ("lite0 GC", "b"): "3", ("lite0 SS", "a"): "2", ("lite0 SS", "b"): "1",
        ("lite0 IG", "a"): "3", ("lite0 IG", "b"): "–",
    }  # fmt: skip
    np.testing.assert_allclose(panel.images[0].get_array(), [[1, 0], [0.5, 1], [0, NAN]])


def agreement(kind, rhos, **more):
    frame = pd.DataFrame([(*pair, rho) for pair, rho in rhos.items()], columns=["first", "second", "rho"]).assign(
        **more
    )
    return kind.checked(frame.reindex(columns=kind.columns_of(), fill_value=0))


def test_agreement_of_two_metrics_stands_on_both_sides_of_the_diagonal():
    frame = agreement(AgreementOverMethods, {("a", "b"): -0.5, ("a", "c"): 1.0}, source="lite0")
    figure = agreement_heat_maps([("over methods", frame)])
    shown = texts(figure.axes[0])
    assert {pair: text for pair, text in shown.items() if text} == {
        ("a", "b"): "-0.5", ("b", "a"): "-0.5", ("a", "c"): "1.0", ("c", "a"): "1.0"
    }  # fmt: skip
    assert len(shown) == 9


def test_only_figures_that_show_something_are_drawn():
    nothing = agreement(AgreementOverImages, {("a", "b"): NAN})
    of_methods = agreement(AgreementOverMethods, {("a", "b"): 0.5}, source="lite0")
    lines = ranked({"gc": [1, 2], "ss": [2, 1]})
    drawn = [figure.stem for figure in ranking_figures(lines, of_methods, nothing)]
    assert drawn == ["ranking", "metric_agreement"]
    assert not list(ranking_figures(lines.assign(rank=NAN), of_methods.assign(rho=NAN), nothing))


def test_an_interval_is_as_long_as_its_bounds_and_an_unknown_rho_has_no_mark():
    columns = MetricLinks.columns_of()
    lines = pd.DataFrame({"metric": ["a", "b"], "better": "higher"}).reindex(columns=columns, fill_value=0)
    lines = lines.assign(over_cells=[0.5, NAN], over_cells_low=[0.1, NAN], over_cells_high=[0.8, NAN])
    lines = lines.assign(over_images=[0.2, -0.4], over_images_low=[0.1, -0.5], over_images_high=[0.3, -0.3])
    (panel,) = link_intervals(lines).axes
    of_methods, of_images = (
        [segment[:, 0].tolist() for segment in lines_of.get_segments()] for lines_of in panel.collections
    )
    assert of_methods == [[0.1, 0.8]]
    assert of_images == [[0.1, 0.3], [-0.5, -0.3]]
    marks = {line.get_label(): line.get_xdata().tolist() for line in panel.lines if line.get_marker() != "None"}
    assert marks == {"over methods": [0.5], "over images within cells": [0.2, -0.4]}


def test_images_are_drawn_at_their_places_in_transfer_and_score():
    """A metric that orders images as transfer does lies on the diagonal."""
    values = np.tile(np.linspace(0, 1, IMAGES)[:, None, None], (1, 5, 1))
    scores = scored_maps(values, {"insertion": "higher"})
    part = Transferred(scores, "black", np.arange(5) / 10, values[:, :, 0])
    drawn = {figure.stem: figure for figure in link_figures(part, metric_links(part))}
    (panel,) = drawn["metric_transfer_images"].drawn.axes
    (bins,) = panel.collections
    filled = bins.get_offsets()[np.asarray(bins.get_array()) > 0]
    assert len(filled) > 5
    assert np.abs(filled[:, 0] - filled[:, 1]).max() < 0.1
    assert panel.get_title() == "insertion\nρ 1.00"


def test_marks_of_fourteen_methods_on_eight_sources_are_told_apart():
    cells = [(f"s{source}", f"m{method}") for source in range(8) for method in range(14)]
    points = pd.DataFrame(cells, columns=["source", "method_label"]).assign(metric="a", value=0.5, above=0.1)
    figure = transfer_scatter(points, pd.DataFrame({"metric": ["a"], "better": ["higher"], "over_cells": [0.0]}))
    marks = [
        (line.get_color(), line.get_marker(), line.get_fillstyle())
        for line in figure.axes[0].lines
        if len(line.get_xdata()) == 1
    ]
    assert len(marks) == len(set(marks)) == len(cells)


@pytest.mark.parametrize(
    ("sources", "methods", "note"),
    [
        (1, 14, ""),
        (1, 15, " Marks repeat: 15 methods share 14 colours and fillings."),
        (9, 2, " Marks repeat: 9 sources share 8 shapes."),
    ],
)
def test_where_marks_repeat_the_caption_says_so(sources, methods, note):
    cells = [(f"s{source}", f"m{method}") for source in range(sources) for method in range(methods)]
    above = np.arange(len(cells)) / 100
    scores = scored_maps(above[None, :, None], {"insertion": "higher"}, cells)
    part = Transferred(scores, "black", above, np.full((1, len(cells)), NAN))
    captions = {made.stem: made.caption for made in link_figures(part, metric_links(part))}
    assert captions["metric_transfer"].partition("is better.")[2] == note


def test_too_few_methods_are_said_to_be_too_few():
    above = np.arange(4) / 10
    scores = scored_maps(np.tile(above[:, None], (IMAGES, 1, 1)), {"insertion": "higher"})
    part = Transferred(scores, "black", above, np.full((IMAGES, 4), NAN))
    table = link_table([scores], [(part, metric_links(part))])
    assert table.printed.iloc[0].tolist() == ["insertion ↑", "–", "–", "0", "0", "0", "–", "0"]
    (note,) = table.printed.attrs["footnotes"]
    assert note.startswith("Too few cells: at most 4 methods of a source have both scores and transfer")
