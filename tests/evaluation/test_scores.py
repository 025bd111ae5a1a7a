"""Jobs that score maps: what reaches a metric, what becomes of it, and what the store keeps."""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from harmonia.attribution.gradient import Gradient
from harmonia.evaluation.metrics.contract import ExplainedImages, Score, Scores
from harmonia.results.scores import SCORES, read_scores

WORDS = ["source=timm", "source.arch=test_resnet", "source.weights=random", "target=self", "data=folder", "label=true"]
WORDS += ["data.root=images", "logger=none", "trainer=cpu", "store.shard_size=2", "hydra.run.dir=job"]
CLASSES = ("n01440764", "n02102040")


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Mean of the map, the largest difference to the map that explain gives, and the boxes' number.

    Says that it takes two passes of its own, and has every map made twice.
    """

    version: ClassVar[int] = 1
    seen: ClassVar[list[ExplainedImages]] = []

    factor: float = 1.0

    @property
    def better(self) -> Mapping[str, str]:
        return {"probe": "higher", "again": "lower", "boxes": ""}

    def __call__(self, explained: ExplainedImages) -> Scores:
        self.seen.append(explained)
        rows = torch.arange(len(explained.maps))
        again = explained.explain(explained.model, explained.pixels.float() / 255, rows)
        backwards = explained.explain(explained.model, explained.pixels.float().flip(0) / 255, rows.flip(0)).flip(0)
        assert torch.equal(again, backwards)
        difference = (again - explained.maps).abs().amax((1, 2)) / again.abs().amax((1, 2))
        positive = explained.maps.mean((1, 2)) > 0
        boxes = torch.tensor([len(of_image) for of_image in explained.boxes]).double()
        scores = {
            "probe": Score.of(self.factor * explained.maps.mean((1, 2))),
            "again": Score.of(difference),
            "boxes": Score(boxes.masked_fill(positive, math.nan), tuple("above 0" if one else "" for one in positive)),
            "probe/part": Score.of(rows),
        }
        explained.on_progress(len(rows))
        return Scores(scores, torch.full((len(rows),), 2))


@dataclass(frozen=True, kw_only=True)
class BoxProbe(Probe):
    """The same, with the boxes."""

    needs_boxes: ClassVar[bool] = True


@pytest.fixture
def probed(cli, tmp_path, monkeypatch):
    """probed(*words): the rows and the summary of a job that runs the probe, of five images in three shards."""
    monkeypatch.setitem(sys.modules, Probe.__module__, sys.modules[__name__])  # where the configuration finds it
    for number in range(5):
        path = tmp_path / "images" / CLASSES[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(noise).save(path)
    Probe.seen.clear()

    def call(*words, metric=Probe, report=False):
        target = f"evaluation.metric._target_={metric.__module__}.{metric.__name__}"
        package = f"packages=['{metric.__module__.partition('.')[0]}']"
        code, _, err = cli(*WORDS, "method=grad", "evaluation=sparseness", target, package, *words, report=report)
        assert code == 0, err
        return read_scores(tmp_path / "job"), json.loads((tmp_path / "job" / "summary.json").read_text())

    return call


@pytest.mark.usefixtures("blank_figures")
def test_every_image_has_a_row_for_each_score(probed, tmp_path):
    rows, summary = probed(report=True)
    assert (tmp_path / "job" / "report" / "index.html").is_file()
    assert len(rows) == 5 * 4
    assert rows["metric"].value_counts().to_dict() == {"probe": 5, "again": 5, "boxes": 5, "probe/part": 5}
    assert dict(zip(rows["metric"], rows["better"], strict=True)) == {
        "probe": "higher",
        "again": "lower",
        "boxes": "",
        "probe/part": "higher",
    }
    of_probe = rows[rows["metric"] == "probe"]
    assert of_probe["image_id"].tolist() == [f"{CLASSES[n % 2]}/{n}.png" for n in (0, 2, 4, 1, 3)]
    assert (of_probe["explained"].astype(str) == of_probe["label"].astype(str)).all()
    assert (rows[["source", "method", "evaluation"]].iloc[0] == ["test_resnet", "grad", "sparseness"]).all()
    assert summary["test_resnet/sparseness/probe"] == pytest.approx(of_probe["value"].mean())
    assert (summary["scores_computed"], summary["network_passes/test_resnet"]) == (5, 5 * (2 + 2))
    assert "test_resnet/image/accuracy" not in summary  # no target was asked


def test_explain_gives_the_stored_map_of_the_same_class_up_to_its_rounding(probed):
    rows, _ = probed()
    assert rows[rows["metric"] == "again"]["value"].max() < 1e-3


def test_an_undefined_score_has_its_reason_and_no_value(probed):
    rows, _ = probed()
    of_boxes, means = (rows[rows["metric"] == name].reset_index() for name in ("boxes", "probe"))
    assert (of_boxes["value"].isna() == (means["value"] > 0)).all()
    assert set(of_boxes["reason"][of_boxes["value"].isna()]) <= {"above 0"}
    assert (of_boxes["reason"][of_boxes["value"].notna()] == "").all()


def test_scores_are_computed_once_and_again_for_other_options_and_other_maps(probed):
    first, _ = probed()
    again, summary = probed()
    assert (summary["scores_computed"], summary["scores_cached"], summary["network_passes/test_resnet"]) == (0, 5, 0)
    assert again.equals(first)
    doubled, summary = probed("+evaluation.metric.factor=2")
    assert (summary["scores_computed"], summary["maps_computed"]) == (5, 0)
    of_both = [rows[rows["metric"] == "probe"]["value"].to_numpy() for rows in (first, doubled)]
    np.testing.assert_allclose(of_both[1], 2 * of_both[0])
    assert probed("label=predicted")[1]["scores_computed"] == 5


def test_a_smoothed_map_is_explained_anew_smoothed(probed):
    rows, _ = probed("smooth.k=5")
    assert rows["smooth"].tolist() == [5] * len(rows)
    assert rows[rows["metric"] == "again"]["value"].max() < 1e-3


def test_a_map_without_a_ranking_never_reaches_a_metric(probed, monkeypatch, tmp_path):
    plain = Gradient.__call__

    def partly_zero(self, request):
        explanation = plain(self, request)
        if request.pixels.dtype == torch.uint8:  # a shard of the store's, and not a metric's question
            explanation.maps[0] = 0
            explanation.maps[-1] = torch.nan
        return explanation

    monkeypatch.setattr(Gradient, "__call__", partly_zero)
    rows, summary = probed("store.shard_size=3")
    assert len(Probe.seen) == 1  # of the shards of 3 and 2 only the first has a map in the middle
    assert [len(explained.maps) for explained in Probe.seen] == [1]
    of_probe = rows[rows["metric"] == "probe"]
    assert of_probe["reason"].tolist() == ["zero", "", "non-finite", "zero", "non-finite"]
    assert of_probe["value"].isna().tolist() == [True, False, True, True, True]
    assert summary["maps_flagged"] == 4
    assert summary["test_resnet/sparseness/probe_undefined"] == 4
    assert summary["network_passes/test_resnet"] == 2 + 2


def test_what_is_undefined_is_counted_alike_whatever_shares_a_shard(cli, tmp_path, monkeypatch):
    folder = tmp_path / "images" / CLASSES[0]
    folder.mkdir(parents=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(folder / "0.png")
    Image.new("RGB", (40, 40), (90, 90, 90)).save(folder / "1.png")  # flat: a map of its edges is zero
    words = [*WORDS, "method=edges", "evaluation=completeness_soundness", "evaluation.metric.steps=3"]
    counts, rows = [], []
    for size in (1, 2):
        job = tmp_path / f"shards-of-{size}"
        monkeypatch.setenv("HARMONIA_CACHE", str(tmp_path / f"cache-{size}"))  # a store keeps the size it began with
        code, _, err = cli(*words, f"store.shard_size={size}", f"hydra.run.dir={job}")
        assert code == 0, err
        summary = json.loads((job / "summary.json").read_text())
        counts.append({key: value for key, value in summary.items() if "completeness_soundness/" in key})
        rows.append(read_scores(job).sort_values(["metric", "image_id"]).reset_index(drop=True))
    assert counts[0] == counts[1]
    assert counts[0]["test_resnet/completeness_soundness/soundness_auc_least_undefined"] == 1
    assert rows[0].astype(object).equals(rows[1].astype(object))
    assert set(rows[0].loc[rows[0]["image_id"] == f"{CLASSES[0]}/1.png", "reason"]) == {"zero"}


def test_an_unreadable_image_has_no_row_and_one_that_can_be_read_again_is_scored(probed, tmp_path):
    path = tmp_path / "images" / CLASSES[0] / "2.png"
    content = path.read_bytes()
    gone = path.with_suffix(".away")
    path.rename(gone)
    path.symlink_to("nowhere.png")
    rows, summary = probed()
    assert summary["images_unreadable"] == 1
    assert rows["image_id"].nunique() == 4
    assert f"{CLASSES[0]}/2.png" not in set(rows["image_id"])
    path.unlink()
    path.write_bytes(content)
    rows, _ = probed()
    assert rows["image_id"].nunique() == 5


def test_a_job_of_another_evaluation_in_the_folder_leaves_none_of_its_rows(probed, cli, tmp_path):
    probed()
    assert (tmp_path / "job" / SCORES).is_file()
    words = [*WORDS, "evaluation.controls=null", "evaluation.areas=[0.3]"]
    assert cli(*words, "method=gc")[0] == 0
    assert not (tmp_path / "job" / SCORES).exists()
    probed()
    assert not (tmp_path / "job" / "rows.parquet").exists()


def test_a_metric_that_needs_boxes_has_those_of_the_explained_class_and_scores_of_their_own(probed, tmp_path):
    file = tmp_path / "boxes.csv"
    lines = [f"images/{CLASSES[n % 2]}/{n}.png,{CLASSES[0]},0,0,20,20\n" for n in (0, 0, 1)]
    file.write_text("path,class_index,x0,y0,x1,y1\n" + "".join(lines))
    _, summary = probed("data.boxes=boxes.csv", metric=BoxProbe)
    counted = {Path(name).name: count for name, count in _boxes_seen(tmp_path).items()}
    assert counted == {"0.png": 2, "2.png": 0, "4.png": 0, "1.png": 0, "3.png": 0}  # 1.png is explained as another
    file.write_text(file.read_text().replace("20,20", "20,21"))
    assert probed("data.boxes=boxes.csv", metric=BoxProbe)[1]["scores_computed"] == summary["scores_computed"] == 5
    Probe.seen.clear()
    probed("data.boxes=boxes.csv")  # of a metric that does not say so they are no part of the key
    assert set(_boxes_seen(tmp_path).values()) == {0}


def _boxes_seen(folder):
    """Boxes that the probe was given, by image in the order of the rows."""
    rows = read_scores(folder / "job")
    names = rows[rows["metric"] == "probe"]["image_id"].tolist()
    return dict(zip(names, [len(boxes) for explained in Probe.seen for boxes in explained.boxes], strict=True))
