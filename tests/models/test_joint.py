"""Laws of several networks as one source: what their mask keeps, and that nothing else changes what each answers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from planted_patterns import SIZE, MatchedFilters, explain, from_pool, inside, noise_pool, planted, upsampled
from scipy.stats import rankdata
from torch import nn

import harmonia
from harmonia.attribution.cam import GradCAM
from harmonia.attribution.contract import joint_logits
from harmonia.attribution.objectives import OBJECTIVES
from harmonia.attribution.soundness import SoundnessSaliency, total_variation
from harmonia.attribution.stored import Stored
from harmonia.attribution.vote import Vote
from harmonia.errors import InputError
from harmonia.models.load import load
from harmonia.models.spec import ModelSpec

pytestmark = pytest.mark.usefixtures("one_thread")


class Half(MatchedFilters):
    """Sees the left or the right half of an image."""

    def __init__(self, left: bool):
        super().__init__()
        self.seen = torch.arange(SIZE) < SIZE // 2 if left else torch.arange(SIZE) >= SIZE // 2

    def forward(self, images):
        return super().forward(torch.where(self.seen, images, 0.5))


LEFT, RIGHT = (4, 2), (16, 18)


def together(*voters):
    def answer(images):
        return joint_logits(torch.stack([voter(images) for voter in voters], 1))

    answer.voters = voters
    return answer


def test_one_mask_keeps_what_each_network_looks_at():
    pixels = planted([{LEFT: 1, RIGHT: 1}], seed=3)
    left, right = Half(left=True), Half(left=False)
    method = SoundnessSaliency(grid=16, tv=0.01, steps=60, tolerance=None, area=1.0, average=None)
    kept = {}
    for name, model in {"left": left, "right": right, "both": together(left, right)}.items():
        explanation = explain(method, pixels, model)
        assert explanation.explained.tolist() == [1]
        mask = upsampled(explanation.maps)[0]
        kept[name] = [mask[inside(*spot)].mean().item() for spot in (LEFT, RIGHT)]
    assert kept["left"][0] > 4 * kept["left"][1]
    assert kept["right"][1] > 4 * kept["right"][0]
    assert min(kept["both"]) > 0.8 * kept["left"][0], kept


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_mask_minimises_the_mean_of_the_networks_own_objectives(objective):
    pixels = planted([{LEFT: 1, RIGHT: 2}], seed=3)
    voters, replacements = [Half(left=True), Half(left=False)], from_pool(noise_pool())
    method = SoundnessSaliency(
        objective=objective, grid=8, steps=3, draws=2, tolerance=None, check_every=3, average=None, held_out=1
    )
    explanation = explain(method, pixels, together(*voters))

    image, label, row = pixels.float() / 255, explanation.explained, torch.tensor([0])
    p_together = torch.stack([voter(image).softmax(1).log() for voter in voters]).mean(0).softmax(1)
    assert label == p_together.argmax(1)
    assert explanation.p_explained == pytest.approx(p_together.max().item(), rel=1e-5)
    weights = torch.zeros(1, 8, 8, requires_grad=True)
    adam = torch.optim.Adam([weights], lr=method.learning_rate)
    for step in range(3):
        others = replacements(row, label, torch.tensor([step]), 2)[0]
        mask = F.interpolate(weights.sigmoid()[None], (SIZE, SIZE), mode="bilinear")[0]
        shown = torch.stack([mask * image[0] + (1 - mask) * other for other in others])
        losses = [OBJECTIVES[objective](voter(shown)[None], label, voter(image)) for voter in voters]
        loss = sum(losses) / 2 + method.area * mask.mean() + method.tv * total_variation(mask)
        adam.zero_grad()
        loss.sum().backward()
        adam.step()
    torch.testing.assert_close(explanation.maps, weights.detach(), atol=2e-3, rtol=1e-3)
    assert explanation.passes.tolist() == [2 * (1 + 3 * 2 + 1 + 1 + 1)]  # image, steps, held out, complement, black


def network(seed: int, classes: str, side: int = SIZE, name: str = "", channels: int = 3):
    torch.manual_seed(seed)
    layers = nn.Conv2d(channels, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, len(classes))
    transform = {"size": side, "mean": (0.2 + seed / 10,) * channels, "std": (0.3,) * channels}
    return harmonia.classifier(
        nn.Sequential(*layers), classes=list(classes), transform=transform, name=name or f"n{seed}"
    )


def test_one_network_alone_is_that_network_bit_for_bit():
    alone = network(1, "abcd")
    alone.view.look(Image.new("RGB", (50, 40)))  # it keeps what it has seen once
    joint = harmonia.classifier([alone])
    assert joint.name == "joint n1"
    assert joint.classes == alone.classes
    assert joint.view == alone.view
    pixels = planted([{LEFT: 1}, {RIGHT: 2}], seed=3)
    images = pixels.float() / 255
    for of_joint, of_network in zip(joint.represent(images), alone.represent(images), strict=True):
        assert torch.equal(of_joint, of_network)
    assert torch.equal(joint(images), alone(images))
    method = SoundnessSaliency(grid=8, steps=4, check_every=2, start=GradCAM())
    first, second = (explain(method, pixels, model) for model in (joint, alone))
    for name in ("maps", "explained", "p_explained", "passes", "predicted"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    assert torch.equal(torch.stack(list(first.facts.values())), torch.stack(list(second.facts.values())))


def test_a_vote_is_the_mean_rank_of_each_networks_own_map_of_the_class_they_predict():
    joint = harmonia.classifier([network(1, "abcd"), network(2, "dxbay", side=48)], vote=True)
    pixels = planted([{LEFT: 1}, {RIGHT: 2}, {}], seed=3)
    voted = explain(Vote(of=GradCAM()), pixels, joint)
    together = joint(pixels.float() / 255)
    assert voted.explained.tolist() == voted.predicted.tolist() == together.argmax(1).tolist()
    torch.testing.assert_close(voted.p_explained, together.softmax(1).amax(1))
    expected = torch.zeros(3, 44, 44)
    for voter in joint.voters:
        maps = explain(GradCAM(), pixels, voter, labels=together.argmax(1)).maps
        finest = F.interpolate(maps[:, None], (44, 44), mode="bilinear", align_corners=False)[:, 0]
        finest = maps if maps.shape == expected.shape else finest
        expected += torch.tensor(np.stack([rankdata(each).reshape(44, 44) for each in finest.numpy()])) / 2
    torch.testing.assert_close(voted.maps, (expected - 0.5) / 44**2, atol=2e-3, rtol=0)
    assert voted.passes.tolist() == [4] * 3
    with pytest.raises(InputError, match="method=stored"):
        Vote(of=Stored(maps="x"))


def test_each_network_answers_at_its_own_size_and_scale_for_the_classes_in_common():
    first, second = network(1, "abcd"), network(2, "dxbay", side=48)
    joint = harmonia.classifier([first, second])
    assert (joint.name, joint.classes, joint.view.size) == ("n1+n2", ("a", "b", "d"), SIZE)
    images = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    larger = F.interpolate(images, (48, 48), mode="bilinear", align_corners=False)
    expected = [first(images)[:, [0, 1, 3]].log_softmax(1), second(larger)[:, [3, 2, 0]].log_softmax(1)]
    torch.testing.assert_close(joint(images), (expected[0] + expected[1]) / 2)
    logits, representation = joint.represent(images)
    assert torch.equal(logits, joint(images))
    assert representation.shape == (3, joint.representation_size)
    # another order is another source: the first one's view
    assert harmonia.classifier([second, first]).identity() != joint.identity()


def test_what_cannot_explain_together_is_refused_in_one_line():
    first, joint = network(1, "ab"), harmonia.classifier([network(1, "ab"), network(2, "ab")])
    cases = {
        "at least one": [],
        "single ones": [joint, first],
        "differ in name": [first, network(2, "ab", name="n1")],
        "differ in numbers": [first, network(1, "ab", name="again")],
        "two or more classes in common": [first, network(2, "bc")],
        "as many channels": [first, network(2, "ab", channels=4)],
        "a model must be|a network must be": [first, 3],
        "a network must be one of .*, got 'no_such'; timm's is": [first, "no_such"],
        "a network must be one of .*, got 'litte0'; did you mean lite0 or": [first, "litte0"],
        "a network: its kind must be one of timm, .* write timm:x": [first, "tim:x"],
    }
    for words, networks in cases.items():
        with pytest.raises(InputError, match=words) as refused:
            harmonia.classifier(networks)
        assert "\n" not in str(refused.value)
    for option in ({"mean": (0.5,) * 3}, {"classes": ("a", "b")}, {"weights": "file.safetensors"}):
        with pytest.raises(InputError, match="each network's own"):
            load(ModelSpec(name="j", arch="joint", family="", kind="joint", networks=("lite0",), **option))
    for words, networks in {
        "networks must be single": ("joint",),
        "j: each of networks must be one": ("lit0",),
    }.items():
        with pytest.raises(InputError, match=words):
            load(ModelSpec(name="j", arch="joint", family="", kind="joint", networks=networks))


@pytest.mark.parametrize("method", ["gc", "hirescam", "gcpp", "layercam", "ablcam", "rollout", "scorecam"])
def test_methods_that_look_into_a_layer_refuse_several_networks(method):
    joint = harmonia.classifier([network(1, "ab"), network(2, "ab")])
    with pytest.raises(InputError, match=f"{method}.*source=vote") as refused:
        harmonia.explain(joint, np.zeros((1, SIZE, SIZE, 3), np.uint8), method)
    assert "\n" not in str(refused.value)
