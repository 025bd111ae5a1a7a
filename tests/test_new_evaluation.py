"""A fourth kind of evaluation is one module and one yaml: it is run, planned and reported with no edit elsewhere."""

import json

import pandas as pd
import pytest
from PIL import Image

from harmonia import plan

MODULE = '''
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

import torch

from harmonia.errors import InputError
from harmonia.job.completion import CountingModule, complete
from harmonia.job.contract import Evaluation, Job, Stage
from harmonia.job.stages import image_stage, stored_stage

FILE = "brightness.parquet"


@dataclass(frozen=True, kw_only=True)
class Brightness(Evaluation):
    """How light the images are that the source is sure of."""

    section: ClassVar[str] = "planted_brightness"
    files: ClassVar[tuple[str, ...]] = (FILE, "brightness.txt")

    least: float = 0.0

    def check(self, images):
        if self.least > 1:
            raise InputError(f"evaluation.least must lie in [0, 1], got {self.least}; 0 takes every image")

    def stages(self, job: Job) -> Iterator[Stage]:
        yield image_stage(job, job.source)

        levels = self.levels(job)

        def compute():
            module = lambda progress: Meter(progress)
            return complete(levels, job.viewed, job.source.view, module, job.make_trainer, "brightness")

        yield stored_stage("brightness", f"for {job.source.name}", levels, ("brightness",), compute)

    def levels(self, job: Job):
        identity = {"data": job.images.digest, "view": job.source.view.size}
        return job.keys.open("brightness", f"brightness-for-{job.source.name}", identity)

    def write(self, job: Job) -> dict[str, Any]:
        ids = [record.image_id for record in job.images.records]
        levels = self.levels(job).read_items(range(len(ids)))[0]["level"]
        pd.DataFrame({"image_id": ids, "level": levels}).to_parquet(job.folder / FILE)
        (job.folder / "brightness.txt").write_text("light\\n")
        return {f"{job.source.name}/brightness": float(levels.mean())}
'''
MODULE += '''

class Meter(CountingModule):
    """A set of its own: the brightness of every image, kept in the store."""

    def __init__(self, advance):
        super().__init__()
        self.advance = advance

    def predict_step(self, batch, batch_index):
        self.advance(len(batch.pixels))
        levels = batch.pixels.double().mean((1, 2, 3)) / 255
        return {"level": levels.numpy()}, [{"flag": ""} for _ in levels]
'''
SECTION = """

from harmonia.report.contract import Section
from harmonia.report.tables.columns import StatisticTable
from harmonia.report.tables.typeset import table


class BrightnessSection(Section):
    rows_file = FILE
    heading = "How light the images are"
    numbers = "brightness.csv"

    @staticmethod
    def read(job):
        return pd.read_parquet(job.folder / FILE)

    def gather(self):
        rows = pd.concat([part.content.assign(job=part.name) for part in self.jobs])
        numbers = rows.groupby("job", as_index=False)["level"].mean()
        printed = pd.DataFrame({"Job": numbers["job"], "Level": [f"{level:.2f}" for level in numbers["level"]]})
        self.headlines = [StatisticTable("brightness", table(printed, "How light they are.", 1), numbers)]
"""
YAML = """\
_target_: planted_brightness.Brightness
name: brightness
least: 0
"""
WORDS = ["source=timm", "source.arch=test_resnet", "source.weights=random", "method=gc", "data=folder", "logger=none"]
WORDS += [
    "data.root=images",
    "trainer=cpu",
    "evaluation=brightness",
    "store.shard_size=2",
    "packages=[planted_brightness]",
]


def test_its_numbers_reach_a_logger(cli, words, tmp_path):
    code, _, err = cli(*words, "hydra.run.dir=job", "logger=csv")
    assert code == 0, err
    assert "test_resnet/brightness" in (tmp_path / "job" / "csv" / "metrics.csv").read_text()


@pytest.fixture
def words(tmp_path, monkeypatch):
    """A command line that runs the new evaluation on three images, of levels 0.2, 0.4 and 0.6."""
    for number, level in enumerate((51, 102, 153)):
        path = tmp_path / "images" / "n01440764" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (level,) * 3).save(path)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "planted_brightness.py").write_text(MODULE + SECTION)
    (tmp_path / "conf" / "evaluation").mkdir(parents=True)
    (tmp_path / "conf" / "evaluation" / "brightness.yaml").write_text(YAML)
    monkeypatch.syspath_prepend(tmp_path / "code")
    return [f"hydra.searchpath=[file://{tmp_path / 'conf'}]", *WORDS]


def test_it_runs_and_its_job_says_what_it_left(cli, words, tmp_path):
    code, _, err = cli(*words, "hydra.run.dir=job")
    assert code == 0, err
    summary = json.loads((tmp_path / "job" / "summary.json").read_text())
    assert summary["test_resnet/brightness"] == pytest.approx(0.4)
    assert summary["network_passes/test_resnet"] == 3
    assert (summary["images"], "maps_computed" in summary) == (3, False)
    assert json.loads((tmp_path / "job" / "environment.json").read_text())["files"] == [
        "brightness.parquet",
        "brightness.txt",
    ]
    # a later job of another kind may have the folder: nothing of the earlier one stays
    assert cli(*words, "hydra.run.dir=job", "evaluation=sparseness")[0] == 0
    assert json.loads((tmp_path / "job" / "environment.json").read_text())["files"] == ["scores.parquet"]
    assert not list((tmp_path / "job").glob("brightness.*"))


def test_it_is_planned(cli, words, capfd, tmp_path):
    assert plan.main(["--images", "2", *words, f"paths.cache={tmp_path / 'cache'}"]) == 0
    out = capfd.readouterr().out
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines()]
    assert ["images", "on test_resnet", "3", "0", "3", "3"] in [row[:6] for row in rows]
    assert ["brightness", "for test_resnet", "3", "0", "3", "0"] in [row[:6] for row in rows]


def test_it_refuses_images_in_its_own_words_before_models_load(cli, words):
    code, _, err = cli(*words, "evaluation.least=2", "hydra.run.dir=job")
    assert (code, err) == (2, "harmonia: evaluation.least must lie in [0, 1], got 2; 0 takes every image\n")


def test_its_section_is_in_the_report_that_ends_a_sweep(cli, words, tmp_path):
    code, _, err = cli("-m", *words, "seed=0,1", "hydra.sweep.dir=sweep", report=True)
    assert code == 0, err
    report = tmp_path / "sweep" / "report"
    assert pd.read_csv(report / "brightness.csv")["level"].tolist() == pytest.approx([0.4, 0.4])
    assert "0.40" in (report / "brightness.md").read_text()
    assert "How light they are." in (report / "index.html").read_text()
