"""From Python what the command line does, with networks and images that are in memory: the same jobs, the same store.

Every function raises ValueError in one line (subject, rule, value, remedy) for what the caller can mend.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harmonia.api.asked import Asked, NamedModel, as_before, checked_options, choice, in_one_line
from harmonia.api.maps import ImageMaps
from harmonia.api.result import TransferResult
from harmonia.api.training import fit as fit
from harmonia.cli.composed import yamls
from harmonia.cli.hydra_node import joined
from harmonia.errors import InputError, home
from harmonia.job import pipeline
from harmonia.job.prepare import prepare
from harmonia.job.stages import map_stage
from harmonia.media import visible
from harmonia.models import fitted, memory
from harmonia.models.classes import names_in_order
from harmonia.models.classifier import Classifier
from harmonia.models.found import Reshape
from harmonia.models.joint import joint
from harmonia.models.load import classifier_of, load
from harmonia.models.named import spec_of_name
from harmonia.models.spec import Kind, ModelSpec
from harmonia.models.transform import view_options


def classifier(
    network: nn.Module | str | Path | Sequence[NamedModel],
    *,
    classes: Sequence[str] | Mapping[Any, Any] | str | Path | None = None,
    transform: Any = None,
    name: str | None = None,
    reshape: Reshape | None = None,
    weights: str | Path | None = None,
    vote: bool = False,
) -> Classifier:
    """A network that returns logits, as a source or a target.

    network: an nn.Module in memory, of which a frozen copy is taken; a name, of a yaml in conf/source or KIND:ARCH; the
    file or folder of a network that harmonia.fit has trained; or a list of names and classifiers that explain together.
    classes: names in the order of the logits, a text file of them, or a mapping between names and 0, 1, ...; None: the
    network's own, or ImageNet's 1,000.
    transform: its evaluation transform: torchvision's or timm's (resize, centre crop, normalise), a transformers image
    processor, or {"size": 224, "mean": (...), "std": (...)}; timm's networks bring theirs. name: in tables.
    reshape: from a layer's activations to (B, C, h, w), where their layout cannot be found.
    weights: of a name, a file of them or a folder of files named after architectures. vote: of several networks, each
    explains alone, and their map is the mean rank of each one's.

    >>> import harmonia
    >>> from torch.nn import AdaptiveAvgPool2d, Conv2d, Flatten, Linear, ReLU, Sequential
    >>> network = Sequential(Conv2d(3, 8, 3), ReLU(), AdaptiveAvgPool2d(1), Flatten(), Linear(8, 2))
    >>> transform = {"size": 32, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    >>> harmonia.classifier(network, classes=["cat", "dog"], transform=transform).layer_name("final")
    '1'
    """
    if name is not None and (not name.strip() or visible(name) != name):
        raise InputError(f"name must be words in one line, got {name!r}; leave it out")
    named = classes if isinstance(classes, str | Path | None) else _in_order(classes)
    if isinstance(network, list | tuple):
        if (classes, transform, reshape) != (None, None, None):
            raise InputError("classes, transform and reshape are each network's own, got them for several; leave out")
        return _together(network, name, weights, "vote" if vote else "joint")
    with in_one_line(), as_before(), torch.inference_mode(False):  # numbers made in it have no gradients
        if isinstance(network, str | Path):
            if transform is not None or reshape is not None:
                raise InputError(
                    f"transform and reshape are of a network in memory, got them for {network!r}; leave out"
                )
            return _by_name(network, named, name, weights)
        if not isinstance(network, nn.Module):
            raise InputError(f"a network must be a name or a torch.nn.Module, got a {type(network).__name__}; give one")
        if weights is not None:
            raise InputError(f"weights are of a network by name, got {weights} for a module; load them into it")
        own = memory.copy_of(network)
        arch = type(own).__name__
        of_timm: Any = getattr(own, "pretrained_cfg", None)
        of_timm = of_timm if isinstance(of_timm, Mapping) else {}
        known = name or of_timm.get("architecture") or arch.lower()
        spec = ModelSpec(name=known, arch=arch, family=known, kind="python", weights="memory", classes=named)
        view = {} if transform is None else view_options(transform, known)
        return classifier_of(memory.in_memory(own, view, spec, reshape), spec)


def _by_name(network: str | Path, classes: Any, name: str | None, weights: str | Path | None) -> Classifier:
    """Of a yaml in conf/source, KIND:ARCH, or a file or folder that harmonia.fit has left."""
    options: dict[str, Any] = {"classes": classes, "name": name}
    if weights is not None:
        options["weights_folder" if home(weights).is_dir() else "weights"] = str(home(weights))
    if isinstance(network, Path) or (network not in yamls("source") and home(network).exists()):
        file = fitted.file_of(str(network), name or "fitted")
        options |= {"name": name or visible(fitted.read_facts(file, "fitted").name), "weights": str(file)}
        options.pop("weights_folder", None)
        network = "fitted"
    return load(spec_of_name(network, **{key: value for key, value in options.items() if value is not None}))


def _together(networks: Sequence[NamedModel], name: str | None, weights: str | Path | None, kind: Kind) -> Classifier:
    members = [each if isinstance(each, Classifier) else classifier(each, weights=weights) for each in networks]
    names = tuple(member.name for member in members)
    known = name or ("vote " if kind == "vote" else "") + joined(names)
    spec = ModelSpec(name=known, arch="joint", family="joint", kind=kind, networks=names, weights="memory")
    with in_one_line(), as_before():
        return joint(spec, [member.of_a_job(member.precision) for member in members])


def _one(model: NamedModel | Sequence[NamedModel]) -> NamedModel:
    """A model, or several as one."""
    return classifier(model) if isinstance(model, list | tuple) else model  # pyright: ignore[reportReturnType]


def explain(
    model: NamedModel | Sequence[NamedModel],
    images: Any,
    method: str = "gc",
    *,
    labels: Sequence[Any] | None = None,
    label: str = "predicted",
    layer: str = "auto",
    limit: int | None = None,
    seed: int = 0,
    cache: str | Path | None = None,
    options: Sequence[str] = (),
) -> ImageMaps:
    """Maps of images: which regions explain what the network predicts. Stored maps are not computed again.

    images: paths, PIL images, uint8 arrays or tensors, floats in 0..1, one of them or many; a folder of images or of
    class folders; a dataset of torchvision or Hugging Face; or the name of a yaml in conf/data (samples). labels: their
    true classes, by name or by index in the network's, for label="true"; class folders and datasets have their own.
    method, label: names of yamls in conf/method (gc, ss, ig, ...) and conf/label. layer: input, middle, final,
    normalised, or a module's name. limit: the first so many images. cache: the map store's folder. options: further
    words of the command line, "method.steps=20", "data.pool=FOLDER". A list of models explains together: one map each
    image.

    >>> import harmonia
    >>> maps = harmonia.explain("lite0", "samples", limit=2)
    >>> maps[0].raw.shape
    (7, 7)
    """
    words = [choice("method", method), choice("label", label), f"layer={layer}", "target=[self]"]
    words += checked_options(options)
    asked = Asked([_one(model)], images, labels, limit, seed, cache, options)
    with in_one_line(words), as_before(), tempfile.TemporaryDirectory() as folder:
        settings = asked.settings(asked.config(words), Path(folder))
        job = prepare(settings, Path(folder), in_memory=asked.in_memory, maps_alone=True)
        map_stage(job).complete()
        return ImageMaps(job, asked.order)


def transfer(
    source: NamedModel | Sequence[NamedModel],
    targets: Sequence[NamedModel] | NamedModel,
    images: Any,
    methods: Sequence[str] | Mapping[str, Sequence[str]] | str = ("gc",),
    *,
    labels: Sequence[Any] | None = None,
    label: str = "predicted",
    fill: str = "black",
    areas: Sequence[float] | float | None = None,
    limit: int | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    cache: str | Path | None = None,
    options: Sequence[str] = (),
) -> TransferResult:
    """Whether what explains the source's predictions carries them in the targets, beyond what any mask carries.

    One job a method, as on the command line; the source itself is the first target. images need true classes: a folder
    of class folders, a dataset with labels, or labels=; else as in explain. areas: shares of the image that the equal
    area arms keep. fill: a yaml of conf/fill. folder: where the jobs' files go; None: they go with the result.

    >>> import harmonia
    >>> result = harmonia.transfer("lite0", ["lite1"], "samples", limit=4)
    >>> sorted(result.rows()["target"].unique())
    ['lite0', 'lite1']
    """
    words = ["target=[self]", choice("label", label), choice("fill", fill), *checked_options(options)]
    if areas is not None:
        words.append(f"evaluation.areas={list(areas) if isinstance(areas, Sequence) else [areas]}")
    targets = [targets] if isinstance(targets, str | nn.Module) else targets
    if not isinstance(targets, Sequence):
        raise InputError(f"targets must be a list of models, got a {type(targets).__name__}; give [...]")
    asked = Asked([_one(source), *targets], images, labels, limit, seed, cache, options)
    configs = {}
    for method, own in _by_method(methods).items():
        of_method = [choice("method", method), *words, *own]
        with in_one_line(of_method), as_before():
            configs[method] = asked.config(of_method)
    if asked.in_memory.images is not None and not asked.in_memory.images.class_names:
        raise InputError("labels must be given for transfer, which asks for accuracy, got none; give labels=[...]")
    kept = tempfile.TemporaryDirectory(prefix="harmonia-") if folder is None else None
    root = Path(kept.name) if kept else home(str(folder)) / asked.digest(configs)
    for number, (method, config) in enumerate(configs.items()):
        with in_one_line(), as_before():
            pipeline.run(asked.settings(config, root / f"{number}_{method}"), asked.in_memory)
    return TransferResult(root, kept)


def _in_order(classes: Any) -> tuple[str, ...]:
    if isinstance(classes, Mapping):
        names = names_in_order(dict(classes))
    else:
        names = tuple(map(str, classes)) if hasattr(classes, "__getitem__") else None
    if not names or any(not name.strip() or visible(name) != name for name in names):
        raise InputError(
            "classes must be words in the order of the logits, or a mapping between them and 0, 1, ..., got "
            f"{visible(str(classes)[:100])}; give a list"
        )
    return names


def _by_method(methods: Any) -> dict[str, list[str]]:
    """Words for each method alone."""
    if isinstance(methods, Mapping):
        return {method: checked_options(words) for method, words in methods.items()}
    listed = [methods] if isinstance(methods, str) else methods
    if not isinstance(listed, list | tuple) or not listed or len(set(map(str, listed))) < len(listed):
        raise InputError(f'methods must be at least one, each once, got {listed}; give methods=["gc"]')
    return {method: [] for method in listed}
