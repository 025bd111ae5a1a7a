"""What becomes of a convolutional network's answers when no layer sees a dropped place: known answers, and who can."""

from itertools import product

import pytest
import torch
import torchvision
from networks import classifier_of, random_classifier, real_images
from timm.layers.create_conv2d import create_conv2d
from torch import nn

import harmonia
from harmonia.errors import InputError
from harmonia.models import layer_mask
from harmonia.models.layer_mask import layer_mask_of

CAN = ["test_resnet", "test_convnext2", "resnet18"]
CANNOT = {
    "mobilenetv3_small_050": "its Conv2d works on all places at once",  # squeeze and excitation
    "test_vit": "its Linear works on all places at once",
    "convnextv2_atto": "its GlobalResponseNorm works on all places at once",
}


def planted(*layers: nn.Module, size: int = 24):
    network = nn.Sequential(*layers)
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight, std=0.3)
    transform = {"size": size, "mean": (0.4, 0.5, 0.6), "std": (0.2,) * 3}
    return harmonia.classifier(network, classes=["a", "b", "c", "d"], transform=transform)


def left_half(size: int, count: int = 1) -> torch.Tensor:
    keep = torch.zeros(count, 1, size, size)
    keep[..., : size // 2] = 1
    return keep


@pytest.mark.parametrize("arch", CAN)
def test_dropped_pixels_count_for_nothing_and_whole_images_stay_bit_for_bit(arch):
    classifier = random_classifier(arch)
    mask, size = layer_mask_of(classifier), classifier.view.size
    images, keep = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1)), left_half(size, 2)
    with torch.no_grad():
        assert torch.equal(mask.logits(classifier, images, torch.ones_like(keep)), classifier(images))
        answer = mask.logits(classifier, images, keep)
        assert torch.equal(answer, mask.logits(classifier, images * keep + 0.9 * (1 - keep), keep))
        assert not torch.equal(answer, mask.logits(classifier, images * keep + 0.9 * keep, keep))
        alone = torch.cat([mask.logits(classifier, images[[row]], keep[[row]]) for row in range(2)])
        torch.testing.assert_close(answer, alone, atol=1e-5, rtol=1e-5)
        assert not any(module._forward_pre_hooks or module._forward_hooks for module in classifier.network.modules())


def test_a_network_that_looks_at_single_pixels_answers_with_the_mean_of_those_that_are_left():
    classifier = planted(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    image, keep = torch.rand(1, 3, 24, 24), (torch.rand(1, 1, 24, 24) < 0.3).float()
    with torch.no_grad():
        kept = image[..., keep[0, 0] == 1][..., None]  # the same pixels in a column: an image of none but these
        by_hand = classifier(kept)
        torch.testing.assert_close(layer_mask_of(classifier).logits(classifier, image, keep), by_hand)


def test_of_one_colour_a_part_is_as_good_as_the_whole():
    """Neighbour padding goes on with the colour, every layer finds the same everywhere, and the mean is that of all."""
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 5, stride=2), nn.ReLU(), nn.AvgPool2d(2)]
    layers.append(nn.Conv2d(8, 8, 1, stride=2))  # as in the shortcuts of residual networks
    classifier = planted(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4), size=48)
    image = torch.tensor([0.1, 0.7, 0.3])[None, :, None, None].expand(1, 3, 48, 48).contiguous()
    keep = torch.zeros(1, 1, 48, 48)
    keep[..., 13:29, 9:30] = 1
    with torch.no_grad():
        answer = layer_mask_of(classifier).logits(classifier, image, keep)
        torch.testing.assert_close(answer, classifier(image), atol=1e-5, rtol=1e-4)
        on_black = classifier(image * keep)
    assert (on_black - answer).abs().max() > 0.01


@pytest.mark.parametrize("arch", [*CAN, "mobilenetv2_035", "regnetx_002"])
def test_places_that_are_not_padded_tell_nothing_and_those_beside_what_is_left_do(arch, monkeypatch):
    classifier = random_classifier(arch, 96)
    for module in classifier.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # timm begins the last of a residual block at 0: the block would tell nothing
    mask, size, reach = layer_mask_of(classifier), classifier.view.size, layer_mask._reach
    generator = torch.Generator().manual_seed(1)
    image, coarse = torch.rand(1, 3, size, size, generator=generator), torch.rand(1, 1, 9, 9, generator=generator)
    keep = (nn.functional.interpolate(coarse, (size, size), mode="bilinear") > 0.6).float()

    def answer_with(reach):
        monkeypatch.setattr(layer_mask, "_reach", reach)
        with torch.no_grad():
            return mask.logits(classifier, image, keep)

    answer = answer_with(reach)
    assert torch.equal(answer, answer_with(lambda convolution: size))
    assert not torch.equal(answer, answer_with(lambda convolution: max(reach(convolution) - 1, 0)))


def test_only_what_is_kept_by_half_is_left_and_nothing_has_no_answer():
    keep = torch.full((1, 4, 4, 4), 0.6)
    keep[0, 0, 0, 0], keep[0, 1], keep[0, 2] = 0.4, torch.nan, 0.2
    whole = layer_mask_of(random_classifier("test_resnet")).whole(keep)
    assert whole[0, 0].sum() == 15
    assert whole[0, [1, 2]].isnan().all()
    assert whole[0, 3].all()


@pytest.mark.parametrize(("arch", "why"), CANNOT.items())
def test_networks_that_cannot_be_masked_say_so_in_one_line(arch, why):
    with pytest.raises(InputError, match=f"{why}; use fill=black"):
        layer_mask_of(random_classifier(arch))


def test_a_head_that_does_more_than_average_is_refused():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 11 * 11, 4))
    transform = {"size": 24, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    with pytest.raises(InputError, match="use fill=black"):
        layer_mask_of(harmonia.classifier(network, classes=["a", "b", "c", "d"], transform=transform))


@pytest.mark.parametrize(("side", "stride", "dilation"), [*product((1, 2, 3, 5), (1, 2, 4), (1, 2))])
def test_every_place_that_a_cell_reads_is_within_reach_of_what_it_is_left_for(side, stride, dilation):
    """Written out for one line of places; of a cell those that adaptive pooling takes for its share."""
    across = dilation * (side - 1)
    for padding, places in product(range(across // 2 + 1), range(max(across, stride) + 1, 40)):
        reach = layer_mask._reach(nn.Conv2d(1, 1, side, stride, padding, dilation))
        cells = (places + 2 * padding - across - 1) // stride + 1
        for cell in range(cells):
            share = cell * places // cells, -(-(cell + 1) * places // cells) - 1
            read = max(cell * stride - padding, 0), min(cell * stride - padding + across, places - 1)
            assert max(share[1] - read[0], read[1] - share[0]) <= reach, (padding, places, cell)


@pytest.mark.parametrize(
    ("size", "convolution"),
    [
        (15, nn.Conv2d(3, 8, 2, stride=2)),
        (8, nn.Conv2d(3, 8, 3, stride=2)),
        (26, nn.Conv2d(3, 8, 4, stride=4)),
        (20, nn.Conv2d(3, 8, 3, padding=2, dilation=2, padding_mode="replicate")),
        (20, create_conv2d(3, 8, 3, stride=2, padding="valid")),
    ],
    ids=str,
)
def test_of_one_colour_a_single_column_is_as_good_as_the_whole(size, convolution):
    classifier = planted(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4), size=size)
    image = torch.tensor([0.1, 0.7, 0.3])[None, :, None, None].expand(1, 3, size, size).contiguous()
    mask = layer_mask_of(classifier)
    with torch.no_grad():
        for column in range(size):
            keep = torch.zeros(1, 1, size, size)
            keep[..., column] = 1
            torch.testing.assert_close(mask.logits(classifier, image, keep), classifier(image), atol=1e-5, rtol=1e-4)


def test_a_pooling_window_without_anything_left_gives_a_number():
    layers = [nn.Conv2d(3, 8, 1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    classifier, keep = planted(*layers, nn.Linear(8, 4), size=15), torch.zeros(1, 1, 15, 15)
    keep[..., 2] = 1  # the first cell's share of fifteen columns, but not of its window's two
    with torch.no_grad():
        assert layer_mask_of(classifier).logits(classifier, torch.rand(1, 3, 15, 15), keep).isfinite().all()


class PoolsByFunction(nn.Module):
    def forward(self, maps):
        return nn.functional.avg_pool2d(maps, 3, 1, 1)


def test_pooling_that_is_no_module_is_found_and_refused():
    head = [nn.ReLU(), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)]
    layer_mask_of(planted(nn.Conv2d(3, 8, 3), nn.AvgPool2d(3, 1, 1), *head))
    with pytest.raises(InputError, match="places that are dropped still tell on the others; use fill=black"):
        layer_mask_of(planted(nn.Conv2d(3, 8, 3), PoolsByFunction(), *head))


def test_networks_of_torchvision_are_masked_the_same():
    names = [f"class {index}" for index in range(5)]
    transform = {"size": 64, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    classifier = harmonia.classifier(
        torchvision.models.resnet18(num_classes=5).eval(), classes=names, transform=transform
    )
    keep = left_half(64)
    with torch.no_grad():
        image = torch.rand(1, 3, 64, 64)
        answers = [layer_mask_of(classifier).logits(classifier, shown, keep) for shown in (image, image * keep)]
    assert torch.equal(*answers)


def test_on_real_weights_half_an_image_is_still_named():
    classifier = classifier_of("lite0")
    images = real_images(classifier.view).float() / 255
    keep = torch.zeros(len(images), 1, 224, 224)
    keep[..., 32:192, 32:192] = 1
    with torch.no_grad():
        masked = layer_mask_of(classifier).logits(classifier, images, keep).argmax(1)
        assert (masked == classifier(images).argmax(1)).float().mean() >= 0.75
