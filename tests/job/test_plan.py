"""What is planned is what a run then computes, each set once, and nothing is written by planning."""

import json
import re
import signal

import pytest
from PIL import Image

from harmonia import plan
from harmonia.job import plan as job_plan
from harmonia.job.completion import Completed
from harmonia.job.contract import Stage
from harmonia.job.plan import Cost, Plan, PlannedStage, duration

WORDS = ["source=timm", "source.arch=test_resnet", "source.weights=random", "target=self", "data=folder", "trainer=cpu"]
WORDS += ["data.root=images", "evaluation.controls=null", "evaluation.areas=[0.3]", "logger=none", "store.shard_size=2"]
WORDS += ["source.input_size=64"]


@pytest.fixture
def planned(cli, tmp_path, capfd):
    """planned(*words): the command's exit code and output, in the folder and with the store of cli."""
    for number in range(5):
        path = tmp_path / "images" / ("n01440764", "n02102040")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (50 * number, 99, 7)).save(path)

    def call(*words, without=()):
        capfd.readouterr()
        code = plan.main([*words, *(word for word in WORDS if not word.startswith(without))])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


def numbers(out: str, kind: str) -> list[list[str]]:
    """The cells of the table's rows of one kind."""
    return [re.split(r"\s*│\s*", line.strip(" │")) for line in out.splitlines() if line.startswith(f"│ {kind} ")]


def test_a_plan_foretells_the_passes_of_the_run_and_writes_nothing(cli, planned, tmp_path):
    words = ["-m", "method=gc", "label=predicted,runner_up"]
    code, out, err = planned("--images", "3", *words)
    assert code == 0, err
    assert err == "timing 3 stages of gc on test_resnet, up to 3 images each; --images 0 times nothing\n"
    assert not (tmp_path / "cache").exists()
    assert not list(tmp_path.glob("multirun_outputs*"))
    # two sets of maps and of features, and one of answers on images, which both jobs share
    assert [row[2:6] for row in numbers(out, "maps")] == [["5", "0", "5", "5"]] * 2
    assert [row[2:6] for row in numbers(out, "images")] == [["5", "0", "5", "5"]]
    assert [row[2:6] for row in numbers(out, "features")] == [["5", "0", "5", "10"]] * 2
    (total,) = numbers(out, "all")
    assert total[2:6] == ["25", "0", "25", "35"]
    assert cli(*words, *WORDS, "hydra.sweep.dir=sweep")[0] == 0
    passes = 0
    for path in (tmp_path / "sweep").glob("*/summary.json"):
        summary = json.loads(path.read_text())
        passes += sum(value for name, value in summary.items() if name.startswith("network_passes/"))
    assert passes == 35
    (total,) = numbers(planned("--images", "0", *words)[1], "all")
    assert total[2:6] == ["25", "25", "0", "0"]


def test_scores_of_maps_are_planned_with_their_passes_and_no_target_is(cli, planned, tmp_path):
    words = ["method=gc", "evaluation=deletion", "++evaluation.metric.steps=3"]
    plain = [word for word in WORDS if not word.startswith("evaluation.")]
    code, out, err = planned("--images", "3", *words, without=("evaluation.",))
    assert code == 0, err
    (scores,), kinds = numbers(out, "scores"), [numbers(out, kind) for kind in ("images", "features")]
    assert kinds == [[], []]
    assert scores[1].endswith(": deletion")
    assert cli(*words, *plain, "hydra.run.dir=job")[0] == 0
    summary = json.loads((tmp_path / "job" / "summary.json").read_text())
    assert int(scores[5]) == summary["network_passes/test_resnet"] == 5 * 4
    (scores,) = numbers(planned("--images", "0", *words, without=("evaluation.",))[1], "scores")
    assert scores[2:6] == ["5", "5", "0", "0"]


@pytest.mark.parametrize("order", ["2,6", "6,2"])
def test_options_that_are_swept_have_costs_of_their_own(cli, planned, tmp_path, order):
    words = ["-m", "method=ss", f"method.steps={order}", "method.tolerance=null"]
    code, out, err = planned("--images", "5", *words)
    assert code == 0, err
    foretold = [int(row[5].replace(",", "")) for row in numbers(out, "maps")]
    assert cli(*words, *WORDS, "hydra.sweep.dir=sweep")[0] == 0
    summaries = [json.loads(path.read_text()) for path in sorted((tmp_path / "sweep").glob("*/summary.json"))]
    assert foretold == [summary["network_passes/maps"] for summary in summaries]
    assert foretold[0] != foretold[1]


def test_fills_of_other_options_make_other_features(planned):
    _, out, err = planned("--images", "0", "-m", "method=gc", "fill=blur", "fill.sigma=0.1,0.2")
    assert len(numbers(out, "features")) == 2, err
    assert len(numbers(out, "maps")) == 1


@pytest.mark.usefixtures("needs_samples")
def test_mosaics_are_planned_at_most_and_exactly_once_the_images_have_been_classified(cli, tmp_path, capfd):
    words = ["data=samples", "source=lite0", "logger=none", "trainer=cpu", "method=gc", "evaluation=gridpg"]
    words += ["source.input_size=96", "evaluation.confidence=0", "evaluation.grids=4"]

    def foretold(*options) -> tuple[list[str], list[str]]:
        capfd.readouterr()
        assert plan.main([*options, *words]) == 0
        out = capfd.readouterr().out
        (images,), (mosaics,) = numbers(out, "images"), numbers(out, "mosaics")
        return images[2:6], mosaics[2:6]

    # 20 images make 4 mosaics at most, of 4 cells each
    assert foretold("--images", "5") == (["20", "0", "20", "20"], ["16", "0", "16", "16"])
    assert not (tmp_path / "cache").exists()
    assert cli(*words, "hydra.run.dir=job")[0] == 0
    summary = json.loads((tmp_path / "job" / "summary.json").read_text())
    cells = summary["network_passes/maps"]
    assert 0 < cells <= 16
    assert foretold("--images", "0") == (["20", "20", "0", "0"], [str(cells), str(cells), "0", "0"])


def mosaic_rows(out: str) -> list[list[str]]:
    return [row[2:6] for row in numbers(out, "mosaics")]


@pytest.mark.usefixtures("needs_samples")
def test_mosaics_that_serve_every_smoothing_and_batch_size_are_planned_once(cli, capfd):
    words = ["data=samples", "source=lite0", "logger=none", "trainer=cpu", "method=gc", "evaluation=gridpg"]
    words += ["source.input_size=96", "evaluation.confidence=0", "evaluation.grids=1"]
    # lite0 has no position embeddings: what becomes of them changes nothing
    sweep = ["-m", *words, "smooth.k=null,9", "batch_size=1,8", "evaluation.positions=interpolated,tiled"]

    def foretold():
        capfd.readouterr()
        assert plan.main(["--images", "0", *sweep]) == 0
        out = capfd.readouterr().out
        assert "8 jobs" in out
        return mosaic_rows(out), [row[2:5] for row in numbers(out, "images")]

    assert [[row[:3] for row in rows] for rows in foretold()] == [[["4", "0", "4"]], [["20", "0", "20"]]]
    code, _, err = cli(*words, "hydra.run.dir=job")
    assert code == 0, err
    assert [[row[:3] for row in rows] for rows in foretold()] == [[["4", "4", "0"]], [["20", "20", "0"]]]


def test_targets_of_one_name_and_other_inputs_are_sets_of_their_own(planned):
    other = [f"target.timm.{word}" for word in ("arch=test_resnet", "weights=random", "name=other")]
    words = ["-m", "method=gc", "target=timm", *other, "target.timm.input_size=64,96"]
    _, out, err = planned("--images", "0", *words, without=("target=",))
    assert (len(numbers(out, "maps")), len(numbers(out, "features"))) == (1, 2), err


def test_a_cost_is_that_of_the_models_input_size(planned, monkeypatch):
    calibrated, sizes = job_plan.calibrated, []

    def spy(settings, *arguments):
        sizes.append(settings.source.input_size)
        return calibrated(settings, *arguments)

    monkeypatch.setattr(job_plan, "calibrated", spy)
    code, _, err = planned(
        "--images", "2", "-m", "method=gc", "source.input_size=32,64,32", without=("source.input_size",)
    )
    assert code == 0, err
    assert sizes == [32, 64]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_plan_says_so_in_one_line(capfd, monkeypatch, number):
    monkeypatch.setattr(Plan, "add", lambda *given: signal.raise_signal(number))
    before = signal.getsignal(number)
    assert plan.main(["--images", "0", "method=gc", *WORDS, "data.root=."]) == 130
    assert capfd.readouterr().err == "harmonia: interrupted; nothing was planned or written\n"
    assert signal.getsignal(number) is before


def test_each_job_of_a_sweep_is_added_once_and_what_hydra_would_write_is_not_written(capfd, monkeypatch, tmp_path):
    added = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Plan, "add", lambda _, settings: added.append((settings.method.name, settings.seed)))
    words = [*WORDS, "data.root=.", "seed=1,2"]
    assert plan.main(["--images", "0", "--devices", "1,3", "-m", "method=gc,grad", *words]) == 0
    assert added == [("gc", 1), ("gc", 2), ("grad", 1), ("grad", 2)]
    lines = capfd.readouterr().out.splitlines()
    assert lines[-2:] == [f"on {devices} like this one: at most 0.0 s" for devices in ("1 device", "3 devices")]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", [("--cfg", "job"), ("--info",), ("--resolve",), ("-c", "job"), ("--hydra-help",)])
def test_hydras_own_flags_are_refused_by_name(capfd, flags):
    assert plan.main([*flags, "method=gc", *WORDS]) == 2
    out, err = capfd.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("harmonia: ")
    assert flags[0] in line
    assert not out


@pytest.mark.parametrize(
    ("flag", "value", "rule"),
    [
        ("--images", "-1", "must be a number of images from 0 to 999999, got -1"),
        ("--images", "9" * 30, "must be a number of images from 0 to 999999"),
        ("--devices", "0", "must be numbers from 1 to 999999 parted by commas, got 0"),
        ("--devices", "2," + "9" * 400, "must be numbers from 1 to 999999 parted by commas"),
    ],
)
def test_a_number_outside_its_range_is_refused(capfd, flag, value, rule):
    assert plan.main([flag, value, *WORDS]) == 2
    assert rule in capfd.readouterr().err


def test_what_cannot_be_run_cannot_be_planned(capfd):
    assert plan.main(["method=gradcam", *WORDS]) == 2
    err = capfd.readouterr().err
    assert "method must be one of" in err
    assert len(err.splitlines()) == 1


def stage(kind: str, missing: tuple[int, ...]) -> Stage:
    """Of ten items."""
    return Stage(
        kind=kind,
        title="x",
        key=(kind,),
        priced_by=(kind,),
        count=10,
        missing=missing,
        shards=None,
        complete=lambda: Completed(0, 0),
    )


def test_the_bound_is_grahams():
    costly = PlannedStage(stage("maps", (4, 4, 2)), Cost(seconds=2.0, passes=1.0, num_bytes=5.0))
    assert costly.total("seconds") == costly.bound_s(1) == 20
    assert costly.total("num_bytes") == 50
    assert costly.bound_s(2) == 20 / 2 + 8 / 2
    assert costly.bound_s(10**9) == pytest.approx(8)  # a shard is nobody else's
    done = PlannedStage(stage("images", ()))
    assert done.bound_s(4) == done.total("seconds") == 0
    plan_of_two = Plan(0, stages={("a",): costly, ("b",): done})
    assert plan_of_two.bound_s(2) == 14


def test_the_table_has_a_line_a_set_and_their_sum_and_says_where_nothing_was_calibrated():
    costly = PlannedStage(stage("maps", (4, 4, 2)), Cost(seconds=0.5, passes=2.0, num_bytes=300.0))
    stages = {("a",): costly, ("b",): PlannedStage(stage("images", ()))}
    table = Plan(8, jobs=3, stages=stages).table()
    lines = list(zip(*(column.cells for column in table.columns), strict=True))
    assert table.title == "3 jobs"
    assert lines == [
        ("maps", "x", "10", "0", "10", "20", "3.0 kB", "5.0 s"),
        ("images", "x", "10", "10", "0", "0", "0 bytes", "0.0 s"),
        ("all", "", "20", "10", "10", "20", "3.0 kB", "5.0 s"),
    ]
    stages[("c",)] = PlannedStage(stage("features", (1,)))
    (*_, last) = zip(*(column.cells for column in Plan(0, stages=stages).table().columns), strict=True)
    assert last[-3:] == ("?", "?", "?")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (119, "119.0 s"), (180, "3.0 min"), (7200, "2.0 h"), (1e6, "11.6 days"), (float("nan"), "?")],
)
def test_durations_come_in_a_unit_that_can_be_read(seconds, text):
    assert duration(seconds) == text
