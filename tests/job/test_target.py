"""Laws of a target: what goes through it, how often, and whose number is whose."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from harmonia.attribution.passes import BatchSize
from harmonia.data.manifest import ImageRecord, ImageSet, add_digests
from harmonia.data.replacements import Replacements
from harmonia.data.view import View
from harmonia.data.views import ViewedImages
from harmonia.errors import InputError
from harmonia.evaluation.transfer import _no_explanations
from harmonia.features.arms import Control, Explanations, KeepArms
from harmonia.features.fill import AnotherImage, Black, Mean
from harmonia.features.normalise import clamp
from harmonia.job.target import FeatureTarget, ImageTarget
from harmonia.models.classifier import Classifier
from harmonia.models.spec import ModelSpec

CLASSES = ("red", "green", "blue")
BROKEN = 2
ARMS = KeepArms(clamp, (0.25, 0.5))


class Colours(nn.Module):
    """Ten times the mean of each channel, as timm's networks divide it; remembers how many inputs came together."""

    head_hidden_size = 3

    def __init__(self):
        super().__init__()
        self.calls: list[int] = []

    def forward(self, images):
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images):
        self.calls.append(len(images))
        return images

    def forward_head(self, features, pre_logits=False):
        return features.mean((2, 3)) * (1 if pre_logits else 10)


class Silence:
    def __init__(self):
        self.images = 0

    def __call__(self, images):
        self.images += images


def view_of(size: int, crop_pct: float = 1.0) -> View:
    given = dict(crop_mode="center", interpolation="bilinear", mean=(0.0,) * 3, std=(1.0,) * 3)
    return View(size=size, crop_pct=crop_pct, **given)


@pytest.fixture
def images(tmp_path) -> ImageSet:
    """Seven images of noise, the third broken."""
    records = []
    for number in range(7):
        path = tmp_path / f"{number}.png"
        values = np.random.default_rng(number).integers(0, 256, (20 + number, 24, 3), np.uint8)
        Image.fromarray(values).save(path)
        if number == BROKEN:
            path.write_bytes(b"no image")
        records.append(ImageRecord(path.name, path, CLASSES[number % 3], ""))
    records = add_digests(records)
    return ImageSet("noise", records, records)


def classifier_of(view: View) -> Classifier:
    return Classifier(Colours(), ModelSpec(name="colours", arch="-", family="-"), view, CLASSES, "digest")


def batch_of(images: ImageSet, view: View, indices=range(7)):
    return ViewedImages(images.records, [view]).batch(list(indices), view)


def explanations(images: ImageSet, maps: torch.Tensor, indices: list[int], another=None) -> Explanations:
    return Explanations(maps=maps[indices], image_keys=images.image_keys(indices), another=another)


def features(
    images: ImageSet,
    maps,
    *,
    view=None,
    source_view=None,
    batch_size=32,
    fill=None,
    pool=None,
    arms=ARMS,
    compile=False,
) -> FeatureTarget:
    view = view or view_of(16)
    source = SimpleNamespace(view=source_view or view)
    settings, size = SimpleNamespace(compile=compile), BatchSize(batch_size)
    job: Any = SimpleNamespace(source=source, images=images, batch_size=lambda *_: size, settings=settings)
    job.fill_of, job.removals = lambda target: ("fill", fill or Black()), {"colours": None}
    job.pool = lambda view, random_crops: pool
    facts = [{"explained": record.class_name} for record in images.records]
    job.maps = pool and SimpleNamespace(read_items=lambda indices: ({}, [facts[index] for index in indices]))
    return FeatureTarget(job, classifier_of(view), arms, lambda indices: explanations(images, maps, indices), Silence())


# --- whole images -------------------------------------------------------------------------------


def test_an_image_has_the_logits_that_it_has_alone_and_an_unreadable_one_has_none(images):
    view = view_of(16)
    module = ImageTarget(classifier_of(view), BatchSize(4), Silence())
    batch = batch_of(images, view)
    arrays, facts = module.predict_step(batch, 0)
    expected = 10 * (batch.pixels.float() / 255).mean((2, 3)).numpy()
    readable = [index for index in range(7) if index != BROKEN]
    np.testing.assert_allclose(arrays["logits"][readable], expected[readable], rtol=1e-5)
    assert np.isnan(arrays["logits"][BROKEN]).all()
    seen = arrays["representation"].astype(np.float32) * arrays["representation_scale"][:, None]
    np.testing.assert_allclose(seen[readable], expected[readable] / 10, atol=1e-3)
    assert np.isnan(seen[BROKEN]).all()
    assert [fact["flag"] for fact in facts] == ["unreadable" if index == BROKEN else "" for index in range(7)]
    assert module.passes == 6
    assert module.classifier.network.calls == [4, 4]  # the second is filled up


class Cramped(Colours):
    """Has no room for more than two images."""

    def forward(self, images):
        if len(images) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return super().forward(images)

    def forward_features(self, images):
        if len(images) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return super().forward_features(images)


def test_a_batch_that_does_not_fit_is_halved_and_changes_no_number(images):
    view, maps = view_of(16), torch.rand(7, 4, 4)
    batch = batch_of(images, view)
    roomy, cramped = (ImageTarget(classifier_of(view), BatchSize(8), Silence()) for _ in range(2))
    cramped.classifier.structure.network = Cramped()
    expected, found = roomy.predict_step(batch, 0)[0], cramped.predict_step(batch, 0)[0]
    np.testing.assert_allclose(found["logits"], expected["logits"], rtol=1e-6)
    assert cramped.batch_size.size == 2
    assert cramped._advance.images == roomy._advance.images == 7

    roomy, cramped = features(images, maps, batch_size=8), features(images, maps, batch_size=8)
    cramped.classifier.structure.network = Cramped()
    for one, other in zip(readable_of(roomy, batch), readable_of(cramped, batch), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0)
    assert cramped.batch_size.size == 2


# --- features -----------------------------------------------------------------------------------


def readable_of(module, batch):
    """Of the images that can be read: positions, logits, kept areas; the others have NaN."""
    logits, areas = module.predict_step(batch, 0)
    assert logits[~batch.readable].isnan().all()
    assert areas[~batch.readable].isnan().all()
    return batch.indices[batch.readable], logits[batch.readable], areas[batch.readable]


def test_every_arm_of_every_readable_image_goes_through_once(images):
    module = features(images, torch.rand(7, 4, 4))
    positions, logits, areas = readable_of(module, batch_of(images, view_of(16)))
    assert positions.tolist() == [0, 1, 3, 4, 5, 6]
    assert logits.shape == (6, 3, 3)
    assert areas.shape == (6, 3)
    assert module.passes == 3 * 6
    assert sum(module.classifier.network.calls) == 3 * 8  # passes of four
    assert module._advance.images == 7  # the unreadable one is done with too


def test_on_a_cpu_a_pass_holds_four_inputs_of_one_arm_whatever_the_batch_size(images):
    maps, answers = torch.rand(7, 4, 4), []
    for batch_size in (1, 4, 5):
        module = features(images, maps, batch_size=batch_size)
        answers.append(readable_of(module, batch_of(images, view_of(16))))
        assert module.classifier.network.calls == [4] * 6
        assert all(map(torch.equal, answers[0], answers[-1]))


def test_other_arms_change_no_bit_of_an_arms_numbers(images):
    maps, batch = torch.rand(7, 4, 4), batch_of(images, view_of(16))
    lacking = Control(("ones", "lacking"), lambda view: torch.stack([view.inside, view.inside * torch.nan], 1))
    alone = readable_of(features(images, maps), batch)
    more = readable_of(features(images, maps, arms=KeepArms(clamp, (0.25, 0.5), (lacking,))), batch)
    assert torch.equal(alone[0], more[0])
    for one, other in zip(alone[1:], more[1:], strict=True):
        assert torch.equal(one, other[:, :3])


def test_an_arm_that_an_image_lacks_reaches_no_network(images):
    def of_even_images(view):
        lacks = torch.from_numpy(view.explanations.image_keys % 2 == 1)[:, None, None]
        return view.inside.masked_fill(lacks, torch.nan)[:, None]

    arms = KeepArms(clamp, (), (Control(("even",), of_even_images),))
    module = features(images, torch.rand(7, 4, 4), arms=arms)
    positions, logits, areas = readable_of(module, batch_of(images, view_of(16)))
    even = torch.from_numpy(images.image_keys(positions.tolist()) % 2 == 0)
    assert 0 < even.sum() < len(even)
    assert torch.equal(~areas[:, 1].isnan(), even)
    assert torch.equal(~logits[:, 1].isnan().any(1), even)
    assert module.passes == len(even) + even.sum()
    assert not logits[:, 0].isnan().any()


def test_a_feature_has_the_logits_worked_by_hand_whatever_the_batch(images):
    maps, view = torch.rand(7, 16, 16), view_of(16)
    batch = batch_of(images, view)
    keep = torch.stack([maps, *(torch.zeros(7, 16, 16) for _ in range(2))], 1)
    for arm, count in ((1, 64), (2, 128)):
        best = maps.flatten(1).topk(count).indices
        keep[:, arm] = torch.zeros(7, 256).scatter(1, best, 1.0).view(7, 16, 16)
    pixels = batch.pixels.float() / 255
    expected = 10 * (keep[:, :, None] * pixels[:, None]).mean((3, 4))
    readable = [0, 1, 3, 4, 5, 6]
    for batch_size in (1, 7, 32):
        positions, logits, areas = readable_of(features(images, maps, batch_size=batch_size), batch)
        assert positions.tolist() == readable
        torch.testing.assert_close(logits, expected[readable], atol=1e-5, rtol=0)
        torch.testing.assert_close(areas, keep[readable].mean((2, 3)), atol=1e-6, rtol=0)


def test_under_a_map_of_ones_the_soft_feature_is_the_image(images):
    view = view_of(16)
    batch = batch_of(images, view)
    whole, _ = ImageTarget(classifier_of(view), BatchSize(32), Silence()).predict_step(batch, 0)
    positions, logits, areas = readable_of(features(images, torch.ones(7, 7, 7)), batch)
    torch.testing.assert_close(logits[:, 0], torch.from_numpy(whole["logits"][positions]), atol=1e-5, rtol=0)
    torch.testing.assert_close(areas[:, 0], torch.ones(6))


def test_the_kept_area_is_counted_in_the_targets_view(tmp_path):
    path = tmp_path / "square.png"
    Image.new("RGB", (32, 32), (255, 255, 255)).save(path)
    images = ImageSet("square", add_digests([ImageRecord("square.png", path, "red", "")]), ())
    module = features(images, torch.ones(1, 8, 8), view=view_of(32), source_view=view_of(16, 0.5))
    _, logits, areas = readable_of(module, batch_of(images, view_of(32), [0]))
    # the source sees the middle quarter of what the target sees
    torch.testing.assert_close(areas, torch.tensor([[1 / 4, 1 / 16, 1 / 8]]))
    torch.testing.assert_close(logits, 10 * areas[..., None].expand(1, 3, 3), atol=1e-4, rtol=0)


def test_what_is_dropped_becomes_the_fill(images):
    maps, batch = torch.zeros(7, 4, 4), batch_of(images, view_of(16))
    _, logits, _ = readable_of(features(images, maps, fill=Mean()), batch)
    colours = (batch.pixels.float() / 255).mean((2, 3))[batch.readable]
    torch.testing.assert_close(logits[:, 0], 10 * colours, atol=1e-4, rtol=0)


def test_the_other_image_is_one_of_another_class_and_the_same_for_every_arm(images):
    view = view_of(16)
    pool = Replacements(images.pool, view, 0)
    arms = KeepArms(lambda maps: torch.zeros_like(maps), ())
    module = features(images, torch.zeros(7, 4, 4), fill=AnotherImage(), pool=pool, arms=arms)
    positions, logits, _ = readable_of(module, batch_of(images, view))
    colours = 10 * (pool.pixels.float() / 255).mean((2, 3))
    readable = [record for index, record in enumerate(images.pool) if index != BROKEN]
    for position, seen in zip(positions.tolist(), logits[:, 0], strict=True):
        shown = (colours - seen).abs().sum(1).argmin()
        torch.testing.assert_close(colours[shown], seen, atol=1e-4, rtol=0)
        assert readable[shown].class_name != images.records[position].class_name
    twice = KeepArms(lambda maps: torch.zeros_like(maps), (0.5,))
    module = features(images, torch.zeros(7, 4, 4), fill=AnotherImage(), pool=pool, arms=twice)
    _, both, _ = readable_of(module, batch_of(images, view, [0, 1]))
    torch.testing.assert_close(both[:, 0], logits[:2, 0])


def test_a_batch_without_a_readable_image_gives_nothing(images):
    module = features(images, torch.rand(7, 4, 4))
    positions, logits, areas = readable_of(module, batch_of(images, view_of(16), [BROKEN]))
    assert (len(positions), logits.shape, areas.shape) == (0, (0, 3, 3), (0, 3))
    assert module.classifier.network.calls == []


def test_images_that_are_all_unreadable_reach_no_network(images):
    module = ImageTarget(classifier_of(view_of(16)), BatchSize(4), Silence())
    arrays, _ = module.predict_step(batch_of(images, view_of(16), [BROKEN]), 0)
    assert np.isnan(arrays["logits"]).all()
    assert module.classifier.network.calls == []
    assert module._advance.images == 1


def test_logits_that_are_not_finite_are_refused_rather_than_scored(images):
    view = view_of(16)
    module = ImageTarget(classifier_of(view), BatchSize(4), Silence())
    module.classifier.network.forward_features = lambda pixels: torch.full_like(pixels, torch.nan)
    with pytest.raises(InputError, match="colours: its logits must be finite"):
        module.predict_step(batch_of(images, view), 0)


def test_controls_that_know_no_map_read_none(images):
    without_maps: Any = SimpleNamespace(images=images)
    explanations = _no_explanations(without_maps, [1, 0])
    assert explanations.image_keys.tolist() == images.image_keys([1, 0]).tolist()
    assert explanations.another(True).isnan().all()
