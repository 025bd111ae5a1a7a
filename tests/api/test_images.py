"""Images of every kind that Python has are the same images; labels are names or indices."""

import numpy as np
import pytest
import torch
import torchvision
from api_calls import explain
from PIL import Image

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
        "pairs": [(picture, 0) for picture in pictures],
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
        ([torch.zeros(2, 8, 8)], r"must be \(H, W\), \(H, W, 3\) or \(3, H, W\), got \(2, 8, 8\)"),
        ("no_such_data", "data must be one of"),
    ],
)
def test_other_images_are_refused_in_one_line(first, tmp_path, images, line):
    with pytest.raises(ValueError, match=line) as caught:
        explain(first, images, tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_true_classes_may_be_names_or_indices(first, folder, tmp_path):
    pictures = [Image.open(path) for path in sorted(folder.rglob("*.png"))]
    names = explain(first, pictures, tmp_path / "cache", labels=["cat", "dog"] * 3, label="true")
    indices = explain(first, pictures, tmp_path / "cache", labels=torch.tensor([0, 1] * 3), label="true")
    assert [each.explained for each in names] == [each.explained for each in indices] == ["cat", "dog"] * 3
    with pytest.raises(InputError, match="labels must be one an image, got 2 for 6 images"):
        explain(first, pictures, tmp_path / "cache", labels=["cat", "dog"])
    with pytest.raises(InputError, match="indices of 3 classes, got 7"):
        explain(first, pictures, tmp_path / "cache", labels=[7] * 6)
