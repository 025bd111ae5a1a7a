"""Pretrained timm classifiers as this project sees them: intensities in, logits out, classes by name."""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from harmonia.data.view import CropMode, Interpolation, View
from harmonia.errors import InputError, Within
from harmonia.models.layers import behind_normalisation, last_feature_map
from harmonia.shapes import Images, Logits

# Numbers inside the network; everything around it (keep weights, masks, objectives) stays float32.
PRECISIONS: dict[str, torch.dtype | None] = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}

CropPct = Annotated[float | None, Within(0.01, 1)]  # 1 sees the whole shorter side
INPUT = "input"
MIDDLE_STRIDE = 8


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One yaml of conf/source: a classifier, and timm's evaluation settings to override (None keeps timm's own)."""

    name: str
    arch: str  # a timm model name, with its tag for hub weights
    family: str
    weights: str | Path = "hub"
    weights_folder: str | Path | None = None  # looked into before the hub
    names_in_order: bool = False  # the file holds timm's tensors in timm's order under other names
    classes: str | Path | None = None  # text file, one class name a line; default: ImageNet-1k's WordNet ids
    input_size: Annotated[int | None, Within(1, 2048)] = None
    crop_pct: CropPct = None
    crop_mode: CropMode | None = None
    interpolation: Interpolation | None = None
    mean: Annotated[tuple[float, float, float] | None, Within(-1000, 1000)] = None
    std: Annotated[tuple[float, float, float] | None, Within(1e-6, 1000)] = None

    def overrides(self) -> dict:
        names = ("crop_pct", "crop_mode", "interpolation", "mean", "std")
        size = {} if self.input_size is None else {"input_size": (3, self.input_size, self.input_size)}
        return {name: value for name in names if (value := getattr(self, name)) is not None} | size


class Classifier(nn.Module):
    """A frozen timm network behind its own normalisation, channels last: convolutions are up to three times as fast.

    Takes intensities in [0, 1], (B, 3, H, W), at the size of its view; returns logits (B, K), float32 whatever the
    precision inside.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: ModelSpec,
        view: View,
        classes: Sequence[str],
        digest: str,
        precision: str = "32-true",
    ):
        if precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise InputError(f"trainer.precision must be one of {known}, got {precision!r}; 32-true is exact")
        super().__init__()
        self.input = nn.Identity()  # the normalised image passes through it: the layer "input"
        self.network: Any = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.spec = spec
        self.view = view
        self.classes = tuple(classes)
        self.digest = digest
        self.precision = precision
        self._indices = {known: index for index, known in enumerate(self.classes)}
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(view.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(view.std).view(1, 3, 1, 1), persistent=False)

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def representation_size(self) -> int:
        """D of the penultimate representation."""
        return self.network.head_hidden_size

    def forward(self, images: Images) -> Logits:
        with self._autocast(images):
            return self.network(self.input((images - self.mean) / self.std)).float()

    def features(self, images: Images) -> Tensor:
        """The last activations before the head, as the network lays them out."""
        with self._autocast(images):
            return self.network.forward_features(self.input((images - self.mean) / self.std))

    def head(self, features: Tensor) -> Logits:
        """Logits of such activations; forward is head after features."""
        with self._autocast(features):
            return self.network.forward_head(features).float()

    def represent(self, images: Images) -> tuple[Logits, Tensor]:
        """The logits, bit for bit those of forward, and the penultimate representation (B, D), float32, in one pass."""
        features = self.features(images)
        with self._autocast(images):
            representation = self.network.forward_head(features, pre_logits=True)
        return self.head(features), representation.flatten(1).float()

    def _autocast(self, images: Images) -> torch.autocast:
        inside = PRECISIONS[self.precision]
        return torch.autocast(images.device.type, dtype=inside, enabled=inside is not None)

    def identity(self) -> dict:
        """Everything about the model that changes a number it gives."""
        view = self.view
        return {
            "arch": self.spec.arch,
            "weights": self.digest,
            "precision": self.precision,
            "transform": [view.size, view.crop_pct, view.crop_mode, view.interpolation, *view.mean, *view.std],
            "classes": hashlib.sha256("\n".join(self.classes).encode()).hexdigest()[:16],
        }

    def size_facts(self) -> dict[str, str | int]:
        """What orders networks by capacity: the number of parameters, head included, and the input's side in pixels."""
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        return {"arch": self.spec.arch, "parameters": parameters, "input_px": self.view.size}

    def class_index(self, name: str) -> int | None:
        """This model's index of a class, None where it has no such class."""
        return self._indices.get(name)

    def layer(self, name: str) -> nn.Module:
        """A module of the network by its dotted name; "input" is the normalised image."""
        if name == INPUT:
            return self.input
        modules = dict(self.network.named_modules())
        if not name or name not in modules:
            near = difflib.get_close_matches(name, modules, n=3) or list(modules)[1:4]
            raise InputError(f"layer {name!r} is not a module of {self.spec.arch}; close: {', '.join(near)}")
        return modules[name]

    def layer_name(self, place: str) -> str:
        """The module that a place in the network stands for; another name is taken as it is.

        input: the normalised image. final: the last feature map before pooling; of a ViT, the input of the last block.
        middle: the last feature map at an eighth of the image's side, as ResNet's Conv3_x in Rao, Böhle, Schiele 2022;
        of a network that keeps one resolution (ViT) the output of the first half of its blocks. normalised: final or,
        where its tokens' scale is normalised away, the normalisation (harmonia.models.layers).
        """
        if place == "final":
            return self._final_layer
        if place == "normalised":
            return self._normalised_layer
        if place != "middle":
            self.layer(place)
            return place
        stages = list(getattr(self.network, "feature_info", None) or [])
        if not stages:
            raise InputError(f"{self.spec.arch}: timm names no feature maps of it; give a module's name as the layer")
        eighth = [stage["module"] for stage in stages if stage["reduction"] == MIDDLE_STRIDE]
        return eighth[-1] if eighth else stages[(len(stages) - 1) // 2]["module"]

    def spatial(self, activations: Tensor) -> Tensor:
        """Activations of a layer as (B, C, h, w), whatever way the network lays them out; keeps the graph.

        Tokens lose timm's num_prefix_tokens and take the patch grid; channels-last maps are turned.
        """
        if activations.ndim == 4:
            return activations.permute(0, 3, 1, 2) if self._channels_last(activations) else activations
        if activations.ndim == 3:
            patches = activations[:, getattr(self.network, "num_prefix_tokens", 0) :]
            rows, columns = self._token_grid(patches.shape[1])
            return patches.transpose(1, 2).unflatten(2, (rows, columns))
        raise InputError(
            f"a layer of {self.spec.arch} gives a tensor of shape {tuple(activations.shape)}, which has no image axes; "
            "choose an earlier layer"
        )

    def unspatial(self, maps: Tensor, like: Tensor) -> Tensor:
        """Maps (B, C, h, w) in the layout of a layer's activations, the way back from spatial; keeps the graph.

        Tokens without a place (class token, registers) keep the values they have in ``like``.
        """
        if like.ndim == 4:
            return maps.permute(0, 2, 3, 1) if self._channels_last(like) else maps
        prefix = like[:, : getattr(self.network, "num_prefix_tokens", 0)]
        return torch.cat([prefix.to(maps), maps.flatten(2).mT], 1)

    def _channels_last(self, activations: Tensor) -> bool:
        # timm's hierarchical transformers (Swin, ...) say NHWC; convolutional networks say nothing. The image itself is
        # NCHW for all: its equal axes, every view being square, are the last two
        says = getattr(self.network, "output_fmt", "NCHW") == "NHWC"
        return says and activations.shape[1] == activations.shape[2]

    def _token_grid(self, tokens: int) -> tuple[int, int]:
        embedding = getattr(self.network, "patch_embed", None)
        grid = getattr(embedding, "grid_size", None)
        if grid is not None and grid[0] * grid[1] == tokens:
            return grid[0], grid[1]
        side = round(tokens**0.5)
        if side * side != tokens:
            raise InputError(f"{tokens} tokens of {self.spec.arch} do not form a square grid; choose another layer")
        return side, side

    @cached_property
    def _final_layer(self) -> str:
        return last_feature_map(self.network, self._probe(), self.spec.arch)

    @cached_property
    def _normalised_layer(self) -> str:
        return behind_normalisation(self.network, self._probe(), self._final_layer)

    def _probe(self) -> Images:
        # noise: before one colour all tokens of a network without position embeddings are the same
        generator = torch.Generator().manual_seed(0)
        return torch.randn(1, 3, self.view.size, self.view.size, generator=generator).to(self.mean.device)


def refuse_non_finite(logits: Logits, name: str) -> None:
    """NaN logits have an argmax, class 0: they must not be scored."""
    if not torch.isfinite(logits).all():
        raise InputError(
            f"{name}: its logits must be finite, got NaN or infinity; use trainer.precision=32-true, or look at the "
            "weights and at mean and std"
        )


def class_indices(classifier: Classifier, names: Sequence[str]) -> Tensor:
    """The model's indices of class names, -1 where it lacks the class; int64 (B,)."""
    return torch.tensor([-1 if (index := classifier.class_index(name)) is None else index for name in names])
