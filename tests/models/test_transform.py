"""Transforms of other libraries: the view that is made of one shows what it shows, pixel for pixel."""

from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from networks import noise
from PIL import Image
from torchvision.transforms import v2

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


T = torchvision.transforms
TENSOR, NORMAL = T.ToTensor(), T.Normalize((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
SQUASH = T.Resize((64, 64))


@pytest.mark.parametrize(
    ("parts", "options"),
    [
        ([SQUASH, TENSOR, NORMAL], {}),
        ([TENSOR, SQUASH, NORMAL], {}),  # it resizes fractions, the view bytes
        ([T.Compose([SQUASH]), TENSOR, NORMAL], {}),
        ([T.Resize(64), T.CenterCrop(64), TENSOR, NORMAL], {"crop_mode": "center"}),
        ([v2.ToImage(), v2.Resize((64, 64)), v2.ToDtype(torch.float32, scale=True), NORMAL], {}),
        ([T.Resize((64, 64), T.InterpolationMode.NEAREST_EXACT), TENSOR, NORMAL], {"interpolation": "nearest"}),
        ([SQUASH, TENSOR], {"mean": (0.0,), "std": (1.0,)}),
        ([SQUASH, TENSOR, T.Normalize(0.5, 0.25)], {"mean": (0.5,), "std": (0.25,)}),
        (
            [SQUASH, TENSOR, T.Normalize(torch.tensor([0.1] * 3), torch.tensor([0.2] * 3))],
            {"mean": (0.1,) * 3, "std": (0.2,) * 3},
        ),
        ([T.Resize((64, 48))], {"size": (64, 48), "mean": (0.0,), "std": (1.0,)}),
    ],
)
def test_a_transform_is_read_part_by_part(parts, options):
    squash = {"size": 64, "crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bilinear"}
    colours = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    assert view_options(T.Compose(parts), "own") == squash | colours | options


OTHER = "shows other intensities than such a view"


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ([T.RandomHorizontalFlip(), T.CenterCrop(8)], "got RandomHorizontalFlip"),
        ([TENSOR], "got neither Resize nor CenterCrop"),
        ([T.Resize(8), TENSOR], "it shows 8 x .* such a view"),
        ([T.Resize((8, 9)), T.CenterCrop(4), TENSOR], OTHER),
        ([T.Resize(8), T.CenterCrop((8, 4)), TENSOR], OTHER),
        ([T.CenterCrop(64), T.Resize((32, 32)), TENSOR, NORMAL], OTHER),
        ([T.Resize(64), T.Resize((32, 32)), TENSOR, NORMAL], OTHER),
        ([SQUASH, TENSOR, NORMAL, NORMAL], OTHER),
        ([T.Resize(36, max_size=40), T.CenterCrop(32), TENSOR, NORMAL], OTHER),
        ([v2.ToImage(), SQUASH, v2.ToDtype(torch.float32), NORMAL], OTHER),
        ([T.PILToTensor(), SQUASH, v2.ToDtype(torch.float32), T.Normalize([127.5] * 3, [127.5] * 3)], OTHER),
        ([SQUASH, T.PILToTensor()], OTHER),
        ([T.CenterCrop(32), TENSOR, NORMAL], OTHER),
        ([v2.Resize(None, max_size=36), T.CenterCrop(32), TENSOR, NORMAL], OTHER),
    ],
)
def test_a_transform_that_shows_what_no_view_shows_is_refused(parts, line):
    with pytest.raises(InputError, match=f"{line}.*; give what your network sees as transform=") as caught:
        view_options(T.Compose(parts), "own")
    assert "\n" not in str(caught.value)


def of_transformers(name: str, **options) -> Any:
    return getattr(pytest.importorskip("transformers"), f"{name}ImageProcessor")(**options)


SIDES = {"height": 32, "width": 32}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "shown"),
    [
        ("ViT", {"size": SIDES}, True),
        ("Bit", {"size": {"shortest_edge": 36}, "crop_size": SIDES}, True),
        ("ConvNext", {"size": {"shortest_edge": 32}, "crop_pct": 0.875}, True),
        ("EfficientNet", {"size": SIDES}, False),  # normalised twice
        ("EfficientNet", {"size": SIDES, "rescale_offset": True, "include_top": False}, False),
        ("MobileViT", {"size": {"shortest_edge": 36}, "crop_size": SIDES}, False),  # blue before red
        ("Levit", {"size": {"shortest_edge": 32}, "crop_size": SIDES}, False),
        ("PoolFormer", {"size": {"shortest_edge": 32}, "crop_size": SIDES}, False),
        ("Perceiver", {"size": SIDES, "crop_size": SIDES}, False),
        ("ViT", {"size": SIDES, "do_rescale": False}, False),
        ("ViT", {"size": SIDES, "do_resize": False}, False),
        ("ViT", {"size": SIDES, "do_pad": True, "pad_size": {"height": 40, "width": 40}}, False),
        ("Bit", {"size": {"longest_edge": 36}, "crop_size": SIDES}, False),
    ],
)
def test_an_image_processor_is_believed_where_a_view_shows_what_it_shows(name, options, shown):
    processor = of_transformers(name, **options)
    if shown:
        assert view_options(processor, "own")["size"] == 32
    else:
        with pytest.raises(InputError, match="own: the transform must be a resize, a centre crop"):
            view_options(processor, "own")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"sise": 32}, "must have the keys size, crop_pct, .* got 'sise'"),
        ({"size": "32"}, "input_size must be a whole number"),
        ({"size": 32.7}, "input_size must be a whole number"),
        ({"mean": 0.5}, "mean must be a list of numbers"),
        ({"std": (-0.5,) * 3}, "std must be at least"),
        ({"crop_pct": 0}, "crop_pct must be at least"),
        ({"crop_mode": "middle"}, "crop_mode must be one of center, squash, border"),
        ({"interpolation": "cubic"}, "interpolation must be one of nearest, bilinear"),
    ],
)
def test_a_transform_in_words_is_held_against_what_yamls_may_say(change, line):
    options = {"size": 32, "mean": np.float32([0.485] * 3), "std": torch.tensor([0.25] * 3)}
    as_in_yaml = {"input_size": 32, "mean": (0.485,) * 3, "std": (0.25,) * 3}
    assert (
        view_options(options, "own")
        == view_options(as_in_yaml, "own")
        == {
            "size": 32,
            "mean": (0.485,) * 3,
            "std": (0.25,) * 3,
        }
    )
    with pytest.raises(InputError, match=line):
        view_options({**options, **change}, "own")
