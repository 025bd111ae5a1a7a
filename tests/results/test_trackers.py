"""Laws of logger=tensorboard, mlflow and trackio: numbers, configuration and pictures arrive, read back from files."""

import logging
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from omegaconf import OmegaConf
from paths import CONF

from harmonia.results.tracking import Media, finish, make_logger, publish

SUMMARY = {"e6/soft/accuracy": 0.1 + 0.2, "e6/soft/retention": None, "e6/soft/images": 3929}
CONFIG = {"source": {"name": "e7", "weights": None}, "seed": 0}
PICTURE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
TITLE = "../<b>\u202edog</b>"
VISIBLE = "../<b>\\u202edog</b>"


def media():
    return Media(
        tables={"images": pd.DataFrame({"image_id": ["a", "b"], "p": [0.5, np.nan]})},
        histograms={"e6/soft/p_label": np.histogram([0.1, 0.1, 0.9], 2, (0, 1))},
        pictures={"samples": [(TITLE, PICTURE)]},
        curves=[{"curves/kept_area": area, "curves/e6/accuracy": area / 2} for area in (0.1, 0.3)],
    )


@pytest.fixture
def logged(tmp_path, monkeypatch, caplog):
    """logged(name): what the option of conf/logger was given lies below the folder; the warnings that it cost."""

    def log(name, **changes):
        monkeypatch.chdir(tmp_path)
        tracking = {"group": "sweep-1", "job_type": "transfer", "tags": [], "name": "e7 ss"}
        node = {"logger": OmegaConf.load(CONF / "logger" / f"{name}.yaml"), "paths": {"job": str(tmp_path / "job")}}
        options = OmegaConf.create(node | {"tracking": tracking}).logger
        logger = make_logger(OmegaConf.to_container(options, resolve=True) | changes)
        with caplog.at_level(logging.WARNING, "harmonia"):
            try:
                publish(logger, SUMMARY, CONFIG, media)
            finally:
                finish(logger)
        return [one.getMessage() for one in caplog.records if one.name.startswith("harmonia")]

    return log


@pytest.mark.slow
def test_tensorboard_has_numbers_config_histograms_and_pictures_in_the_jobs_folder(logged, tmp_path):
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="pip install '.[tensorboard]'"
    )
    assert logged("tensorboard") == []
    folder = tmp_path / "job" / "tensorboard"
    assert yaml.safe_load((folder / "hparams.yaml").read_text()) == CONFIG
    board = events.EventAccumulator(str(folder), {events.TENSORS: 0, events.IMAGES: 0}).Reload()
    assert board.Scalars("e6/soft/accuracy")[0].value == np.float32(0.1 + 0.2)
    curve = [(point.step, point.value) for point in board.Scalars("curves/e6/accuracy")]
    assert curve == [(10, np.float32(0.05)), (30, np.float32(0.15))]
    assert board.Histograms("histograms/e6/soft/p_label")[0].histogram_value.bucket == [2, 1]
    assert '"name": "e7"' in str(board.Tensors("config/text_summary")[0].tensor_proto.string_val)
    (picture,) = board.Images(f"samples/{VISIBLE}")
    assert (picture.width, picture.height) == (4, 4)
    assert "e6/soft/retention" not in board.Tags()["scalars"]


@pytest.mark.slow
def test_mlflow_has_numbers_config_tables_and_figures_in_a_data_base_of_the_folder(logged, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="pip install '.[mlflow]'")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert logged("mlflow") == []
    client = mlflow.MlflowClient("sqlite:///mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("harmonia").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["e6/soft/accuracy"] == 0.1 + 0.2
    assert "e6/soft/retention" not in run.data.metrics
    assert run.data.params == {"source/name": "e7", "source/weights": "None", "seed": "0"}
    assert (run.data.tags["mlflow.runName"], run.data.tags["group"]) == ("e7 ss", "sweep-1")
    points = client.get_metric_history(run.info.run_id, "curves/e6/accuracy")
    assert [(point.step, point.value) for point in points] == [(10, 0.05), (30, 0.15)]
    kept = {path.as_posix().split("artifacts/")[-1] for path in (tmp_path / "mlruns").rglob("*.*")}
    assert {"images.json", "histograms/e6/soft/p_label.png", "samples/0.png", "samples/0.txt"} <= kept


@pytest.mark.slow
def test_trackio_has_numbers_config_histograms_and_pictures_and_prints_nothing(logged, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio", reason="pip install '.[trackio]'")
    capsys.readouterr()
    assert logged("trackio") == []
    assert capsys.readouterr().out == ""
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = trackio.Api().runs("harmonia")
    assert run.config["source"] == {"name": "e7", "weights": None}
    by_name = {}
    for line in SQLiteStorage.get_logs("harmonia", run.name):
        for name, value in line.items():
            by_name.setdefault(name, []).append(value)
    assert by_name["e6/soft/accuracy"] == [0.1 + 0.2]
    assert by_name["curves/e6/accuracy"] == [0.05, 0.15]
    assert by_name["histograms/e6/soft/p_label"][0]["values"] == [2, 1]
    assert by_name[f"samples/{VISIBLE}"][0]["caption"] == VISIBLE
    assert list((tmp_path / "trackio").rglob("*.png"))


@pytest.mark.parametrize(("name", "package"), [("trackio", "trackio"), ("mlflow", "mlflow")])
def test_a_tracker_that_is_not_installed_is_one_warning(logged, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.tracking", None)
    (warning,) = logged(name)
    assert "could not be made" in warning
    assert package in warning


@pytest.mark.slow
def test_an_mlflow_server_that_is_not_there_is_one_warning(logged, monkeypatch):
    pytest.importorskip("mlflow", reason="pip install '.[mlflow]'")
    (warning,) = logged("mlflow", tracking_uri="http://127.0.0.1:9")
    assert "MLFlowLogger did not take all" in warning
