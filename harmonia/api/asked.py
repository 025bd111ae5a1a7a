"""Models, images and options of a call, as the settings of jobs."""

import hashlib
import logging
import random
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from harmonia.cli.composed import ONE_AT_A_TIME, composed_conf, yamls
from harmonia.cli.entry import as_interrupt, conf_folder
from harmonia.cli.refusal import no_such_option, refusal
from harmonia.data.given import given_images
from harmonia.data.manifest import subfolders
from harmonia.errors import InputError, home
from harmonia.job.prepare import InMemory
from harmonia.job.settings import Settings, settings_of
from harmonia.models.classifier import Classifier
from harmonia.models.named import spec_of_name
from harmonia.models.spec import ModelSpec

_OF_ARGUMENTS = ("data", "data.limit", "method", "label", "evaluation", "paths.job")
_OF_COMMANDS = ("source", "target", "experiment", "logger", "tracking", "hydra")
NamedModel = Classifier | str  # a name is that of a yaml in conf/source (lite0, vit), or KIND:ARCH (timm:convnext_tiny)


class Asked:
    """Models and images of a call, of which every job of it is made; images in memory are listed once."""

    def __init__(
        self,
        models: Sequence[NamedModel],
        images: Any,
        labels: Sequence[Any] | None,
        limit: int | None,
        seed: int,
        cache: str | Path | None,
        options: Sequence[str] = (),
    ):
        """models: the source first. options: words of the command line, of which some are about networks by name."""
        for name, value, least, most in (("limit", limit, 1, sys.maxsize), ("seed", seed, 0, 2**64 - 1)):
            if not (isinstance(value, Integral) and least <= value <= most) and (name, value) != ("limit", None):
                rule = f"a whole number from {least} to {most}"
                raise InputError(f"{name} must be {rule}, got {value!r}; write {name}={least}")
        self._images, self._labels, self._limit, self._seed, self._cache = images, labels, limit, seed, cache
        of_names = [word for word in options if _key(word) in ("crop_pct", "paths.weights")]
        if any(_key(word) == "crop_pct" for word in of_names) and any(isinstance(each, Classifier) for each in models):
            raise InputError("options: crop_pct is of networks by name, got a classifier; say it in its transform=")
        with in_one_line(of_names):
            self._specs = [_spec_of(model, of_names) for model in models]
        self._in_memory = {model.name: model for model in models if isinstance(model, Classifier)}
        for spec, model in zip(self._specs, models, strict=True):
            first = self._specs[[spec.name for spec in self._specs].index(spec.name)]
            same = spec == first and (spec.weights != "memory" or model is models[self._specs.index(first)])
            if not same:
                raise InputError(f"models must differ in name, got two named {spec.name!r}; give name= to classifier")
        self.in_memory = InMemory(classifiers=self._in_memory)
        self.order: list[str] | None = None  # ids of images in memory, as they were given

    def config(self, words: Sequence[str]) -> DictConfig:
        """conf/ with these words, models and images; what is in memory is known afterwards."""
        data, of_data = self._data()
        config = composed_conf([f"data={data}", f"seed={self._seed}", *words])
        config.tracking.group = config.logger = None
        if self._cache is not None:
            config.paths.cache = str(self._cache)
        plain = {spec.name: {**asdict(spec), "weights": str(spec.weights)} for spec in self._specs}
        for of_spec in plain.values():
            if not of_spec["networks"]:
                del of_spec["networks"]
        source = self._specs[0].name
        OmegaConf.set_struct(config, False)
        config.source = plain[source]
        config.target = {"self" if name == source else name: spec for name, spec in plain.items()}
        if of_data is not None:
            config.data = OmegaConf.merge(config.data, of_data, {"limit": self._limit})
            return config
        if ignored := [word for word in words if _key(word)[:5] == "data." and not _key(word).startswith("data.pool")]:
            rule = "of images in memory data.pool and data.pool_size alone count"
            raise InputError(f"options: {rule}, got {ignored[0]!r}; leave it out")
        pool = {key: config.data[key] for key in ("pool", "pool_size")}
        config.data = {"_target_": "harmonia.data.folder.folder", "name": "images", "limit": None, **pool}
        if self.in_memory.images is None:
            known = self._in_memory.get(source)
            classes, channels = (known.classes, known.view.channels) if known else ((), 3)
            seed = config.seed if isinstance(config.seed, int) else self._seed  # else refused with the other settings
            images = self._images, self._labels, classes, home(config.paths.cache), self._limit, seed
            listed, self.order = given_images(*images, **pool, channels=channels)
            self.in_memory = InMemory(images=listed, classifiers=self._in_memory)
        return config

    def settings(self, config: DictConfig, folder: Path) -> Settings:
        """As the command line would have them, for a job in this folder."""
        config.paths.job = str(folder)
        return settings_of(config)

    def digest(self, configs: Mapping[str, DictConfig]) -> str:
        """Of everything that the call is about."""
        networks = [classifier.identity() for classifier in self._in_memory.values()]
        images = self.in_memory.images.records if self.in_memory.images is not None else ()
        plain = [OmegaConf.to_container(config, resolve=False) for config in configs.values()]
        return hashlib.sha256(repr((plain, networks, images)).encode()).hexdigest()[:8]

    def _data(self) -> tuple[str, dict[str, Any] | None]:
        """A yaml of conf/data and what to set in it; None: the images are in memory or single files."""
        if not isinstance(self._images, str | Path):
            return "folder", None
        path = home(self._images)
        if path.is_dir() and subfolders(path):
            named = "folder", {"root": str(path)}
        elif not path.exists():
            if self._images not in (known := yamls("data")):
                rule = f"images must be files or one of {', '.join(known)}"
                raise InputError(f"{rule}, got {str(self._images)!r}, which does not exist; look at the path")
            named = str(self._images), {}
        else:
            return "folder", None
        if self._labels is not None:
            raise InputError("labels must be given for images without classes, class folders have theirs; leave out")
        return named


def choice(group: str, name: str) -> str:
    """The word that takes a yaml of a group of conf/."""
    if name not in (known := yamls(group)):
        raise InputError(no_such_option(group, str(name), known, conf_folder()))
    return f"{group}={name}"


def checked_options(
    words: Any, of_arguments: Sequence[str] = _OF_ARGUMENTS, of_commands: Sequence[str] = _OF_COMMANDS
) -> list[str]:
    """Further words of the command line; none that an argument says (keys), or that is no call's (groups)."""
    if not isinstance(words, list | tuple) or not all(
        isinstance(word, str) and re.search("=|^~", word) for word in words
    ):
        raise InputError(f'options must be a list of words KEY=VALUE, got {words!r}; give ["trainer=cpu"]')
    for word in words:
        if _key(word) in of_arguments or _key(word).partition(".")[0] in of_commands:
            rule = "options must be words that no argument of the call says"
            raise InputError(f"{rule}, nor belong to the command line alone, got {word!r}; leave it out")
    return list(words)


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0].partition("@")[0]


def _spec_of(model: Any, words: Sequence[str]) -> ModelSpec:
    if isinstance(model, Classifier):
        return model.spec
    if not isinstance(model, str):
        got = type(model).__name__
        raise InputError(f"a model must be a name or harmonia.classifier(network, ...), got a {got}; wrap it")
    return spec_of_name(model, words)


@contextmanager
def in_one_line(words: Sequence[str] = (), main: str = "config") -> Iterator[None]:
    """What the caller can mend is a ValueError in one line, whichever library has found it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if (refused := refusal(error, conf_folder(), words, main)) is None:
            raise
        raise InputError(refused) from error


@contextmanager
def as_before() -> Iterator[None]:
    """Warnings, ranks, loggers, random numbers are the caller's; an interrupt comes through Lightning as one.

    All of these, and Hydra, are one a process: threads take turns. The caller's autocast, default type and default
    device change no number inside.
    """
    with ONE_AT_A_TIME, ExitStack() as stack:
        rank, drawn, dtype = getattr(rank_zero_only, "rank", None), random.getstate(), torch.get_default_dtype()
        loggers = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
        levels = [(logger, logger.level) for logger in loggers]
        # a loader draws a seed
        for own in (warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.inference_mode(False)):
            stack.enter_context(own)
        for device in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(as_interrupt())
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            rank_zero_only.rank = rank
            random.setstate(drawn)
            for logger, level in levels:
                logger.setLevel(level)
