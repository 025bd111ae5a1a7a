"""Laws of an export: all numbers of the jobs, nothing of the place where they ran, and other tools can read it."""

import io
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from planted_jobs import plant_scores, plant_transfer

from harmonia.errors import InputError
from harmonia.export.__main__ import main
from harmonia.export.card import DESCRIBED
from harmonia.export.write import ROWS_FILES, write_export
from harmonia.results.jobs import find_jobs
from harmonia.results.maps import REGION_SIDE, SmallMaps, write_small_maps
from harmonia.results.rows import ROWS_FILE

EDGES = ["left", "top", "right", "bottom"]
RIGHT = {"image": [True, True], "area30": [True, False], "blobs30": [False, False]}
MAPS = SmallMaps(
    ["n0", "n1"],
    np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
    np.random.default_rng(0).choice(np.array([10, 30, 255], np.uint8), (2, REGION_SIDE, REGION_SIDE)),
    (10, 30),
    np.array([[0, 0, 1, 1], [0.1, 0, 0.9, 1]], np.float32),
    ["a" * 64, "b" * 64],
)


@pytest.fixture
def run(tmp_path):
    """A job of transfer with maps and everything that tells where it ran, one of scores, one that failed."""
    run, probabilities = tmp_path / "run", {arm: [0.25, np.nan] for arm in RIGHT}
    place = {"data": {"name": "woof", "root": "/home/alice/woof"}, "paths": {"cache": "/home/alice/c"}}
    place |= {"logger": {"entity": "alice"}, "fill": {"name": "black", "file": "/home/alice/maps"}}
    job = plant_transfer(run / "a|b", "lite0", "<b>|gc", RIGHT, probabilities, **place)
    environment = {"command": ["/home/alice/run.py"], "host": "alice", "git": "0123456789", "packages": {"torch": "2"}}
    (job / "environment.json").write_text(json.dumps(environment))
    write_small_maps(job, MAPS)
    plant_scores(run / "scored", "lite0", "gc", {"deletion": [0.5, (np.nan, "zero")]})
    (plant_scores(run / "failed", "lite0", "gc", {"deletion": [0.5]}) / "error.txt").write_text("out of luck")
    return run


def frame(folder):
    return ROWS_FILE.read(folder).astype(object)


def test_the_rows_and_maps_are_the_jobs_bit_for_bit_and_a_report_reads_them(run, tmp_path):
    export = write_export(run, tmp_path / "out")
    assert list(export.jobs) == ["a|b", "scored"]
    assert export.left_out == {"failed": "out of luck"}
    jobs = find_jobs(tmp_path / "out")
    assert [job.finished for job in jobs] == [True, True]
    assert (jobs[0].data_name, jobs[0].options["seed"]) == ("woof", find_jobs(run)[0].options["seed"])
    pd.testing.assert_frame_equal(frame(jobs[0].folder), frame(run / "a|b"))
    maps = pq.read_table(tmp_path / "out/maps/0000.parquet").to_pylist()
    for stack, name in ((MAPS.soft, "soft"), (MAPS.smallest_areas, "smallest_areas")):
        pictures = [np.asarray(Image.open(io.BytesIO(line[name]["bytes"]))) for line in maps]
        assert np.array_equal(pictures, stack)
    assert [[np.float32(line[edge]) for edge in EDGES] for line in maps] == MAPS.boxes.tolist()
    assert [line["digest"] for line in maps] == MAPS.digests


def test_nothing_tells_where_the_jobs_ran_and_paths_start_at_the_data(run, tmp_path, monkeypatch):
    renamed = ROWS_FILE.read(run / "a|b").assign(path="/home/alice/woof/n02086240/x.jpg")
    ROWS_FILE.write(run / "a|b", [renamed.to_dict("list")])
    write_export(run, tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.*"):
        assert b"alice" not in (path.read_bytes() if path.is_file() else b""), path
    folder = tmp_path / "out/jobs/0000"
    assert set(pq.read_table(folder / "rows.parquet")["path"].to_pylist()) == {"n02086240/x.jpg"}
    assert json.loads((folder / "environment.json").read_text()) == {"git": "0123456789", "packages": {"torch": "2"}}
    maps = yaml.safe_load((folder / "config.yaml").read_text())["fill"]["file"]
    assert maps.endswith("/maps")
    assert len(maps) == 13  # a digest tells two folders of one name apart


def test_the_card_describes_every_column_that_a_job_may_leave_and_escapes_names(run, tmp_path):
    assert {name for file in ROWS_FILES.values() for name in file.schema.names} <= set(DESCRIBED)
    write_export(run, tmp_path / "out", license="cc-by-4.0")
    _, head, text = (tmp_path / "out/README.md").read_text().split("---\n", 2)
    facts = yaml.safe_load(head)
    assert facts["license"] == "cc-by-4.0"
    assert [table["config_name"] for table in facts["configs"]] == ["rows", "scores", "maps"]
    assert "| jobs/0000 | a\\|b | lite0 | &lt;b>\\|gc | woof | lite0, lite1, lite2 |" in text


@pytest.mark.slow
def test_hugging_faces_datasets_reads_it(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason="reads the export back: pip install datasets")
    write_export(run, tmp_path / "out")
    read = {
        name: datasets.load_dataset(str(tmp_path / "out"), name, split="train", cache_dir=str(tmp_path / "cache"))
        for name in ("rows", "scores", "maps")
    }
    rows = read["rows"].to_pandas()
    assert rows["job"].unique().tolist() == ["a|b"]
    assert rows["p_explained"].to_numpy().tobytes() == frame(run / "a|b")["p_explained"].to_numpy(np.float32).tobytes()
    assert read["scores"].to_pandas()["reason"].tolist() == ["", "zero"]
    assert np.array_equal([np.asarray(line["soft"]) for line in read["maps"]], MAPS.soft)


@pytest.mark.parametrize("out", ["run/export", "run", ".", "thesis", "loop"])
def test_another_folder_is_refused_and_left_as_it_is(run, tmp_path, out, capsys):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "README.md").write_text("mine")
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*") if not path.name.endswith(".lock")}
    assert main([f"run={run}", f"out={tmp_path / out}"]) == 2
    assert "name another" in capsys.readouterr().err
    after = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*") if not path.name.endswith(".lock")}
    assert after.items() - {(tmp_path, after.get(tmp_path))} <= before.items()


def test_a_run_without_a_finished_job_leaves_an_earlier_export(run, tmp_path, capsys):
    assert main([f"run={run}", f"out={tmp_path / 'out'}"]) == 0
    assert "left out: failed: out of luck" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"must hold a finished job, got none in .*: out of luck"):
        write_export(run / "failed", tmp_path / "out")
    assert (tmp_path / "out/jobs/0001/scores.parquet").is_file()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", '{"\\ud800": 1}'),
        *((name, "a diary") for name in ("representations.parquet", "aggatt.safetensors", "mosaics.json")),
    ],
)
def test_damage_costs_its_job_alone_and_nothing_unread_is_handed_on(run, tmp_path, name, content):
    (run / "a|b" / name).write_text(content)
    (run / "a|b").rename(run / "\udcff")  # bytes that are not UTF-8
    (run / "scored").rename(run / "s\udcff")
    export = write_export(run, tmp_path / "out")
    assert list(export.jobs) == ["s\\udcff"]
    assert list(export.left_out) == ["failed", "\\udcff"]
    assert [path.name for path in (tmp_path / "out" / "jobs").iterdir()] == ["0000"]
    assert not list((tmp_path / "out").rglob(name)) or name == "summary.json"


@pytest.mark.parametrize("depth", [900, 5_000, 100_000])
def test_however_deep_an_environment_is_every_job_is_handed_on_or_left_out_by_name(run, tmp_path, depth):
    """How deep json reads and writes hangs on the Python and on its stack."""
    (run / "a|b" / "environment.json").write_text('{"a":' * depth + "1" + "}" * depth)
    export = write_export(run, tmp_path / "out")
    assert "scored" in export.jobs
    assert {*export.jobs, *export.left_out} == {"a|b", "failed", "scored"}
