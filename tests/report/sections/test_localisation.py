from functools import partial

import numpy as np
import pandas as pd
import pytest
from planted_jobs import plant_localisation
from safetensors.numpy import load_file, save_file

from harmonia.report.workspace import make_workspace
from harmonia.report.write import write_report

pytestmark = pytest.mark.usefixtures("blank_figures")


@pytest.fixture
def job(tmp_path):
    """job("0", scores, ...): a finished job's folder with these localisations."""
    return partial(plant_localisation, tmp_path / "run")


def test_a_report_of_mosaics_alone_has_their_table_and_figures(job, tmp_path):
    job("0")
    job("1", protocol="difull", method="ig", k=129)
    report = write_report(tmp_path / "run")
    assert ([job.folder.name for job in report.jobs], report.left_out) == (["0", "1"], {})
    folder = tmp_path / "run" / "report"
    for name in ("localisation.md", "localisation.csv", "localisation.tex", "localisation_boxes.png", "aggatt_2.pdf"):
        assert (folder / name).stat().st_size > 0
    numbers = pd.read_csv(folder / "localisation.csv")
    assert numbers[["protocol", "method", "smooth_k", "median"]].fillna(0).to_numpy().tolist() == [
        ["gridpg", "grad", 0, pytest.approx(0.35)],
        ["difull", "ig", 129, pytest.approx(0.35)],
    ]
    printed = (folder / "localisation.md").read_text()
    assert "| gridpg 2 x 2 | lite0 | grad at input | 42.5 | 35.0 | 15.0 – 62.5 | 0 | 75 | 4 |" in printed
    assert "ig at input, K = 129" in printed
    page = (folder / "index.html").read_text()
    assert page.index("Localisation on mosaics (Rao et al. 2022)") < page.index("localisation_boxes.png")
    assert 'href="localisation.csv"' in page
    assert "<h1>Localisation on mosaics</h1>" in page
    assert "AggAtt, difull, lite0" in page
    assert "Few cells: some bins have none." in page


def test_an_earlier_reports_figures_of_mosaics_are_replaced(job, tmp_path):
    job("0")
    second = job("1")
    write_report(tmp_path / "run")
    (second / "error.txt").write_text("out of disk\n")
    report = write_report(tmp_path / "run")
    assert report.left_out == {"1": "out of disk"}
    assert not (tmp_path / "run" / "report" / "aggatt_2.png").exists()


def test_a_repeated_job_is_left_out_by_name(job, tmp_path):
    job("0")
    job("1")
    assert write_report(tmp_path / "run").left_out == {"0": "replaced by a later job of the same cells"}


def test_jobs_on_mosaics_and_on_whole_images_share_a_report_and_a_workspace(job, logged_job, tmp_path):
    job("0")
    logged_job(tmp_path / "run" / "1")
    report = write_report(tmp_path / "run")
    assert [one.folder.name for one in report.jobs] == ["0", "1"]
    assert {"table1.md", "localisation.md", "fig2.png", "aggatt_1.png"} <= {
        path.name for path in report.folder.iterdir()
    }
    pytest.importorskip("wandb_workspaces.workspaces", reason="the extra dashboard is not installed")
    workspace = make_workspace(str(tmp_path / "run"), ())
    assert {"Transfer matrix", "Localisation"} <= {section.name for section in workspace.sections}
    keys = {key for part in workspace.sections for panel in part.panels for key in getattr(panel, "media_keys", [])}
    assert {"figures/localisation_boxes", "figures/aggatt_1"} <= keys


def test_mosaics_alone_have_a_workspace_of_their_figures_and_cells(job, tmp_path):
    pytest.importorskip("wandb_workspaces.workspaces", reason="the extra dashboard is not installed")
    job("0")
    write_report(tmp_path / "run")
    (shown,) = (one for one in make_workspace(str(tmp_path / "run"), ()).sections if one.name == "Localisation")
    keys = [key for panel in shown.panels for key in getattr(panel, "media_keys", [])]
    assert keys == ["figures/localisation_boxes", "figures/aggatt_1"]
    assert shown.panels[-1].table_name == "cells"


def test_a_job_whose_rows_cannot_be_read_is_left_out_with_the_reason(job, tmp_path):
    job("0")
    (job("1") / "localisation.parquet").write_bytes(b"no")
    report = write_report(tmp_path / "run")
    assert [one.folder.name for one in report.jobs] == ["0"]
    assert "localisation.parquet must be readable Parquet" in report.left_out["1"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"rubbish"),
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        lambda path: save_file({"means": np.zeros((6, 8, 8), np.float32)}, path),
        lambda path: save_file({**load_file(path), "scores": np.zeros(1)}, path),
    ],
    ids=["rubbish", "cut short", "arrays missing", "of another number of examples"],
)
def test_a_damaged_picture_of_a_job_costs_that_picture_alone(job, tmp_path, damage):
    damage(job("0") / "aggatt.safetensors")
    job("1", method="ig")
    report = write_report(tmp_path / "run")
    assert [one.folder.name for one in report.jobs] == ["0", "1"]
    ((name, reason),) = report.left_out.items()
    assert name == "0: AggAtt"
    assert "aggatt.safetensors must" in reason
    assert [figure.stem for figure in report.figures] == ["localisation_boxes", "aggatt_2"]
    assert "0: AggAtt" in (tmp_path / "run" / "report" / "index.html").read_text()


@pytest.mark.parametrize("content", [b"PAR1 torn", b""])
def test_damaged_rows_of_cells_hide_no_other_job(job, tmp_path, content):
    (job("0") / "localisation.parquet").write_bytes(content)
    job("1", method="ig")
    report = write_report(tmp_path / "run")
    assert [one.folder.name for one in report.jobs] == ["1"]
    assert list(report.left_out) == ["0"]
    assert "Parquet" in report.left_out["0"]
