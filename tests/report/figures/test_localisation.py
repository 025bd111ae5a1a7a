"""Laws of the figures of mosaics: a box is where its quartiles are, a mean map where its bin is."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from planted_jobs import plant_localisation

from harmonia.report.contract import ReadJob
from harmonia.report.figures.localisation import aggatt, box_plots
from harmonia.report.sections.localisation import LocalisationSection
from harmonia.results.jobs import find_jobs
from harmonia.results.localisation import AGGATT, write_aggatt
from harmonia.statistics.localisation import MosaicScores

MEANS = (6, 5, 4, 3, 2, np.nan)


def job(name, scores, protocol="gridpg", side=2, folder=None):
    rows = pd.DataFrame(
        {"protocol": protocol, "source": "lite0", "grid_side": side, "cells": side**2, "localisation": scores}
    )
    return MosaicScores(name, rows, SimpleNamespace(folder=folder))


@pytest.fixture
def pictured(tmp_path):
    """A job that has left mean maps of 8 x 8 places, one value a bin, and examples of the first and the third."""
    means = np.stack([np.full((8, 8), value, np.float32) for value in MEANS])
    examples, pictures = np.ones((2, 8, 8), np.float32), np.zeros((2, 3, 8, 8), np.uint8)
    arrays = {"means": means, "examples": examples, "pictures": pictures, "bins": np.array([0, 2])}
    write_aggatt(tmp_path, arrays | {"scores": np.array([1.0, 0.5])})
    return job("grad at input", [0.5], folder=tmp_path)


def test_a_box_spans_the_quartiles_and_what_lies_far_outside_is_a_dot():
    scores = [0.2, 0.3, 0.4, 0.5, 1.0]
    (panel,) = box_plots([job("gc", scores)]).drawn.axes
    (box,) = panel.patches
    assert (box.get_x(), box.get_x() + box.get_width()) == pytest.approx((0.3, 0.5))
    whisker, median = (collection.get_segments()[0][:, 0].tolist() for collection in panel.collections)
    assert whisker == pytest.approx([0.2, 0.5])
    assert median == pytest.approx([0.4, 0.4])
    outside, uniform = (line.get_xdata() for line in panel.lines)
    assert outside.tolist() == [1.0]
    assert list(uniform) == [0.25, 0.25]  # a uniform map of 2 x 2 cells


def test_a_column_a_protocol_in_their_order_and_a_line_a_method():
    jobs = [job("gc", [0.1, 0.2], "difull"), job("ig", [0.5, 0.6], side=3), job("gc", [0.3, 0.4])]
    figure = box_plots(jobs).drawn
    assert [panel.get_title() for panel in figure.axes] == ["gridpg", "difull"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["lite0 gc", "lite0 ig"]
    middles = [[patch.get_y() + patch.get_height() / 2 for patch in panel.patches] for panel in figure.axes]
    assert middles == [[1, 0], [0]]


def test_mean_maps_share_one_scale_and_a_bin_without_cells_is_blank(pictured):
    shown = aggatt(1, pictured)
    assert "Few cells: some bins have none." in shown.caption
    means, examples = shown.drawn.axes[:6], shown.drawn.axes[12:]
    assert [bool(panel.images) for panel in means] == [True, False, True, False, False, False]
    assert [panel.get_title() for panel in means][:2] == ["0–2 %", "2–5 %"]
    (scale,) = {panel.images[0].get_clim() for panel in means if panel.images}
    assert scale == (0, pytest.approx(6, rel=0.01))
    assert [panel.images[0].get_array().mean() for panel in means if panel.images] == [6, 4]
    assert [panel.get_xlabel() for panel in examples if panel.images] == ["L = 1.00", "L = 0.50"]


def test_cells_of_a_mosaic_are_parted_by_lines(pictured):
    pictured.rows["grid_side"] = 4
    panel = aggatt(1, pictured).drawn.axes[0]
    assert sorted(line.get_ydata()[0] for line in panel.lines if len(set(line.get_ydata())) == 1) == [1.5, 3.5, 5.5]


def test_without_its_file_it_is_not_drawn(tmp_path):
    with pytest.raises(Exception, match=AGGATT):
        aggatt(1, job("gc", [0.5], folder=tmp_path))


def test_a_section_of_mosaics_draws_each_job_once_and_names_what_is_damaged(tmp_path):
    for name, method in (("0", "grad"), ("1", "grad"), ("2", "ig")):
        folder = plant_localisation(tmp_path, name, method=method)
    (folder / AGGATT).write_bytes(b"rubbish")
    jobs = [ReadJob(job.folder.name, job, LocalisationSection.read(job)) for job in find_jobs(tmp_path)]
    section = LocalisationSection(jobs, "soft", (), ())
    assert section.left_out == {"0": "replaced by a later job of the same cells"}
    assert section.headlines[0].printed["Method"].tolist() == ["grad at input", "ig at input"]
    assert section.details == []  # four mosaics are too few to ask whether methods agree
    assert [figure.stem for figure in section.make_figures()] == ["localisation_boxes", "aggatt_1"]
    assert "must be" in section.left_out["2: AggAtt"]
