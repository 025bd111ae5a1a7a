"""What becomes of a token network's answers when patches never enter: known answers, and which networks can do so."""

import pytest
import torch
import torchvision
from networks import classifier_of, random_classifier

import harmonia
from harmonia.errors import InputError
from harmonia.models.tokens import patch_grid, tokens_of

CAN = {"vit_tiny_patch16_224": 1, "deit_tiny_distilled_patch16_224": 2, "test_vit": 1, "test_vit2": 1, "test_vit4": 1}
NEED_ALL = ["test_resnet", "test_convnext", "swin_tiny_patch4_window7_224", "mixer_s32_224"]


def shown(classifier, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, classifier.view.size, classifier.view.size, generator=generator)


def some_patches(tokens, size, share=0.4):
    cells = (torch.rand(1, 1, *tokens.grid, generator=torch.Generator().manual_seed(3)) < share).float()
    return torch.nn.functional.interpolate(cells, (size, size))


@pytest.mark.parametrize(("arch", "prefix"), CAN.items())
def test_pixels_of_dropped_patches_count_for_nothing_and_whole_images_stay_bit_for_bit(arch, prefix):
    classifier = random_classifier(arch)
    tokens, size = tokens_of(classifier), classifier.view.size
    image, keep = shown(classifier), some_patches(tokens_of(classifier), classifier.view.size)
    with torch.no_grad():
        assert tokens.prefix == prefix
        assert torch.equal(tokens.logits(classifier, image, torch.ones(1, 1, size, size)), classifier(image))
        answer = tokens.logits(classifier, image, keep)
        assert torch.equal(answer, tokens.logits(classifier, image * keep + 0.9 * (1 - keep), keep))
        assert not torch.equal(answer, tokens.logits(classifier, image * (1 - keep), keep))
        nothing = torch.zeros(1, 1, size, size)
        blind = [tokens.logits(classifier, changed, nothing) for changed in (image, 1 - image)]
        assert tokens.answers_nothing == bool(blind[0].isfinite().all())
        assert torch.equal(*blind) or not tokens.answers_nothing
        assert not any(module._forward_pre_hooks for module in classifier.network.modules())


def test_it_is_the_networks_own_answer_on_the_tokens_that_are_left():
    """timm's own blocks, norm and head, fed by hand with positions of the whole image."""
    classifier = classifier_of("vit_tiny_patch16_224")
    tokens, network = tokens_of(classifier), classifier.network
    image, keep = shown(classifier), some_patches(tokens_of(classifier), 224)
    kept = [0, *(1 + position for position, patch in enumerate(keep[0, 0, 8::16, 8::16].flatten()) if patch)]
    with torch.no_grad():
        embedded = network._pos_embed(network.patch_embed((image - classifier.mean) / classifier.std))
        by_hand = network.forward_head(network.norm(network.blocks(embedded[:, kept])))
        torch.testing.assert_close(tokens.logits(classifier, image, keep), by_hand, atol=1e-5, rtol=0)


def test_patches_of_which_half_is_kept_stay_whole_and_absent_arms_stay_absent():
    tokens = tokens_of(random_classifier("vit_tiny_patch16_224"))
    keep = torch.zeros(1, 3, 224, 224)
    keep[0, 0, :8, :16] = 1  # half of the first patch
    keep[0, 0, 16:23, :16] = 1  # less than half of that below it
    keep[0, 1] = torch.nan
    keep[0, 2] = 0.5
    whole = tokens.whole(keep)
    assert whole[0, 0, :16, :16].all()
    assert whole[0, 0].sum() == 16 * 16
    assert whole[0, 1].isnan().all()
    assert whole[0, 2].all()


def test_a_network_that_pools_its_patches_has_no_answer_to_nothing():
    classifier = random_classifier("test_vit2")
    tokens = tokens_of(classifier)
    assert not tokens.answers_nothing
    keep = torch.zeros(1, 2, 160, 160)
    keep[0, 1, :16, :16] = 1
    whole = tokens.whole(keep)
    assert whole[0, 0].isnan().all()
    assert whole[0, 1].sum() == 256
    with torch.no_grad():
        assert tokens.logits(classifier, shown(classifier), whole[:, [1]]).isfinite().all()


@pytest.mark.parametrize("arch", NEED_ALL)
def test_networks_that_need_all_patches_say_so_in_one_line(arch):
    with pytest.raises(InputError, match="use fill=black") as refused:
        tokens_of(random_classifier(arch))
    assert "\n" not in str(refused.value)


def test_grids_of_patches_are_found_and_networks_without_have_none():
    assert patch_grid(random_classifier("vit_tiny_patch16_224")) == (14, 14)
    assert [patch_grid(random_classifier(arch)) for arch in ("test_resnet", "test_convnext")] == [None, None]


def test_networks_of_other_kinds_are_looked_at_the_same():
    network = torchvision.models.VisionTransformer(64, 16, 2, 2, 32, 64, num_classes=3)
    torch.nn.init.normal_(network.heads.head.weight)
    transform = {"size": 64, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    tokens = tokens_of(harmonia.classifier(network, classes=["a", "b", "c"], transform=transform))
    assert (tokens.prefix, tokens.grid) == (1, (4, 4))
