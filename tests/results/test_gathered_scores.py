from pathlib import Path

import numpy as np
import pytest
from planted_jobs import plant_scores, plant_transfer

from harmonia.results.gathered_scores import gather_scores, job_scores, maps_key
from harmonia.results.jobs import find_jobs

NAN = float("nan")


@pytest.fixture
def gathered(tmp_path):
    """gathered(): what the jobs below tmp_path come to, and the names of the folders that do not count."""

    def make():
        found, left_out = gather_scores([job_scores(job) for job in find_jobs(tmp_path)])
        return found, [Path(folder).name for folder in left_out]

    return make


def test_jobs_become_images_by_cells_by_metrics(tmp_path, gathered):
    plant_scores(tmp_path / "0", "lite0", "gc", {"deletion": [0.1, 0.2]})
    plant_scores(tmp_path / "1", "lite0", "gc", {"road": [1, 2], "road_morf": [3, 4]}, "road", {"road": "higher"})
    plant_scores(tmp_path / "2", "lite0", "ss", {"deletion": [0.3, 0.4]})
    (scored,), left_out = gathered()
    assert scored.setting == {"label_policy": "predicted", "data": "woof"}
    assert scored.cells[["source", "method", "variant"]].to_numpy().tolist() == [
        ["lite0", "gc", ""],
        ["lite0", "ss", ""],
    ]
    assert dict(scored.metrics.to_numpy().tolist()) == {"deletion": "lower", "road": "higher", "road_morf": "lower"}
    assert scored.image_ids == ["n0", "n1"]
    column = {name: place for place, name in enumerate(scored.metrics["metric"])}
    assert scored.values[:, 0, column["road_morf"]].tolist() == [3, 4]
    assert scored.values[:, 1, column["deletion"]].tolist() == [0.3, 0.4]
    assert np.isnan(scored.values[:, 1, column["road"]]).all()
    assert left_out == []


def test_layers_are_left_to_the_rows_and_flags_are_kept_apart(tmp_path, gathered):
    scores = {"mprt_ssim": [0.5, 0.6], "mprt_ssim/head": [1, 1], "mprt_looks_at_model": [0, 1]}
    plant_scores(tmp_path / "0", "lite0", "edges", scores, "mprt")
    (scored,), _ = gathered()
    assert scored.metrics["metric"].tolist() == ["mprt_ssim"]
    assert scored.blind_maps.to_numpy().tolist() == [[0, "mprt_looks_at_model", 2, 1]]


def test_undefined_scores_are_counted_by_reason(tmp_path, gathered):
    plant_scores(tmp_path / "0", "lite0", "gc", {"deletion": [0.1, (NAN, "zero"), (NAN, "zero"), (NAN, "no boxes")]})
    (scored,), _ = gathered()
    assert sorted(scored.reasons.to_numpy().tolist()) == [[0, "deletion", "no boxes", 1], [0, "deletion", "zero", 2]]
    assert np.isnan(scored.values[1:]).all()


def test_a_metric_that_ran_twice_counts_once_on_the_most_images(tmp_path, gathered):
    plant_scores(tmp_path / "0", "lite0", "gc", {"deletion": [0.1, 0.2, 0.3]})
    plant_scores(tmp_path / "1", "lite0", "gc", {"deletion": [9, 9]})
    (found,), left_out = gathered()
    assert found.values[:, 0, 0].tolist() == [0.1, 0.2, 0.3]
    assert left_out == ["1"]


def test_a_metric_with_other_options_is_another_metric_named_by_them(tmp_path, gathered):
    for number, baseline in enumerate(("black", "blur")):
        options = {"metric": {"baseline": baseline, "steps": 28}}
        plant_scores(tmp_path / str(number), "lite0", "gc", {"deletion": [0.1 + number]}, options=options)
    (scored,), left_out = gathered()
    names = [f"deletion (evaluation.metric.baseline={baseline})" for baseline in ("black", "blur")]
    assert scored.metrics["metric"].tolist() == names
    assert scored.values[0, 0].tolist() == [0.1, 1.1]
    assert left_out == []


def test_maps_of_other_options_are_a_variant_of_their_method(tmp_path, gathered):
    plant_scores(tmp_path / "0", "lite0", "gc", {"deletion": [0.1]})
    plant_scores(tmp_path / "1", "lite0", "gc", {"deletion": [0.2]}, smooth={"k": 9})
    (found,), _ = gathered()
    assert found.cells["variant"].tolist() == ["", "smooth.k=9"]


def test_data_sets_of_one_name_and_other_options_are_settings_of_their_own(tmp_path, gathered):
    for number, root in enumerate("ab"):
        plant_scores(tmp_path / str(number), "lite0", "gc", {"deletion": [0.1]}, data={"name": "woof", "root": root})
    found, _ = gathered()
    assert [scores.setting["data"] for scores in found] == ["woof [1]", "woof [2]"]


def test_a_job_of_transfer_has_the_key_of_the_maps_that_a_job_of_scores_judges(tmp_path):
    arms = {name: [True] for name in ("image", "area30", "blobs30")}
    p = {name: [0.5] for name in arms}
    folders = [
        plant_scores(tmp_path / "0", "lite0", "gc", {"deletion": [1]}, data={"name": "woof", "boxes": "a.csv"}),
        plant_scores(tmp_path / "1", "lite0", "gc", {"boxes": [1]}, "boxes", data={"name": "woof", "boxes": None}),
        plant_transfer(tmp_path / "2", "lite0", "gc", arms, p),
        plant_transfer(tmp_path / "3", "lite0", "gc", arms, p, seed=1),
    ]
    keys = {job.folder: maps_key(job.options) for job in find_jobs(tmp_path)}
    assert keys[folders[0]] == keys[folders[1]] == keys[folders[2]]
    assert keys[folders[3]] != keys[folders[0]]
