"""Whole jobs whose source sees rectangles: real weights, real images."""

import numpy as np
import pytest
from rows_in_memory import read_rows

from harmonia.report.write import write_report
from harmonia.results.maps import read_small_maps

pytestmark = pytest.mark.usefixtures("needs_samples")

WORDS = ["data=samples", "data.limit=4", "source=lite0", "source.input_size=[128,64]", "logger=none", "trainer=cpu"]


def test_a_rectangular_source_and_a_square_target_make_a_job_and_its_report(cli, tmp_path):
    words = [*WORDS, "target=[self,lite1]", "target.lite1.input_size=96", "method=gc", "hydra.run.dir=job"]
    code, _, err = cli(*words, "fill=blur")
    assert code == 0, err
    rows = read_rows(tmp_path / "job")
    kept = rows[rows["arm"] == "area30"].set_index("target")["kept_area"]
    assert (kept["lite0"] == np.float32(round(0.3 * 128 * 64) / (128 * 64))).all()
    assert kept["lite1"].between(0.05, 0.3).all()  # the source sees the half of a square image
    maps = read_small_maps(tmp_path / "job")
    assert maps.soft.shape[1:] == (4, 2)
    report = write_report(tmp_path / "job", out=tmp_path / "report")
    assert (report.folder / "index.html").is_file()
    assert list(report.folder.glob("**/fig1*"))


@pytest.mark.slow
def test_mosaics_of_rectangles_are_localised(cli, tmp_path):
    words = [*WORDS, "method=gc", "evaluation=gridpg", "evaluation.confidence=0", "evaluation.grids=1"]
    words += ["data.limit=null"]  # the samples that it knows are few
    code, _, err = cli(*words, "hydra.run.dir=job")
    assert code == 0, err
    assert (tmp_path / "job" / "localisation.parquet").is_file()


@pytest.mark.slow
def test_every_metric_takes_rectangles(cli, tmp_path):
    metrics = ["deletion", "infidelity", "faithfulness_correlation", "mprt", "irof", "max_sensitivity", "complexity"]
    words = ["-m", *WORDS, "data.limit=1", "method=gc", f"evaluation={','.join(metrics)}", "hydra.sweep.dir=sweep"]
    code, _, err = cli(*words, "hydra.sweep.subdir=${hydra.job.num}")
    assert code == 0, err
    assert len(list((tmp_path / "sweep").glob("*/scores.parquet"))) == len(metrics)
