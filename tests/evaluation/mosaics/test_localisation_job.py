"""Whole jobs on mosaics of real images, with real weights (the quickstart extra)."""

import json
import shutil

import numpy as np
import pytest

from harmonia.data.samples import samples
from harmonia.models import load as models
from harmonia.results.localisation import AGGATT, MOSAICS, read_aggatt, read_localisation
from harmonia.results.rows import ROWS, read_summary

pytestmark = pytest.mark.usefixtures("needs_samples")

WORDS = ["data=samples", "source=lite0", "logger=none", "trainer=cpu", "evaluation.confidence=0", "evaluation.grids=2"]
WORDS += ["source.input_size=96"]


@pytest.mark.usefixtures("blank_figures")
def test_a_job_on_mosaics_leaves_rows_and_summary_and_computes_each_map_once(cli, tmp_path):
    words = [*WORDS, "evaluation=gridpg", "hydra.run.dir=job"]
    code, out, err = cli(*words, "method=gc")
    assert code == 0, err
    assert "gridpg: 2 mosaics of 2 x 2 from" in out
    rows, summary = read_localisation(tmp_path / "job"), read_summary(tmp_path / "job")
    assert len(rows) == 8
    assert (rows["predicted"] == rows["label"]).mean() <= rows["in_top"].mean()
    assert (summary["maps_computed"], summary["maps_cached"], summary["network_passes/maps"]) == (8, 0, 8)
    assert summary["lite0/gridpg/localisation"] == pytest.approx(rows["localisation"].mean())
    assert rows["layer"].unique().tolist() == ["bn2"]
    assert not (tmp_path / "job" / ROWS).exists()
    kept = json.loads((tmp_path / "job" / MOSAICS).read_text())
    assert (kept["n"], kept["scored"], len(kept["mosaics"])) == (2, [0, 1, 2, 3], 2)
    assert [kept["mosaics"][grid][cell] for grid, cell in zip(rows["grid"], rows["cell"], strict=True)] == list(
        rows["image_id"]
    )
    assert read_aggatt(tmp_path / "job")["means"].shape == (6, 224, 224)
    assert cli(*words, "method=gc")[0] == 0
    again = read_summary(tmp_path / "job")
    assert (again["maps_computed"], again["maps_cached"]) == (0, 8)
    assert read_localisation(tmp_path / "job").equals(rows)
    # another method, layer or smoothing: other maps of the same mosaics
    assert cli(*words, "method=layercam", "layer=middle", "smooth.k=9", report=True)[0] == 0
    another = read_localisation(tmp_path / "job")
    assert another["image_id"].tolist() == rows["image_id"].tolist()
    assert another["layer"].unique().tolist() == ["blocks.2"]
    assert not np.allclose(another["localisation"], rows["localisation"])
    assert (tmp_path / "job" / AGGATT).is_file()
    assert (tmp_path / "job" / "report" / "index.html").is_file()


def test_a_layer_that_a_method_has_not_is_refused(cli):
    code, _, err = cli(*WORDS[:4], "method=centre", "layer=middle", "hydra.run.dir=job")
    assert code == 2
    assert "layer: centre explains at no chosen layer, got 'middle'" in err


def test_an_image_that_vanishes_after_it_was_classified_stops_the_job_and_no_map_of_black_is_kept(
    cli, tmp_path, monkeypatch
):
    """No stage reads an image whose answer is stored, before the mosaics do."""
    for record in samples().records:
        (tmp_path / "images" / record.class_name).mkdir(parents=True, exist_ok=True)
        shutil.copy(record.path, tmp_path / "images" / record.class_name)
    plain = [word for word in WORDS if not word.startswith("data=")]
    words = [*plain, "data=folder", "data.root=images", "evaluation=gridpg"]
    assert cli(*words, "method=random", "hydra.run.dir=first")[0] == 0  # its maps are not those of gc
    kept = json.loads((tmp_path / "first" / MOSAICS).read_text())["mosaics"][0][0]
    path, load_job = tmp_path / "images" / kept, models.load_job
    before = path.read_bytes()

    def vanishing(*arguments):
        path.unlink()
        return load_job(*arguments)

    monkeypatch.setattr(models, "load_job", vanishing)
    code, out, err = cli(*words, "method=gc", "hydra.run.dir=job")
    assert code == 2, out
    assert len(err.splitlines()) == 1
    assert path.name in err
    assert "must not change during a run" in err
    assert not list(tmp_path.glob("cache/maps/lite0-gc-*/shard-*.safetensors"))
    monkeypatch.setattr(models, "load_job", load_job)
    path.write_bytes(before)
    code, _, err = cli(*words, "method=gc", "hydra.run.dir=job")
    assert code == 0, err
    assert read_summary(tmp_path / "job")["maps_computed"] == 8
