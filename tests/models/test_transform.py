"""Transforms of other libraries: the view that is made of one shows what it shows, pixel for pixel."""

import pytest
import torch
import torchvision
from networks import noise
from PIL import Image

from harmonia.data.view import View
from harmonia.errors import InputError
from harmonia.models.transform import view_options


@pytest.mark.parametrize("arch", ["resnet18", "vgg11", "convnext_tiny", "efficientnet_b3", "swin_t", "inception_v3"])
def test_torchvisions_views_are_its_own_transforms(arch):
    weights_of = next(iter(torchvision.models.get_model_weights(arch)))
    transform = weights_of.transforms()
    view = View(**view_options(transform, arch))
    image = Image.fromarray(noise(1, 400)[0].permute(1, 2, 0).numpy()).resize((400, 300))
    pixels = view.look(image)
    ours = (pixels.float() / 255 - torch.tensor(view.mean).view(3, 1, 1)) / torch.tensor(view.std).view(3, 1, 1)
    torch.testing.assert_close(ours, transform(image), atol=1e-5, rtol=1e-5)


def test_other_transforms_are_read_part_by_part_or_refused_by_name():
    transforms = torchvision.transforms
    normalise = transforms.Normalize((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    squash = transforms.Compose([transforms.Resize((64, 64)), transforms.ToTensor(), normalise])
    assert view_options(transforms.Resize((64, 48)), "own")["size"] == (64, 48)
    assert view_options(squash, "own") == {
        "size": 64,
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "interpolation": "bilinear",
        "mean": (0.1, 0.2, 0.3),
        "std": (0.4, 0.5, 0.6),
    }
    for parts, got in (
        ([transforms.RandomHorizontalFlip(), transforms.CenterCrop(8)], "RandomHorizontalFlip"),
        ([transforms.Resize(8), transforms.ToTensor()], "Resize without a crop"),
        ([transforms.ToTensor()], "neither Resize nor CenterCrop"),
        ([transforms.Resize((8, 9)), transforms.CenterCrop(4)], "Resize to 8 x 9 before a crop of 4 x 4"),
        ([transforms.Resize(8), transforms.CenterCrop((8, 4))], "the shorter edge before a crop of 8 x 4"),
    ):
        with pytest.raises(InputError, match=got):
            view_options(transforms.Compose(parts), "own")
