"""The network to train: any that harmonia builds, with a head for the classes at hand."""

from dataclasses import replace

from harmonia.errors import InputError
from harmonia.models import fitted
from harmonia.models.classifier import Classifier
from harmonia.models.head import with_head
from harmonia.models.load import build, classifier_of
from harmonia.models.spec import ModelSpec


def trainable(spec: ModelSpec, classes: tuple[str, ...], seed: int) -> Classifier:
    """The classifier, its parameters taking gradients as their network has them by itself."""
    known = fitted.described(spec)
    of_classes = replace(known, classes=classes)
    built = with_head(build(of_classes if known.weights == "random" else known, seed), len(classes), spec.name, seed)
    learned = [parameter for parameter in built.network.parameters() if parameter.requires_grad]
    if not learned:
        raise InputError(
            f"{spec.name}: a network to train must have parameters that take gradients, got none; take another"
        )
    classifier = classifier_of(replace(built, classes=classes), of_classes)
    for parameter in learned:
        parameter.requires_grad_(True)
    return classifier
