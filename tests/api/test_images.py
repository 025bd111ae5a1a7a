"""Images of every kind that Python has are the same images; labels are names or indices."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from api_calls import CLASSES, TRANSFORM, explain
from PIL import Image
from torch import nn
from torch.utils.data import Dataset, Subset

import harmonia
from harmonia.data.given import given_images
from harmonia.errors import InputError


@pytest.mark.slow
def test_images_may_be_files_pictures_arrays_tensors_or_a_dataset(first, folder, tmp_path):
    paths = sorted(folder.rglob("*.png"))
    pictures = [Image.open(path).convert("RGB") for path in paths]
    arrays = [np.asarray(picture) for picture in pictures]
    batch = torch.stack([torch.from_numpy(array.copy()).permute(2, 0, 1) for array in arrays])
    dataset = torchvision.datasets.ImageFolder(folder)
    kinds = {
        "folder": folder,
        "paths": paths,
        "texts": [str(path) for path in paths],
        "pictures": pictures,
        "arrays": arrays,
        "uint8": batch,
        "floats": list(batch.float() / 255),
        "dataset": dataset,
        "pairs": [[picture, "cat"] for picture in pictures],
        "generator": (picture for picture in pictures),
    }
    expected = explain(first, folder, tmp_path / "cache").raw
    for kind, images in kinds.items():
        raw = explain(first, images, tmp_path / "cache").raw
        assert np.array_equal(raw, expected), kind
    assert np.array_equal(explain(first, paths[::-1], tmp_path / "cache").raw, expected[::-1])  # in the order given
    assert np.array_equal(explain(first, pictures[3], tmp_path / "cache").raw, expected[3:4])
    assert len(explain(first, dataset, tmp_path / "cache", limit=2)) == 2


@pytest.mark.parametrize(
    ("images", "line"),
    [
        ([], "images must be at least one"),
        ([torch.full((3, 8, 8), 2.0)], "must be uint8, or floats in 0..1"),
        ([(torch.zeros(3, 8, 8), 0, 1)], "must be an image, or an image and its label, got a tuple of 3"),
        ([(torch.zeros(3, 8, 8), 0)], "must be a name, or the dataset must have `classes`, got 0; give labels="),
        ([Image.new("F", (8, 8), -1.0)], "number 0 must be a picture that can be kept: its gray values lie in -1"),
        ([torch.zeros(2, 8, 8)], r"must be \(H, W\), \(H, W, 3\) or \(3, H, W\), got \(2, 8, 8\)"),
        (
            itertools.repeat(torch.zeros(3, 8, 8)),
            "images without a length must be at most 10000, got more; give limit=",
        ),
        ("no_such_data", "images must be files or one of"),
    ],
)
def test_other_images_are_refused_in_one_line(first, tmp_path, images, line):
    with pytest.raises(ValueError, match=line) as caught:
        explain(first, images, tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_one_image_has_a_pool_by_its_option(first, folder, tmp_path):
    path, words = next(folder.rglob("*.png")), ["trainer=cpu", "num_threads=1", "method.steps=2"]
    with pytest.raises(InputError, match=r"of 1 in the pool 0 are neither itself .* give data\.pool=FOLDER"):
        harmonia.explain(first, path, "ss", cache=tmp_path / "cache", options=words)
    (each,) = harmonia.explain(first, path, "ss", cache=tmp_path / "cache", options=[*words, f"data.pool={folder}"])
    assert each.flag == ""
    with pytest.raises(InputError, match=r"data\.pool and data\.pool_size alone count, got 'data\.per_class=1'"):
        harmonia.explain(first, path, options=["data.per_class=1"])


def test_networks_of_other_channels_see_arrays_and_pages_a_channel_each(first, tmp_path):
    network = nn.Sequential(nn.Conv2d(5, 6, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    transform = {"size": 32, "mean": (0.1, 0.2, 0.3, 0.4, 0.5), "std": (0.25,) * 5}
    model = harmonia.classifier(network, classes=CLASSES, transform=transform)
    pixels = torch.randint(0, 256, (2, 5, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    maps = explain(model, pixels, tmp_path / "cache")
    assert torch.equal(maps[1].view, pixels[1] / 255)
    logits = network((pixels / 255 - torch.tensor(transform["mean"]).view(5, 1, 1)) / 0.25)
    expected = logits.softmax(1).amax(1).tolist()
    assert [each.probability for each in maps] == pytest.approx(expected, abs=1e-6)
    assert torch.equal(maps.feature(0.3), pixels / 255 * torch.from_numpy(maps.keep(0.3))[:, None])
    assert maps[0].feature(0.3).size == (32, 32)  # a picture of the first three
    (tmp_path / "cat").mkdir()
    for number, image in enumerate(pixels):
        page, *others = map(Image.fromarray, image.numpy())
        page.save(tmp_path / "cat" / f"{number}.tif", save_all=True, append_images=others)
    assert np.array_equal(explain(model, sorted(tmp_path.glob("cat/*")), tmp_path / "cache").raw, maps.raw)
    Image.new("RGB", (32, 32)).save(tmp_path / "cat" / "0.tif")
    told = explain(model, tmp_path / "cat", tmp_path / "cache").to_pandas()["flag"]
    assert list(told) == ["unreadable", ""]
    with pytest.raises(InputError, match="must read images of the same channels, got 3 and 5"):
        harmonia.transfer(model, [first], pixels, labels=["cat", "dog"], cache=tmp_path / "cache")


def test_true_classes_may_be_names_or_indices(first, folder, tmp_path):
    pictures = [Image.open(path) for path in sorted(folder.rglob("*.png"))]
    names = explain(first, pictures, tmp_path / "cache", labels=["cat", "dog"] * 3, label="true")
    indices = explain(first, pictures, tmp_path / "cache", labels=torch.tensor([0, 1] * 3), label="true")
    assert [each.explained for each in names] == [each.explained for each in indices] == ["cat", "dog"] * 3
    with pytest.raises(InputError, match="labels must be one an image, got 2 for 6 images"):
        explain(first, pictures, tmp_path / "cache", labels=["cat", "dog"])
    for labels, got in ((itertools.repeat(1), "more"), (5, "0"), ("catdog", "0")):
        with pytest.raises(InputError, match=f"labels must be one an image, got {got} for 6 images"):
            explain(first, pictures, tmp_path / "cache", labels=labels)
    for labels in ([7] * 6, [None] * 6, [[0, 1]] * 6, torch.eye(6)):
        with pytest.raises(InputError, match="label of number 0 must be a name or an index of 3 classes, got"):
            explain(first, pictures, tmp_path / "cache", labels=labels)
    with pytest.raises(InputError, match="class folders have theirs; leave out"):
        explain(first, folder, tmp_path / "cache", labels=["cat"] * 6)


def test_class_folders_that_the_network_does_not_know_are_explained_all_the_same(networks, folder, tmp_path):
    model = harmonia.classifier(networks.first(), classes=["a", "b", "c"], transform=TRANSFORM, name="first")
    of_folders = explain(model, folder, tmp_path / "cache")
    assert np.array_equal(of_folders.raw, explain(model, sorted(folder.rglob("*.png")), tmp_path / "cache").raw)
    with pytest.raises(InputError, match="label=true needs every image's class"):
        explain(model, folder, tmp_path / "cache", label="true")
    with pytest.raises(InputError, match="knows no class"):
        harmonia.transfer(model, [model], folder, cache=tmp_path / "cache")


def test_labels_are_those_of_their_place(first, folder, tmp_path):
    """Names of a part of a dataset are the dataset's; a column of a shuffled table is read from top to bottom."""
    paths = sorted(folder.rglob("*.png"))
    truth = [path.parent.name for path in paths]
    other_order = torchvision.datasets.ImageFolder(folder)
    other_order.classes = other_order.classes[::-1]
    other_order.samples = [(path, 2 - label) for path, label in other_order.samples]
    for images, labels, expected in (
        (Subset(other_order, [5, 0, 3]), None, [truth[5], truth[0], truth[3]]),
        (Subset(Subset(other_order, [5, 0, 3]), [1]), None, [truth[0]]),
        (paths, pd.Series(truth, index=[3, 1, 2, 0, 5, 4]), truth),
    ):
        maps = explain(first, images, tmp_path / "cache", labels=labels, label="true")
        assert [each.explained for each in maps] == expected


def test_pictures_in_any_mode_and_half_floats_are_their_rgb(first, tmp_path):
    """Those that a PNG cannot hold, too."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8))
    for mode in ("CMYK", "YCbCr", "HSV", "L", "P"):
        (each,) = explain(first, [picture.convert(mode)], tmp_path / "cache")
        expected = np.asarray(picture.convert(mode).convert("RGB").resize((38, 32), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(each.view.permute(1, 2, 0) * 255, expected[:, 3:35], atol=0.01)
    halves = torch.rand(3, 40, 48).bfloat16()
    assert torch.equal(*(explain(first, [each], tmp_path / "cache")[0].view for each in (halves, halves.float())))


def test_an_image_that_cannot_be_read_keeps_its_place_and_says_nothing(first, folder, tmp_path):
    paths = sorted(folder.rglob("*.png"))
    paths[1].write_bytes(b"no picture")
    maps = explain(first, paths, tmp_path / "cache")
    assert (maps[1].flag, maps[1].explained, maps[1].predicted) == ("unreadable", "", "")
    assert np.isnan(maps[1].probability)
    assert maps[1].keep(0.3).sum() == 0
    assert maps.keep(0.3)[1].sum() == 0
    assert [each.path for each in maps[1:3]] == paths[1:3]
    assert isinstance(maps[1:3].keep(0.3), np.ndarray)
    assert list(maps.to_pandas()["explained"] == "") == [False, True, False, False, False, False]


@pytest.mark.parametrize(("image", "label"), [("image", "label"), ("img", "labels")])
def test_a_dataset_of_hugging_face_is_its_columns(folder, tmp_path, image, label):
    datasets = pytest.importorskip("datasets")
    paths = sorted(folder.rglob("*.png"))
    truth, names = [path.parent.name for path in paths], CLASSES[::-1]  # in another order than the network's
    columns = {image: list(map(Image.open, paths)), label: [names.index(name) for name in truth]}
    kinds = {image: datasets.Image(), label: datasets.ClassLabel(names=names)}
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))
    (listed, _), (expected, _) = (
        given_images(images, labels, (), tmp_path, None, 0)
        for images, labels in ((table.with_format("torch"), None), (columns[image], truth))
    )
    assert listed == expected
    with pytest.raises(InputError, match=r"must have the column image, got picture, .*; rename its column"):
        given_images(table.rename_column(image, "picture"), None, (), tmp_path, None, 0)


def test_paths_of_a_dataset_are_named_from_the_folder_that_holds_them(folder, tmp_path):
    paths = sorted(folder.rglob("*.png"))[:3]

    class Paths(Dataset):
        def __len__(self):
            return len(paths)

        def __getitem__(self, place):
            return str(paths[place]), f"class {place}"

    images, ids = given_images(Paths(), None, (), tmp_path, None, 0)
    assert ids == given_images(paths, None, (), tmp_path, None, 0)[1]
    assert [record.class_name for record in images.records] == [f"class {place}" for place in range(3)]
    assert not any(Path(name).is_absolute() for name in ids)
