import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rows_in_memory import read_rows
from torch import nn

from harmonia.data.boxes import Boxes, LabelledBox
from harmonia.data.folder import folder
from harmonia.data.imagenet import own_class_name, wnids
from harmonia.data.manifest import ImageRecord, ImageSet
from harmonia.data.view import View
from harmonia.errors import InputError
from harmonia.job.classes import plain_names, settle_classes, warn_of_nameless
from harmonia.models.classifier import Classifier, class_indices
from harmonia.models.spec import ModelSpec


def model(*classes: str, name: str = "own") -> Classifier:
    view = View(size=8, crop_pct=1.0, crop_mode="center", interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1))
    return Classifier(nn.Identity(), ModelSpec(name=name, arch="any", family="any"), view, classes, digest="")


def images(*names: str) -> ImageSet:
    """One image of each class."""
    records = [ImageRecord(f"{name}/0", Path(name), own_class_name(name), "", given=name) for name in names]
    return ImageSet("mine", tuple(records), tuple(records))


def indices(data: ImageSet, classifier: Classifier) -> list[int]:
    return class_indices(classifier, [record.class_name or "" for record in data.records]).tolist()


@pytest.mark.parametrize(
    "classes",
    [
        ("cat", "dog", "bird"),
        ("0 cat", "1 dog", "2 bird"),
        ("1\tcat", "2\tdog", "3\tbird"),
        ("0,cat", "1,dog", "2,bird"),
        ("0: Cat", "1: Dog", "2: Bird"),
        ("cat,", "dog,", "bird,"),
        ("0,cat,", "1,dog,", "2,bird,"),
        ("Cat", "DOG", "bird"),
    ],
)
def test_a_file_whose_meaning_is_plain_is_taken(classes):
    classifier = model(*classes)
    data = settle_classes(images("bird", "cat", "dog"), classifier, [classifier])
    assert indices(data, classifier) == [2, 0, 1]
    assert classifier.classes == ("cat", "dog", "bird")


@pytest.mark.parametrize(
    "classes",
    [
        ("0 cat", "1 dog", "3 bird"),  # no line's place
        ("0 cat", "1 dog", "fish"),
        ("1 cat", "0 dog", "2 bird"),
        ("0 cat", "1 cat", "2 bird"),  # two of one name
        ("cats", "dogs", "birds"),
    ],
)
def test_other_files_are_refused_with_their_names_beside_those_of_the_folders(classes):
    classifier = model(*classes)
    with pytest.raises(InputError) as raised:
        settle_classes(images("bird", "cat"), classifier, [classifier])
    assert "own knows no class of mine; the data set has 'bird', 'cat', own " in str(raised.value)
    assert ", ".join(map(repr, classes)) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_names_that_a_data_set_has_stay_as_they_are():
    for names in (("0 zero", "1 one"), ("a,", "b,"), ("Cat", "cat")):
        assert plain_names(names, set(names)) == names
    assert plain_names(("Cat", "CAT"), {"cat"}) == ("Cat", "CAT")  # either could be meant
    assert plain_names(("cat", "Dog"), {"cat", "dog", "DOG"}) == ("cat", "Dog")
    assert plain_names(wnids(), {"n01440764", "my own"}) == wnids()


def test_a_file_that_has_the_digits_goes_before_imagenets_indices(caplog):
    caplog.set_level(logging.INFO)
    classifier = model("0", "1", "2")
    box = LabelledBox("n01443537", 0, 0, 1, 1)
    data = replace(images("0", "1", "2"), boxes=Boxes(Path("b.csv"), {"1/0": (box,)}))
    settled = settle_classes(data, classifier, [classifier])
    assert [record.class_name for record in (*settled.records, *settled.pool)] == ["0", "1", "2"] * 2
    assert settled.class_names == ("0", "1", "2")
    assert settled.boxes is not None
    assert settled.boxes.of_images["1/0"][0].class_name == "1"
    assert indices(settled, classifier) == [0, 1, 2]
    assert settled.digest != data.digest
    assert not caplog.messages


def test_a_wordnet_id_is_no_digit_of_a_file_that_has_digits():
    classifier = model("0", "1", "2")
    with pytest.raises(InputError, match="knows no class"):
        settle_classes(images("n01440764", "n01443537"), classifier, [classifier])


def test_a_line_says_that_names_are_read_as_imagenets_indices(caplog):
    caplog.set_level(logging.INFO)
    classifier = model(*wnids())
    data = images("0", "1", "n01484850")
    assert settle_classes(data, classifier, [classifier]) == data
    assert caplog.messages == [
        "mine: 2 class names are read as ImageNet indices, '0' as n01440764 (tench); "
        "a classes file that has them goes first"
    ]


def test_a_target_of_imagenet_is_refused_beside_a_source_of_digits():
    source, target = model("0", "1"), model(*wnids(), name="lite0")
    with pytest.raises(InputError, match="lite0 knows no class of mine; the data set has '0', '1', lite0 'n01440764'"):
        settle_classes(images("0", "1"), source, [source, target])
    words = model("zero", "one")
    with pytest.raises(InputError, match="the data set has '0', '1', own 'zero', 'one';"):
        settle_classes(images("0", "1"), words, [words])


def test_a_class_map_may_name_the_classes_of_a_file_by_digits(tmp_path):
    for name in ("zero", "one"):
        (tmp_path / "root" / name).mkdir(parents=True)
        Image.new("RGB", (2, 2), "white" if name == "one" else "black").save(tmp_path / "root" / name / "0.png")
    (tmp_path / "map.tsv").write_text("zero\t0\none\t1\n")
    classifier = model("0", "1")
    data = settle_classes(folder(tmp_path / "root", class_map=tmp_path / "map.tsv"), classifier, [classifier])
    assert {record.image_id: record.class_name for record in data.records} == {"zero/0.png": "0", "one/0.png": "1"}


def test_what_a_model_lacks_is_said(caplog):
    source = model("cat", "dog")
    data = settle_classes(images("bird", "cat"), source, [source])
    warn_of_nameless(data.pool, source)
    assert caplog.messages == [
        "own lacks 1 classes of mine, first 'bird'",
        "1 of 2 replacement images have none of the source's classes: they may show the explained one",
    ]


def test_a_models_outputs_keep_their_order_under_other_names():
    classifier = model("0 cat", "1 dog")
    before = classifier(torch.zeros(1, 3, 8, 8))
    settle_classes(images("dog"), classifier, [classifier])
    assert torch.equal(classifier(torch.zeros(1, 3, 8, 8)), before)
    assert classifier.class_index("dog") == 1
    assert classifier.identity()["classes"] == model("cat", "dog").identity()["classes"]


@pytest.mark.slow
def test_a_table_of_dark_images_is_explained_and_said_to_be_dark(cli, tmp_path):
    names = ["n02086240", "155", "n01440764"]
    for number, _ in enumerate(names):
        values = np.random.default_rng(number).integers(0, 4096, (40, 40), dtype=np.uint16)
        Image.fromarray(values).save(tmp_path / f"{number}.png")
    rows = [f"{number}.png,{name}" for number, name in enumerate(names)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]), encoding="utf-8-sig")
    network = ["source=timm", "source.arch=resnet10t", "source.weights=random", "source.input_size=64", "target=[self]"]
    plain = ["method=gc", "logger=none", "trainer=cpu", "evaluation.controls=null", "evaluation.areas=[]"]
    code, _, err = cli(*network, *plain, "data=folder", "data.labels=labels.csv", "hydra.run.dir=job")
    assert code == 0, err
    log = (tmp_path / "job" / "run.log").read_text()
    assert "folder: 1 class names are read as ImageNet indices, '155' as n02086240 (Shih-Tzu)" in log
    assert "folder: no image uses more than a sixteenth of its range" in log
    labels = read_rows(tmp_path / "job").groupby("image_id", observed=True)["label"].first().to_dict()
    assert labels == {"0.png": "n02086240", "1.png": "n02086240", "2.png": "n01440764"}


def test_the_classes_of_replacement_images_are_named_as_those_of_the_images():
    classifier = model("Cat", "Dog")
    pool = images("dog", "cat").records
    data = settle_classes(replace(images("cat"), pool=pool), classifier, [classifier])
    assert classifier.classes == ("cat", "dog")
    assert [classifier.class_index(record.class_name or "") for record in data.pool] == [1, 0]
