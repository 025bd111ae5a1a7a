"""From a spec to a classifier: a network of some kind, its weights, its view and its classes."""

import logging
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from harmonia.data.view import View
from harmonia.errors import InputError
from harmonia.models import fitted
from harmonia.models import weights as weights_file
from harmonia.models.classes import class_names
from harmonia.models.classifier import Classifier
from harmonia.models.contract import Built
from harmonia.models.joint import TOGETHER, joint, specs_of_networks
from harmonia.models.spec import ModelSpec

log = logging.getLogger(__name__)


def load(spec: ModelSpec, seed: int = 0, precision: str = "32-true") -> Classifier:
    """The classifier of a spec, frozen, in evaluation mode, on the CPU."""
    if spec.kind in TOGETHER:
        return joint(spec, [load(each, seed, precision) for each in specs_of_networks(spec)])
    spec = fitted.described(spec)
    return classifier_of(build(spec, seed), spec, precision)


def build(spec: ModelSpec, seed: int) -> Built:
    """The network of a spec, by its kind's module."""
    kind: Any = import_module(f"harmonia.models.{spec.kind}")
    return kind.build(spec, seed)


def classifier_of(built: Built, spec: ModelSpec, precision: str = "32-true") -> Classifier:
    """The network seen as the spec says, its classes named as the spec or its weights say."""
    digest = weights_file.digest(built.network, built.facts)
    view = View(**{**built.transform, **spec.overrides()})
    _check_channels(spec.name, view, built)
    classifier = Classifier(
        built.network,
        spec,
        view,
        class_names(spec, built),
        digest,
        precision,
        arch=built.arch,
        structure=built.structure,
    )
    with classifier.structure.tried():
        places = classifier.structure.describe()
    if places:
        log.info("%s: found by looking: %s", spec.name, places)
    return classifier


def _check_channels(name: str, view: View, built: Built) -> None:
    channels = built.channels or len(view.mean)
    if not len(view.mean) == len(view.std) == channels:
        raise InputError(
            f"{name}: mean and std must have as many numbers as the network's images have channels, {channels}, got "
            f"{len(view.mean)} and {len(view.std)}; give as many"
        )


def load_job(
    source: ModelSpec,
    targets: Iterable[ModelSpec],
    seed: int,
    precision: str,
    given: Mapping[str, Classifier] | None = None,
) -> tuple[Classifier, dict[str, Classifier]]:
    """A job's source and its targets by name; equal specs are loaded once and are the same object.

    given: classifiers that are in memory already, by name.
    """

    @cache
    def loaded(spec: ModelSpec) -> Classifier:
        if given and spec.name in given:
            return given[spec.name].of_a_job(precision)
        if spec.kind in TOGETHER:
            return joint(spec, [loaded(each) for each in specs_of_networks(spec)])
        return load(spec, seed, precision)

    by_name = {source.name: loaded(source)}
    asked = [loaded(spec) for spec in targets]
    for target in asked:
        if by_name.setdefault(target.name, target) is not target:
            raise InputError(f"two different models are named {target.name!r}; give one of them another name=")
    return loaded(source), {target.name: target for target in asked}
