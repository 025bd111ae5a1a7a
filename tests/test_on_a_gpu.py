"""What only a CUDA GPU shows; skipped without one. Networks have random weights: no file is needed."""

import shutil

import numpy as np
import pytest
import torch
from networks import noise
from PIL import Image

import harmonia
from harmonia.attribution.passes import BatchSize
from harmonia.features.areas import top_fractions
from harmonia.job import device
from harmonia.models.load import load
from harmonia.models.spec import ModelSpec

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
ARCHES = ["resnet18", "vit_tiny_patch16_224", "tf_efficientnet_lite0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve images of smooth noise in three classes of ImageNet."""
    images = tmp_path_factory.mktemp("images")
    for number in range(12):
        home = images / ("n01440764", "n01443537", "n01484850")[number % 3]
        home.mkdir(exist_ok=True)
        coarse = np.random.default_rng(number).integers(0, 256, (9, 9, 3), np.uint8)
        Image.fromarray(coarse).resize((256, 256), Image.Resampling.BICUBIC).save(home / f"{number}.png")
    return images


def model_of(arch: str, precision: str = "32-true"):
    return load(ModelSpec(name=arch, arch=arch, family="any", weights="random"), precision=precision)


def transfer(folder, cache, arch, *options, method="gc", accelerator="gpu"):
    model = harmonia.classifier(f"timm:{arch}", weights="random", name="net")
    words = [f"trainer={accelerator}", *options]
    return harmonia.transfer(model, targets=[model], images=folder, methods=[method], cache=cache, options=words)


@pytest.mark.parametrize("arch", ARCHES)
def test_full_float32_is_the_cpus_within_its_rounding_and_tf32_is_not(arch):
    images = noise(16, 224).float() / 255
    model = model_of(arch)
    with torch.no_grad():
        on_cpu = model(images).double()
        model.cuda()
        apart = {}
        for precision in ("32-true", "tf32"):
            with device.arithmetic(None, precision):
                logits = model(images.cuda()).double().cpu()
            apart[precision] = ((logits - on_cpu).norm() / on_cpu.norm()).item()
    assert apart["32-true"] < 1e-5
    assert 1e-5 < apart["tf32"] < 1e-2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_highest_pixels_are_the_cpus_bit_for_bit(dtype):
    maps = torch.randn(8, 224, 224, dtype=dtype, generator=torch.Generator().manual_seed(0))
    maps = torch.cat([maps, maps.round(), torch.zeros_like(maps)])
    assert torch.equal(top_fractions(maps.cuda(), (0, 0.1, 0.5, 1)).cpu(), top_fractions(maps, (0, 0.1, 0.5, 1)))


@pytest.mark.parametrize("method", ["gc", "ss"])
def test_a_job_says_on_a_gpu_what_it_says_on_a_cpu(folder, tmp_path, method):
    rows = [
        transfer(folder, tmp_path / accelerator, "resnet18", method=method, accelerator=accelerator).rows()
        for accelerator in ("cpu", "gpu")
    ]
    assert len(rows[0]) == len(rows[1]) > 0
    whole = [frame[frame["arm"] == "image"] for frame in rows]
    assert np.allclose(whole[0]["p_label"], whole[1]["p_label"], atol=1e-5, equal_nan=True)
    if method == "gc":  # a long optimisation drifts apart
        assert np.abs(rows[0]["p_explained"].to_numpy() - rows[1]["p_explained"].to_numpy()).max() < 1e-2


@pytest.mark.parametrize("fill", ["black", "mean"])
def test_nothing_and_whole_patches_are_on_a_gpu_what_they_are_on_a_cpu(folder, tmp_path, fill):
    options = ["evaluation.controls.nothing=true", "evaluation.patch_borders=true", f"fill={fill}"]
    rows = [
        transfer(folder, tmp_path / accelerator, "vit_tiny_patch16_224", *options, accelerator=accelerator).rows()
        for accelerator in ("cpu", "gpu")
    ]
    for on_cpu, on_gpu in (
        [frame[frame["arm"] == arm] for frame in rows] for arm in ("nothing", "patch_area30", "patch_blobs30")
    ):
        assert len(on_cpu) == len(on_gpu) == 12
        assert np.allclose(on_cpu["p_explained"], on_gpu["p_explained"], atol=1e-2)


def test_the_batch_is_found_on_the_card_and_kept_for_it():
    model = model_of("resnet18").cuda()
    sizes = [device.fastest_of(model, gradients) for gradients in (False, True, False)]
    assert sizes[0] == sizes[2]
    assert all(size in [8 * 2**step for step in range(7)] for size in sizes)
    assert {card for _, card, _ in device._sizes} == {torch.cuda.get_device_name()}


def test_a_card_that_is_full_halves_the_batch_and_goes_on():
    model, images = model_of("resnet18").cuda(), torch.rand(256, 3, 224, 224)
    asked = []
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_allocated() + 2**30) / total))

    def compute(size):
        asked.append(size)
        shown = images[:size].cuda().requires_grad_()
        return torch.autograd.grad(model(shown).sum(), shown)[0].cpu()

    try:
        gradients = BatchSize(256).fit(compute)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert len(asked) > 1
    assert len(gradients) == asked[-1] < 256


def test_memory_on_the_card_does_not_grow_with_the_images(folder, tmp_path):
    peaks = []
    for copies in (1, 3):
        images = tmp_path / f"{copies}"
        for path in folder.glob("*/*"):
            for copy in range(copies):
                (images / path.parent.name).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, images / path.parent.name / f"{copy}_{path.name}")
        torch.cuda.reset_peak_memory_stats()
        transfer(images, tmp_path / f"cache{copies}", "resnet18", "store.shard_size=4")
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] <= 1.02 * peaks[0]


def test_compiled_answers_have_a_key_of_their_own_and_are_near(folder, tmp_path):
    plain, compiled = (transfer(folder, tmp_path, "resnet18", f"compile={word}").rows() for word in ("false", "true"))
    assert np.abs(plain["p_explained"].to_numpy() - compiled["p_explained"].to_numpy()).max() < 1e-2
    assert len(list((tmp_path / "features").iterdir())) == 2
