"""Laws of replacement images: other images of other classes, drawn for an image and not for its batch."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import chisquare

from harmonia.data.decode import open_rgb
from harmonia.data.manifest import ImageRecord, ImageSet, add_digests
from harmonia.data.replacements import Replacements
from harmonia.data.view import View
from harmonia.draws import image_key
from harmonia.errors import InputError

VIEW = View(size=8, crop_pct=1.0, crop_mode="center", interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)
CLASSES = ("a", "b", "c")


@pytest.fixture
def pool(tmp_path) -> tuple[ImageRecord, ...]:
    """Four images of each class, in turn."""
    records = []
    for number in range(12):
        path = tmp_path / f"{number:02}.png"
        Image.new("RGB", (9, 9), (20 * number, 7, 7)).save(path)
        records.append(ImageRecord(path.name, path, CLASSES[number % 3], ""))
    return add_digests(records)


def stranger(name: str) -> ImageRecord:
    return ImageRecord(name, Path(name), "a", f"digest of {name}")


IMAGES = [stranger(f"image {number}") for number in range(300)]
KEYS = np.array([image_key(image.image_id) for image in IMAGES], np.uint64)
AVOID = [CLASSES[number % 3] for number in range(300)]


def everything(replacements, images, keys, avoid, draws=40):
    """What steps and judgements draw."""
    return torch.cat([replacements.draw(images, keys, avoid, steps, draws) for steps in (0, None)], 1)


def test_the_class_to_avoid_is_never_drawn_and_every_other_image_is(pool):
    drawn = everything(Replacements(pool, VIEW, 0), IMAGES, KEYS, AVOID)
    for class_name in CLASSES:
        of_class = drawn[[avoid == class_name for avoid in AVOID]].unique().tolist()
        assert of_class == [number for number in range(12) if CLASSES[number % 3] != class_name]


def test_an_image_never_replaces_itself_whatever_its_name(pool):
    images = [ImageRecord("another name", pool[5].path, "a", pool[5].digest)] * 50
    drawn = everything(Replacements(pool, VIEW, 0), images, KEYS[:50], ["a"] * 50)
    assert sorted(drawn.unique().tolist()) == [1, 2, 4, 7, 8, 10, 11]


def test_a_draw_depends_on_seed_image_step_and_number_alone(pool):
    replacements = Replacements(pool, VIEW, 0)
    together = replacements.draw(IMAGES, KEYS, AVOID, 3, 5)
    order = np.random.default_rng(0).permutation(300)
    turned = replacements.draw([IMAGES[i] for i in order], KEYS[order], [AVOID[i] for i in order], 3, 5)
    assert torch.equal(turned, together[torch.from_numpy(order)])
    fresh = Replacements(pool, VIEW, 0)
    alone = [fresh.draw([IMAGES[i]], KEYS[[i]], [AVOID[i]], 3, 5)[0] for i in range(20)]
    assert torch.equal(torch.stack(alone), together[:20])
    assert torch.equal(fresh.draw(IMAGES, KEYS, AVOID, 3, 2), together[:, :2])
    for elsewhere in (
        replacements.draw(IMAGES, KEYS, AVOID, 4, 5),
        Replacements(pool, VIEW, 1).draw(IMAGES, KEYS, AVOID, 3, 5),
    ):
        assert (elsewhere == together).float().mean() < 0.25  # one of six by chance


def test_held_out_images_are_a_fifth_and_none_of_them_is_ever_drawn_for_a_step(pool):
    replacements = Replacements(pool, VIEW, 0)
    for row in range(20):
        question = [IMAGES[row]], KEYS[[row]], [AVOID[row]]
        steps = set(replacements.draw(*question, 0, 200).flatten().tolist())
        held_out = set(replacements.draw(*question, None, 200).flatten().tolist())
        assert (len(steps), len(held_out)) == (6, 2)
        assert not steps & held_out


def test_draws_differ_from_one_another_and_are_uniform(pool):
    drawn = Replacements(pool, VIEW, 0).draw(IMAGES, KEYS, ["a"] * 300, 0, 40)
    counts = np.bincount(drawn.flatten().numpy(), minlength=12)
    assert chisquare(counts[counts > 0]).pvalue > 1e-3
    same = (drawn[:, :-1] == drawn[:, 1:]).float().mean().item()
    assert same == pytest.approx(1 / 6, abs=0.02)


def test_what_is_taken_is_the_image_at_the_position_as_intensities(pool):
    replacements = Replacements(pool, VIEW, 0)
    taken = replacements.take(torch.tensor([[4, 0], [11, 4]]), torch.device("cpu"))
    assert taken.shape == (2, 2, 3, 8, 8)
    for row, column, number in ((0, 0, 4), (0, 1, 0), (1, 0, 11), (1, 1, 4)):
        assert torch.equal(taken[row, column], VIEW.look(open_rgb(pool[number].path)).float() / 255)


def test_where_nothing_is_allowed_the_error_names_the_image_and_the_remedy(pool):
    only_a = [record for record in pool if record.class_name == "a"]
    with pytest.raises(
        InputError, match=r"too few replacement images for image 0: of 4 .* class a, .* give data\.pool=FOLDER"
    ):
        Replacements(only_a, VIEW, 0).draw(IMAGES[:1], KEYS[:1], ["a"], 0, 1)


def test_unreadable_pool_images_are_left_out_and_named(pool, caplog):
    pool[1].path.write_bytes(b"no image")
    pool = add_digests(pool)
    with caplog.at_level(logging.WARNING):
        replacements = Replacements(pool, VIEW, 0)
    assert "01.png" in caplog.text
    assert len(replacements.pixels) == 11
    drawn = replacements.draw(IMAGES, KEYS, ["a"] * 300, 0, 20)
    kept = [record for record in pool if record is not pool[1]]
    assert {kept[position].class_name for position in drawn.unique().tolist()} == {"b", "c"}
    assert torch.equal(replacements.pixels[1], VIEW.look(open_rgb(pool[2].path)))


def test_a_pool_without_a_readable_image_is_refused(pool):
    pool[0].path.write_bytes(b"no image")
    for empty in ((), add_digests(pool[:1])):
        with pytest.raises(InputError, match=r"give data\.pool=FOLDER"):
            Replacements(empty, VIEW, 0)


def test_a_pool_image_that_is_gone_since_it_was_listed_is_an_error(pool):
    pool[0].path.unlink()
    with pytest.raises(InputError, match="must not change during a run"):
        Replacements(pool, VIEW, 0)


def test_what_fills_an_image_is_never_what_its_mask_was_made_before(pool):
    """Else fill=another_image would show Soundness Saliency its own background."""
    images, replacements = ImageSet("images", tuple(IMAGES), pool), Replacements(pool, VIEW, 0)
    filled = replacements.stand_ins(images, range(20), AVOID[:20], torch.device("cpu"))
    drawn = replacements.take(replacements.draw(IMAGES[:20], KEYS[:20], AVOID[:20], 0, 200), torch.device("cpu"))
    assert not (drawn == filled[:, None]).flatten(2).all(2).any()
    assert torch.equal(replacements.stand_ins(images, [7], [AVOID[7]], torch.device("cpu")), filled[7:8])


def test_every_image_may_have_a_step_of_its_own(pool):
    replacements = Replacements(pool, VIEW, 0)
    steps = np.array([0, 5, 2, 5])
    together = replacements.draw(IMAGES[:4], KEYS[:4], AVOID[:4], steps, 3)
    for row, step in enumerate(steps.tolist()):
        alone = replacements.draw(IMAGES[row : row + 1], KEYS[row : row + 1], AVOID[row : row + 1], step, 3)
        assert torch.equal(together[row], alone[0])


def test_no_class_to_avoid_draws_from_all_but_the_image_itself(pool):
    images = [ImageRecord("another name", pool[5].path, "a", pool[5].digest)] * 50
    drawn = everything(Replacements(pool, VIEW, 0), images, KEYS[:50], [None] * 50)
    assert sorted(drawn.unique().tolist()) == [number for number in range(12) if number != 5]


@pytest.fixture
def ramps(tmp_path) -> tuple[ImageRecord, ...]:
    """Thirty equal images, brighter to the right: a crop shows in its extent, a mirroring in its direction."""
    ramp = np.broadcast_to(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], (64, 64, 3))
    records = []
    for number in range(30):
        path = tmp_path / f"ramp {number}.png"
        Image.fromarray(ramp.copy()).save(path)
        records.append(ImageRecord(path.name, path, "a", ""))
    return add_digests(records)


def test_random_crops_are_parts_of_the_images_half_of_them_mirrored(ramps):
    whole = Replacements(ramps, VIEW, 0).pixels
    crops = Replacements(ramps, VIEW, 0, random_crops=True).pixels
    assert crops.shape == whole.shape
    assert crops.dtype == torch.uint8
    rises = crops[:, 0, 0].float().diff(dim=1).mean(1)
    assert 5 <= (rises < 0).sum() <= 25
    assert (whole[:, 0, 0].float().diff(dim=1).mean(1) > 0).all()
    spans = rises.abs() * 7  # of eight columns
    assert spans.max() <= 255
    assert spans.min() < 0.7 * spans.max()


def test_a_random_crop_depends_on_seed_and_image_alone_and_leaves_torchs_generator_as_it_was(ramps):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    all_of_them = Replacements(ramps, VIEW, 0, random_crops=True).pixels
    assert torch.equal(torch.random.get_rng_state(), before)
    some = Replacements(ramps[10:20], VIEW, 0, random_crops=True).pixels
    assert torch.equal(some, all_of_them[10:20])
    assert not torch.equal(Replacements(ramps, VIEW, 1, random_crops=True).pixels, all_of_them)
