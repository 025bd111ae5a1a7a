"""Pretrained classifiers as this project sees them: intensities in, logits out, classes by name."""

import copy
import difflib
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harmonia.data.text import composed
from harmonia.data.view import View
from harmonia.errors import InputError
from harmonia.models.contract import Structure
from harmonia.models.spec import ModelSpec
from harmonia.models.timm import TimmStructure
from harmonia.shapes import Images, Logits, Size

# Numbers inside the network; everything around it (keep weights, masks, objectives) stays float32.
# tf32 is float32 whose products round on a GPU (harmonia.job.device).
PRECISIONS: dict[str, torch.dtype | None] = {
    "32-true": None,
    "tf32": None,
    "bf16-mixed": torch.bfloat16,
    "16-mixed": torch.float16,
}

INPUT = "input"
LUMA = (0.299, 0.587, 0.114)  # of red, green, blue, as PIL has it (ITU-R BT.601)


class Classifier(nn.Module):
    """A frozen network behind its own normalisation, channels last: convolutions are up to three times as fast.

    Takes intensities in [0, 1], (B, C, H, W), at the size of its view; returns logits (B, K), float32 whatever the
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
        arch: str = "",
        structure: Callable[..., Structure] = TimmStructure,
    ):
        """arch: the network's name in keys, the spec's without another."""
        super().__init__()
        self.input = nn.Identity()  # the normalised image passes through it: the layer "input"
        self.network: Any = channels_last(network.eval().requires_grad_(False))
        self.arch = arch or spec.arch
        self.structure_of = structure
        self.structure = structure(self.network, spec.arch, view.size, len(view.mean))
        self.spec = spec
        self.view = view
        self.name_classes(classes)
        self.digest = digest
        self.precision = _checked(precision)
        self.mean: Tensor
        self.std: Tensor
        self.luma: Tensor
        self.register_buffer("mean", torch.tensor(view.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(view.std).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("luma", torch.tensor(LUMA).view(1, 3, 1, 1), persistent=False)

    def of_a_job(self, precision: str) -> "Classifier":
        """The same network with such numbers inside; a job may give its classes other names."""
        of_job = copy.copy(self)
        of_job.precision = _checked(precision)
        return of_job

    def name_classes(self, classes: Sequence[str]) -> None:
        """Gives the outputs names, in their order."""
        self.classes = tuple(map(composed, classes))
        self._indices = {known: index for index, known in enumerate(self.classes)}

    def __repr__(self) -> str:
        """What it is and what was found in it, not every module."""
        view, first = self.view, ", ".join(self.classes[:3])
        where = "in memory" if self.spec.weights == "memory" else self.spec.kind
        with self.structure.tried():
            places = self.structure.describe() or f"final layer {self.structure.final}"
        crop = f"{view.crop_mode} crop of {view.crop_pct:.3g}"
        lines = {
            "network": f"{self.arch}, {where}, {self.size_facts()['parameters']:,} parameters",
            "sees": f"{view.height} x {view.width} px, {crop}, {view.interpolation}",
            "classes": f"{len(self.classes):,}: {first}{', ...' if len(self.classes) > 3 else ''}",
            "layers": places,
        }
        return "\n".join([f"Classifier {self.name}", *(f"  {what:8} {text}" for what, text in lines.items())])

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def representation_size(self) -> int:
        """D of the penultimate representation."""
        return self.structure.representation_size

    def forward(self, images: Images) -> Logits:
        with self._autocast(images):
            return self.structure.logits(self._normalised(images)).float()

    def features(self, images: Images) -> Tensor:
        """The last activations before the head, as the network lays them out."""
        with self._autocast(images):
            return self.structure.features(self._normalised(images))

    def head(self, features: Tensor) -> Logits:
        """Logits of such activations; forward is head after features."""
        with self._autocast(features):
            return self.structure.head(features).float()

    def represent(self, images: Images) -> tuple[Logits, Tensor]:
        """The logits, bit for bit those of forward, and the penultimate representation (B, D), float32, in one pass."""
        with self._autocast(images):
            logits, representation = self.structure.represent(self._normalised(images))
        return logits.float(), representation.float()

    def _normalised(self, images: Images) -> Tensor:
        if self.mean.shape[1] == 1:  # a grey network sees the luma
            images = (images * self.luma).sum(1, keepdim=True)
        return self.input((images - self.mean) / self.std)

    def _autocast(self, images: Images) -> torch.autocast:
        inside = PRECISIONS[self.precision]
        return torch.autocast(images.device.type, dtype=inside, enabled=inside is not None)

    def identity(self) -> dict:
        """Everything about the model that changes a number it gives."""
        view = self.view
        return {
            "arch": self.arch,
            "weights": self.digest,
            "precision": self.precision,
            "transform": [view.size, view.crop_pct, view.crop_mode, view.interpolation, *view.mean, *view.std],
            "classes": hashlib.sha256("\n".join(self.classes).encode()).hexdigest()[:16],
        }

    def size_facts(self) -> dict[str, str | Size]:
        """What orders networks by capacity: the number of parameters, head included, and the input's size in pixels."""
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
        return self.structure.layer(name)

    def layer_name(self, place: str) -> str:
        """The module that a place in the network stands for; another name is taken as it is.

        input: the normalised image. final: the last feature map before pooling; of a ViT, the input of the last block.
        middle: the last feature map at an eighth of the image's side, as ResNet's Conv3_x in Rao, Böhle, Schiele 2022;
        of a network that keeps one resolution (ViT) the output of the first half of its blocks. normalised: final or,
        where its tokens' scale is normalised away, the normalisation (harmonia.models.contract.Structure).
        """
        if place in ("final", "middle", "normalised"):
            return getattr(self.structure, place)
        self.layer(place)
        if place != INPUT:
            self.structure.check_place(place)
        return place

    def spatial(self, activations: Tensor) -> Tensor:
        """Activations of a layer as (B, C, h, w), whatever way the network lays them out; keeps the graph."""
        return self.structure.spatial(activations)

    def unspatial(self, maps: Tensor, like: Tensor) -> Tensor:
        """Maps (B, C, h, w) in the layout of a layer's activations, the way back from spatial; keeps the graph."""
        return self.structure.unspatial(maps, like)


def channels_last(network: nn.Module) -> nn.Module:
    """The network, its weights of images channels last; torch's own way fails where others have five axes."""
    for weights in (*network.parameters(), *network.buffers()):
        if weights.ndim == 4:
            weights.data = weights.data.to(memory_format=torch.channels_last)
    return network


def _checked(precision: str) -> str:
    if precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise InputError(f"trainer.precision must be one of {known}, got {precision!r}; 32-true is exact")
    return precision


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
