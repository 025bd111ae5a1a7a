"""Whole jobs on real weights and real images (the quickstart extra)."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from harmonia.results import read_rows, read_summary, summarise

pytestmark = pytest.mark.usefixtures("needs_samples")

FAST = ["data=samples", "data.limit=4", "source=lite0", "logger=none", "trainer=cpu", "hydra.run.dir=job"]
ARMS = ["image", "soft", "area10", "area20", "area30", "area50"]


def test_a_job_leaves_rows_summary_config_and_environment(cli, tmp_path):
    code, out, err = cli(*FAST, "target=[self,lite1]", "method=gc")
    assert code == 0, err
    assert "gc on lite0 looks at layer bn2" in out
    rows = read_rows(tmp_path / "job")
    assert len(rows) == 4 * 2 * len(ARMS)  # images x targets x arms
    assert list(rows["arm"].unique()) == ARMS
    assert list(rows["target"].unique()) == ["lite0", "lite1"]
    summary = read_summary(tmp_path / "job")
    assert summary["images_decoded"] == 4  # once a job, whatever the stages and targets
    assert summary["network_passes/lite0"] == summary["network_passes/lite1"] == 4 * len(ARMS)
    assert summary["network_passes/maps"] == 4
    assert (summary["maps_computed"], summary["maps_cached"]) == (4, 0)
    for name, value in summarise(rows).items():
        assert summary[name] == pytest.approx(value, nan_ok=True)
    config = yaml.safe_load((tmp_path / "job" / "config.yaml").read_text())
    assert config["target"]["self"] == config["source"]
    assert json.loads((tmp_path / "job" / "environment.json").read_text())["packages"]["timm"]
    assert "looks at layer" in (tmp_path / "job" / "run.log").read_text()


def test_a_second_run_computes_no_map_and_says_so(cli, tmp_path):
    cli(*FAST, "target=self", "method=gc")
    first = read_rows(tmp_path / "job")
    code, out, _ = cli(*FAST, "target=[self,lite1]", "method=gc")
    assert code == 0
    assert "gc maps of lite0: all 4 images are in the store" in out
    summary = read_summary(tmp_path / "job")
    assert (summary["maps_computed"], summary["maps_cached"]) == (0, 4)
    # the image predictions of lite0 are reused, those of the new target are not
    assert summary["network_passes/lite0"] == 4 * (len(ARMS) - 1)
    assert summary["network_passes/lite1"] == 4 * len(ARMS)
    again = read_rows(tmp_path / "job")
    assert again[again["target"] == "lite0"].reset_index(drop=True).equals(first)


def test_maps_do_not_depend_on_the_target_but_on_all_that_changes_them(cli, tmp_path):
    for overrides in (
        ["method=gc", "target=self"],
        ["method=gc", "target=lite1"],
        ["method=gc", "target=self", "fill=mean", "seed=1", "evaluation.areas=[0.3]"],
    ):
        assert cli(*FAST, *overrides)[0] == 0
    maps = tmp_path / "cache" / "maps"
    assert len(list(maps.iterdir())) == 1
    for override in ("label=runner_up", "data.limit=3", "crop_pct=1.0", "method.layer=blocks.6"):
        before = len(list(maps.iterdir()))
        assert cli(*FAST, "method=gc", "target=self", override)[0] == 0
        assert len(list(maps.iterdir())) == before + 1, override


@pytest.mark.parametrize("method", ["gc", "ss"])
def test_the_same_seed_gives_the_same_rows_whatever_the_batch(cli, tmp_path, method):
    quick = ["method.steps=3", "method.held_out=1"] if method == "ss" else []
    tables = []
    for batch_size, cache in ((32, "a"), (3, "b")):
        overrides = [f"method={method}", *quick, "target=self", f"batch_size={batch_size}", f"paths.cache={cache}"]
        assert cli(*FAST, *overrides)[0] == 0
        tables.append(read_rows(tmp_path / "job"))
    numbers = ["p_label", "p_explained", "entropy", "kept_area"]
    # Adam turns rounding in tiny gradients into steps: Soundness Saliency repeats to 0.005, Grad-CAM to 1e-4
    tolerance = 5e-3 if method == "ss" else 1e-4
    assert (tables[0][numbers] - tables[1][numbers]).abs().max().max() < tolerance
    same = [name for name in tables[0] if name not in [*numbers, "p_predicted", "top5"]]
    assert tables[0][same].equals(tables[1][same])


def test_broken_images_are_named_counted_and_shift_no_row(cli, tmp_path):
    source = Path(sys.modules["importlib.util"].find_spec("foolbox").origin).parent / "data"
    root = tmp_path / "images"
    for number, label in ((0, 243), (1, 559), (2, 438)):
        (root / str(label)).mkdir(parents=True)
        data = (source / f"imagenet_{number:02}_{label}.jpg").read_bytes()
        (root / str(label) / "good.jpg").write_bytes(data)
        (root / str(label) / "a_broken.jpg").write_bytes(data[: len(data) // 2] if number else b"")
    words = ["data=folder", f"data.root={root}", "source=lite0", "target=self", "logger=none", "hydra.run.dir=job"]
    code, out, err = cli(*words, "method=gc", "trainer=cpu")
    assert code == 0, err
    assert out.count("a_broken.jpg") >= 3
    summary = read_summary(tmp_path / "job")
    assert (summary["images"], summary["images_unreadable"], summary["lite0/image/images"]) == (3, 3, 3)
    assert summary["network_passes/lite0"] == 3 * len(ARMS)
    rows = read_rows(tmp_path / "job")
    whole = rows[rows["arm"] == "image"].set_index("image_id")
    assert list(whole.index) == [f"{label}/good.jpg" for label in (243, 438, 559)]
    assert whole.loc["243/good.jpg", "predicted"] == whole.loc["243/good.jpg", "label"] == "n02108422"
    code, _, err = cli(*words, "method=gc", "unreadable=fail", "paths.cache=other")
    assert code == 2
    assert "a_broken.jpg" in err


def test_a_sweep_ends_with_its_tables(cli, tmp_path):
    words = ["-m", *FAST[:-1], "target=[self,lite1]", "method=gc,ss", "hydra.sweep.dir=sweep"]
    code, out, err = cli(*words[:1], "data.limit=2", *[word for word in words[1:] if word != "data.limit=4"])
    assert code == 0, err
    assert "lite1 (F)" in out
    for name in ("table1.md", "table1.csv", "table1.tex", "index.html"):
        assert (tmp_path / "sweep" / "report" / name).is_file()
        assert name in out
    assert (tmp_path / "sweep" / "0_lite0_gc" / "rows.parquet").is_file()


def test_a_method_is_one_module_and_one_yaml(cli, tmp_path, monkeypatch):
    (tmp_path / "brightness.py").write_text(
        "import torch\n"
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "from harmonia.attribution.contract import Explanation\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Brightness:\n"
        "    version: ClassVar[int] = 1\n"
        "    uses_replacements: ClassVar[bool] = False\n"
        "    normalise: ClassVar[str] = 'minmax'\n"
        "    def __call__(self, request):\n"
        "        with torch.no_grad():\n"
        "            logits = request.model(request.images())\n"
        "        labels = request.choose_labels(logits, request.positions)\n"
        "        p = logits.softmax(1).gather(1, labels[:, None])[:, 0]\n"
        "        ones = torch.ones(len(labels), dtype=torch.long)\n"
        "        return Explanation(maps=request.images().mean(1), explained=labels, predicted=logits.argmax(1),\n"
        "                           p_explained=p, passes=ones, converged=ones.bool())\n"
    )
    (tmp_path / "more" / "method").mkdir(parents=True)
    (tmp_path / "more" / "method" / "bright.yaml").write_text("_target_: brightness.Brightness\nname: bright\n")
    monkeypatch.syspath_prepend(tmp_path)
    code, _, err = cli(*FAST, f"hydra.searchpath=[file://{tmp_path}/more]", "method=bright", "target=self")
    assert code == 0, err
    summary = read_summary(tmp_path / "job")
    assert summary["lite0/area50/kept_area"] == pytest.approx(0.5)
    assert set(read_rows(tmp_path / "job")["method"]) == {"bright"}


def test_another_weights_file_and_any_timm_model_run(cli, tmp_path):
    words = [word for word in FAST if not word.startswith("source")]
    overrides = ["source=timm", "source.arch=vit_tiny_patch16_224", "source.weights=random", "target=self"]
    code, out, err = cli(*words, *overrides, "method=gc")
    assert code == 0, err
    assert "gc on vit_tiny_patch16_224 looks at layer blocks.10" in out
