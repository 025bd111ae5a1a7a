"""From Python what the command line does, with networks and images that are in memory: the same jobs, the same store.

Every function raises ValueError in one line (subject, rule, value, remedy) for what the caller can mend.
"""

import copy
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from lightning_fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from torch import nn

from harmonia.cli.entry import as_interrupt, conf_folder, hydra_words
from harmonia.cli.refusal import refusal
from harmonia.data.given import given_images
from harmonia.data.manifest import subfolders
from harmonia.errors import InputError, home
from harmonia.job import pipeline
from harmonia.job.prepare import InMemory, prepare
from harmonia.job.settings import Settings, settings_of
from harmonia.job.stages import map_stage
from harmonia.models import huggingface, python
from harmonia.models.classifier import Classifier
from harmonia.models.found import Reshape
from harmonia.models.load import classifier_of, load
from harmonia.models.spec import ModelSpec
from harmonia.models.transform import view_options
from harmonia.notebook import ImageMaps, TransferResult

KINDS = ("timm", "torchvision", "huggingface")
NamedModel = Classifier | str  # a name is that of a yaml in conf/source (lite0, vit), or KIND:ARCH (timm:convnext_tiny)


def classifier(
    network: nn.Module | str,
    *,
    classes: Sequence[str] | str | Path | None = None,
    transform: Any = None,
    name: str | None = None,
    reshape: Reshape | None = None,
) -> Classifier:
    """A network that returns logits, as a source or a target.

    network: an nn.Module in memory, of which a frozen copy is taken; or a name, of a yaml in conf/source or KIND:ARCH.
    classes: names in the order of the logits, or a text file of them; None: the network's own, or ImageNet's 1,000.
    transform: its evaluation transform: torchvision's or timm's (resize, centre crop, normalise), a transformers image
    processor, or {"size": 224, "mean": (...), "std": (...)}; timm's networks bring theirs. name: in tables.
    reshape: from a layer's activations to (B, C, h, w), where their layout cannot be found.

    >>> import harmonia
    >>> from torch.nn import AdaptiveAvgPool2d, Conv2d, Flatten, Linear, ReLU, Sequential
    >>> network = Sequential(Conv2d(3, 8, 3), ReLU(), AdaptiveAvgPool2d(1), Flatten(), Linear(8, 2))
    >>> transform = {"size": 32, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    >>> harmonia.classifier(network, classes=["cat", "dog"], transform=transform).layer_name("final")
    '1'
    """
    named = classes if isinstance(classes, str | Path | None) else tuple(map(str, classes))
    with _one_line():
        if isinstance(network, str):
            if transform is not None or reshape is not None:
                raise InputError(
                    f"transform and reshape are of a network in memory, got them for {network!r}; leave out"
                )
            options = {"classes": named, "name": name}
            return load(_spec(network, **{key: value for key, value in options.items() if value is not None}))
        if not isinstance(network, nn.Module):
            raise InputError(f"a network must be a name or a torch.nn.Module, got a {type(network).__name__}; give one")
        arch = type(network).__name__
        of_timm: Any = getattr(network, "pretrained_cfg", None) or {}
        known = name or of_timm.get("architecture") or arch.lower()
        spec = ModelSpec(name=known, arch=arch, family=known, kind="python", weights="memory", classes=named)
        own = copy.deepcopy(network).float()
        if hasattr(transform, "image_mean") and hasattr(own, "config"):
            return classifier_of(huggingface.with_processor(own, transform, known), spec)
        view = {} if transform is None else view_options(transform, known)
        return classifier_of(python.in_memory(own, view, spec, reshape), spec)


def explain(
    model: NamedModel,
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
    class folders; a torchvision dataset; or the name of a yaml in conf/data (samples). labels: their true classes, for
    label="true". method, label: names of yamls in conf/method (gc, ss, ig, ...) and conf/label. layer: input, middle,
    final, normalised, or a module's name. limit: the first so many images. cache: the map store's folder. options:
    further words of the command line, "method.steps=20".

    >>> import harmonia
    >>> maps = harmonia.explain("lite0", "samples", limit=2)
    >>> maps[0].raw.shape
    (7, 7)
    """
    words = [f"method={method}", f"label={label}", f"layer={layer}", "target=[self]", f"seed={seed}", *options]
    asked = _Asked([model], images, labels, limit, cache)
    with _one_line(words), _as_before(), tempfile.TemporaryDirectory() as folder:
        job = prepare(asked.settings(Path(folder), words), Path(folder), in_memory=asked.in_memory)
        map_stage(job).complete()
        return ImageMaps(job, asked.order)


def transfer(
    source: NamedModel,
    targets: Sequence[NamedModel] | NamedModel,
    images: Any,
    methods: Sequence[str] | str = ("gc",),
    *,
    labels: Sequence[Any] | None = None,
    label: str = "predicted",
    fill: str = "black",
    areas: Sequence[float] | None = None,
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
    words = [f"label={label}", f"fill={fill}", f"seed={seed}"]
    words += [] if areas is None else [f"evaluation.areas=[{','.join(map(str, areas))}]"]
    kept = None if folder is not None else tempfile.TemporaryDirectory(prefix="harmonia-")
    root = home(folder) if folder is not None else Path(kept.name if kept else "")
    targets = [targets] if isinstance(targets, str | Classifier) else targets
    methods = [methods] if isinstance(methods, str) else list(methods)
    if not methods:
        raise InputError('methods must be at least one, got none; give methods=["gc"]')
    asked = _Asked([source, *targets], images, labels, limit, cache)
    for number, method in enumerate(methods):
        of_method = [f"method={method}", "target=[self]", *words, *options]
        with _one_line(of_method), _as_before():
            settings = asked.settings(root / f"{number}_{method}", of_method)
            if asked.in_memory.images is not None and not asked.in_memory.images.class_names:
                raise InputError(
                    "labels must be given for transfer, which asks for accuracy, got none; give labels=[...]"
                )
            pipeline.run(settings, asked.in_memory)
    return TransferResult(root, kept)


class _Asked:
    """Models and images of a call, of which every job of it is made; images in memory are listed once."""

    def __init__(
        self,
        models: Sequence[NamedModel],
        images: Any,
        labels: Sequence[Any] | None,
        limit: int | None,
        cache: str | Path | None,
    ):
        """models: the source first."""
        self._models, self._images, self._labels, self._limit, self._cache = models, images, labels, limit, cache
        self.in_memory = InMemory()
        self.order: list[str] | None = None  # ids of images in memory, as they were given

    def settings(self, folder: Path, words: Sequence[str]) -> Settings:
        """As the command line would have them for these words; what is in memory is known afterwards."""
        data_words, by_hand = _data(self._images, self._limit)
        config = _composed([*words, *data_words])
        config.paths.job, config.tracking.group, config.logger = str(folder), None, None
        if self._cache is not None:
            config.paths.cache = str(self._cache)
        specs = [_spec_of(model) for model in self._models]
        by_name: dict[str, ModelSpec] = {}
        for spec in specs:
            if by_name.setdefault(spec.name, spec) != spec:
                raise InputError(f"targets must differ in name, got two networks named {spec.name!r}; give name=")
        plain = {name: {**asdict(spec), "weights": str(spec.weights)} for name, spec in by_name.items()}
        OmegaConf.set_struct(config, False)
        config.source = plain[specs[0].name]
        config.target = {"self" if spec == specs[0] else spec.name: plain[spec.name] for spec in specs}
        given = {model.name: model for model in self._models if isinstance(model, Classifier)}
        if by_hand:
            config.data = {"_target_": "harmonia.data.folder.folder", "name": "images", "limit": None}
            if self.in_memory.images is None:
                classes = given[specs[0].name].classes if specs[0].name in given else ()
                cache = home(config.paths.cache)
                images = self._images, self._labels, classes, cache, self._limit, config.seed
                listed, self.order = given_images(*images)
                self.in_memory = InMemory(images=listed, classifiers=given)
        else:
            self.in_memory = InMemory(classifiers=given)
        return settings_of(config)


def _spec_of(model: NamedModel) -> ModelSpec:
    if isinstance(model, nn.Module) and not isinstance(model, Classifier):
        got = type(model).__name__
        raise InputError(f"a model must be a name or harmonia.classifier(network, ...), got a {got}; wrap it")
    return model.spec if isinstance(model, Classifier) else _spec(model)


def _spec(name: str, **options: Any) -> ModelSpec:
    kind, colon, arch = name.partition(":")
    if colon and kind not in KINDS:
        raise InputError(f"a model's kind must be one of {', '.join(KINDS)}, got {kind!r}; write timm:{arch}")
    words = [f"source={kind}", f"source.arch='{arch}'"] if colon else [f"source={name}"]
    own = sorted(path.stem for path in (conf_folder() / "source").glob("*.yaml"))
    if not colon and name not in own:
        raise InputError(f"source must be one of {', '.join(own)}, got {name!r}; timm's is 'timm:{name}'")
    config: Any = OmegaConf.to_container(_composed(["target=[self]", *words]).source, resolve=True)
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    return ModelSpec(**{**values, **options})


def _data(images: Any, limit: int | None) -> tuple[list[str], bool]:
    """Words that name a data set of the command line, or whether the images are in memory or single files."""
    if isinstance(images, str | Path):
        path = home(images)
        if path.is_dir() and subfolders(path):
            return ["data=folder", f"data.root='{path}'", f"data.limit={'null' if limit is None else limit}"], False
        if isinstance(images, str) and not path.exists():
            return [f"data={images}", f"data.limit={'null' if limit is None else limit}"], False
    return ["data=folder"], True


def _composed(words: Sequence[str]) -> DictConfig:
    """conf/ with these words; a Hydra that the caller has set up stays as it is."""
    running, state = GlobalHydra.instance().hydra, GlobalHydra.instance()
    state.hydra = None
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            return compose("config", hydra_words(words))
    finally:
        state.hydra = running


@contextmanager
def _one_line(words: Sequence[str] = ()) -> Iterator[None]:
    """What the caller can mend is a ValueError in one line, whichever library has found it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if (refused := refusal(error, conf_folder(), words)) is None:
            raise
        raise InputError(refused) from error


@contextmanager
def _as_before() -> Iterator[None]:
    """Filters of warnings, ranks and random numbers are the caller's; an interrupt comes through Lightning as one."""
    rank = getattr(rank_zero_only, "rank", None)
    try:
        # a loader draws a seed
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), as_interrupt():
            yield
    finally:
        rank_zero_only.rank = rank
