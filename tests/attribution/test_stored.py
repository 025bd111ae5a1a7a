"""Maps from elsewhere as a method: whole jobs give the rows that the method's own maps give."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rows_in_memory import read_rows
from safetensors.numpy import load_file

from harmonia.attribution.smoothing import Smoothed, smooth
from harmonia.attribution.stored import Stored
from harmonia.features.maps import unpack
from harmonia.results.rows import read_summary
from harmonia.store.identity import fingerprint

JOB = ["data=samples", "data.limit=4", "source=lite0", "source.input_size=96", "target=[self]", "logger=none"]
JOB += ["trainer=cpu", "hydra.run.dir=job", "evaluation.normalise=positive_minmax"]
SCORED = [*JOB[:-1], "evaluation=sparseness"]


def test_its_maps_are_those_given_and_its_class_that_asked_for(toy, noise, explain):
    maps, labels = torch.randn(3, 5, 5), torch.tensor([3, 0, 2])
    method = Stored(maps=Path("anywhere"))
    explanation = explain(method, toy("linear"), noise(3, 8), labels, given=lambda positions: maps[positions])
    assert torch.equal(explanation.maps, maps)
    assert torch.equal(explanation.explained, labels)
    assert explanation.passes.tolist() == [1, 1, 1]
    smoothed = explain(
        Smoothed(inner=method, k=3), toy("linear"), noise(3, 8), labels, given=lambda positions: maps[positions]
    )
    assert torch.equal(smoothed.maps, smooth(maps, 3, "reflect"))


def test_its_place_is_no_part_of_its_key():
    here, there = Stored(maps=Path("here")), Stored(maps=Path("there"))
    assert fingerprint(here) == fingerprint(there) == {"class": "Stored", "version": 1, "over": "view"}
    assert fingerprint(Stored(maps=Path("here"), over="image")) != fingerprint(here)


def sets(tmp_path, method):
    return sorted((tmp_path / "cache/maps").glob(f"lite0-{method}-*"))


def exported(tmp_path):
    """Maps of the store's set by gc, by image id."""
    (folder,) = sets(tmp_path, "gc")
    image_ids = pd.read_parquet(folder / "index.parquet")["image_id"]
    return dict(zip(image_ids, unpack(load_file(folder / "shard-00000.safetensors")), strict=True))


def write_folder(folder, maps):
    folder.mkdir()
    for image_id, map_ in maps.items():
        np.save(folder / Path(image_id).with_suffix(".npy"), map_)
    return folder


@pytest.mark.usefixtures("needs_samples")
def test_the_maps_of_a_job_read_back_give_its_rows_bit_for_bit_from_any_place_once(cli, tmp_path):
    assert cli(*JOB, "method=gc")[0] == 0
    rows, maps = read_rows(tmp_path / "job"), exported(tmp_path)
    write_folder(tmp_path / "maps", maps)
    np.savez(tmp_path / "elsewhere.npz", **maps)
    for computed, place in ((4, "maps"), (0, "elsewhere.npz")):
        code, _, err = cli(*JOB, "method=stored", f"method.maps={place}", "method.name=mine")
        assert code == 0, err
        again = read_rows(tmp_path / "job")
        assert set(again.pop("method")) == {"mine"}
        pd.testing.assert_frame_equal(again, rows.drop(columns="method"), check_exact=True)
        assert read_summary(tmp_path / "job")["maps_computed"] == computed
    assert len(sets(tmp_path, "mine")) == 1
    maps[next(iter(maps))][0, 0] += 1
    np.savez(tmp_path / "elsewhere.npz", **maps)
    assert cli(*SCORED, "method=stored", "method.maps=elsewhere.npz", "method.name=mine")[0] == 0
    assert len(sets(tmp_path, "mine")) == 2


@pytest.mark.usefixtures("needs_samples")
def test_lacking_and_broken_maps_are_flagged_and_what_explains_anew_is_refused(cli, tmp_path):
    names = [f"imagenet_0{number}_{label}" for number, label in enumerate((243, 559, 438))]
    maps = {f"{name}.jpg": np.arange(9.0).reshape(3, 3) for name in names}
    maps[f"{names[1]}.jpg"][1, 1] = np.nan
    write_folder(tmp_path / "maps", maps)
    words = ["method=stored", "method.maps=maps"]
    code, out, err = cli(*SCORED, *words)
    assert code == 0, err
    assert "1 of 4 images have no map, first imagenet_03_990.jpg (expected imagenet_03_990.npy)" in out + err
    assert read_summary(tmp_path / "job")["maps_flagged"] == 2
    scores = pd.read_parquet(tmp_path / "job/scores.parquet")
    assert scores["value"].isna().tolist() == [False, True, False, True]
    for evaluation in ("mprt", "max_sensitivity", "gridpg"):
        code, _, err = cli(*JOB[:-1], f"evaluation={evaluation}", *words)
        assert code == 2
        assert "method=stored explains no other image or network" in err
    code, _, err = cli(*JOB, "method=stored")
    assert code == 2
    assert "method.maps must be given" in err


@pytest.mark.usefixtures("needs_samples")
def test_a_map_of_the_whole_image_lies_where_the_source_looks(cli, tmp_path):
    rows, columns = np.mgrid[:50, :80]
    ramp = (rows + 0.5) / 50 + 10 * (columns + 0.5) / 80  # down and across, in relative image coordinates
    np.savez(tmp_path / "maps.npz", imagenet_00_243=ramp)
    code, _, err = cli(*SCORED, "data.limit=1", "method=stored", "method.maps=maps.npz", "method.over=image")
    assert code == 0, err
    (folder,) = sets(tmp_path, "stored")
    (map_,) = unpack(load_file(folder / "shard-00000.safetensors"))
    seen = (6 + np.arange(96) + 0.5) / 109  # 96 of 109 pixels, to which the square image is resized
    np.testing.assert_allclose(map_, seen[:, None] + 10 * seen, atol=11e-3)  # float16 of the largest
