"""What Hydra may do: its own node names no foreign code and no foreign file, and nothing it reads is without end."""

import argparse
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import RangeSweep
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from harmonia.cli.entry import Parser, conf_folder
from harmonia.cli.network_file import architecture_in, network_name
from harmonia.errors import InputError, Within, refused
from harmonia.plain_yaml import MOST_TEXT, check_yaml


def joined(names: Sequence[str]) -> str:
    """a+b, and joint a of one network, which has that name itself."""
    return "+".join(map(str, names)) if len(names) > 1 else " ".join(["joint", *map(str, names)])


# for yamls: what a folder, or a name on a hub, is called, what several networks are together, what a file holds
OmegaConf.register_new_resolver("last_name", lambda path: os.path.basename(os.path.abspath(str(path))), replace=True)
OmegaConf.register_new_resolver("joined", joined, replace=True)
OmegaConf.register_new_resolver("architecture_in", architecture_in, replace=True)
OmegaConf.register_new_resolver("network_name", network_name, replace=True)

_folders_before: set[Path] = set()  # of single jobs, which Hydra has not made

MOST_JOBS = 10_000  # of a sweep, each of which Hydra composes before the first begins
MOST_ALIASED = 10_000  # values that the aliases of a YAML file stand for

JOB_FOLDER = "${hydra:runtime.output_dir}"  # as conf/ says it
HYDRAS, HYDRAS_FILES = ".hydra", ("config.yaml", "hydra.yaml", "overrides.yaml")  # what it leaves of a job, and where

# keys of Hydra's own node -> what they may be, as text: code that is imported, files that are written, kinds of values
_ALLOWED = (
    (
        r".*\._target_",
        r"harmonia\.report\.after_sweep\.ReportAfterSweep|hydra_plugins\.(harmonia|hydra_\w+_launcher\.\w+)\.\w+Launcher|"
        r"hydra\._internal\.core_plugins\.basic_\w+\.Basic(Launcher|Sweeper)|hydra\.experimental\.callbacks\.\w+Callback",
    ),
    (
        r"hydra\.\w+_logging\..*\.(class|\(\)|factory)",
        r"logging\.(handlers\.)?(\w+FileHandler|\w+mHandler|NullHandler|FileHandler|Formatter)|harmonia\.media\.LogLine",
    ),
    (r"hydra\.\w+_logging\..*\.filename", r"\$\{hydra\.runtime\.output_dir\}/(\$\{hydra\.job\.name\}|\w[\w-]*)\.log"),
    (r"hydra\.\w+_logging\..*\.level", r"[A-Z]+|\d{1,3}"),
    (r"hydra\.\w+_logging\..*", r"(?!ext:)(?s:.*)|ext://sys\.std(out|err)"),
    (r"hydra\.job\.name", r"\w[\w-]*"),
    (r"hydra\.output_subdir", r"\.hydra|None"),  # where the report looks, too
    (r"hydra\.verbose(\.\d+)?", r"True|False|[A-Za-z_][\w.]*"),
    (r"hydra\.verbose\..*|hydra\.(launcher|sweeper|callbacks(\.\w+)?)", r"(?!)"),
)

# its numbers, most of which other libraries take
_RANGES = (
    (r"hydra\.launcher\.(n_jobs|remote\.max_retries)", Within(-1, 10**6)),
    (r"hydra\.launcher\..*", Within(0, 10**6)),
    (r"hydra\.sweeper\.max_batch_size", Within(1, 10**6)),
)


class Unbegun(Exception):
    """Its cause was raised before any job: it lies in what was given to Hydra."""


class _HydraParser(Parser):
    def parse_args(self, args: Any = None, namespace: Any = None) -> argparse.Namespace:  # pyright: ignore
        options = self.parse_intermixed_args(args, namespace)  # flags between overrides, too
        if options.experimental_rerun is not None:
            raise InputError(
                "--experimental-rerun must not be used, as a pickle runs code when it is read, got "
                f"{options.experimental_rerun!r}; give the job's words again"
            )
        return options


def _parser() -> argparse.ArgumentParser:
    return _HydraParser(parents=[get_args_parser()], add_help=False)


@contextmanager
def checked_hydra(refuse: Callable[[Path], None] = lambda folder: None) -> Iterator[None]:
    """In the block, Hydra acts on no configuration of which its own node names foreign code, writes to no folder of
    a job that refuse refuses, and to none twice. What it raises before a job begins is the cause of an Unbegun.
    """
    Plugins.instance()  # registers what reads files, a class that Hydra has made anew
    files = SourcesRegistry.instance().resolve("file")
    compose, load = ConfigLoaderImpl.load_configuration, files.load_config
    failures: list[BaseException] = []

    def composed(loader: Any, *given: Any, **options: Any) -> DictConfig:
        config = compose(loader, *given, **options)
        check_hydras_node(OmegaConf.to_container(config.hydra))
        _check_job_folder(config)
        if options.get("run_mode") is RunMode.MULTIRUN:
            _check_sweep(loader, config)
            _check_sweeps_file(config)
        if config.hydra.mode is RunMode.RUN and (folder := _folder(config, "hydra.run.dir")):
            _folders_before.update([folder] if folder.exists() else [])
            refuse(folder)
        return config

    def loaded(source: Any, config_path: str) -> ConfigResult:
        _check_file(Path(os.path.realpath(Path(source.path, source._normalize_file_name(config_path)))))
        return load(source, config_path)

    def validated(sweeper: Any, batch: Sequence[Sequence[str]]) -> None:
        folders: set[Path] = set()
        # all before the first begins
        for number, overrides in enumerate(chain(*sweeper.overrides) if sweeper.batch_index == 1 else ()):
            config = sweeper.hydra_context.config_loader.load_sweep_config(sweeper.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number  # as launchers do
            if folder := _folder(config, "hydra.sweep.dir", "hydra.sweep.subdir"):
                refuse(folder)
                if folder in folders:
                    rule = f"every job of a sweep must have a folder of its own, got {folder} twice"
                    raise InputError(f"{rule}; name what is swept in hydra.sweep.subdir")
                folders.add(folder)

    def returned(job: Any) -> Any:
        if job.status is JobStatus.COMPLETED:
            return job._return_value
        failures.append(job._return_value)
        raise job._return_value  # Hydra would print a line of its own first

    replaced: list[tuple[Any, str, Any]] = [
        (sys.modules[hydra.main.__module__], "get_args_parser", _parser),
        (ConfigLoaderImpl, "load_configuration", composed),
        (files, "load_config", loaded),
        (Sweeper, "validate_batch_is_legal", validated),
        (JobReturn, "return_value", property(returned, JobReturn.return_value.fset)),
    ]
    try:
        with _replaced(replaced):
            yield
    except Exception as error:
        if isinstance(error, InputError) or any(error is failure for failure in failures):
            raise
        raise Unbegun from error


def _folder(config: DictConfig, *keys: str) -> Path | None:
    """None of a path that is known only in the job."""
    with suppress(OmegaConfBaseException):
        return Path(os.path.abspath(Path(*(str(OmegaConf.select(config, key)) for key in keys))))


def remove_unbegun() -> None:
    """The folder that Hydra has made for a single job that was refused before it left its first file; one that the user
    has named stays with error.txt.
    """
    known = HydraConfig.get()
    folder = Path(os.path.abspath(known.runtime.output_dir))
    named = any(word.startswith("hydra.run.dir") for word in known.overrides.hydra)
    if known.mode is RunMode.RUN and folder not in _folders_before and not (named and (folder / "error.txt").exists()):
        own = {HYDRAS, f"{known.job.name}.log", ".lock", "error.txt"}  # the last two of the job
        hydras = os.listdir(folder / HYDRAS) if (folder / HYDRAS).is_dir() else ()
        if set(os.listdir(folder)) <= own and set(hydras) <= {*HYDRAS_FILES}:
            shutil.rmtree(folder)


@contextmanager
def _replaced(attributes: Sequence[tuple[Any, str, Any]]) -> Iterator[None]:
    """Attributes (owner, name, value) have these values in the block."""
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in attributes]
    try:
        for owner, name, own in attributes:
            setattr(owner, name, own)
        yield
    finally:
        for owner, name, own in before:
            setattr(owner, name, own)


def _check_job_folder(config: DictConfig) -> None:
    """Elsewhere no report would find the job."""
    stated = OmegaConf.to_container(config.get("paths") or OmegaConf.create({}))
    if isinstance(stated, dict) and stated.get("job", JOB_FOLDER) != JOB_FOLDER:
        remedy = "write hydra.run.dir=FOLDER, of a sweep hydra.sweep.dir=FOLDER"
        raise InputError(f"paths.job must stay the folder that Hydra makes, got {stated['job']!r}; {remedy}")


def _check_file(path: Path) -> None:
    """A user's own YAML, before Hydra builds it."""
    if path.is_file() and not path.is_relative_to(conf_folder()):
        with refused(f"{path} must be readable YAML, got", "mend it"):
            if (size := path.stat().st_size) > MOST_TEXT:
                raise ValueError(f"{size:,} bytes, more than {MOST_TEXT:,}")
            check_yaml(path.read_bytes().decode(), MOST_ALIASED)


def _check_sweep(loader: Any, config: DictConfig) -> None:
    """The number of its jobs, without a list of them."""
    params: Any = OmegaConf.select(config, "hydra.sweeper.params")
    params = params if isinstance(params, Mapping) else {}
    words = [f"{key}={values}" for key, values in params.items()]
    jobs = 1
    for override in OverridesParser.create(loader).parse_overrides([*words, *config.hydra.overrides.task]):
        if override.is_discrete_sweep():
            swept = override.value()
            values = swept.range() if isinstance(swept, RangeSweep) else override.sweep_iterator()
            jobs *= sum(1 for _ in islice(values, MOST_JOBS + 1))
            if not 1 <= jobs <= MOST_JOBS:
                got = "none" if jobs < 1 else "more"
                raise InputError(
                    f"a sweep must be of 1 to {MOST_JOBS} jobs, got {got} by {override.input_line}; give other values"
                )


_BEGINNING_S = 2  # how old a file is at most that somebody may still be writing


def _check_sweeps_file(config: DictConfig) -> None:
    """Refuses a multirun.yaml of another program, or a link: Hydra would replace it."""
    with suppress(OmegaConfBaseException, OSError):
        path = Path(str(OmegaConf.select(config, "hydra.sweep.dir")), "multirun.yaml")
        for waited in range(20):
            text = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            if not os.path.lexists(path) or {b"hydra:", b"source:", b"data:"} <= set(text.splitlines()):
                return
            if waited == 19 or time.time() - path.lstat().st_mtime > _BEGINNING_S:
                break
            time.sleep(0.05)  # a sweep that begins in the same folder may be writing it
        raise InputError(f"{path} must be an earlier sweep's, got another; name another folder with hydra.sweep.dir=")


def check_hydras_node(node: Any, key: str = "hydra") -> None:
    """Its code, as whatever a `_target_` or a class of logging names is imported and called, files and numbers."""
    if isinstance(node, dict | list):
        for name, value in node.items() if isinstance(node, dict) else enumerate(node):
            check_hydras_node(value, f"{key}.{name}")
    elif "\0" in str(node) or not re.fullmatch(
        next((own for at, own in _ALLOWED if re.fullmatch(at, key)), "(?s:.*)"), str(node)
    ):
        remedy = "leave it out" + f", or write ~{key}" * key.startswith("hydra.callbacks")
        raise InputError(f"{key} must be harmonia's or Hydra's own, got {node!r}; {remedy}")
    elif limit := next((limit for at, limit in _RANGES if re.fullmatch(at, key)), None):
        limit.check(key, node)
