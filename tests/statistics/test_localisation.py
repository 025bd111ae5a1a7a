"""Laws of the scores of mosaics: what a job says of them, what is refused, and which jobs are one."""

import re
from functools import partial

import numpy as np
import pytest
from planted_jobs import plant_localisation

from harmonia.errors import InputError
from harmonia.report.tables.localisation import localisation_table
from harmonia.results.jobs import find_jobs
from harmonia.results.localisation import read_localisation, summarise_localisation
from harmonia.statistics.localisation import localisation, mosaic_scores, without_repeats


@pytest.fixture
def job(tmp_path):
    return partial(plant_localisation, tmp_path)


@pytest.fixture
def scored(tmp_path):
    """What the jobs planted so far have scored."""
    return lambda: [mosaic_scores(one) for one in find_jobs(tmp_path)]


def test_the_summary_has_mean_quartiles_and_counts(job):
    rows = read_localisation(job("0", undefined=[True, False, False, False]))
    assert summarise_localisation(rows) == {
        "lite0/gridpg/localisation": pytest.approx(0.425),
        "lite0/gridpg/localisation_q25": pytest.approx(0.15),
        "lite0/gridpg/localisation_median": pytest.approx(0.35),
        "lite0/gridpg/localisation_q75": pytest.approx(0.625),
        "lite0/gridpg/undefined": 1,
        "lite0/gridpg/in_top": 0.75,
        "lite0/gridpg/cells": 4,
    }


def test_a_line_a_job_has_the_same_numbers_and_is_printed_in_percent(job, scored):
    job("0", undefined=[True, False, False, False])
    job("1", [1.0] * 4, protocol="difull", method="ig", k=129, cells=9)
    numbers = localisation(scored()).set_index("method")
    columns = ["n", "localisation", "q25", "median", "q75", "undefined", "in_top", "cells"]
    assert numbers.loc["grad", columns].tolist() == pytest.approx([2, 0.425, 0.15, 0.35, 0.625, 1, 0.75, 4])
    assert numbers.loc["ig", ["n", "smooth_k", "localisation"]].tolist() == [3, 129, 1]
    assert np.isnan(numbers.loc["grad", "smooth_k"])
    printed = localisation_table(scored()).printed
    assert printed.iloc[0].tolist() == [
        "gridpg 2 x 2", "lite0", "grad at input", "42.5", "35.0", "15.0 – 62.5", "1", "75", "4"
    ]  # fmt: skip
    assert printed.iloc[1, :3].tolist() == ["difull 3 x 3", "lite0", "ig at input, K = 129, 3 x 3"]
    assert "a uniform map has 25 % for 2 x 2, 11 % for 3 x 3" in printed.attrs["caption"]


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"protocol": "mosaic"}, "have a protocol of gridpg, difull, dipart"),
        ({"cells": 5}, "have cells of n x n, n at most 16"),
        ({"cells": 17 * 17}, "have cells of n x n, n at most 16"),
        ({"cell": [0, 1, 2, 4]}, "have a cell of their mosaic"),
        ({"localisation": [0.0, 0.2, 0.5, 1.2]}, "have a localisation in 0..1"),
    ],
)
def test_rows_that_are_no_cells_of_mosaics_are_refused(job, scored, columns, rule):
    job("0", **columns)
    with pytest.raises(InputError, match=re.escape(rule)):
        scored()


def test_jobs_of_one_name_are_told_apart_by_their_options_and_a_repeated_one_counts_once(job, scored):
    for number, grids in enumerate((100, 25, 100)):
        job(str(number), options={"grids": grids})
    kept = {one.name: one.job.folder.name for one in without_repeats(scored())}
    assert kept == {"grad at input, evaluation.grids=100": "2", "grad at input, evaluation.grids=25": "1"}


def test_jobs_stand_in_the_order_of_their_protocols(job, scored):
    for number, protocol in enumerate(("dipart", "gridpg", "difull")):
        job(str(number), protocol=protocol)
    assert [one.setting[0] for one in without_repeats(scored())] == ["gridpg", "difull", "dipart"]


def test_places_that_a_network_sees_otherwise_are_named(job, scored):
    job("0", layer="", options={"positions": "tiled"})
    job("1", method="gc", options={"positions": "interpolated"})
    assert [one.name for one in scored()] == ["grad, tiled", "gc at input"]
