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
@pytest.mark.parametrize(
    ("evaluation", "options"),
    [
        ("gridpg,difull,dipart", ["evaluation.confidence=0", "evaluation.grids=1"]),
        ("deletion,infidelity,faithfulness_correlation,mprt,irof,max_sensitivity,complexity", []),
    ],
)
def test_every_kind_of_evaluation_takes_rectangles(cli, tmp_path, evaluation, options):
    words = ["-m", *WORDS, "method=gc", f"evaluation={evaluation}", *options]
    code, _, err = cli(*words, "hydra.sweep.dir=sweep", "hydra.sweep.subdir=${hydra.job.num}")
    assert code == 0, err
    assert len(list((tmp_path / "sweep").glob("*/*.parquet"))) >= evaluation.count(",") + 1
