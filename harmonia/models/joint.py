"""Several networks as one source: source=joint source.networks=[lite0,deit_tiny].

Each sees the same image, through its own normalisation and at its own size, and answers on the classes that all have.
Their prediction is the mean of their log-probabilities.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NoReturn

import torch
from torch import Tensor, nn

from harmonia.attribution.contract import joint_logits
from harmonia.attribution.soundness import resized
from harmonia.data.view import View
from harmonia.errors import InputError
from harmonia.features.resample import upsampling_matrix
from harmonia.models.classifier import Classifier, class_indices
from harmonia.models.contract import Structure
from harmonia.models.named import spec_of_name
from harmonia.models.spec import ModelSpec
from harmonia.shapes import Images, Logits

TOGETHER = ("joint", "vote")  # kinds of such a source: with one mask, or with one map of theirs
JOINT = 1  # raised whenever the arithmetic changes: part of keys


class Voter(nn.Module):
    """One of the networks, as a method sees it: asked with the joint source's images, for the classes in common."""

    def __init__(self, classifier: Classifier, view: View, classes: Sequence[str]):
        super().__init__()
        self.classifier = classifier
        own = classifier.view
        same = (own.height, own.width) == (view.height, view.width)
        self.sides = () if same else ((view.height, own.height), (view.width, own.width))
        self.classes = None if tuple(classes) == classifier.classes else class_indices(classifier, classes)

    def forward(self, images: Images) -> Logits:
        return self._in_common(self.classifier(self._at_own_size(images)))

    def represent(self, images: Images) -> tuple[Logits, Tensor]:
        """As Classifier has it."""
        logits, representation = self.classifier.represent(self._at_own_size(images))
        return self._in_common(logits), representation

    def _at_own_size(self, images: Images) -> Images:
        if not self.sides:
            return images
        rows, columns = (upsampling_matrix(*sides).to(images) for sides in self.sides)
        return resized(images.flatten(0, 1), rows, columns).unflatten(0, images.shape[:2])

    def _in_common(self, logits: Logits) -> Logits:
        return logits if self.classes is None else logits[:, self.classes.to(logits.device)]

    def layer(self, name: str) -> nn.Module:
        return self.classifier.layer(name)

    def layer_name(self, place: str) -> str:
        return self.classifier.layer_name(place)

    def spatial(self, activations: Tensor) -> Tensor:
        return self.classifier.spatial(activations)

    def unspatial(self, maps: Tensor, like: Tensor) -> Tensor:
        return self.classifier.unspatial(maps, like)


class _Together(nn.Module):
    def __init__(self, voters: Sequence[Voter]):
        super().__init__()
        self.voters = nn.ModuleList(voters)

    def forward(self, images: Images) -> Logits:
        return joint_logits(torch.stack([voter(images) for voter in self.voters], 1))


class JointStructure(Structure):
    """Several networks have their answers in common, and no layer."""

    @property
    def representation_size(self) -> int:
        return sum(voter.classifier.representation_size for voter in self.network.voters)

    def represent(self, images: Images) -> tuple[Logits, Tensor]:
        """The representations stand side by side."""
        logits, representations = zip(*(voter.represent(images) for voter in self.network.voters), strict=True)
        return joint_logits(torch.stack(logits, 1)), torch.cat(representations, 1)

    def check_place(self, layer: str) -> NoReturn:
        remedy = "use method=ss, or source=vote (in Python classifier([...], vote=True)) for the mean of maps"
        raise InputError(f"networks together must be explained without a layer, got {layer!r}; {remedy}")

    @cached_property
    def final(self) -> str:
        return self.check_place("final")

    @cached_property
    def middle(self) -> str:
        return self.check_place("middle")

    @cached_property
    def normalised(self) -> str:
        return self.check_place("normalised")

    def features(self, images: Images) -> Tensor:
        return self.check_place("final")

    def head(self, features: Tensor) -> Logits:
        return self.check_place("final")

    def channels_last(self, activations: Tensor) -> bool:
        return False  # the image's own

    def layer(self, name: str) -> NoReturn:
        self.check_place(name)

    def describe(self) -> str:
        return ", ".join(voter.classifier.name for voter in self.network.voters)


class Joint(Classifier):
    """Networks that explain together; `voters` are they as a method sees them."""

    @property
    def voters(self) -> tuple[Voter | Classifier, ...]:
        """A network that needs no adapting is itself."""
        return tuple(
            voter if voter.sides or voter.classes is not None else voter.classifier for voter in self.network.voters
        )

    @property
    def members(self) -> list[Classifier]:
        return [voter.classifier for voter in self.network.voters]

    def of_a_job(self, precision: str) -> "Joint":
        return joint(self.spec, [member.of_a_job(precision) for member in self.members])

    def _normalised(self, images: Images) -> Tensor:
        return self.input(images)  # each network has its own normalisation


def joint(spec: ModelSpec, members: Sequence[Classifier]) -> Joint:
    """Networks as one source, in the first one's view."""
    _check(spec, members)
    first = members[0]
    view = replace(first.view, **spec.overrides())
    classes = [name for name in first.classes if all(member.class_index(name) is not None for member in members)]
    if len(members) > 1 and len(classes) < 2:
        firsts = ", ".join(f"{member.name} {member.classes[0]!r}" for member in members)
        raise InputError(
            f"{spec.name}: networks must have two or more classes in common by name, got {len(classes)}, of which the "
            f"first are {firsts}; name them alike by classes="
        )
    voters = [Voter(member, view, classes) for member in members]
    identities = json.dumps([JOINT, *(member.identity() for member in members)], sort_keys=True, default=str)
    digest = hashlib.sha256(identities.encode()).hexdigest()
    return Joint(_Together(voters), spec, view, classes, digest, first.precision, "joint", JointStructure)


def _check(spec: ModelSpec, members: Sequence[Classifier]) -> None:
    if not members:
        raise InputError("source.networks must name at least one network, got none; add 'source.networks=[lite0,vit]'")
    for option, usual in (("mean", None), ("std", None), ("classes", None), ("factory", None), ("reshape", None)):
        if getattr(spec, option) != usual:
            raise InputError(f"{spec.name}: {option} is each network's own, got {getattr(spec, option)}; leave it out")
    if spec.weights not in ("hub", "memory"):
        raise InputError(f"{spec.name}: weights are each network's own, got {spec.weights}; use paths.weights=FOLDER")
    if inner := [member.name for member in members if isinstance(member, Joint)]:
        raise InputError(f"{spec.name}: networks must be single ones, got the joint {inner[0]!r}; name its networks")
    for name, keys in (("name", [m.name for m in members]), ("numbers", [str(m.identity()) for m in members])):
        if len(set(keys)) < len(keys):
            twice = next(m.name for at, m in enumerate(members) if keys[at] in keys[:at])
            raise InputError(f"{spec.name}: networks must differ in {name}, got {twice!r} again; leave one out")
    channels = {member.name: member.view.channels for member in members}
    if len(set(channels.values())) > 1:
        raise InputError(f"{spec.name}: networks must see images of as many channels, got {channels}; leave some out")


def specs_of_networks(spec: ModelSpec) -> Iterator[ModelSpec]:
    """Of the networks that a spec names, as targets of these names have them."""
    shared = {"weights_folder": spec.weights_folder, "crop_pct": spec.crop_pct}
    for name in spec.networks:
        if name in TOGETHER:
            raise InputError(f"{spec.name}: networks must be single ones, got {name!r}; name its networks")
        subject = f"{spec.name}: each of networks"
        yield spec_of_name(name, (), subject, **{key: value for key, value in shared.items() if value is not None})
