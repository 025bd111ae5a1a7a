"""Laws of the transfer protocol: its rows hold the numbers worked by hand, and no image is classified twice."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from paths import CONF
from PIL import Image
from rows_in_memory import read_rows
from torch import nn

from harmonia import arms
from harmonia.data.manifest import ImageRecord, ImageSet, add_digests
from harmonia.data.view import View
from harmonia.data.views import ViewedImages
from harmonia.errors import InputError
from harmonia.evaluation.transfer import Transfer
from harmonia.features.controls import Controls
from harmonia.features.fill import Black, Mean
from harmonia.features.maps import pack
from harmonia.job.contract import Job
from harmonia.job.pipeline import evaluate
from harmonia.models.classifier import Classifier
from harmonia.models.labels import predicted
from harmonia.models.spec import ModelSpec
from harmonia.results.representations import read_representations
from harmonia.results.rows import ROWS
from harmonia.store.sets import ShardSet

TRAINER = {**OmegaConf.load(CONF / "trainer" / "auto.yaml"), "accelerator": "cpu"}
del TRAINER["name"]
COLOURS = np.array([[200, 40, 10], [30, 220, 90], [0, 0, 0], [60, 70, 250]]) / 255  # of the four images
LABELS, EXPLAINED = ["red", "green", "red", "blue"], ["red", "green", "red", "red"]
BLACK = ("black", Black())
MADE = {"passes": 1, "converged": True}  # facts of every map
SOFT = [0.8, 0.5, 0.1, 0.2]  # the constant value of each map
BROKEN = 2
READABLE = [0, 1, 3]
ARMS = ["image", "soft", "area25"]


class Linear(nn.Module):
    """Logits linear in the mean colour."""

    def __init__(self, weights: list[list[float]]):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))

    head_hidden_size = 3

    def forward(self, images):
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images):
        return images

    def forward_head(self, features, pre_logits=False):
        colours = features.mean((2, 3))
        return colours if pre_logits else colours @ self.weights.T


WEIGHTS = {
    "near": [[4.0, 0, 0], [0, 4, 0], [0, 0, 4]],
    "far": [[0.0, 1, 2], [1, 1, 1], [3, 0, 0], [2, 1, 0], [0, 2, 0], [0, 0, -3], [-2, 0, 0]],
}
CLASSES = {"near": ("red", "green", "blue"), "far": ("blue", "violet", "red", "a", "b", "c", "d")}


def classifier(name: str, network: type[Linear] = Linear) -> Classifier:
    view = View(size=16, crop_pct=1.0, crop_mode="center", interpolation="bilinear", mean=(0.0,) * 3, std=(1.0,) * 3)
    return Classifier(network(WEIGHTS[name]), ModelSpec(name=name, arch=name, family=name), view, CLASSES[name], name)


class Method:
    normalise = "clamp"


@pytest.fixture
def job(tmp_path):
    """Makes jobs on one store: job("name of its folder")."""
    records = []
    for number, colour in enumerate(COLOURS):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (20, 16), tuple(np.rint(255 * colour).astype(int).tolist())).save(path)
        if number == BROKEN:
            path.write_bytes(b"no image")
        records.append(ImageRecord(path.name, path, LABELS[number], ""))
    images = ImageSet("colours", add_digests(records), ())
    near, far = classifier("near"), classifier("far")
    maps = ShardSet.open(tmp_path, "maps", "near-method", {"a": 1}, 4, 3)
    values = np.array(SOFT, np.float32)[:, None, None] * np.ones((4, 5, 5), np.float32)
    for shard in maps.claims():
        items = list(maps.shard_items(shard))
        facts = [
            {
                "explained": EXPLAINED[i],
                "predicted": "blue" if i == 3 else LABELS[i],
                "flag": "unreadable" if i == BROKEN else "constant",
                **MADE,
            }
            for i in items
        ]
        maps.write(shard, pack(values[items]), facts)

    def make(folder: str, maps=maps, fill=BLACK, targets=None) -> Job:
        (tmp_path / folder).mkdir()
        identity = {"maps": maps.key, "fill": fill[0], "data": images.digest}
        keys = SimpleNamespace(
            maps=lambda: maps,
            predictions=lambda target: stored("predictions", target, {"data": images.digest}),
            controls=lambda target, reading: stored("controls", target, {**identity, **reading}),
            features=lambda target, reading: stored("features", target, {**identity, **reading}),
        )
        named = {group: SimpleNamespace(name=group) for group in ("method", "evaluation")}
        named |= {"label": SimpleNamespace(name="predicted"), "fill": SimpleNamespace(name=fill[0])}
        return type("JobOfTheseSets", (Job,), {"keys": keys})(
            settings=SimpleNamespace(**named, batch_size=4, compile=False),  # pyright: ignore
            folder=tmp_path / folder,
            images=images,
            viewed=ViewedImages(images.records, [near.view]),
            source=near,
            targets=targets or {"near": near, "far": far},
            method=Method(),  # pyright: ignore
            label_policy=predicted,
            fill=fill[1],
            evaluation=Transfer(),
            open_set=None,  # pyright: ignore
            pool=None,  # pyright: ignore
            given=None,
            make_trainer=lambda **more: instantiate(TRAINER, **more, _convert_="all"),
            device=torch.device("cpu"),
        )

    def stored(kind: str, target: Classifier, identity: dict) -> ShardSet:
        return ShardSet.open(tmp_path, kind, target.name, {"model": target.digest, **identity}, 4, 3)

    return make


def passes(job: Job, **settings) -> dict[str, int]:
    """Runs Transfer of these settings on the job; gives the inputs that went through each network."""
    summary = evaluate(replace(job, evaluation=Transfer(**settings)))
    return {name: value for name, value in summary.items() if name in ("network_passes/near", "network_passes/far")}


def by_hand(name: str, image: int, kept: float) -> np.ndarray:
    """Probabilities of an evenly coloured image of which so much light is kept."""
    logits = np.array(WEIGHTS[name]) @ (kept * COLOURS[image])
    return np.exp(logits) / np.exp(logits).sum()


def test_rows_hold_the_numbers_worked_by_hand(job):
    colour_job = job("job")
    passes(colour_job, areas=(0.25,))
    rows = read_rows(colour_job.folder)
    assert len(rows) == 2 * 3 * 3
    expected = [(name, image, arm) for name in ("near", "far") for image in READABLE for arm in ARMS]
    for row, (name, image, arm) in zip(rows.to_dict("records"), expected, strict=True):
        kept = {"image": 1.0, "soft": SOFT[image], "area25": 0.25}[arm]
        p, classes = by_hand(name, image, kept), CLASSES[name]
        assert (row["target"], row["image_id"], row["arm"]) == (name, f"{image}.png", arm)
        assert row["kept_area"] == pytest.approx(kept, abs=1e-3)  # maps are kept to half precision
        assert row["predicted"] == classes[p.argmax()]
        assert list(row["top5"]) == [classes[index] for index in np.argsort(-p)[:5]]
        assert row["p_predicted"] == pytest.approx(p.max(), abs=1e-3)
        assert row["entropy"] == pytest.approx(-(p * np.log(p)).sum(), abs=1e-3)
        for column, wanted in (("p_label", LABELS[image]), ("p_explained", EXPLAINED[image])):
            if wanted in classes:
                assert row[column] == pytest.approx(p[classes.index(wanted)], abs=1e-3)
            else:
                assert np.isnan(row[column])
        assert (row["label"], row["explained"]) == (LABELS[image], EXPLAINED[image])
        assert row["source_predicted"] == ("blue" if image == 3 else LABELS[image])
        assert (row["source"], row["method"], row["label_policy"], row["fill"]) == (
            "near", "method", "predicted", "black",
        )  # fmt: skip
        assert row["flag"] == "constant"
    assert rows[rows.target == "far"].p_label.isna().sum() == 3  # green, which it does not know, three arms


def test_a_target_sees_each_image_once_and_each_of_its_arms_once(job):
    counts = passes(job("job"), areas=(0.25, 0.5))
    assert counts == {"network_passes/near": 3 * (1 + 3), "network_passes/far": 3 * (1 + 3)}


def test_a_second_job_takes_the_predictions_of_the_first(job):
    first, second = job("first"), job("second")
    passes(first, areas=(0.25,))
    counts = passes(second, areas=(0.25,))
    assert counts == {"network_passes/near": 0, "network_passes/far": 0}
    assert read_rows(second.folder).equals(read_rows(first.folder))


def test_a_target_that_is_new_classifies_the_images_and_the_known_one_does_not(job):
    first = job("first")
    passes(job("only near", targets={"near": first.targets["near"]}), areas=())
    assert passes(first, areas=()) == {"network_passes/near": 0, "network_passes/far": 3 * 2}


def test_the_normalisation_of_the_configuration_goes_before_the_methods(job):
    colour_job = job("job")
    passes(colour_job, areas=(), normalise="minmax")  # a constant map ranks nothing
    rows = read_rows(colour_job.folder)
    assert (rows[rows.arm == "soft"].kept_area == 0).all()
    with pytest.raises(InputError, match="got 'nonsense'"):
        passes(job("other"), normalise="nonsense")
    assert not (colour_job.folder.parent / "other" / ROWS).exists()


# --- controls -----------------------------------------------------------------------------------

ALL = Controls(
    dim=True,
    **{name: (0.25,) for name in ("blobs", "centre", "same_class", "other_class", "complement", "silhouette")},
)


@pytest.fixture
def ranked(job, tmp_path):
    """Makes jobs whose maps rank pixels: those of the images 0 and 1 explain red and green, that of 3 red."""

    def make(folder, flags=("", "", "unreadable", ""), **changes):
        maps = ShardSet.open(tmp_path, "maps", "ranked", {"flags": list(flags)}, 4, 3)
        values = np.random.default_rng(0).normal(size=(4, 5, 5)).astype(np.float32)
        for shard in maps.claims():
            items = list(maps.shard_items(shard))
            facts = [{"explained": EXPLAINED[i], "predicted": LABELS[i], "flag": flags[i], **MADE} for i in items]
            maps.write(shard, pack(values[items]), facts)
        return job(folder, maps=maps, **changes)

    return make


def rows_of(job, **settings):
    passes(job, areas=(0.25,), **settings)
    return read_rows(job.folder)


@pytest.mark.slow
def test_controls_change_no_number_of_the_other_arms(ranked):
    without, controlled = rows_of(ranked("without")), rows_of(ranked("with"), controls=ALL)
    assert controlled[controlled.arm.isin(ARMS)].reset_index(drop=True).equals(without)
    assert set(controlled.arm) - set(ARMS) == {
        "dim", "blobs25", "centre25", "same_class25", "other_class25", "complement25", "silhouette25",
    }  # fmt: skip


def test_controls_have_the_numbers_worked_by_hand(ranked):
    rows = rows_of(ranked("job"), controls=ALL)
    soft = rows[rows.arm == "soft"].set_index(["target", "image_id"]).kept_area
    for row in rows[rows.arm.map(arms.is_control)].to_dict("records"):
        image, name, arm = int(row["image_id"][0]), row["target"], row["arm"]
        kept = {"dim": soft[name, row["image_id"]], "complement25": 0.75}.get(arm, 0.25)
        assert row["kept_area"] == pytest.approx(kept, abs=1e-5), arm
        colour = np.ones(3) if arm == "silhouette25" else COLOURS[image]  # white on black, whatever the image
        logits = np.array(WEIGHTS[name]) @ (kept * colour)
        assert row["p_predicted"] == pytest.approx((np.exp(logits) / np.exp(logits).sum()).max(), abs=1e-3), arm


def test_an_image_without_a_partner_has_no_row_of_that_arm_and_costs_no_pass(ranked):
    colour_job = ranked("job")
    counts = passes(colour_job, areas=(0.25,), controls=ALL)
    rows = read_rows(colour_job.folder)
    having = rows.groupby("arm").image_id.unique().map(sorted).to_dict()
    assert having["same_class25"] == ["0.png", "3.png"]  # green is explained once
    assert having["other_class25"] == having["image"] == ["0.png", "1.png", "3.png"]
    assert counts["network_passes/near"] == 3 * (1 + 8) + 2 == (rows.target == "near").sum()


def test_a_map_that_ranks_nothing_stands_in_for_none(ranked):
    rows = rows_of(ranked("job", flags=("constant", "", "unreadable", "")), controls=ALL)
    assert sorted(rows[rows.arm == "same_class25"].image_id.unique()) == ["0.png"]  # 3 would take 0, which is flagged


@pytest.mark.slow
def test_a_silhouette_does_not_depend_on_the_fill(ranked):
    black, mean = (
        rows_of(ranked("black"), controls=ALL),
        rows_of(ranked("mean", fill=("mean", Mean())), controls=ALL),
    )
    for arm in ("silhouette25", "complement25"):
        one, other = (rows[rows.arm == arm].p_predicted.to_numpy() for rows in (black, mean))
        assert (arm == "silhouette25") == np.array_equal(one, other)


def nothing_of(job) -> tuple[dict, dict]:
    counts = passes(job, areas=(), controls=Controls(nothing=True))
    rows = read_rows(job.folder)
    return rows[rows.arm == "nothing"].set_index(["target", "image_id"]).p_predicted.to_dict(), counts


def test_nothing_on_black_is_one_picture_for_all_images_and_one_pass(ranked):
    p, counts = nothing_of(ranked("black"))
    assert sorted({image for _, image in p}) == ["0.png", "1.png", "3.png"]
    classes = {name: len(weights) for name, weights in WEIGHTS.items()}
    assert list(p.values()) == pytest.approx([1 / classes[name] for name, _ in p])  # no light: all logits are 0
    assert counts == {"network_passes/near": 3 + 3 + 2, "network_passes/far": 3 + 3 + 2}  # shards of 3 and 1 images


def test_nothing_on_the_mean_colour_is_what_stands_there_for_each_image(ranked):
    p, counts = nothing_of(ranked("mean", fill=("mean", Mean())))
    for (name, image), found in p.items():
        assert found == pytest.approx(by_hand(name, int(image[0]), 1).max(), abs=1e-3)
    assert counts == {"network_passes/near": 9, "network_passes/far": 9}


# --- whole patches ------------------------------------------------------------------------------


class OnePatch(Linear):
    """Sees the first of 4 x 4 patches alone."""

    def forward_features(self, images):
        return images[..., :4, :4]


def test_a_network_that_looks_at_one_patch_is_shown_all_or_nothing_of_it(ranked, monkeypatch):
    """And one without patches has no such rows, and no pass for them."""
    monkeypatch.setattr("harmonia.job.target.patch_grid", lambda model: (4, 4) if model.name == "near" else None)
    patched_job = ranked("job", targets={"near": classifier("near", OnePatch), "far": classifier("far")})
    counts = passes(patched_job, areas=(0.25,), controls=Controls(blobs=(0.25,), centre=(0.25,)), patch_borders=True)
    rows = read_rows(patched_job.folder)
    cut = ["patch_area25", "patch_blobs25", "patch_centre25"]
    assert [arm for arm in rows[rows.target == "near"].arm.unique() if arm.startswith("patch")] == cut
    assert not rows[rows.target == "far"].arm.isin(cut).any()
    assert counts == {"network_passes/near": 3 * (1 + 4 + 3), "network_passes/far": 3 * (1 + 4)}
    of_patches = rows[rows.arm.isin(cut)]
    assert (of_patches.kept_area == 0.25).all()  # 4 of 16
    for row in of_patches.to_dict("records"):
        all_or_nothing = [by_hand("near", int(row["image_id"][0]), kept).max() for kept in (0, 1)]
        assert min(abs(row["p_predicted"] - p) for p in all_or_nothing) < 1e-3, row["arm"]
    centred = rows[(rows.target == "near") & (rows.arm == "patch_centre25")]
    assert centred.p_predicted.tolist() == pytest.approx([1 / 3] * 3)  # the box lies in the four patches in the middle


# --- representations ----------------------------------------------------------------------------


def test_the_representations_of_every_target_are_left_for_the_readable_images(job):
    colour_job = job("job")
    passes(colour_job, areas=())
    image_ids, representations = read_representations(colour_job.folder)
    assert image_ids == ["0.png", "1.png", "3.png"]
    for name in ("near", "far"):
        np.testing.assert_allclose(representations[name], COLOURS[READABLE] / COLOURS[READABLE].max(), atol=2e-3)


def test_so_many_images_are_chosen_alike_for_every_job(job):
    chosen = []
    for number, more in enumerate(({}, {"targets": {"far": classifier("far")}})):
        colour_job = job(f"job {number}", **more)
        passes(colour_job, areas=(), representations=2)
        chosen.append(read_representations(colour_job.folder)[0])
    assert len(chosen[0]) == 2
    assert chosen[0] == chosen[1]
    none = job("none")
    passes(none, areas=(), representations=0)
    assert read_representations(none.folder) == ([], {})
