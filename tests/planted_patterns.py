"""Planted patterns, a network that knows them, and what the tests of Soundness Saliency ask of it."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from paths import CONF
from torch import nn

from harmonia.attribution.contract import Explanation, Request
from harmonia.attribution.passes import BatchSize
from harmonia.attribution.soundness import SoundnessSaliency
from harmonia.draws import counter_hash

SIZE, PATCH, CLASSES = 32, 12, 4
SPOTS = [(4, 4), (16, 8), (8, 18), (20, 20), (0, 16), (12, 12), (18, 0), (6, 10)]
# the release's smoothness, on cells of 2 px: the toy's patches have sharp edges, which a stronger weight rounds off
TOY = {"grid": 16, "tv": 0.01, "steps": 60, "learning_rate": 0.2, "tolerance": 0.02}
AREA = {"released": 1.0, "nll": 3.0, "soft": 3.0, "entropy_mean": 1.0, "entropy": 1.0}


class MatchedFilters(nn.Module):
    """A classifier by construction: each class is a pattern of PATCH px, found wherever it stands."""

    def __init__(self):
        super().__init__()
        signs = torch.randint(0, 2, (CLASSES, 3, PATCH, PATCH), generator=torch.Generator().manual_seed(0))
        self.response = nn.Conv2d(3, CLASSES, PATCH, bias=False).requires_grad_(False)
        self.response.weight.copy_(2 * signs - 1)
        self.calls: list[int] = []  # inputs of each pass

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(images))
        return 30 / (3 * PATCH**2) * self.response(images - 0.5).amax((2, 3))

    def layer(self, name: str) -> nn.Module:
        return self.get_submodule(name)

    def layer_name(self, place: str) -> str:
        return "response" if place in ("final", "normalised") else place

    def spatial(self, activations: torch.Tensor) -> torch.Tensor:
        return activations


def planted(patches: list[dict[tuple[int, int], int]], seed: int) -> torch.Tensor:
    """Images of faint noise with patterns at (row, column), uint8."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.45 + 0.1 * torch.rand(len(patches), 3, SIZE, SIZE, generator=generator)
    pattern = MatchedFilters().response.weight
    for image, spots in zip(images, patches, strict=True):
        for (row, column), label in spots.items():
            image[:, row : row + PATCH, column : column + PATCH] = 0.5 + 0.35 * pattern[label]
    return (255 * images).round().byte()


def single_patches() -> torch.Tensor:
    """Eight images, two of each class."""
    return planted([{spot: number % CLASSES} for number, spot in enumerate(SPOTS)], seed=1)


@cache
def noise_pool() -> torch.Tensor:
    return planted([{}] * 64, seed=2)


def inside(row: int, column: int) -> torch.Tensor:
    region = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    region[row : row + PATCH, column : column + PATCH] = True
    return region


def from_pool(pool: torch.Tensor, seed: int = 0) -> Callable:
    """The last fifth of the pool is held out."""
    shown, held_out = pool.split([len(pool) - len(pool) // 5, len(pool) // 5])

    def replacements(positions, labels, steps, draws):
        part = held_out if steps is None else shown
        return part[draw_numbers(seed, positions, steps, draws) % len(part)].float() / 255

    return replacements


def draw_numbers(seed: int, positions, steps, draws: int) -> torch.Tensor:
    steps = np.full(len(positions), 2**32) if steps is None else steps.numpy()
    hashes = counter_hash(seed, positions.numpy().astype(np.uint64)[:, None], steps[:, None], np.arange(draws)[None])
    return torch.from_numpy((hashes >> np.uint64(1)).astype(np.int64))


def predicted(logits, positions):
    return logits.argmax(1)


def explain(
    method: SoundnessSaliency,
    pixels: torch.Tensor,
    model=None,
    labels=predicted,
    replacements=None,
    batch_size: int = 32,
    positions=None,
) -> Explanation:
    """labels: a policy, or a class for each position."""
    table, positions = labels, torch.arange(len(pixels)) if positions is None else positions
    return method(
        Request(
            model=model or MatchedFilters(),
            pixels=pixels,
            choose_labels=labels if callable(labels) else lambda logits, positions: table[positions],
            replacements=replacements or from_pool(noise_pool()),
            device=torch.device("cpu"),
            batch_size=BatchSize(batch_size),
            positions=positions,
            image_keys=positions.numpy().astype(np.uint64),
            on_progress=lambda images: None,
        )
    )


def p_of(model, composites_BR3HW: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean probability of the class over an image's composites, (B,)."""
    with torch.no_grad():
        logits_BRK = model(composites_BR3HW.flatten(0, 1)).unflatten(0, composites_BR3HW.shape[:2])
    return logits_BRK.softmax(-1).mean(1).gather(1, labels[:, None])[:, 0]


def upsampled(mask_logits: torch.Tensor, size: int = SIZE) -> torch.Tensor:
    """The mask of every pixel, by torch's own interpolation."""
    return F.interpolate(mask_logits.sigmoid()[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]


def top_iou(mask: torch.Tensor, region: torch.Tensor) -> float:
    """Overlap of the region with as many of the mask's highest pixels."""
    top = torch.zeros(mask.numel(), dtype=torch.bool)
    top[mask.flatten().topk(int(region.sum())).indices] = True
    return ((top & region.flatten()).sum() / (top | region.flatten()).sum()).item()


def kept(maps: torch.Tensor, size: int) -> torch.Tensor:
    """The highest 30 % of every mask, as whole pixels."""
    masks = upsampled(maps, size).flatten(1)
    return masks > masks.quantile(0.7, dim=1, keepdim=True)


def assert_same_regions(maps: torch.Tensor, expected: torch.Tensor, size: int = SIZE) -> None:
    one, other = kept(maps, size), kept(expected, size)
    shared, either = (one & other).sum(1), (one | other).sum(1)
    assert (shared / either).min() >= 0.98


@cache
def preset(name: str) -> SoundnessSaliency:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        settings = OmegaConf.to_container(compose("config", overrides=[f"method={name}"]).method, resolve=True)
    assert settings.pop("name") == name
    return instantiate(settings, _convert_="all")
