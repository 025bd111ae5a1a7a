"""Networks that harmonia.fit has trained: source=fitted source.weights=FILE_OR_FOLDER.

One safetensors file holds the numbers, and what builds their network is JSON in its metadata. Nothing of it is run:
a function that makes a network is named by the user again, unless it is harmonia's own.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict
from safetensors import safe_open
from safetensors.torch import save_file

from harmonia.cli.network_file import DESCRIPTION, network_file
from harmonia.cli.options import read_settings
from harmonia.errors import InputError, refused
from harmonia.models.classes import names_in_order
from harmonia.models.classifier import Classifier
from harmonia.models.spec import ModelSpec
from harmonia.plain_yaml import MOST_TEXT
from harmonia.store.files import replacing

_OWN = ("harmonia.models.plain_vgg:plain_vgg",)  # factories that a file may name


class NetworkFacts(BaseModel):
    """What the metadata say, beside the numbers; values are held against ModelSpec's types where they are used."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    kind: str
    arch: str
    factory: str | None
    classes: list[str]
    input_size: int | list[int]
    crop_pct: float
    crop_mode: str
    interpolation: str
    mean: list[float]
    std: list[float]


def write(path: Path, classifier: Classifier, name: str) -> None:
    """A classifier's numbers and what builds its network, whole or not at all; tensors that share memory are copied."""
    view, spec = classifier.view, classifier.spec
    facts = NetworkFacts(
        name=name,
        kind=spec.kind,
        arch=spec.arch,
        factory=spec.factory,
        classes=list(classifier.classes),
        input_size=view.size if isinstance(view.size, int) else list(view.size),
        crop_pct=view.crop_pct,
        crop_mode=view.crop_mode,
        interpolation=view.interpolation,
        mean=list(view.mean),
        std=list(view.std),
    )
    state = classifier.network.state_dict().items()
    plain = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in state}
    with replacing(path) as temporary:
        save_file(plain, temporary, {DESCRIPTION: facts.model_dump_json()})


def read_facts(path: Path, name: str) -> NetworkFacts:
    """What a file's metadata say; InputError, in one line, where harmonia.fit has not written it."""
    remedy = "give model.safetensors of python -m harmonia.fit, or source=timm for other weights"
    with refused(f"{name}: {path} must be a network that harmonia.fit left, got", remedy):
        path.stat()  # safetensors would name a missing file once more
        with cast(Any, safe_open)(path, "pt") as file:
            text = (file.metadata() or {}).get(DESCRIPTION)
        if text is None:
            raise ValueError("no description of its network")
        if len(text) > MOST_TEXT:
            raise ValueError(f"a description of {len(text):,} letters, more than {MOST_TEXT:,}")
        facts = NetworkFacts.model_validate(json.loads(text))
        if names_in_order(facts.classes) is None:
            raise ValueError("class names that are not different words")
        return facts


def described(spec: ModelSpec) -> ModelSpec:
    """Of a spec of kind fitted the spec that builds its network; what it says itself goes before the file."""
    if spec.kind != "fitted":
        return spec
    path = file_of(str(spec.weights), spec.name)
    facts = read_facts(path, spec.name)
    if facts.kind == "python" and spec.factory is None and facts.factory not in _OWN:
        raise InputError(
            f"{spec.name}: {path} has numbers of a network of your own, whose code must be named, got none; add "
            f"source.factory={facts.factory} or target.NAME.factory={facts.factory} where you trust it"
        )
    family = facts.arch if spec.family == "fitted" else spec.family
    values = facts.model_dump(exclude={"name"}) | {"weights": str(path), "family": family, "name": spec.name}
    said = {**spec.overrides(), "input_size": spec.input_size, "factory": spec.factory, "classes": spec.classes}
    given = {key: value for key, value in said.items() if key != "size" and value is not None}
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    if facts.kind == "fitted":
        raise InputError(f"{spec.name}: {path} must name the kind of its network, got 'fitted'; fit it again")
    return replace(read_settings(ModelSpec, values | lists, spec.name), reshape=spec.reshape, **given)


def file_of(weights: str, name: str) -> Path:
    """The file that source.weights means, by itself or by its folder."""
    if weights in ("hub", "random"):
        remedy = "add source.weights=FILE_OR_FOLDER or target.NAME.weights=FILE_OR_FOLDER, as harmonia.fit has left it"
        raise InputError(f"{name}: a fitted network must have a file, got weights={weights}; {remedy}")
    return network_file(weights)
