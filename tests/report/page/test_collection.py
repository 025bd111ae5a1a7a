from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from harmonia.report.page.collection import NONE, collect
from harmonia.results.gathered import gather, job_rows
from harmonia.results.jobs import find_jobs


def collected(run):
    return collect(gather([job_rows(job) for job in find_jobs(run)]))


def test_every_row_has_its_place(jobs, hostile):
    pictures = collected(jobs)
    images = pictures.sets[hostile]
    assert images.ids == sorted(images.ids)
    assert [explainer.name for explainer in pictures.explainers] == ["e7 · GC", f"{hostile} · SS"]
    rows = pd.concat([pd.read_parquet(job.folder / "rows.parquet") for job in find_jobs(jobs)])
    checked = 0
    for row in rows.itertuples():
        explainer = next(explainer for explainer in pictures.explainers if explainer.key["source"] == row.source)
        block = explainer.blocks[row.target]
        image, arm = images.ids.index(row.image_id), block.arms.index(row.arm)
        assert pictures.classes[images.labels[image]] == row.label
        assert pictures.classes[block.predicted[image, arm]] == row.predicted
        assert [pictures.classes[code] for code in block.top5[image, arm] if code != NONE] == list(row.top5)
        assert block.numbers["p_explained"][image, arm] == np.float32(row.p_explained)
        assert images.paths[image] == row.path
        assert pictures.classes[explainer.explained[image]] == row.explained
        checked += 1
    assert checked == 3 * 3 * 5


def test_maps_go_with_their_image_and_a_job_without_says_why(jobs):
    with_maps, without = collected(jobs).explainers
    assert sorted(with_maps.map_of.tolist()) == [0, 1, 2, 3, 4]
    assert without.maps is None
    assert "run the job again" in without.no_maps


def test_rows_that_are_not_there_are_nothing_and_not_zero(jobs):
    rows = gather([job_rows(job) for job in find_jobs(jobs)])
    lost = (rows.cells["arm"] == "soft") & (rows.cells["target"] == "e7")
    found = collect(replace(rows, cells=rows.cells[~lost]))
    block = found.explainers[0].blocks["e7"]
    assert block.arms == ["image", "area30"]
    assert np.isnan(block.drop("soft")).all()


def test_the_drop_is_paired(jobs):
    pictures = collected(jobs)
    drop = pictures.explainers[0].blocks["e7"].drop("soft")
    by_id = dict(zip(next(iter(pictures.sets.values())).ids, drop.tolist(), strict=True))
    assert by_id["owl/1.jpg"] == pytest.approx(0.7, abs=1e-6)
    assert by_id["__proto__/2.jpg"] == 0


def test_nothing_is_an_empty_collection():
    found = collect(gather([]))
    assert (found.sets, found.explainers) == ({}, [])
